# SPDX-License-Identifier: Apache-2.0
"""Tokens of Huawei's IAM, cached for all hooks of a process: IAM throttles clients that request many.

Invariants:

* A token is replaced when a tenth of its life is left, or ten minutes if that is less.
* For one IAM user, one token is requested at a time: other calls wait for it and share it.
* A refused token is removed only if it is still the cached one: another thread may have replaced it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    AuthenticationFailed,
    NotReached,
    ServiceUnavailable,
)
from airflow_provider_ehpc.apis.huawei.iam import IamToken, IamUser, TokenSigner, create_token
from airflow_provider_ehpc.hooks.account import Account, Attempt
from airflow_provider_ehpc.hooks.mutex import Exclusive, Mutex

T = TypeVar("T")
LONGEST_MARGIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Signs nothing: the body of the request authenticates the user."""

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """See :class:`~airflow_provider_ehpc.apis.call.Signer`."""
        return dataclasses.replace(request, headers={**request.headers, "host": host})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAccount(Account):
    """An account whose requests are authenticated with a token of an IAM user."""

    iam: Account
    """The account for requests to IAM."""
    user: IamUser

    @property
    def key(self) -> object:
        """See :attr:`.Account.key`."""
        return self.user

    def auth_flow(self, call: ApiCall[T]) -> Generator[Any, Any, T]:
        """Send a call with a token; if a cached one is refused, once more with a new one."""
        token, cached = yield Exclusive(self._token(), TOKENS)
        response: T
        try:
            response = yield Attempt(self._bearing(token), call)
        except AuthenticationFailed:
            TOKENS.forget(self, token)
            # A token that IAM has just issued is not refused for its age.
            if not cached:
                raise
        else:
            return response
        token, _ = yield Exclusive(self._token(), TOKENS)
        response = yield Attempt(self._bearing(token), call)
        return response

    def _token(self) -> Generator[Any, Any, tuple[IamToken, bool]]:
        """Return a token, and True if it was cached."""
        if token := TOKENS.get(self):
            return token, True
        with _token_failure():
            token = yield Attempt(self.iam, create_token(self.user))
        TOKENS.save(self, token)
        return token, False

    def _bearing(self, token: IamToken) -> Account:
        return dataclasses.replace(self, signer=TokenSigner(token.token))


class TokenCache(Mutex):
    """Tokens by the user and the IAM that issued them. A flow that reads or requests one holds the mutex."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[tuple[str, IamUser], tuple[IamToken, datetime]] = {}

    def get(self, account: TokenAccount) -> IamToken | None:
        """Return the cached token; None if there is none or it expires soon."""
        token, until = self._tokens.get(_key(account), (None, None))
        return token if until and _now() < until else None

    def save(self, account: TokenAccount, token: IamToken) -> None:
        """Cache a new token."""
        life = token.expires_at - _now()
        self._tokens[_key(account)] = token, token.expires_at - min(life / 10, LONGEST_MARGIN)

    def forget(self, account: TokenAccount, token: IamToken) -> None:
        """Remove a token that was refused."""
        cached, _ = self._tokens.get(_key(account), (None, None))
        if cached == token:
            self._tokens.pop(_key(account), None)


TOKENS = TokenCache()


@contextmanager
def _token_failure() -> Iterator[None]:
    """Complete the error of a request for a token, for the call that needs it."""
    try:
        yield
    except AuthenticationFailed as error:
        error.hint = error.hint or (
            "Check the connection's login, password and iam_domain: an IAM user, its password, and the "
            "account's name. Wrong passwords lock the user for a while."
        )
        raise
    except ServiceUnavailable as error:
        # The call itself was not sent, so even a write may be retried.
        failure = ApiError.from_dict({**error.as_dict(), "kind": NotReached.__name__})
        failure.retry_after = error.retry_after
    else:
        return
    raise failure


def _key(account: TokenAccount) -> tuple[str, IamUser]:
    return account.iam.base_url, account.user


def _now() -> datetime:
    return datetime.now(UTC)

"""IAM's tokens, cached for all hooks of a process: IAM throttles clients that request one for each call.

Invariants:

* A token is used until a tenth of its life is left, ten minutes at most; the next call gets a new one.
* For one IAM user, one token is requested at a time: other calls wait for it and share it.
* A refused token is forgotten only if it is still the cached one: another thread may have a new one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary

from airflow_provider_ehpc.apis.call import (
    ApiError,
    ApiRequest,
    AuthenticationFailed,
    NotReached,
    ServiceUnavailable,
)
from airflow_provider_ehpc.apis.huawei.iam import IamToken, IamUser, TokenSigner
from airflow_provider_ehpc.hooks.account import Account

LONGEST_MARGIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Sends a request as it is: the body authenticates the user."""

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """See :class:`~airflow_provider_ehpc.apis.call.Signer`."""
        return dataclasses.replace(request, headers={**request.headers, "host": host})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAccount(Account):
    """An account whose requests carry a token. Without one (:meth:`bearing`) none is to be sent."""

    iam: Account
    """Where the token comes from."""
    user: IamUser

    @property
    def key(self) -> object:
        """See :attr:`.Account.key`."""
        return self.user

    def bearing(self, token: IamToken) -> Account:
        """Return the account with a token, which is as confidential as the password."""
        return dataclasses.replace(
            self, signer=TokenSigner(token.token), confidential=(*self.confidential, *token.confidential)
        )


class TokenCache:
    """Tokens by the user and the IAM that gave them. See the module's invariants."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held by a thread that reads or requests a token."""
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._tokens: dict[tuple[str, IamUser], tuple[IamToken, datetime]] = {}

    @property
    def alock(self) -> asyncio.Lock:
        """Held by a task of the running loop that reads or requests a token."""
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def get(self, account: TokenAccount) -> IamToken | None:
        """Return the cached token, unless it is about to expire."""
        token, until = self._tokens.get(_key(account), (None, None))
        return token if until and _now() < until else None

    def save(self, account: TokenAccount, token: IamToken) -> IamToken:
        """Cache a new token and return it."""
        life = token.expires_at - _now()
        self._tokens[_key(account)] = token, token.expires_at - min(life / 10, LONGEST_MARGIN)
        return token

    def forget(self, account: TokenAccount, token: IamToken) -> None:
        """Forget a token that was refused."""
        cached, _ = self._tokens.get(_key(account), (None, None))
        if cached == token:
            self._tokens.pop(_key(account), None)


TOKENS = TokenCache()


@contextmanager
def token_trouble() -> Iterator[None]:
    """Convert the error of a failure to get a token for the call that needs it."""
    try:
        yield
    except AuthenticationFailed as error:
        error.hint = error.hint or (
            "Check the connection's login, password and iam_domain: an IAM user, its password, and the "
            "account's name. Wrong passwords lock the user for a while."
        )
        raise
    except ServiceUnavailable as error:
        # The call itself was not sent, so even one that writes may be tried again.
        trouble = ApiError.from_dict({**error.as_dict(), "kind": NotReached.__name__})
        trouble.retry_after = error.retry_after
    else:
        return
    raise trouble


def _key(account: TokenAccount) -> tuple[str, IamUser]:
    return account.iam.base_url, account.user


def _now() -> datetime:
    return datetime.now(UTC)

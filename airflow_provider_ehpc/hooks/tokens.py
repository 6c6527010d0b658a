# SPDX-License-Identifier: Apache-2.0
"""Cache temporary credentials: tokens of IAM users, keys of roles and agencies.

All hooks of a process share them, because clouds throttle clients that request too many. Invariants:

* Credentials are replaced when a tenth of their lifetime is left, or ten minutes if that is less.
* Only one request is sent to an issuer at a time: other calls wait for it and share its result or error.
  Otherwise, each of them would send a wrong password again, and lock the user.
* If an issuer fails temporarily, the credentials are used until they expire.
* Refused credentials are removed only if they are still the cached ones: another thread may have replaced
  them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    AuthenticationFailed,
    NotReached,
    Signer,
)
from airflow_provider_ehpc.apis.huawei.iam import IamUser, TokenSigner, create_token
from airflow_provider_ehpc.hooks.account import Account, Attempt
from airflow_provider_ehpc.hooks.mutex import Exclusive, Mutex

T = TypeVar("T")
LONGEST_MARGIN = timedelta(minutes=10)
RETRY_AFTER = timedelta(seconds=30)
"""The time between two attempts to replace credentials if they are still valid."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Hold credentials that expire. The repr does not show them."""

    signer: Signer = field(repr=False)
    confidential: tuple[str, ...] = field(repr=False)
    expires_at: datetime


class Issuer(Hashable, Protocol):
    """Issue temporary credentials. Equal issuers issue the same credentials."""

    def issue(self) -> Generator[Any, Any, Grant]:
        """Request new credentials.

        :raises ApiError: transient if a later request may succeed.
        """


@dataclass(frozen=True, slots=True)
class Blocking(Generic[T]):
    """Call a function that blocks, as a step of a flow. The asynchronous driver calls it in a thread."""

    function: Callable[[], T]


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Send requests without a signature."""

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """See :class:`~airflow_provider_ehpc.apis.call.Signer`."""
        return dataclasses.replace(request, headers={**request.headers, "host": host})


@dataclass(frozen=True, slots=True)
class IamIssuer:
    """Issue tokens of an IAM user of Huawei Cloud."""

    account: Account
    """The account for requests to IAM."""
    user: IamUser

    def issue(self) -> Generator[Any, Any, Grant]:
        """See :meth:`.Issuer.issue`."""
        try:
            token = yield Attempt(self.account, create_token(self.user))
        except AuthenticationFailed as error:
            error.hint = error.hint or (
                "Check the connection's login, password and iam_domain: an IAM user, its password, and the "
                "account's name. Wrong passwords lock the user for a while."
            )
            raise
        return Grant(TokenSigner(token.token), (token.token,), token.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAccount(Account):
    """Authenticate the requests of an account with temporary credentials."""

    issuer: Issuer

    @classmethod
    def of(cls, account: Account, issuer: Issuer) -> TokenAccount:
        """Return an account with credentials from an issuer instead of a key."""
        fields = {each.name: getattr(account, each.name) for each in dataclasses.fields(account)}
        return cls(**fields, issuer=issuer)

    @property
    def key(self) -> object:
        """See :attr:`.Account.key`."""
        return self.issuer

    @property
    def secrets(self) -> tuple[str, ...]:
        """See :attr:`.Account.secrets`."""
        grant = TOKENS.cached(self.issuer)
        return (*self.confidential, *(grant.confidential if grant else ()))

    def auth_flow(self, call: ApiCall[T]) -> Generator[Any, Any, T]:
        """Send a call with credentials. If cached ones are refused, send it once more with new ones."""
        grant, cached = yield from self._grant()
        response: T
        try:
            response = yield Attempt(self._with(grant), call)
        except AuthenticationFailed as error:
            TOKENS.forget(self.issuer, grant)
            # Credentials that were just issued are not refused because they are too old.
            if not cached:
                raise
            refused = error
        else:
            return response
        replaced, _ = yield from self._grant()
        if replaced.signer == grant.signer:
            raise refused
        response = yield Attempt(self._with(replaced), call)
        return response

    def _grant(self) -> Generator[Any, Any, tuple[Grant, bool]]:
        """Return credentials, and True if they were cached."""
        if grant := TOKENS.get(self.issuer):
            return grant, True
        issued: tuple[Grant, bool] = yield Exclusive(self._issue(time.monotonic()), TOKENS.mutex(self.issuer))
        return issued

    def _issue(self, began: float) -> Generator[Any, Any, tuple[Grant, bool]]:
        if grant := TOKENS.get(self.issuer):
            return grant, True
        if shared := TOKENS.failure(self.issuer, began):
            raise shared
        try:
            with _not_sent():
                grant = yield from self.issuer.issue()
        except ApiError as error:
            if isinstance(error, NotReached) and (grant := TOKENS.postpone(self.issuer)):
                return grant, True
            TOKENS.failed(self.issuer, error)
            raise
        TOKENS.save(self.issuer, grant)
        return grant, False

    def _with(self, grant: Grant) -> Account:
        return dataclasses.replace(
            self, signer=grant.signer, confidential=(*self.confidential, *grant.confidential)
        )


class TokenCache:
    """Cache temporary credentials by issuer."""

    def __init__(self) -> None:
        self._grants: dict[Issuer, tuple[Grant, datetime]] = {}
        self._mutexes: dict[Issuer, Mutex] = {}
        self._failures: dict[Issuer, tuple[ApiError, float]] = {}
        """The last error of an issuer, and when it happened (``time.monotonic``)."""

    def mutex(self, issuer: Issuer) -> Mutex:
        """Return the mutex that a flow holds while it requests credentials."""
        return self._mutexes.setdefault(issuer, Mutex())

    def cached(self, issuer: Issuer) -> Grant | None:
        """Return the cached credentials, even if they have expired."""
        return self._grants.get(issuer, (None,))[0]

    def get(self, issuer: Issuer) -> Grant | None:
        """Return the cached credentials; None if there are none or they expire soon."""
        grant, until = self._grants.get(issuer, (None, None))
        return grant if until and _now() < until else None

    def save(self, issuer: Issuer, grant: Grant) -> None:
        """Cache new credentials."""
        life = grant.expires_at - _now()
        self._grants[issuer] = grant, grant.expires_at - min(life / 10, LONGEST_MARGIN)
        self._failures.pop(issuer, None)

    def failed(self, issuer: Issuer, error: ApiError) -> None:
        """Save an error for the calls that wait for the same request."""
        self._failures[issuer] = _copy(error), time.monotonic()

    def failure(self, issuer: Issuer, began: float) -> ApiError | None:
        """Return the error of a request that ended after ``began``; None if there is none."""
        error, at = self._failures.get(issuer, (None, 0.0))
        return _copy(error) if error and at > began else None

    def postpone(self, issuer: Issuer) -> Grant | None:
        """Use the cached credentials for longer, and return them; return None if there are no valid ones."""
        grant = self.cached(issuer)
        if grant is None or _now() >= grant.expires_at:
            return None
        self._grants[issuer] = grant, min(_now() + RETRY_AFTER, grant.expires_at)
        return grant

    def forget(self, issuer: Issuer, grant: Grant) -> None:
        """Remove credentials that were refused."""
        if self.cached(issuer) == grant:
            self._grants.pop(issuer, None)


TOKENS = TokenCache()


def has_issued(issuer: Issuer) -> bool:
    """Return True if an issuer has issued credentials before, so that a failure to reach it is temporary."""
    return TOKENS.cached(issuer) is not None


@contextmanager
def _not_sent() -> Iterator[None]:
    """Turn a transient error of an issuer into an error after which the call can be retried, even a write."""
    try:
        yield
    except ApiError as error:
        if not error.transient:
            raise
        # The call itself was not sent.
        failure = _copy(error, NotReached)
    else:
        return
    raise failure


def _copy(error: ApiError, kind: type[ApiError] | None = None) -> ApiError:
    """Return an error of its own for another call, which completes it."""
    copy = ApiError.from_dict({**error.as_dict(), "kind": (kind or type(error)).__name__})
    copy.retry_after = error.retry_after
    return copy


def _now() -> datetime:
    return datetime.now(UTC)

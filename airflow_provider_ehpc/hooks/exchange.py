# SPDX-License-Identifier: Apache-2.0
"""One attempt of a call: read its response, and complete its error."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Generic, TypeVar
from urllib.parse import unquote, urlsplit

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    ApiResponse,
    AuthenticationFailed,
    NotReached,
    ServiceUnavailable,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.headers import clock_skew
from airflow_provider_ehpc.hooks.account import Account
from airflow_provider_ehpc.hooks.limiter import Ticket
from airflow_provider_ehpc.hooks.redaction import Redactor
from airflow_provider_ehpc.hooks.transport import proxy_of

T = TypeVar("T")

_SKEW = 60.0
"""Seconds that a clock may be wrong before an error names it as the cause of a refused signature."""


@dataclasses.dataclass(slots=True, repr=False)
class Exchange(Generic[T]):
    """One attempt of a call: the request and the response, as far as they exist."""

    account: Account
    call: ApiCall[T]
    ticket: Ticket | None = None
    request: ApiRequest | None = None
    response: ApiResponse | None = None

    @property
    def redactor(self) -> Redactor:
        """Return a redactor for all secrets that a response may repeat."""
        signed = self.request.confidential if self.request else ()
        proxy = unquote(urlsplit(proxy_of(self.account) or "").password or "")
        return Redactor((*self.account.confidential, *self.call.confidential, *signed, proxy))

    def read(self) -> T:
        """Return the typed response.

        :raises ApiError: and no other exception, whatever the response contains.
        """
        assert self.response is not None  # noqa: S101
        response = dataclasses.replace(self.response, redact=lambda text: self.redactor.text(text))
        return self.call.read(response)

    def hint(self, error: ApiError) -> str:
        """Return the hint of an error. It mentions a wrong clock, and a write that may have taken effect."""
        if isinstance(error, AuthenticationFailed) and self.response is not None:
            skew = clock_skew(self.response.headers, datetime.now(UTC))
            if abs(skew) > _SKEW:
                early = "behind" if skew > 0 else "ahead of"
                return (
                    f"This machine's clock is {abs(skew) / 60:.0f} minutes {early} the endpoint's: "
                    "correct it."
                )
        unclear = isinstance(error, ServiceUnavailable | UnexpectedResponse) and not isinstance(
            error, NotReached
        )
        if self.call.writes and unclear:
            return f"It may have taken effect: check before you repeat it. {error.hint}".strip()
        return error.hint

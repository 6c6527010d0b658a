# SPDX-License-Identifier: Apache-2.0
"""API calls as data: a request to sign, a function that reads the response, and the errors of both.

Nothing here sends anything. A hook takes an :class:`ApiCall`, signs and sends its request and passes the
response to :attr:`ApiCall.read`. A :data:`Flow` is a generator that yields calls and is sent their results,
so that the same logic runs under a synchronous and an asynchronous driver, like ``httpx.Auth.auth_flow``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import quote

from airflow_provider_ehpc.apis.headers import retry_after
from airflow_provider_ehpc.apis.json_text import clean_text

if TYPE_CHECKING:
    from datetime import datetime

T = TypeVar("T")

AT_ONCE = 4
"""Maximum number of concurrent calls of one flow. If a cloud takes a tenth of a second to respond, one call
at a time reads only ten pages per second, even if the rate limit allows more."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair, with a security token if it is temporary. A repr shows none of the values."""

    access_key_id: str = field(repr=False)
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)

    @property
    def confidential(self) -> tuple[str, ...]:
        """Texts that must not appear in a log or an error."""
        return tuple(text for text in (self.secret, self.security_token, self.access_key_id) if text)


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """An HTTP request without host and signature. ``query`` holds decoded texts.

    A repr does not show parameters, headers and body, which may hold passwords, tokens and signatures.
    ``confidential`` holds the secrets that a signer added, such as the signature.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    confidential: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def target(self) -> str:
        """Path and query as they are sent, percent-encoded according to RFC 3986."""
        return self.path + ("?" + encode_query(self.query) if self.query else "")


def percent_encode(text: str, name: str = "a value") -> str:
    """Encode all but the unreserved characters of RFC 3986. All of these clouds sign texts in this form.

    :param name: name of the text in an error.
    :raises InvalidArgument: if the text cannot be encoded as UTF-8.
    """
    return quote(utf8(text, name), safe="-_.~")


def encode_query(query: Mapping[str, str]) -> str:
    """Return ``query`` as ``a=1&b=2`` in the given order; an empty value keeps its ``=``.

    :raises InvalidArgument: naming the parameter that cannot be encoded as UTF-8.
    """
    return "&".join(f"{percent_encode(name)}={percent_encode(value, name)}" for name, value in query.items())


def encode_json(body: Mapping[str, Any], *, ascii_only: bool = False) -> bytes:
    """Return a request's body as JSON in UTF-8.

    :param ascii_only: escape characters that are not ASCII.
    :raises InvalidArgument: naming the field that cannot be encoded as UTF-8.
    """
    for name, value in body.items():
        utf8(json.dumps(value, ensure_ascii=False), name)
    return json.dumps(body, ensure_ascii=ascii_only).encode()


def utf8(text: str, name: str) -> bytes:
    """Return a text in UTF-8. A lone surrogate, as in a name read from a file system, has no encoding.

    :param name: name of the text in the error; the text may be a password and is not shown.
    :raises InvalidArgument: if the text cannot be encoded.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        position = error.start
    raise InvalidArgument(f"{name}: character {position + 1} cannot be encoded as UTF-8 (a lone surrogate)")


def _unchanged(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """An HTTP response. ``headers`` has lower-case names.

    Some servers repeat parts of the request. A repr does therefore not show headers and body, and ``redact``
    removes the request's secrets from a text. Redact a text before cutting it: half a secret is not
    recognized.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    redact: Callable[[str], str] = field(default=_unchanged, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ApiCall(Generic[T]):
    """A call of one API operation: the request, and the function that reads the response.

    ``read`` returns the typed response or raises an :class:`ApiError`. ``subject`` names the object of the
    call ("job 14 in cluster ehpc-hz-1") in messages. ``writes`` marks a call that changes something: it is
    only sent again if the cloud certainly did not receive it. ``confidential`` holds texts of the request,
    in addition to those of the account, that must not appear in a log or an error.
    """

    operation: str
    request: ApiRequest
    read: Callable[[ApiResponse], T]
    subject: str = ""
    writes: bool = False
    confidential: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", _only_api_errors(self.read))


def _only_api_errors(read: Callable[[ApiResponse], T]) -> Callable[[ApiResponse], T]:
    """Return a ``read`` that raises :class:`UnexpectedResponse` from every exception but :class:`ApiError`.

    No response may crash the triggerer, and with it the waits of all other tasks.
    """

    def read_safely(response: ApiResponse) -> T:
        try:
            return read(response)
        except ApiError:
            raise
        except Exception as error:
            # The error's own text may show parts of the response that are not redacted.
            raise UnexpectedResponse(
                f"the response cannot be read ({type(error).__name__})", status=response.status
            ) from error

    return read_safely


Flow: TypeAlias = Generator[ApiCall[Any], Any, T]


@dataclass(frozen=True, slots=True)
class Together(Generic[T]):
    """A step of a flow: independent flows. The driver sends back the list of their results.

    The asynchronous driver runs them concurrently, so there are at most :data:`AT_ONCE`. If one fails, its
    error is raised in the flow that yielded this step, after the concurrent ones have finished.
    """

    flows: tuple[Generator[Any, Any, T], ...]


def some_at_once(flows: Iterable[Generator[Any, Any, T]]) -> Generator[Together[T], list[T], list[T]]:
    """Run many flows, :data:`AT_ONCE` at a time; return their results in order."""
    results: list[T] = []
    waiting = iter(flows)
    while group := tuple(islice(waiting, AT_ONCE)):
        results += yield Together(group)
    return results


class Signer(Protocol):
    """An authentication method of a cloud."""

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """Return ``request`` signed for ``host`` (with the port if it is not the scheme's default).

        The secrets that this adds, except those of the account, are in its ``confidential``.

        :param now: the time of signing, aware.
        :param nonce: 32 hexadecimal digits that were never used before.
        """


class InvalidArgument(ValueError):
    """An argument is missing, unknown to the API or out of range. Raised before any request."""


class NotSupported(InvalidArgument):
    """The API does not support an operation or an argument. Raised before any request."""


class ApiError(Exception):
    """An API call failed. The subclass is the kind of failure.

    :param message: the cloud's message, or ours if it sent none.
    :param code: the cloud's error code.
    :param status: the HTTP status; None if there was no response.
    :param request_id: the ID that the cloud's support needs.
    :param retry_after: seconds after which the cloud wants a retry.
    :param hint: advice to the user.
    """

    transient: ClassVar[bool] = False
    """True if the same call may succeed a little later."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        # Headers and a proxy's pages are not JSON, whose texts are already clean.
        self.message = clean_text(message)
        self.code = code and clean_text(code)
        self.status = status
        self.request_id = request_id and clean_text(request_id)
        self.retry_after = retry_after
        self.hint = clean_text(hint)
        self.where = ""
        """Operation, subject, connection and endpoint. The hook sets it."""

    def __str__(self) -> str:
        facts = [
            self.code,
            f"HTTP {self.status}" if self.status else None,
            f"request id {self.request_id}" if self.request_id else None,
        ]
        details = ", ".join(fact for fact in facts if fact)
        text = f"{self.where}: {self.message}" if self.where else self.message
        text = text.rstrip(".") + (f" ({details})." if details else ".")
        return f"{text} {self.hint}" if self.hint else text

    def as_dict(self) -> dict[str, Any]:
        """Return the error as plain data for a trigger event; :meth:`from_dict` is the inverse."""
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "code": self.code,
            "status": self.status,
            "request_id": self.request_id,
            "hint": self.hint,
            "where": self.where,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ApiError:
        """Return the error that :meth:`as_dict` was called on."""
        fields = dict(data)
        kind = _KINDS.get(fields.pop("kind"), cls)
        where = fields.pop("where")
        error = kind(fields.pop("message"), **fields)
        error.where = where
        return error


class AuthenticationFailed(ApiError):
    """The cloud rejects the key, the signature, the token or the time of the request."""


class PermissionDenied(ApiError):
    """The key is valid but has no permission for the operation."""


class NotFound(ApiError):
    """The cluster, the job or the node does not exist: never, not yet or no longer."""


class InvalidRequest(ApiError):
    """The cloud rejects the request. Sending the same request again is useless."""


class Throttled(ApiError):
    """Too many requests. ``retry_after`` is the number of seconds to wait, if the cloud reports it."""

    transient = True


class ServiceUnavailable(ApiError):
    """The cloud has a temporary fault, or did not respond."""

    transient = True


class NotReached(ServiceUnavailable):
    """No connection was established, so the cloud received no request. A retry is safe, even of a write."""


class AnswerLost(ServiceUnavailable):
    """The request was sent, but there was no response: it may or may not have taken effect."""


class ForeignResponse(ServiceUnavailable):
    """The response is not from the API: a maintenance page, a redirect, an empty or truncated body.

    Whatever its status, it reports nothing about the job or cluster, and a later request may succeed. A
    write may or may not have taken effect.
    """


class UnexpectedResponse(ApiError):
    """The API's response is not as documented: a missing field, another job's ID, too many bytes."""


_KINDS: dict[str, type[ApiError]] = {
    kind.__name__: kind
    for kind in (
        AuthenticationFailed,
        PermissionDenied,
        NotFound,
        InvalidRequest,
        Throttled,
        ServiceUnavailable,
        NotReached,
        AnswerLost,
        ForeignResponse,
        UnexpectedResponse,
    )
}

_EXCERPT = 200
"""Maximum number of characters of a foreign body that an error shows."""
_READ_FOR_EXCERPT = 16 * 1024
"""Maximum number of bytes that are read for it."""


def foreign(response: ApiResponse) -> ApiError:
    """Return the error for a response that is not from the API. It shows the beginning of the response.

    HTTP 429 is always :class:`Throttled`: according to RFC 6585, the request was rejected.
    """
    kind = response.headers.get("content-type", "").split(";")[0].strip()[:80] or "no content type"
    body = response.body.lstrip()[:_READ_FOR_EXCERPT]
    text = " ".join(response.redact(body.decode(json.detect_encoding(body), "replace")).split())
    if 300 <= response.status < 400:
        message = "the endpoint redirects, which the API never does"
    elif text:
        message = f"the endpoint answered {kind}, not the API: {text[:_EXCERPT]!r}"
    else:
        message = f"the endpoint answered with an empty body ({kind}), not the API"
    return (Throttled if response.status == 429 else ForeignResponse)(
        message,
        status=response.status,
        retry_after=retry_after(response.headers),
        hint="If this lasts, check the connection's endpoint and proxy.",
    )


def error_code(value: Any) -> str:
    """Return an API's error code; empty if ``value`` is none.

    These clouds' codes contain letters (``DbError``, ``APIG.0101``). Other gateways and proxies put an HTTP
    status into a field of the same name.
    """
    code = value.strip() if isinstance(value, str) else ""
    return code if any(character.isalpha() for character in code) else ""

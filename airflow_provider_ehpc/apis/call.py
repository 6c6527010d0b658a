"""An API call as data: the request to sign, how to read the answer, and what can go wrong.

Nothing here sends anything. A hook takes an :class:`ApiCall`, signs and sends its request and hands
the answer to :attr:`ApiCall.read`; a :data:`Flow` is a generator that yields calls and is sent their
results, so that the same logic runs under a synchronous and an asynchronous driver (the way
``httpx.Auth.auth_flow`` works).
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
"""Calls of one reading that are on their way at the same time. One after the other, a cloud that answers in a
tenth of a second gives ten pages a second, whatever pace it allows."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair, with a security token where it is temporary. Only the fields' names show in a repr."""

    access_key_id: str = field(repr=False)
    secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)

    @property
    def confidential(self) -> tuple[str, ...]:
        """Every text that must not stand in a log or an error."""
        return tuple(text for text in (self.secret, self.security_token, self.access_key_id) if text)


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One HTTP request, without host and signature. ``query`` holds decoded texts.

    Parameters and headers hold passwords, tokens and signatures: a repr does not show them. ``confidential``
    holds the secrets that a signer added, such as the signature.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    confidential: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def target(self) -> str:
        """Path and query as they go on the wire, percent-encoded after RFC 3986."""
        return self.path + ("?" + encode_query(self.query) if self.query else "")


def percent_encode(text: str, name: str = "a value") -> str:
    """Encode all but the unreserved characters of RFC 3986, as every one of these clouds signs it.

    :param name: what an error calls the text.
    :raises InvalidArgument: if the text cannot be encoded as UTF-8.
    """
    return quote(utf8(text, name), safe="-_.~")


def encode_query(query: Mapping[str, str]) -> str:
    """Write ``query`` as ``a=1&b=2`` in the order given; an empty value keeps its ``=``.

    :raises InvalidArgument: naming the parameter that cannot be encoded as UTF-8.
    """
    return "&".join(f"{percent_encode(name)}={percent_encode(value, name)}" for name, value in query.items())


def encode_json(body: Mapping[str, Any], *, ascii_only: bool = False) -> bytes:
    """Write a request's body as JSON in UTF-8.

    :param ascii_only: escape other characters.
    :raises InvalidArgument: naming the field that cannot be encoded as UTF-8.
    """
    for name, value in body.items():
        utf8(json.dumps(value, ensure_ascii=False), name)
    return json.dumps(body, ensure_ascii=ascii_only).encode()


def utf8(text: str, name: str) -> bytes:
    """Encode a text. A lone surrogate, as in a name read from a file system, has no encoding.

    :param name: what the error calls the text; the text itself may be a password and is not shown.
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
    """One HTTP response. ``headers`` has lower-case names.

    Some servers send back what they were sent: a repr does not show it, and ``redact`` takes the request's
    secrets out of a text. A text must be redacted before it is cut: half a secret is not recognized.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    redact: Callable[[str], str] = field(default=_unchanged, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ApiCall(Generic[T]):
    """One operation of an API: what to send and how to read what comes back.

    ``read`` returns the typed answer or raises an :class:`ApiError`. ``subject`` names what the call
    is about ("job 14 in cluster ehpc-hz-1") for messages. ``writes`` marks a call that changes
    something: it is sent again only when it is certain that it was never received. ``confidential`` holds
    texts of the request that must not stand in a log or an error, beside those of the account.
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
    """Return ``read`` with an :class:`UnexpectedResponse` for every other exception, which is its cause.

    What a cloud sends must not end the triggerer, and with it the waits of all other tasks.
    """

    def read_safely(response: ApiResponse) -> T:
        try:
            return read(response)
        except ApiError:
            raise
        except Exception as error:
            # Its text may show parts of the response that nobody has redacted.
            raise UnexpectedResponse(
                f"the response cannot be read ({type(error).__name__})", status=response.status
            ) from error

    return read_safely


Flow: TypeAlias = Generator[ApiCall[Any], Any, T]


@dataclass(frozen=True, slots=True)
class Together(Generic[T]):
    """A step of a flow: flows that do not wait for each other, answered with the list of their results.

    The asynchronous driver runs them at the same time, so they are at most :data:`AT_ONCE`. The error of one
    is raised in the flow that yielded them; those that are under way with it are run to their ends first.
    """

    flows: tuple[Generator[Any, Any, T], ...]


def some_at_once(flows: Iterable[Generator[Any, Any, T]]) -> Generator[Together[T], list[T], list[T]]:
    """Run many flows, :data:`AT_ONCE` together; return their results in order."""
    results: list[T] = []
    waiting = iter(flows)
    while group := tuple(islice(waiting, AT_ONCE)):
        results += yield Together(group)
    return results


class Signer(Protocol):
    """Adds a cloud's authentication to a request."""

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """Return ``request`` signed for ``host`` (with its port where it is not the scheme's own).

        The secrets that this adds, except those of the account, are in its ``confidential``.

        :param now: the time of signing, aware.
        :param nonce: 32 hexadecimal digits that were never used before.
        """


class InvalidArgument(ValueError):
    """An argument is missing, unknown to the API or out of its range. Raised before any request."""


class NotSupported(InvalidArgument):
    """An API cannot do what was asked; raised before any request."""


class ApiError(Exception):
    """A call did not give what was asked. The subclass says of what kind the failure is.

    :param message: the cloud's own message, or ours where it gave none.
    :param code: the cloud's error code.
    :param status: the HTTP status, None where no answer came.
    :param request_id: what the cloud's support asks for.
    :param retry_after: seconds the cloud asked to wait.
    :param hint: what the user can do about it.
    """

    transient: ClassVar[bool] = False
    """Whether the same call may succeed a little later."""

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
        # Headers and pages of a proxy are no JSON, whose texts are clean.
        self.message = clean_text(message)
        self.code = code and clean_text(code)
        self.status = status
        self.request_id = request_id and clean_text(request_id)
        self.retry_after = retry_after
        self.hint = clean_text(hint)
        self.where = ""
        """Operation, subject, connection and endpoint, filled in by the hook."""

    def __str__(self) -> str:
        facts = [
            self.code,
            f"HTTP {self.status}" if self.status else None,
            f"request id {self.request_id}" if self.request_id else None,
        ]
        told = ", ".join(fact for fact in facts if fact)
        text = f"{self.where}: {self.message}" if self.where else self.message
        text = text.rstrip(".") + (f" ({told})." if told else ".")
        return f"{text} {self.hint}" if self.hint else text

    def as_dict(self) -> dict[str, Any]:
        """Return the error as plain data, for a trigger event; :meth:`from_dict` is the way back."""
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
    def from_dict(cls, told: Mapping[str, Any]) -> ApiError:
        """Rebuild the error that :meth:`as_dict` described."""
        fields = dict(told)
        kind = _KINDS.get(fields.pop("kind"), cls)
        where = fields.pop("where")
        error = kind(fields.pop("message"), **fields)
        error.where = where
        return error


class AuthenticationFailed(ApiError):
    """The cloud does not accept the key, the signature, the token or the clock."""


class PermissionDenied(ApiError):
    """The key is good but may not do this."""


class NotFound(ApiError):
    """The cluster, the job or the node does not exist, or not yet, or no more."""


class InvalidRequest(ApiError):
    """The cloud refuses the request as it is; sending it again changes nothing."""


class Throttled(ApiError):
    """Too many requests; ``retry_after`` says for how many seconds, where the cloud told."""

    transient = True


class ServiceUnavailable(ApiError):
    """The cloud has a passing fault, or did not answer."""

    transient = True


class NotReached(ServiceUnavailable):
    """The request was never received: no connection came about. Safe to repeat even for a write."""


class AnswerLost(ServiceUnavailable):
    """The request was sent and no answer came: whether it took effect is unknown."""


class ForeignResponse(ServiceUnavailable):
    """The response does not come from the API: a maintenance page, a redirect, an empty or cut off body.

    It says nothing of what was asked for, whatever its status, and passes when the page goes away. After a
    write it is unknown whether the request took effect.
    """


class UnexpectedResponse(ApiError):
    """The API's response is not as documented: a missing field, another job's id, too many bytes."""


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
"""Characters of a foreign body that an error shows."""
_READ_FOR_EXCERPT = 16 * 1024
"""Bytes of it that are looked at."""


def foreign(response: ApiResponse) -> ApiError:
    """Return the error for a response that does not come from the API; it shows what came instead.

    HTTP 429 is :class:`Throttled` whoever sends it: by RFC 6585 it means that the request was refused.
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
    """Return an API's error code; empty for what is none. These clouds' codes are words (``DbError``,
    ``APIG.0101``), while gateways and proxies of others write a status into a field of the same name.
    """
    code = value.strip() if isinstance(value, str) else ""
    return code if any(character.isalpha() for character in code) else ""

"""The protocol of QingCloud's HPC API: the path is the action, errors are a ``ret_code``.

Sources: the pages on requests, parameters and error codes of the HPC API reference (2023-09-06).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    ApiResponse,
    AuthenticationFailed,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    Throttled,
    encode_json,
    foreign,
)
from airflow_provider_ehpc.apis.headers import retry_after
from airflow_provider_ehpc.apis.qingcloud.signing import LIFETIME
from airflow_provider_ehpc.apis.response import ResponseModel, as_number, as_text, json_object, read_model

A = TypeVar("A", bound=ResponseModel)

PAGE_SIZE = 100
"""The most rows that one answer holds, whatever the limit asked for."""

# The page on error codes. 1400 also means that a resource is in a state that forbids the change; only the
# message tells. 5400 is titled "dependency exists" and explained with 5300's text: the title fits a write.
_KINDS: dict[int, type[ApiError]] = {
    1200: AuthenticationFailed,
    1300: AuthenticationFailed,
    1400: PermissionDenied,
    1600: AuthenticationFailed,
    1610: AuthenticationFailed,
    1620: AuthenticationFailed,
    1660: AuthenticationFailed,
    1661: PermissionDenied,
    1662: PermissionDenied,
    2000: AuthenticationFailed,
    2100: NotFound,
    2400: PermissionDenied,
    2500: Throttled,
    4000: PermissionDenied,
    4001: PermissionDenied,
    4003: PermissionDenied,
    4004: PermissionDenied,
    4005: PermissionDenied,
    5000: ServiceUnavailable,
    5100: ServiceUnavailable,
    5200: ServiceUnavailable,
    5300: ServiceUnavailable,
}
_HINTS = {
    1200: "Check the connection's login (access key id) and password (secret access key).",
    1300: f"A request is accepted for {LIFETIME} seconds after its signing: check this machine's clock.",
    1400: "The message says whether the key lacks a permission or the resource is in the wrong state.",
    2500: "A quota is used up, of resources or of requests (a new account's is 2,000 an hour).",
}
_QUOTA_PAUSE = 300.0
"""Seconds to wait when a quota is used up. One page says that it is counted by the hour, another that it
comes back at midnight; neither is worth a request a second."""


def hpc_call(
    operation: str,
    model: type[A],
    query: Mapping[str, str | int | None],
    *,
    subject: str,
    body: Mapping[str, Any] | None = None,
    path: str = "",
    writes: bool = False,
) -> ApiCall[A]:
    """Return the call of one operation; parameters that are None are left out.

    :param operation: the documented action, as ``job/list``.
    :param body: for a POST; a GET has none.
    :param path: what follows the action in the path.
    :raises InvalidArgument: for a missing zone, and for a limit that the cloud would lower silently.
    """
    told = {name: str(value) for name, value in query.items() if value is not None}
    if not told.get("zone"):
        raise InvalidArgument("zone: QingCloud needs the zone of the cluster; set the connection's zone")
    limit = query.get("limit")
    if limit is not None and not 1 <= int(limit) <= PAGE_SIZE:
        raise InvalidArgument(f"limit: {limit} is not between 1 and {PAGE_SIZE}")
    headers, sent = {"accept": "application/json"}, b""
    if body is not None:
        headers["content-type"] = "application/json"
        # Written as the documentation's code writes it before hashing: a server that hashes its own rendering
        # of the object instead of the bytes received comes to the same digest.
        sent = encode_json({n: value for n, value in body.items() if value is not None}, ascii_only=True)
    request = ApiRequest("GET" if body is None else "POST", f"/api/{operation}{path}", told, headers, sent)
    return ApiCall(operation, request, _reader(model), subject, writes)


def _reader(model: type[A]) -> Callable[[ApiResponse], A]:
    def read(response: ApiResponse) -> A:
        told = json_object(response)
        # The HTTP status of an error is not documented: the code decides, whatever the status.
        code = as_number(told.get("ret_code"))
        if code is None or (code == 0 and response.status >= 400):
            raise foreign(response)
        if code:
            raise ret_code_error(code, told.get("message"), response)
        return read_model(model, told, status=response.status, request_id=None)

    return read


def ret_code_error(code: Any, message: Any, response: ApiResponse) -> ApiError:
    """Return the error that a ``ret_code`` and its message stand for."""
    text, number = as_text(code), as_number(code) or 0
    kind = _KINDS.get(number)
    if kind is None and (response.status == 429 or response.status >= 500):
        kind = Throttled if response.status == 429 else ServiceUnavailable
    return (kind or InvalidRequest)(
        as_text(message or "no message given"),
        code=text or None,
        status=response.status,
        retry_after=retry_after(response.headers) or (_QUOTA_PAUSE if number == 2500 else None),
        hint=_HINTS.get(number, ""),
    )

# SPDX-License-Identifier: Apache-2.0
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
"""Maximum number of rows in a response, even if the requested limit is higher."""

# From the page on error codes. 1400 also means that a resource is in a state that forbids the change; only
# the message distinguishes them. 5400 has the title "dependency exists" and the explanation of 5300; the
# title makes sense for a write.
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
    1300: f"A signed request is valid for {LIFETIME} seconds: check this machine's clock.",
    1400: "See the message: either the key lacks a permission, or the resource is in the wrong state.",
    2500: "A quota of resources or requests is used up (a new account has 2,000 requests per hour).",
}
_QUOTA_PAUSE = 300.0
"""Seconds to wait after a quota is used up. According to one page, it is counted by the hour. According to
another, it is reset at midnight."""


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

    :param operation: the documented action, such as ``job/list``.
    :param body: body of a POST; None for a GET.
    :param path: the rest of the path after the action.
    :raises InvalidArgument: if the zone is missing, or for a limit that the cloud would silently lower.
    """
    parameters = {name: str(value) for name, value in query.items() if value is not None}
    if not parameters.get("zone"):
        raise InvalidArgument("zone: QingCloud needs the zone of the cluster; set the connection's zone")
    limit = query.get("limit")
    if limit is not None and not 1 <= int(limit) <= PAGE_SIZE:
        raise InvalidArgument(f"limit: {limit} is not between 1 and {PAGE_SIZE}")
    headers, sent = {"accept": "application/json"}, b""
    if body is not None:
        headers["content-type"] = "application/json"
        # The documentation's code hashes this form of the JSON. A server that serializes the parsed object
        # again, instead of hashing the received bytes, gets the same digest.
        sent = encode_json({n: value for n, value in body.items() if value is not None}, ascii_only=True)
    method = "GET" if body is None else "POST"
    request = ApiRequest(method, f"/api/{operation}{path}", parameters, headers, sent)
    return ApiCall(operation, request, _reader(model), subject, writes)


def _reader(model: type[A]) -> Callable[[ApiResponse], A]:
    def read(response: ApiResponse) -> A:
        fields = json_object(response)
        # The HTTP status of an error is not documented: the code decides, with any status.
        code = as_number(fields.get("ret_code"))
        if code is None or (code == 0 and response.status >= 400):
            raise foreign(response)
        if code:
            raise ret_code_error(code, fields.get("message"), response)
        return read_model(model, fields, status=response.status, request_id=None)

    return read


def ret_code_error(code: Any, message: Any, response: ApiResponse) -> ApiError:
    """Return the error for a ``ret_code`` and its message."""
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

# SPDX-License-Identifier: Apache-2.0
"""The protocol of all ModelArts calls: requests, responses and errors.

Errors have two sources. The gateway (``APIG.*``, ``APIGW.*``) rejects requests before they reach the service.
The service (``ModelArts.*``) has a table of codes. In v1, the 01xx codes have other meanings than today
(0102: "resource does not exist" then, "workspace does not exist" now), so no decision depends on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    ApiResponse,
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    Throttled,
    encode_json,
    foreign,
    percent_encode,
)
from airflow_provider_ehpc.apis.headers import retry_after, seconds
from airflow_provider_ehpc.apis.response import (
    ResponseModel,
    as_number,
    as_text,
    field_names,
    json_object,
    read_model,
)

A = TypeVar("A", bound=ResponseModel)

LOG_NOT_READY = frozenset({"ModelArts.2776", "ModelArts.2818"})
"""NotReadyToFetchLog (204 without a body) and LogFileNotGenerated (400): there is no log yet."""

_CODES: dict[str, type[ApiError]] = {
    "ModelArts.0010": ServiceUnavailable,
    "ModelArts.0012": ServiceUnavailable,  # v1, with 200: time-out
    "ModelArts.0013": ServiceUnavailable,  # v1, with 200: connection
    "ModelArts.2775": NotFound,  # TrainingJobNotFound comes with 400
    "ModelArts.2784": AuthenticationFailed,  # InvalidToken comes with 403
    "ModelArts.2786": InvalidRequest,  # not the token's project; 404, but the job may well exist
    "ModelArts.2799": Throttled,
    "ModelArts.2836": InvalidRequest,  # unknown path; 404, but the job may well exist
    "ModelArts.2837": PermissionDenied,  # the account is frozen; 400
    "ModelArts.2838": PermissionDenied,  # forbidden by the workspace; 400
    "ModelArts.2878": ServiceUnavailable,  # JobStatusChanged; 409, "try again later"
}
_FORBIDDEN_KEY = frozenset({"ModelArts.0203", "ModelArts.0206"})
"""With 403: invalid token, invalid AK/SK. With 400 and 401, these codes have other meanings."""
_UNKNOWN_JOB = re.compile(r"\bjob\b[^.]*\bnot (found|exist)|\bresource does not exist", re.IGNORECASE)
"""The messages of v1 for an unknown job. No page documents a code for it."""

_FLAVOR_HINT = (
    "Set the flavor in the job's options: {'spec': {'resource': {'flavor_id': …}}}, or the ID of a dedicated "
    "pool as its queue."
)
_HINTS = {
    "ModelArts.0210": "Check the connection's project_id: it must be the project of the connection's region.",
    "ModelArts.2763": _FLAVOR_HINT,
    "ModelArts.2781": _FLAVOR_HINT,
    "ModelArts.2785": "ModelArts needs an agency: authorize it on the Settings page of its console.",
    "ModelArts.2786": "Check the connection's project_id: it must be the project of the connection's region.",
    "ModelArts.2836": "The endpoint does not have this API: check the connection's region and endpoint.",
    "0101": "The endpoint does not have this API: check the connection's region and endpoint. "
    "API v1 was taken out of service in the public cloud on 2023-06-30.",
}
_KEY_HINTS = (
    ("reach the limit", "The access key is locked for five minutes, after five failures in a row."),
    ("expire", "Check this machine's clock, and if a temporary key or token has expired."),
    ("ak not exist", "Check the connection's login: the access key id."),
    ("signature fail", "Check the connection's password: the secret access key."),
    ("token", "The token is not valid: another project or region, changed permissions, or a new password."),
)
_CODE = re.compile(r"[A-Za-z]+\.[0-9]")
_HTTP_STATUS = re.compile("[1-5][0-9]{2}")
"""As an error code, this is from a gateway or a web framework: codes of v1 have four digits."""
_WINDOW = re.compile(r"time:\s*(\d+)\s*(second|minute|hour)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


def project_path(version: str, project_id: str, *segments: str) -> str:
    """Return the path of a project's resource. Each segment is percent-encoded."""
    return "/".join(("", version, *(percent_encode(segment, "id") for segment in (project_id, *segments))))


def modelarts_call(
    operation: str,
    model: type[A],
    method: str,
    path: str,
    *,
    project_id: str,
    query: Mapping[str, str | int | None] | None = None,
    body: Mapping[str, Any] | None = None,
    subject: str,
    writes: bool = False,
    list_field: str | None = None,
    nothing: frozenset[str] = frozenset(),
    confidential: tuple[str, ...] = (),
) -> ApiCall[A]:
    """Return the call of one operation; query parameters that are None are left out.

    :param list_field: the model's field for a response that is a bare list.
    :param nothing: error codes that mean "nothing yet" and are read as an empty response.
    :param confidential: texts of the body that must not appear in a log or an error.
    """
    request = ApiRequest(
        method=method,
        path=path,
        query={name: str(value) for name, value in (query or {}).items() if value is not None},
        headers={
            "accept": "application/json",
            # Mandatory for requests of all methods ("Making an API Request").
            "content-type": "application/json",
            "x-project-id": project_id,
        },
        body=b"" if body is None else encode_json(body),
    )

    def read(response: ApiResponse) -> A:
        return read_response(model, response, list_field=list_field, nothing=nothing)

    return ApiCall(operation, request, read, subject, writes, confidential)


def read_response(
    model: type[A],
    response: ApiResponse,
    *,
    list_field: str | None = None,
    nothing: frozenset[str] = frozenset(),
) -> A:
    """Return the typed response.

    :raises ApiError: of a kind that depends on the response's status, code and ``is_success``.
    """
    # NotReadyToFetchLog is documented as a 204 without a body; no other operation has such a response.
    if response.status == 204 and nothing:
        return model()
    fields = _fields(response, list_field, model.log_fields)
    request_id = as_text(fields.get("request_id") or response.headers.get("x-request-id")) or None
    # v1 sends is_success=false with both 200 and 4xx; v2 has no such field.
    refused = str(fields.get("is_success", True)).strip().lower() == "false"
    if not (response.status >= 400 or refused):
        known = (field_names(model) | {"is_success"}) & fields.keys()
        if not known and not ("status" in model.model_fields and _is_job_status(fields.get("status"))):
            raise foreign(response)
        return read_model(model, fields, status=response.status, request_id=request_id)
    details = _details(fields)
    if details.code in nothing:
        return model()
    if not (details.code or refused or response.status == 401):
        raise foreign(response)
    raise _error(details, response, request_id)


def _fields(response: ApiResponse, list_field: str | None, logs: frozenset[str]) -> Mapping[str, Any]:
    body = response.body.strip()
    if response.status == 401 and not body.startswith(b"{"):
        # Possibly not from the API, but retries must stop here: the next failure may lock the key.
        raise AuthenticationFailed("the endpoint gave no explanation", status=response.status)
    if list_field and body.startswith(b"[") and response.status < 300:
        body = b'{"%s": %s}' % (list_field.encode(), body)
        return json_object(replace(response, body=body))
    return json_object(response, logs)


def _is_job_status(status: Any) -> bool:
    """Return True for an object (v2) and a number of v1; other services send words and HTTP statuses."""
    return isinstance(status, Mapping) or (as_number(status) or 100) < 100


class _ErrorDetails(NamedTuple):
    code: str
    message: str
    solution: str


def _details(fields: Mapping[str, Any]) -> _ErrorDetails:
    # Some pages have error_msg and others error_message. IAM has {"error": {code, message, title}}, where the
    # code is the HTTP status. Other services' errors have no title.
    inner = fields.get("error")
    if isinstance(inner, Mapping) and inner.get("message"):
        details = _details(inner)
        if details.code or not inner.get("title"):
            return details
        return details._replace(code=as_text(inner.get("code")))
    code = as_text(fields.get("error_code") or fields.get("errorCode"))
    if not code and _CODE.match(generic := as_text(fields.get("code"))):
        code = generic
    if _HTTP_STATUS.fullmatch(code):
        code = ""
    message = (
        fields.get("error_msg")
        or fields.get("error_message")
        or fields.get("errorMsg")
        or fields.get("message")
    )
    solution = fields.get("error_solution")
    return _ErrorDetails(code, as_text(message or "no message given"), as_text(solution))


def _error(details: _ErrorDetails, response: ApiResponse, request_id: str | None) -> ApiError:
    kind = _kind(details.code, details.message, response.status)
    hint = _HINTS.get(details.code) or _HINTS.get(_gateway_number(details.code)) or details.solution
    if kind is AuthenticationFailed:
        words = details.message.lower()
        hint = next((hint for word, hint in _KEY_HINTS if word in words), hint)
    return kind(
        _without_signature(details.message),
        code=details.code or None,
        status=response.status,
        request_id=request_id,
        retry_after=_retry_after(response, details.message),
        hint=hint,
    )


def _kind(code: str, message: str, status: int) -> type[ApiError]:
    # Every 401, with any code, counts towards locking the key.
    if status == 401 or (status == 403 and code in _FORBIDDEN_KEY):
        return AuthenticationFailed
    if status == 429 or _gateway_number(code) == "0308":
        return Throttled
    if code in _CODES:
        return _CODES[code]
    if status == 403:
        return PermissionDenied
    if status >= 500 or status == 408:
        return ServiceUnavailable
    if _gateway_number(code):
        # 404 APIG.0101: the endpoint does not have the API. The job may well exist.
        return InvalidRequest
    return NotFound if status == 404 or _UNKNOWN_JOB.search(message) else InvalidRequest


def _gateway_number(code: str) -> str:
    """Return ``0308`` of ``APIG.0308`` and ``APIGW.0308``; empty for a code of the service."""
    prefix, _, number = code.partition(".")
    return number if prefix in ("APIG", "APIGW") else ""


def _without_signature(message: str) -> str:
    """Remove the gateway's details of a rejected signature: they contain headers, also the security token."""
    head = re.split(r"[,;]?\s*canonicalRequest", message, maxsplit=1)[0]
    return re.sub(r"\bak:[^,\s]+", "ak:***", head)


def _retry_after(response: ApiResponse, message: str) -> float | None:
    """Return the seconds to wait: those of Retry-After, or the length of the exceeded limit's time window."""
    pause = retry_after(response.headers)
    window = _WINDOW.search(message) if pause is None else None
    return seconds(window[1], 1 / _SECONDS[window[2]]) if window else pause

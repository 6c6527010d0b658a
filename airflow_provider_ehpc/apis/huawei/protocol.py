"""What all ModelArts calls share: how a request is built, and what an answer that is no success means.

Errors come from two places. The gateway (``APIG.*``, ``APIGW.*``) refuses before the service is asked; the
service (``ModelArts.*``) has a table of codes, of which v1's 01xx numbers mean other things than today's
(0102: "resource does not exist" then, "workspace does not exist" now), so those never decide anything.
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
"""NotReadyToFetchLog (204, without a body) and LogFileNotGenerated (400): there is no log yet."""

_CODES: dict[str, type[ApiError]] = {
    "ModelArts.0010": ServiceUnavailable,
    "ModelArts.0012": ServiceUnavailable,  # v1, with 200: time-out
    "ModelArts.0013": ServiceUnavailable,  # v1, with 200: connection
    "ModelArts.2775": NotFound,  # TrainingJobNotFound comes with 400
    "ModelArts.2784": AuthenticationFailed,  # InvalidToken comes with 403
    "ModelArts.2786": InvalidRequest,  # the project is not the token's; 404, but the job may well exist
    "ModelArts.2799": Throttled,
    "ModelArts.2836": InvalidRequest,  # no such path; 404, but says nothing of the job
    "ModelArts.2837": PermissionDenied,  # the account is frozen; 400
    "ModelArts.2838": PermissionDenied,  # forbidden by the workspace; 400
    "ModelArts.2878": ServiceUnavailable,  # JobStatusChanged meanwhile; 409, "try again later"
}
_FORBIDDEN_KEY = frozenset({"ModelArts.0203", "ModelArts.0206"})
"""With 403: invalid token, invalid AK/SK. With 400 and 401 the same numbers mean other things."""
_UNKNOWN_JOB = re.compile(r"\bjob\b[^.]*\bnot (found|exist)|\bresource does not exist", re.IGNORECASE)
"""How v1, of which no page names a code for it, says that it does not know a job."""

_FLAVOR_HINT = (
    "Set the flavor in the job's options: {'spec': {'resource': {'flavor_id': …}}}, or the ID of a dedicated "
    "pool as its queue."
)
_HINTS = {
    "ModelArts.0210": "Check the connection's project_id: it must be the project of the region asked.",
    "ModelArts.2763": _FLAVOR_HINT,
    "ModelArts.2781": _FLAVOR_HINT,
    "ModelArts.2785": "ModelArts needs an agency: authorize it on the Settings page of its console.",
    "ModelArts.2786": "Check the connection's project_id: it must be the project of the region asked.",
    "ModelArts.2836": "This endpoint does not offer it: check the connection's region and endpoint.",
    "0101": "This endpoint does not offer it: check the connection's region and endpoint. "
    "API v1 was taken out of service in the public cloud on 2023-06-30.",
}
_KEY_HINTS = (
    ("reach the limit", "The access key is locked for five minutes, after five failures in a row."),
    ("expire", "Check this machine's clock, and whether a temporary key or token has run out."),
    ("ak not exist", "Check the connection's login: the access key id."),
    ("signature fail", "Check the connection's password: the secret access key."),
    ("token", "The token is not good: another project or region, rights that changed, or a new password."),
)
_CODE = re.compile(r"[A-Za-z]+\.[0-9]")
_HTTP_STATUS = re.compile("[1-5][0-9]{2}")
"""In a field for a code, it is that of a gateway or a web framework: numbers of v1 have four digits."""
_WINDOW = re.compile(r"time:\s*(\d+)\s*(second|minute|hour)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


def project_path(version: str, project_id: str, *segments: str) -> str:
    """Return the path of a project's resource, percent-encoded segment by segment."""
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

    :param confidential: texts of the body that must not appear in a log or an error.
    :param list_field: the model's field that takes an answer which is a bare list.
    :param nothing: error codes that mean "nothing there yet" and are read as an empty answer.
    """
    request = ApiRequest(
        method=method,
        path=path,
        query={name: str(value) for name, value in (query or {}).items() if value is not None},
        headers={
            "accept": "application/json",
            # Mandatory for every request, of whatever method ("Making an API Request").
            "content-type": "application/json",
            "x-project-id": project_id,
        },
        body=b"" if body is None else encode_json(body),
    )

    def read(response: ApiResponse) -> A:
        return read_answer(model, response, list_field=list_field, nothing=nothing)

    return ApiCall(operation, request, read, subject, writes, confidential)


def read_answer(
    model: type[A],
    response: ApiResponse,
    *,
    list_field: str | None = None,
    nothing: frozenset[str] = frozenset(),
) -> A:
    """Return the typed answer.

    :raises ApiError: of the kind that the answer's status, code and ``is_success`` tell.
    """
    # NotReadyToFetchLog is documented as a 204 without a body; no other operation has such a response.
    if response.status == 204 and nothing:
        return model()
    told = _told(response, list_field, model.log_fields)
    request_id = as_text(told.get("request_id") or response.headers.get("x-request-id")) or None
    # v1 answers 200 with is_success=false, and also 4xx with it; v2 has no such field.
    refused = str(told.get("is_success", True)).strip().lower() == "false"
    if not (response.status >= 400 or refused):
        known = (field_names(model) | {"is_success"}) & told.keys()
        if not known and not ("status" in model.model_fields and _is_job_status(told.get("status"))):
            raise foreign(response)
        return read_model(model, told, status=response.status, request_id=request_id)
    trouble = _trouble(told)
    if trouble.code in nothing:
        return model()
    if not (trouble.code or refused or response.status == 401):
        raise foreign(response)
    raise _error(trouble, response, request_id)


def _told(response: ApiResponse, list_field: str | None, logs: frozenset[str]) -> Mapping[str, Any]:
    body = response.body.strip()
    if response.status == 401 and not body.startswith(b"{"):
        # The next failure may be the one that locks the key, so this is not taken for another server's.
        raise AuthenticationFailed("the endpoint gave no explanation", status=response.status)
    if list_field and body.startswith(b"[") and response.status < 300:
        body = b'{"%s": %s}' % (list_field.encode(), body)
        return json_object(replace(response, body=body))
    return json_object(response, logs)


def _is_job_status(status: Any) -> bool:
    """Return True for an object (v2) and for a number of v1; other services send words and HTTP statuses."""
    return isinstance(status, Mapping) or (as_number(status) or 100) < 100


class _Trouble(NamedTuple):
    code: str
    message: str
    solution: str


def _trouble(told: Mapping[str, Any]) -> _Trouble:
    # error_msg and error_message stand for each other from page to page; IAM has {"error": {code, message,
    # title}}, where the code is the HTTP status. Other services' errors have no title.
    inner = told.get("error")
    if isinstance(inner, Mapping) and inner.get("message"):
        trouble = _trouble(inner)
        return (
            trouble
            if trouble.code or not inner.get("title")
            else trouble._replace(code=as_text(inner.get("code")))
        )
    code = as_text(told.get("error_code") or told.get("errorCode"))
    if not code and _CODE.match(generic := as_text(told.get("code"))):
        code = generic
    if _HTTP_STATUS.fullmatch(code):
        code = ""
    message = (
        told.get("error_msg") or told.get("error_message") or told.get("errorMsg") or told.get("message")
    )
    solution = told.get("error_solution")
    return _Trouble(code, as_text(message or "no message given"), as_text(solution))


def _error(trouble: _Trouble, response: ApiResponse, request_id: str | None) -> ApiError:
    kind = _kind(trouble.code, trouble.message, response.status)
    hint = _HINTS.get(trouble.code) or _HINTS.get(_gateway_number(trouble.code)) or trouble.solution
    if kind is AuthenticationFailed:
        words = trouble.message.lower()
        hint = next((hint for word, hint in _KEY_HINTS if word in words), hint)
    return kind(
        _without_signature(trouble.message),
        code=trouble.code or None,
        status=response.status,
        request_id=request_id,
        retry_after=_retry_after(response, trouble.message),
        hint=hint,
    )


def _kind(code: str, message: str, status: int) -> type[ApiError]:
    # Every 401 counts towards the lock of the key, whatever its code.
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
        # 404 APIG.0101 says that the API is not there, and nothing of the job.
        return InvalidRequest
    return NotFound if status == 404 or _UNKNOWN_JOB.search(message) else InvalidRequest


def _gateway_number(code: str) -> str:
    """Return ``0308`` of ``APIG.0308`` and ``APIGW.0308``; empty for a code of the service."""
    prefix, _, number = code.partition(".")
    return number if prefix in ("APIG", "APIGW") else ""


def _without_signature(message: str) -> str:
    """Cut what the gateway found when it checked a signature: it repeats headers, the security token too."""
    head = re.split(r"[,;]?\s*canonicalRequest", message, maxsplit=1)[0]
    return re.sub(r"\bak:[^,\s]+", "ak:***", head)


def _retry_after(response: ApiResponse, message: str) -> float | None:
    """Return the seconds to wait: those of Retry-After, else the window of the limit that was exceeded."""
    pause = retry_after(response.headers)
    window = _WINDOW.search(message) if pause is None else None
    return seconds(window[1], 1 / _SECONDS[window[2]]) if window else pause

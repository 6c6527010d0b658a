"""Alibaba Cloud's RPC protocol: every parameter in the query, errors as code and message.

Both E-HPC versions use it; the version and the operation travel as headers (signature V3).
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
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    Throttled,
    error_code,
    foreign,
)
from airflow_provider_ehpc.apis.headers import retry_after
from airflow_provider_ehpc.apis.response import ResponseModel, as_text, field_names, json_object, read_model

A = TypeVar("A", bound=ResponseModel)

# The code decides, not the HTTP status: ExecFail is 403 for one operation and 406 for another, and 407
# means "denied by RAM" here. Collected from the error tables of the operations' pages and the service's
# common error page; the beginnings cover families such as InvalidAccessKeyId.NotFound.
_KINDS: dict[str, type[ApiError]] = {
    "AckError": ServiceUnavailable,
    "AgentError": ServiceUnavailable,
    "AgentError.Account.ValidateCredentialFailure": AuthenticationFailed,
    "AgentError.Job.InvalidContainerType": InvalidRequest,
    "AgentResponseTimeout": ServiceUnavailable,
    "AliyunError": ServiceUnavailable,
    "ClusterNotFound": NotFound,
    "ComputeNotFound": NotFound,
    "ConflictOpt": ServiceUnavailable,
    "DbError": ServiceUnavailable,
    "EcsError": ServiceUnavailable,
    "ExecFail": ServiceUnavailable,
    "Forbidden": PermissionDenied,
    "InDebt": PermissionDenied,
    "InternalError": ServiceUnavailable,
    # "The cluster status does not support the operation": the cluster starts, stops or scales.
    "InvalidClusterStatus": ServiceUnavailable,
    # "The manager nodes do not exist or their status is abnormal": this says nothing of a job.
    "ManagerNotFound": ServiceUnavailable,
    "NoPermission": PermissionDenied,
    "NotAuthorized": PermissionDenied,
    "NotEnabled": PermissionDenied,
    "RedisError": ServiceUnavailable,
    "ServiceUnavailable": ServiceUnavailable,
    "UnknownError": ServiceUnavailable,
}
_AUTHENTICATION = (
    "IncompleteSignature",
    "IncorrectCredential",
    "InvalidAccessKeyId",
    "InvalidSecurityToken",
    "InvalidTimeStamp",
    "MissingAccessKeyId",
    "MissingSecurityToken",
    "SecurityTokenExpired",
    "SignatureDoesNotMatch",
    "SignatureNonceUsed",
)
_FAMILIES = ("Invalid", "Missing", "Throttling")
"""Beginnings of codes that the common error page lists."""
_UNKNOWN_JOB = (
    "unknown job id",
    "invalid job id",
    "job id specified",
    "job not found",
    "no such job",
    "job has finished",
)
"""How PBS and Slurm say that they do not know a job, or no more; E-HPC documents no code for it."""

_HINTS = {
    "InvalidAccessKeyId": "Check the connection's login: the access key id.",
    "SignatureDoesNotMatch": "Check the connection's password: the access key secret.",
    "SecurityTokenExpired": "The connection's security token has expired: it needs a new one.",
    "InvalidSecurityToken": "The connection's security token has expired or is not this access key's.",
    "MissingSecurityToken": "This access key is temporary: set the connection's security token.",
    "IncorrectCredential": "Check the cluster user and its password.",
    "AgentError.Account.ValidateCredentialFailure": "Check the cluster user and its password.",
    "ClusterNotFound": "Check cluster_id, and that the connection's region is the cluster's.",
    "NotAuthorized": "The RAM user or role needs the action ehpc:{operation}.",
}


def rpc_call(
    version: str,
    operation: str,
    model: type[A],
    parameters: Mapping[str, str | int | None],
    *,
    subject: str,
    method: str = "POST",
    writes: bool = False,
    confidential: tuple[str, ...] = (),
) -> ApiCall[A]:
    """Return the call of one RPC operation; parameters that are None are left out.

    :param confidential: texts among the parameters that must not appear in a log or an error.
    """
    request = ApiRequest(
        method=method,
        path="/",
        query={name: str(value) for name, value in parameters.items() if value is not None},
        headers={"accept": "application/json", "x-acs-action": operation, "x-acs-version": version},
    )
    return ApiCall(operation, request, _reader(operation, model), subject, writes, confidential)


def _reader(operation: str, model: type[A]) -> Callable[[ApiResponse], A]:
    def read(response: ApiResponse) -> A:
        told = json_object(response)
        # "lower-case key variants" occur too (the SDK accepts both).
        request_id = as_text(told.get("RequestId") or told.get("requestId")) or None
        # Every response of the API has a RequestId. One that lost it still has a field of the operation or,
        # of an error, a documented code (or, of a failed agent, Success).
        known = field_names(model) if response.status < 400 else {"Success"}
        documented = response.status >= 400 and _is_documented(_code(told))
        if not (request_id or documented or known & told.keys()):
            raise foreign(response)
        # Success says whether the command behind the operation was run, not whether the job succeeded.
        refused = str(told.get("Success", True)).strip().lower() == "false"
        if response.status >= 400 or refused:
            raise _error(operation, response, told, request_id)
        return read_model(model, told, status=response.status, request_id=request_id)

    return read


def _error(
    operation: str, response: ApiResponse, told: Mapping[str, Any], request_id: str | None
) -> ApiError:
    code = _code(told)
    message = " ".join(as_text(told.get("Message") or told.get("message") or "no message given").split())
    # SignatureDoesNotMatch goes on with what was signed, which is of no use to a person.
    message = message.partition("server string to sign")[0].strip()
    kind = _kind(code, message, response.status)
    hint = next((hint for start, hint in _HINTS.items() if code.startswith(start)), "")
    return kind(
        message,
        code=code or None,
        status=response.status,
        request_id=request_id,
        retry_after=retry_after(response.headers),
        hint=hint.format(operation=operation),
    )


def _code(told: Mapping[str, Any]) -> str:
    return error_code(told.get("Code") or told.get("code"))


def _is_documented(code: str) -> bool:
    family = code.split(".")[0]
    return code in _KINDS or family in _KINDS or code.startswith((*_AUTHENTICATION, *_FAMILIES))


def _kind(code: str, message: str, status: int) -> type[ApiError]:
    if any(words in message.lower() for words in _UNKNOWN_JOB):
        return NotFound
    if code.startswith("Throttling"):
        return Throttled
    if code.startswith(_AUTHENTICATION):
        return AuthenticationFailed
    # AgentError.Job.StopFailure, Forbidden.RAM: the family decides where the whole code is not known.
    kind = _KINDS.get(code) or _KINDS.get(code.split(".")[0])
    if kind:
        return kind
    if status == 429:
        return Throttled
    if status >= 500:
        return ServiceUnavailable
    # Success=false with HTTP 200: the cluster's agent could not run the command or read its result.
    return InvalidRequest if status >= 400 else ServiceUnavailable

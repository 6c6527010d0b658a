# SPDX-License-Identifier: Apache-2.0
"""Alibaba Cloud's RPC protocol: all parameters are in the query, and an error has a code and a message.

Both E-HPC versions use it. Headers name the version and the operation (signature V3).
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
# common error page; the prefixes cover families such as InvalidAccessKeyId.NotFound.
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
    # "The cluster status does not support the operation": it is starting, stopping or scaling.
    "InvalidClusterStatus": ServiceUnavailable,
    # "The manager nodes do not exist or their status is abnormal": the job itself may exist.
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
"""Prefixes of codes that the common error page lists."""
_UNKNOWN_JOB = (
    "unknown job id",
    "invalid job id",
    "job id specified",
    "job not found",
    "no such job",
    "job has finished",
)
"""Messages of PBS and Slurm for a job that they do not know, or no longer know; E-HPC documents no code."""

_HINTS = {
    "InvalidAccessKeyId": "Check the connection's login: the access key id.",
    "SignatureDoesNotMatch": "Check the connection's password: the access key secret.",
    "SecurityTokenExpired": "The connection's security token has expired: set a new one.",
    "InvalidSecurityToken": "The connection's security token has expired or belongs to another access key.",
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
    """Return a call of one RPC operation, without the parameters that are None.

    :param confidential: parameter values that must not appear in a log or an error.
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
        fields = json_object(response)
        # "lower-case key variants" occur, too (the SDK accepts both).
        request_id = as_text(fields.get("RequestId") or fields.get("requestId")) or None
        # Every response of the API has a RequestId. If it was lost, a response is still the API's if it has a
        # field of the operation or, for an error, a documented code or Success (the cluster's agent failed).
        known = field_names(model) if response.status < 400 else {"Success"}
        documented = response.status >= 400 and _is_documented(_code(fields))
        if not (request_id or documented or known & fields.keys()):
            raise foreign(response)
        # Success is about the command that the operation runs, not about the job.
        refused = str(fields.get("Success", True)).strip().lower() == "false"
        if response.status >= 400 or refused:
            raise _error(operation, response, fields, request_id)
        return read_model(model, fields, status=response.status, request_id=request_id)

    return read


def read_error(operation: str, response: ApiResponse) -> ApiError:
    """Return the error that a response of any of Alibaba Cloud's RPC services means."""
    try:
        fields = json_object(response)
    except ApiError as error:
        return error
    return _error(operation, response, fields, as_text(fields.get("RequestId")) or None)


def _error(
    operation: str, response: ApiResponse, fields: Mapping[str, Any], request_id: str | None
) -> ApiError:
    code = _code(fields)
    message = " ".join(as_text(fields.get("Message") or fields.get("message") or "no message given").split())
    # The rest of a SignatureDoesNotMatch message is the signed text, which does not help the user.
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


def _code(fields: Mapping[str, Any]) -> str:
    return error_code(fields.get("Code") or fields.get("code"))


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
    # AgentError.Job.StopFailure, Forbidden.RAM: if the whole code is unknown, its family decides.
    kind = _KINDS.get(code) or _KINDS.get(code.split(".")[0])
    if kind:
        return kind
    if status == 429:
        return Throttled
    if status >= 500:
        return ServiceUnavailable
    # Success=false with HTTP 200: the cluster's agent could not run the command or read its result.
    return InvalidRequest if status >= 400 else ServiceUnavailable

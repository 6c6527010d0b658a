# SPDX-License-Identifier: Apache-2.0
"""Errors of the RPC protocol: each code decides about retries, and hints help the user."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.apis.aliyun.ehpc import get_job
from airflow_provider_ehpc.apis.call import (
    ApiResponse,
    AuthenticationFailed,
    ForeignResponse,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    Throttled,
)

CALL = get_job("ehpc-hz-1", "1.manager")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        # The error tables of the operations' pages.
        (400, "InvalidParams", InvalidRequest),
        (400, "NotEnabled", PermissionDenied),
        (400, "InDebt", PermissionDenied),
        (403, "InvalidClusterStatus", ServiceUnavailable),
        (403, "ConflictOpt", ServiceUnavailable),
        (403, "ExecFail", ServiceUnavailable),
        (406, "ExecFail", ServiceUnavailable),
        (403, "IncorrectCredential", AuthenticationFailed),
        (403, "AgentError.Account.ValidateCredentialFailure", AuthenticationFailed),
        (403, "UsernameExist", InvalidRequest),
        (404, "ClusterNotFound", NotFound),
        (404, "ManagerNotFound", ServiceUnavailable),
        (404, "ComputeNotFound", NotFound),
        (406, "EcsError", ServiceUnavailable),
        (406, "DbError", ServiceUnavailable),
        (406, "RedisError", ServiceUnavailable),
        (406, "AliyunError", ServiceUnavailable),
        (406, "AckError", ServiceUnavailable),
        (406, "AgentResponseTimeout", ServiceUnavailable),
        (406, "AgentError", ServiceUnavailable),
        (406, "AgentError.Job.SubmitFailure", ServiceUnavailable),
        (406, "AgentError.Job.StopFailure", ServiceUnavailable),
        (406, "AgentError.Job.DeleteFailure", ServiceUnavailable),
        (406, "AgentError.Job.RerunFailure", ServiceUnavailable),
        (406, "AgentError.Job.ListFailure", ServiceUnavailable),
        (406, "AgentError.Job.InvalidContainerType", InvalidRequest),
        (407, "NotAuthorized", PermissionDenied),
        (500, "UnknownError", ServiceUnavailable),
        (503, "ServiceUnavailable", ServiceUnavailable),
        # The gateway's own.
        (400, "Throttling", Throttled),
        (400, "Throttling.User", Throttled),
        (503, "Throttling.Api", Throttled),
        (403, "Forbidden.RAM", PermissionDenied),
        (404, "InvalidAccessKeyId.NotFound", AuthenticationFailed),
        (400, "SignatureDoesNotMatch", AuthenticationFailed),
        (400, "InvalidTimeStamp.Expired", AuthenticationFailed),
        (400, "SignatureNonceUsed", AuthenticationFailed),
        (400, "InvalidSecurityToken.Expired", AuthenticationFailed),
        # The status decides about undocumented codes.
        (400, "Novelty", InvalidRequest),
        (429, "Novelty", Throttled),
        (502, "Novelty", ServiceUnavailable),
    ],
)
def test_kind_of_each_code(reply, status, code, kind):
    """Retrying a permanent error wastes minutes; not retrying a transient one fails a good task."""
    response = reply({"RequestId": "B745", "Code": code, "Message": "said the cloud"}, status)
    with pytest.raises(kind) as caught:
        CALL.read(response)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.status, caught.value.request_id) == (code, status, "B745")


@pytest.mark.parametrize(
    "message",
    [
        "The agent service request failed: qstat: Unknown Job Id 7.manager",
        "The agent service request failed: slurm_load_jobs error: Invalid job id specified",
        "Failed to execute the command: qstat: 7.manager Job has finished, use -x or -H to obtain historical "
        "job information",
    ],
)
def test_schedulers_words_for_an_unknown_job(reply, message):
    """No code is documented for an unknown job: if it were retried, its task would never end."""
    with pytest.raises(NotFound):
        CALL.read(reply({"Code": "AgentError", "Message": message}, 406))


@pytest.mark.parametrize("success", [False, "false", "False "])
def test_success_false_with_http_200_is_an_error(reply, success):
    """Success=false means that the cluster did not respond; read as a job, it would have no state."""
    with pytest.raises(ServiceUnavailable):
        CALL.read(reply({"Success": success, "RequestId": "B745"}))


def test_lower_case_error_keys(reply):
    """The vendor's SDK accepts these spellings, so they occur."""
    with pytest.raises(NotFound) as caught:
        CALL.read(reply({"code": "ClusterNotFound", "message": "no", "requestId": "B745"}, 404))
    assert caught.value.request_id == "B745"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-acs-retry-after": "1500"}, 1.5),
        ({"retry-after": "20"}, 20),
        ({"x-acs-retry-after": "500", "retry-after": "20"}, 0.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_seconds(reply, headers, seconds):
    """x-acs-retry-after is in milliseconds: read as seconds, a pause of half a second becomes ten minutes."""
    with pytest.raises(Throttled) as caught:
        CALL.read(reply({"Code": "Throttling.User", "Message": "slow down"}, 400, headers))
    assert caught.value.retry_after == seconds


def test_ram_denial_names_the_missing_action(reply):
    """407 NotAuthorized looks like an error of a proxy, but the user must grant an action."""
    with pytest.raises(PermissionDenied, match=r"ehpc:GetJob\b"):
        CALL.read(reply({"Code": "NotAuthorized", "Message": "not authorized by RAM"}, 407))


def test_html_with_200_is_reported_as_html():
    """A proxy's login page must not be mistaken for a response without fields."""
    page = ApiResponse(200, {"content-type": "text/html; charset=utf-8"}, b"<html>\n <b>Sign in</b>")
    with pytest.raises(ForeignResponse, match=r"text/html.*Sign in"):
        CALL.read(page)


def test_gateways_502_page_is_transient():
    """A load balancer's HTML error page is worth a retry."""
    with pytest.raises(ServiceUnavailable):
        CALL.read(ApiResponse(502, {"content-type": "text/html"}, b"<html>Bad Gateway</html>"))

# SPDX-License-Identifier: Apache-2.0
"""Requests and errors of ModelArts."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.apis.call import (
    ApiError,
    ApiResponse,
    AuthenticationFailed,
    ForeignResponse,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    Throttled,
)
from airflow_provider_ehpc.apis.huawei.protocol import (
    LOG_NOT_READY,
    modelarts_call,
    project_path,
    read_response,
)
from airflow_provider_ehpc.apis.response import Number, ResponseModel, Text
from tests.apis.huawei.drive import rejection, response, sample


class Contents(ResponseModel):
    content: Text = ""
    size: Number = None


def error_of(response: ApiResponse) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_response(Contents, response)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "ModelArts.0201", AuthenticationFailed),
        (401, "ModelArts.0202", AuthenticationFailed),
        (401, "ModelArts.0212", AuthenticationFailed),
        (401, "ModelArts.0112", AuthenticationFailed),
        (401, "APIG.0301", AuthenticationFailed),
        (401, "APIGW.0301", AuthenticationFailed),
        (403, "ModelArts.0203", AuthenticationFailed),
        (403, "ModelArts.0206", AuthenticationFailed),
        (403, "ModelArts.2784", AuthenticationFailed),
        (400, "ModelArts.0206", InvalidRequest),
        (403, "ModelArts.0108", PermissionDenied),
        (403, "ModelArts.0210", PermissionDenied),
        (403, "ModelArts.2785", PermissionDenied),
        (403, "APIG.0802", PermissionDenied),
        (400, "ModelArts.2837", PermissionDenied),
        (400, "ModelArts.2775", NotFound),
        (404, "", NotFound),
        (404, "APIG.0101", InvalidRequest),
        (404, "APIGW.0101", InvalidRequest),
        (404, "ModelArts.2786", InvalidRequest),
        (404, "ModelArts.2836", InvalidRequest),
        (400, "ModelArts.2751", InvalidRequest),
        (400, "ModelArts.2780", InvalidRequest),
        (400, "ModelArts.2819", InvalidRequest),
        (409, "ModelArts.2796", InvalidRequest),
        (409, "ModelArts.2878", ServiceUnavailable),
        (429, "ModelArts.2799", Throttled),
        (429, "APIG.0308", Throttled),
        (429, "APIGW.0308", Throttled),
        (500, "ModelArts.0010", ServiceUnavailable),
        (500, "ModelArts.5000", ServiceUnavailable),
        (503, "ModelArts.4700", ServiceUnavailable),
        (504, "APIG.0203", ServiceUnavailable),
        (408, "", ServiceUnavailable),
        # v1 also reports errors with 200 and is_success=false. Its 01xx codes have other meanings than today.
        (200, "ModelArts.0010", ServiceUnavailable),
        (200, "ModelArts.0012", ServiceUnavailable),
        (200, "ModelArts.0013", ServiceUnavailable),
        (200, "ModelArts.0102", InvalidRequest),
        (200, "ModelArts.0105", InvalidRequest),
    ],
)
def test_kinds(status: int, code: str, kind: type[ApiError]) -> None:
    """The kind determines if a call is retried, if a wait continues, and if the key gets locked."""
    error = error_of(response({"is_success": False, "error_code": code, "error_msg": "why"}, status))
    assert type(error) is kind
    assert (error.message, error.code, error.status) == ("why", code or None, status)


@pytest.mark.parametrize(
    "message",
    [
        "Training job (ID: 5f0c) not found.",
        "The job does not exist.",
        "The training job 10 does not exist",
        "The resource does not exist.",
    ],
)
def test_v1_reports_an_unknown_job_in_words(message: str) -> None:
    """Otherwise an unknown job would fail the wait as an invalid request, even just after its submission."""
    body = {"is_success": False, "error_code": "ModelArts.0102", "error_msg": message}
    assert type(error_of(response(body))) is NotFound


@pytest.mark.parametrize(
    "message",
    [
        "The workspace does not exist.",
        "Flavor (x) not found.",
        "algorithm not found.",
        "Job name:X is existed",
    ],
)
def test_other_unknown_objects_are_not_an_unknown_job(message: str) -> None:
    """A wrong flavor must not be taken for a job that is not known yet."""
    assert type(error_of(rejection("ModelArts.0102", 400, message))) is InvalidRequest


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (sample("v1-log-failed"), "Error string"),
        (sample("v1-failed"), "Error string"),
        ({"is_success": "false", "error_message": "in words"}, "in words"),
        ({"is_success": False}, "no message given"),
    ],
)
def test_a_rejection_with_200_is_an_error(body: dict[str, object], message: str) -> None:
    """Otherwise the log would seem to be empty."""
    assert error_of(response(body)).message == message


def test_missing_is_success_counts_as_success() -> None:
    """v2 has no such field."""
    assert read_response(Contents, response({"content": "x", "size": "10"})) == Contents(content="x", size=10)


def test_204_is_an_empty_response() -> None:
    """NotReadyToFetchLog has no body. It means that there is no log yet, and is not an error."""
    assert read_response(Contents, response(None, 204), nothing=LOG_NOT_READY) == Contents()


def test_codes_for_nothing_yet_are_an_empty_response() -> None:
    """Some regions send LogFileNotGenerated with 400, others 204."""
    assert read_response(Contents, rejection("ModelArts.2818"), nothing=LOG_NOT_READY) == Contents()
    with pytest.raises(InvalidRequest, match="rejected"):
        read_response(Contents, rejection("ModelArts.2818"))


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry_after": "7"}, "slow down", 7),
        ({}, "policy user over ratelimit,limit:20,time:1 second", 1),
        (
            {},
            "The throttling threshold has been reached: policy ip over ratelimit,limit:60,time:1 minute",
            60,
        ),
        ({"retry_after": "3"}, "policy ip over ratelimit,limit:60,time:1 minute", 3),
        ({}, "too many requests", None),
        ({}, "policy ip over ratelimit,limit:60,time:48 hour", None),
        ({}, f"policy ip over ratelimit,limit:60,time:{'9' * 5000} second", None),
        ({"retry_after": "²"}, "policy ip over ratelimit,limit:60,time:٣ minute", None),
    ],
)
def test_pause_after_throttling(headers: dict[str, str], message: str, seconds: float | None) -> None:
    """A retry that is too early hits the limit again, for every waiting task."""
    body = {"error_code": "APIG.0308", "error_msg": message}
    error = error_of(response(body, 429, **headers))
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"<html>no</html>", AuthenticationFailed),
        (429, b"", Throttled),
        (502, b"<html>bad gateway</html>", ForeignResponse),
        (404, b"<html>not here</html>", ForeignResponse),
        (404, b"{}", ForeignResponse),
        (404, b'{"error_msg": "404 Route Not Found"}', ForeignResponse),
        (503, b'{"code": 503, "message": "maintenance"}', ForeignResponse),
        (302, b"<html>moved</html>", ForeignResponse),
        (302, b'{"phase": "Completed"}', ForeignResponse),
        (200, b"<html>login</html>", ForeignResponse),
        (200, b"", ForeignResponse),
        (200, b"{}", ForeignResponse),
        (200, b"[]", ForeignResponse),
        (204, b"", ForeignResponse),
    ],
)
def test_responses_that_are_not_json_objects(status: int, body: bytes, kind: type[ApiError]) -> None:
    """The vendor's SDK takes 200 with HTML for an empty success, and a web page's 404 for an unknown job."""
    assert type(error_of(ApiResponse(status, {"content-type": "text/html"}, body))) is kind


def test_a_rejected_signature_is_not_repeated_in_the_message() -> None:
    """The gateway reports what it signed: authorization and security token must not get into the task log."""
    message = (
        "Incorrect IAM authentication information: verify aksk signature fail,canonicalRequest:GET|/v2/p/||"
        "authorization:SDK-HMAC-SHA256 Access=AK, Signature=0123|x-security-token:TEMPTOKEN|"
    )
    error = error_of(rejection("APIGW.0301", 401, message))
    assert str(error) == (
        "Incorrect IAM authentication information: verify aksk signature fail (APIGW.0301, HTTP 401). "
        "Check the connection's password: the secret access key."
    )


@pytest.mark.parametrize(
    ("code", "status", "message", "hint"),
    [
        ("APIG.0301", 401, "AK access failed to reach the limit,forbidden.", "locked for five minutes"),
        ("APIG.0301", 401, "calc ak sk signature fail:signature expired", "clock"),
        ("APIG.0301", 401, "Get secretKey failed,ak:AKEXAMPLE,err:ak not exist", "login"),
        ("APIG.0301", 401, "decrypt token fail", "token is not valid"),
        ("ModelArts.2763", 400, "The selected flavor is invalid.", "'flavor_id'"),
        ("ModelArts.2785", 403, "not authorized", "Settings page"),
        ("ModelArts.2786", 404, "project mismatch", "project_id"),
        ("APIGW.0101", 404, "The API does not exist", "2023-06-30"),
    ],
)
def test_hints(code: str, status: int, message: str, hint: str) -> None:
    """The cloud's message alone, such as "signature fail", does not help a user."""
    error = error_of(rejection(code, status, message))
    assert hint in error.hint
    assert "AKEXAMPLE" not in str(error)


def test_the_clouds_advice_is_the_hint_if_there_is_no_other() -> None:
    """New responses have error_solution; the existing provider drops it."""
    error = error_of(response(sample("v2-create-failed"), 400))
    assert str(error) == (
        "algorithm not found (ModelArts.2755, HTTP 400). Check whether the training project information in "
        "the request is valid."
    )


def test_request_id() -> None:
    """The cloud's support needs it. The gateway sends it in the body, the service in a header."""
    assert error_of(response({"error_code": "APIG.0301", "request_id": "a1"}, 401)).request_id == "a1"
    assert error_of(response({"error_code": "x"}, 400, x_request_id="b2")).request_id == "b2"


def test_request() -> None:
    """Content-Type is mandatory for every request, and the project's ID is part of path and headers."""
    call = modelarts_call(
        "Op",
        Contents,
        "POST",
        project_path("v2", "p1", "training-jobs", "a/b 训"),
        project_id="p1",
        query={"lines": 5, "base_line": None},
        body={"k": "训"},
        subject="job 1",
        writes=True,
    )
    assert call.request.target == "/v2/p1/training-jobs/a%2Fb%20%E8%AE%AD?lines=5"
    assert call.request.headers == {
        "accept": "application/json",
        "content-type": "application/json",
        "x-project-id": "p1",
    }
    assert call.request.body == '{"k": "训"}'.encode()
    assert (call.operation, call.subject, call.writes) == ("Op", "job 1", True)

# SPDX-License-Identifier: Apache-2.0
"""Requests to QingCloud HPC and the errors in its responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import (
    ApiError,
    ApiResponse,
    AuthenticationFailed,
    ForeignResponse,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    Throttled,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.qingcloud.hpc import list_jobs, stop_jobs, submit_job
from airflow_provider_ehpc.apis.qingcloud.operations import list_operations
from tests.apis.answering import response, sample


def _error(body: Any, status: int = 200, **headers: str) -> ApiError:
    with pytest.raises(ApiError) as raised:
        list_operations("jinan1a").read(response(body, status, **headers))
    return raised.value


@pytest.mark.parametrize("status", [200, 400, 403])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1100, InvalidRequest),
        (1101, InvalidRequest),
        (1200, AuthenticationFailed),
        (1300, AuthenticationFailed),
        (1400, PermissionDenied),
        (1620, AuthenticationFailed),
        (2000, AuthenticationFailed),
        (2100, NotFound),
        (2110, InvalidRequest),
        (2400, PermissionDenied),
        (2500, Throttled),
        (3300, InvalidRequest),
        (4001, PermissionDenied),
        (5000, ServiceUnavailable),
        (5100, ServiceUnavailable),
        (5200, ServiceUnavailable),
        (5300, ServiceUnavailable),
        (5400, InvalidRequest),
        (8003, InvalidRequest),
        (9999, InvalidRequest),
    ],
)
def test_a_ret_code_is_an_error_with_any_http_status(code: int, kind: type[ApiError], status: int) -> None:
    """The documentation has no HTTP status for errors; the code determines if a retry makes sense."""
    error = _error({"message": "PermissionDenied, instance [i-2aypaijz]", "ret_code": code}, status)
    assert type(error) is kind
    assert error.code == str(code)
    assert "i-2aypaijz" in str(error)


def test_a_ret_code_may_be_a_text() -> None:
    assert type(_error({"message": "no", "ret_code": "2100"})) is NotFound
    list_operations("jinan1a").read(response({"ret_code": "0", "total_count": 0}))


def test_the_hint_for_an_expired_request() -> None:
    """In most cases, the machine's clock is wrong."""
    assert "60 seconds" in str(_error({"message": "RequestHasExpired", "ret_code": 1300}))
    assert "clock" in str(_error({"message": "RequestHasExpired", "ret_code": 1300}))


def test_a_used_up_quota_causes_a_long_pause() -> None:
    """Fast retries would use up the quota again, for every task of the account."""
    assert _error({"message": "QuotasExceeded", "ret_code": 2500}).retry_after == 300
    assert _error({"message": "", "ret_code": 2500}, 200, **{"retry-after": "7"}).retry_after == 7


@pytest.mark.parametrize(
    ("received", "kind"),
    [
        (ApiResponse(200, {"content-type": "text/html"}, b"<html>login</html>"), ForeignResponse),
        (ApiResponse(502, {"content-type": "text/html"}, b"<html>bad gateway</html>"), ForeignResponse),
        (response({"hello": "world"}), ForeignResponse),
        (response({"detail": "not found"}, 404), ForeignResponse),
        (response({"detail": "slow down"}, 429), Throttled),
        (response({"ret_code": 0, "job_set": "none"}), UnexpectedResponse),
    ],
)
def test_a_foreign_response_is_not_an_empty_list(received: ApiResponse, kind: type[ApiError]) -> None:
    """A proxy's page with status 200 must not look like an audit without findings."""
    with pytest.raises(ApiError) as raised:
        list_operations("jinan1a").read(received)
    assert type(raised.value) is kind


def test_a_get_has_its_parameters_in_the_query_and_no_empty_ones() -> None:
    call = list_jobs("jinan1a", "ehpc-qmmvigwe", jobs_status="running", offset=100)
    assert call.request.target == (
        "/api/job/list?zone=jinan1a&cluster_id=ehpc-qmmvigwe&jobs_status=running&job_status=running"
        "&offset=100&limit=100"
    )
    assert (call.request.method, call.request.body, call.writes) == ("GET", b"", False)


def test_a_post_sends_the_bytes_that_the_documentation_hashes() -> None:
    """The server may hash the received bytes, or serialize the object again. Both must give our digest."""
    call = submit_job("jn1a", "ehpc-8jqdq0mz", name="作业", cmd_line="sleep 600", run_user="usr-IuZxPyn2")
    body = json.loads(call.request.body)
    assert call.request.body == json.dumps(body).encode()
    assert body == {
        "cluster_id": "ehpc-8jqdq0mz",
        "zone": "jn1a",
        "run_user": "usr-IuZxPyn2",
        "name": "作业",
        "cmd_line": "sleep 600",
        "cmd_line_type": "input",
        "core_limit": 1,
        "submit_type": 1,
    }
    assert dict(call.request.query) == {"zone": "jn1a"}
    assert call.request.headers["content-type"] == "application/json"
    assert call.writes


def test_a_limit_that_the_cloud_would_silently_lower_is_an_error() -> None:
    """Reading pages of 500 rows would skip four hundred rows of each."""
    with pytest.raises(InvalidArgument, match="limit: 500"):
        list_operations("jinan1a", limit=500)


def test_a_space_in_a_query_is_sent() -> None:
    """Text and code of the documentation encode it differently. The vendor's client uses ``%20``."""
    call = list_jobs("jinan1a", "ehpc-1", search_word="two words")
    assert "search_word=two%20words" in call.request.target


def test_a_job_that_could_not_be_stopped_is_an_error_despite_a_ret_code_of_0() -> None:
    """Otherwise a task would end while its job still runs."""
    call = stop_jobs("jn1a", "ehpc-8jqdq0mz", ["hpcjob-bp6rj09f"])
    assert call.read(response(sample("qingcloud/stop_jobs.json"))).job_uuid == "j-942yi1ah8hd"
    body = {**sample("qingcloud/stop_jobs.json"), "custom_cmd_result": ['{"job_ids": "5", "ret_code": 1400}']}
    with pytest.raises(PermissionDenied):
        call.read(response(body))
    broken = {**body, "custom_cmd_result": ['{"{"job_ids": "5", "ret_code": 0}"']}
    call.read(response(broken))


def test_a_missing_zone_is_an_error() -> None:
    """Every operation needs one; the cloud would return a general error about the message's format."""
    with pytest.raises(InvalidArgument, match="zone"):
        list_operations("")


def test_an_empty_list_of_jobs_to_stop_is_an_error() -> None:
    with pytest.raises(InvalidArgument, match="job_ids"):
        stop_jobs("jn1a", "ehpc-8jqdq0mz", [])

# SPDX-License-Identifier: Apache-2.0
"""Reading any response returns a typed response or raises an ApiError."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from airflow_provider_ehpc.apis.aliyun.classic import EhpcClassicApi
from airflow_provider_ehpc.apis.aliyun.common_logs import EhpcOperations
from airflow_provider_ehpc.apis.aliyun.ehpc import EhpcApi
from airflow_provider_ehpc.apis.aliyun.serverless import EhpcServerlessApi
from airflow_provider_ehpc.apis.call import ApiCall, ApiError, ApiResponse, ServiceUnavailable
from airflow_provider_ehpc.apis.huawei.modelarts import ModelArtsApi
from airflow_provider_ehpc.apis.huawei.modelarts_v1 import ModelArtsV1Api
from airflow_provider_ehpc.apis.job import JobRef, LogCursor
from airflow_provider_ehpc.apis.qingcloud.hpc import QingCloudHpcApi
from airflow_provider_ehpc.apis.qingcloud.operations import QingCloudOperations
from airflow_provider_ehpc.apis.response import ResponseModel
from tests.apis.driver import run_flow
from tests.apis.every_call import CALLS, CLUSTER, SINCE, functions_that_make_calls, name_of, sample_of

RAW = {
    "@digits@": "9" * 5000,
    "@epoch@": "1" + "0" * 25,
    "@int65@": str(2**64),
    "@float@": "1e999",
    "@nan@": "NaN",
    "@infinity@": "-Infinity",
    "@deep@": "[" * 200 + "]" * 200,
    "@deeper@": '{"a":' * 3000 + "1" + "}" * 3000,
    "@twice@": '{"Id": "1", "Id": 2, "Id": null}',
}
"""JSON that Python's json does not write, by the placeholder for it."""
VALUES: list[Any] = [
    *RAW,
    *(None, "", " ", "x", True, False, 0, -1, 1.5, -0.0, 2**63, [], {}, [None], [[]], [{}], {"": None}),
    *("\ud800", "a\ud83d\0b", {"\ud800": "\0"}, "\\ud800", "²", "٣", "-1", "9" * 400, "0001-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59-23:59", "1970-01-01T00:00:00+23:59", "compute[0-999999999]", "0-999999999:1"),
    *("../../evil", "{", '{"a": "\\ud800"}', '["\\u0000"]', "[" * 3000, "-0000", "NaN", 10**17, "_", "j-1"),
]
STATUSES = (200, 200, 200, 200, 202, 204, 302, 400, 401, 403, 404, 407, 429, 500, 503)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-acs-retry-after", "date", "content-type", "x-request-id"]),
    st.sampled_from(
        ["²", "9" * 5000, "-5", "1000000000", "Wed, 21 Oct 2026 07:28:00 -0000", "soon", "\udcff\0", ""]
    )
    | st.text(max_size=20),
)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the paths of all values in a JSON value."""
    yield place
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(item, (*place, key))


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> bytes:
    """Replace, remove or repeat some of the values."""
    value = {"": copy.deepcopy(value)}
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from([place for place in places(value) if place]))
        parent = value
        for key in path:
            parent = parent[key]
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "repeat"]))
        if change == "replace" or not path:
            parent[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif change == "remove":
            del parent[last]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        else:
            parent[f"{last}".swapcase()] = parent[last]
    text = json.dumps(value[""], ensure_ascii=draw(st.booleans()))
    for stand_in, raw in RAW.items():
        text = text.replace(f'"{stand_in}"', raw)
    return text.encode(errors="surrogatepass")


@st.composite
def torn(draw: st.DrawFn, value: Any) -> bytes:
    """Cut a text, or put arbitrary bytes into it."""
    body = json.dumps(value).encode()
    start = draw(st.integers(0, len(body)))
    return body[:start] + draw(st.binary(max_size=20)) + body[draw(st.integers(start, len(body))) :]


def check(value: Any, depth: int = 0) -> None:
    """Assert that a value can be sent to Airflow's other processes and saved in its database."""
    assert depth < 100
    if isinstance(value, str):
        value.encode()
        assert "\0" not in value
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, int):
        assert -(2**63) <= value < 2**63
    elif isinstance(value, dict):
        for key, item in value.items():
            check(key, depth + 1)
            check(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            check(item, depth + 1)
    elif isinstance(value, BaseModel):
        for name, item in value:
            check(name, depth + 1)
            # A log may contain NUL.
            logged = isinstance(value, ResponseModel) and name in value.log_fields
            check(item.replace("\0", "") if logged else item, depth + 1)
        check(value.model_extra, depth + 1)


def check_error(error: ApiError) -> None:
    """Assert that an error is not caused by a bug, and can be sent."""
    assert "cannot be read" not in error.message, error.__cause__
    check(error.as_dict())
    assert error.retry_after is None or 0 <= error.retry_after <= 86400
    assert str(error)


def read(call: ApiCall[Any], response: ApiResponse) -> Any:
    """Read a response; return None for a clean ApiError."""
    try:
        result = call.read(response)
    except ApiError as error:
        check_error(error)
        return None
    check(result)
    return result


def test_no_call_is_missing() -> None:
    """A call that is not in the table is not tested below."""
    assert set(CALLS) == functions_that_make_calls()


@pytest.mark.parametrize("function", CALLS, ids=name_of)
def test_the_documented_response_is_read(function: Callable[..., Any]) -> None:
    """Mutations of a sample that is rejected anyway would test nothing."""
    call, sample = CALLS[function]
    assert call.read(ApiResponse(200, {"x-subject-token": "t"}, json.dumps(sample).encode()))


@pytest.mark.parametrize("function", CALLS, ids=name_of)
def test_odd_values(function: Callable[..., Any]) -> None:
    """One number that was too long once crashed the triggerer."""
    call, sample = CALLS[function]

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(mutated(sample), st.sampled_from(STATUSES), HEADERS)
    def odd(body: bytes, status: int, headers: dict[str, str]) -> None:
        read(call, ApiResponse(status, headers, body))

    odd()


@pytest.mark.parametrize("function", CALLS, ids=name_of)
def test_torn_bytes(function: Callable[..., Any]) -> None:
    """A connection may break, a proxy may send its own page, or a server may crash while it writes."""
    call, sample = CALLS[function]

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(torn(sample) | st.binary(max_size=50), st.sampled_from(STATUSES))
    def torn_body(body: bytes, status: int) -> None:
        read(call, ApiResponse(status, {}, body))

    torn_body()


_IDS = {
    "ehpc": JobRef("1.manager", CLUSTER),
    "ehpc-classic": JobRef("2.scheduler", CLUSTER),
    "ehpc-serverless": JobRef("5", CLUSTER),
}
_APIS: list[Any] = [EhpcApi(), EhpcClassicApi(), EhpcServerlessApi(), QingCloudHpcApi("jn1a")]
_APIS += [ModelArtsApi("p1"), ModelArtsV1Api("p1")]


def _flows(api: Any) -> dict[str, Callable[[], Any]]:
    by_function = {name_of(function): call for function, (call, _) in CALLS.items()}
    ref = _IDS.get(api.name)
    if api.name == "modelarts":
        ref = JobRef(by_function["modelarts.show_training_job"].request.path.rpartition("/")[2])
    elif api.name == "modelarts-v1":
        ref = JobRef("10", version_id="20")
    elif api.name == "qingcloud":
        ref = JobRef(by_function["hpc.job_detail"].request.path.rpartition("/")[2], "ehpc-1")
    assert ref
    flows: dict[str, Callable[[], Any]] = {
        "status": lambda: api.job_status(ref),
        "statuses": lambda: api.job_statuses([ref, *(ref._replace(job_id=str(n)) for n in range(3))]),
    }
    if api.name != "modelarts-v1":
        flows["cluster"] = lambda: api.cluster_jobs(ref.cluster_id, SINCE)
    if api.log_limits.largest:
        flows["log"] = lambda: api.read_log(ref, LogCursor(), 4096)
        flows["tail"] = lambda: api.log_tail(ref, 4096)
    return flows


FLOWS = {f"{api.name}-{name}": flow for api in _APIS for name, flow in _flows(api).items()}
FLOWS["audit-aliyun"] = lambda: EhpcOperations("cn-hangzhou").page(1, 2, 0)
FLOWS["audit-qingcloud"] = lambda: QingCloudOperations("jn1a").page(1, 2, 0)


@pytest.mark.parametrize("name", FLOWS)
def test_logic_of_several_calls(name: str) -> None:
    """A response that can be read must not break the logic that uses it."""

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        calls = 0

        def run_call(call: ApiCall[Any]) -> Any:
            nonlocal calls
            calls += 1
            if calls > 20:
                raise ServiceUnavailable("enough")
            return call.read(ApiResponse(200, {}, data.draw(mutated(sample_of(call)))))

        try:
            result = run_flow(FLOWS[name](), run_call)
        except ApiError as error:
            check_error(error)
        else:
            check_result(result)

    run()


def check_result(result: Any) -> None:
    """Assert that the result of a flow can be sent and saved."""
    if isinstance(result, dict):
        for item in result.values():
            check_result(item)
    elif hasattr(result, "status"):
        check_result(result.status)
    elif hasattr(result, "as_dict"):
        check(result.as_dict())
    elif hasattr(result, "records"):
        for record in result.records:
            check_result(record)
    elif hasattr(result, "chunks") or isinstance(result, tuple):
        for chunk in getattr(result, "chunks", result):
            check([chunk.stream, chunk.next, chunk.size])

# SPDX-License-Identifier: Apache-2.0
"""Odd values, odd rows and responses about something else, in every model of every API."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest

from airflow_provider_ehpc.apis.aliyun import classic, ehpc, serverless
from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    ApiResponse,
    ForeignResponse,
    InvalidRequest,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.huawei.modelarts import ModelArtsApi
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.qingcloud.hpc import QingCloudHpcApi
from airflow_provider_ehpc.apis.response import Number, PascalResponseModel, ResponseModel, Time
from airflow_provider_ehpc.apis.schedulers.ids import same_job
from airflow_provider_ehpc.apis.schedulers.nodes import node_names
from tests.apis.driver import run_flow
from tests.apis.every_call import CALLS, CLUSTER, modules, name_of, sample_of

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ODD: list[Any] = [
    *(None, "", "x", 0, 5, 1.5, True, "²", 2**63),
    *([], {}, [None], [[1]], ["x"], {"a": 1}, {"a": None}, {"a": []}),
]


def models() -> dict[str, type[ResponseModel]]:
    """Return all response models."""
    list(modules())

    def below(model: type[ResponseModel]) -> Iterator[type[ResponseModel]]:
        for child in model.__subclasses__():
            yield child
            yield from below(child)

    return {
        f"{model.__module__.rpartition('.')[2]}.{model.__name__}": model
        for model in below(ResponseModel)
        if model.__module__.startswith("airflow_provider_ehpc.")
    }


def sent_name(name: str, field: FieldInfo) -> str:
    """Return the name of a field in a response."""
    alias = field.validation_alias
    return alias if isinstance(alias, str) else alias.choices[0] if alias else name  # type: ignore[union-attr]


MODELS = models()


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_an_odd_value_is_an_absent_one(model: type[ResponseModel]) -> None:
    """An unused field once had an undocumented type, and every wait on the cluster ended."""
    default = model()
    for name, field in model.model_fields.items():
        alias = sent_name(name, field)
        for odd in ODD:
            if alias in model.essential and odd:
                continue
            read = model.model_validate({alias: odd})
            value, absent = getattr(read, name), getattr(default, name)
            if isinstance(absent, list):
                assert isinstance(value, list)
                assert value == [] or odd not in (None, "", {}, [], 0)
            elif isinstance(absent, ResponseModel):
                assert isinstance(value, type(absent))
            elif any(issubclass(part, ResponseModel) for part in _classes(field.annotation)):
                assert value is None or isinstance(value, ResponseModel)


def _classes(annotation: Any) -> list[type]:
    if get_origin(annotation) is None:
        return [annotation] if isinstance(annotation, type) else []
    return [part for argument in get_args(annotation) for part in _classes(argument)]


class Row(PascalResponseModel):
    count: Number = None
    at: Time = None


@pytest.mark.parametrize(
    ("sent", "number"),
    [
        *((5, 5), (" 5 ", 5), (5.0, 5), (-1, -1), ("9223372036854775807", 2**63 - 1)),
        *(("9223372036854775808", None), ("9" * 400, None), ("9" * 5000, None), (10**25, None)),
        *((1.5, None), (1e300, None), ("²", None), (True, None), ([], None), (None, None)),
    ],
)
def test_numbers(sent: Any, number: int | None) -> None:
    """A number of more than 64 bits in an event crashes the triggerer: msgpack cannot hold it."""
    assert Row.model_validate({"Count": sent}).count == number


@pytest.mark.parametrize(
    "sent",
    [
        *(10**25, "9" * 400, -(10**15), 1e300, "²", "٣" * 10, "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z"),
        *(
            "9999-12-31T23:59:59-23:59",
            "0001-01-01T00:00:00+23:59",
            253402300799000,
            "١٢٣",
            "2024-13-01",
            "x" * 10**6,
        ),
        *(0, "0", "", None, True, [], {}, "-0", "1" * 41),
    ],
)
def test_invalid_times_are_none(sent: Any) -> None:
    """The smallest and largest datetimes raise OverflowError when they are converted to another zone."""
    assert Row.model_validate({"At": sent}).at is None


@pytest.mark.parametrize(
    "name", ["raw_state", "name", "user", "queue", "reason", "stdout_path", "stderr_path"]
)
def test_a_status_can_be_sent(name: str) -> None:
    """An event with half a surrogate pair crashes the triggerer."""
    fields = {"raw_state": "", name: "run \ud83d\0"}
    status = JobStatus("1", JobState.RUNNING, **fields)  # type: ignore[arg-type]
    assert status.as_dict()[name] == "run \ufffd\ufffd"


def test_an_error_can_be_sent() -> None:
    error = InvalidRequest("a\ud83d", code="b\0", request_id="c\udcff", hint="d\0")
    assert json.dumps(error.as_dict(), ensure_ascii=False).encode()
    assert (str(error), error.code) == ("a\ufffd (b\ufffd, request id c\ufffd). d\ufffd", "b\ufffd")


def test_a_bug_in_a_reader_is_reported() -> None:
    """It ends one wait and not the triggerer, and the error shows what happened."""

    def read(response: ApiResponse) -> None:
        raise KeyError("State")

    with pytest.raises(UnexpectedResponse, match=r"cannot be read \(KeyError\) \(HTTP 200\)") as caught:
        ApiCall("Op", ApiRequest("GET", "/"), read).read(ApiResponse(200, {}, b""))
    assert isinstance(caught.value.__cause__, KeyError)


# ------------------------------------------------------------------ rows of lists

APIS: dict[str, Any] = {
    api.name: api
    for api in (
        *(ehpc.EhpcApi(), classic.EhpcClassicApi(), serverless.EhpcServerlessApi()),
        *(ModelArtsApi("p1"), QingCloudHpcApi("jn1a")),
    )
}


def rows_of(sample: Any) -> list[Any]:
    """Return the rows of a page."""
    for name in ("Jobs", "items", "jobs", "hpc_job_set"):
        if rows := sample.get(name):
            found: list[Any] = rows["JobInfo"] if isinstance(rows, dict) else rows
            return found
    raise AssertionError(sample)


@pytest.mark.parametrize(
    "odd", [None, 5, "x", [1], {}, {"a": "b"}, {"JobSpec": 5, "State": [], "metadata": 0}]
)
@pytest.mark.parametrize(
    "function",
    [function for function in CALLS if "list_jobs" in function.__name__ or "search" in function.__name__]
    + [serverless.list_serverless_jobs],
    ids=name_of,
)
def test_an_odd_row_leaves_the_others_and_their_number(function: Callable[..., Any], odd: Any) -> None:
    """Without the row, a full page would look like the last one, and later pages would not be read."""
    call, sample = CALLS[function]
    body = json.loads(json.dumps(sample))
    rows = rows_of(body)
    before = call.read(ApiResponse(200, {}, json.dumps(body).encode()))
    rows.insert(0, odd)
    after = call.read(ApiResponse(200, {}, json.dumps(body).encode()))
    name = next(name for name in ("jobs", "items", "hpc_job_set") if hasattr(after, name))
    assert getattr(after, name)[1:] == getattr(before, name)
    assert len(getattr(after, name)) == len(rows)


@pytest.mark.parametrize("odd", [None, 5, {}, {"JobSpec": None, "JobName": "x"}])
@pytest.mark.parametrize("api", APIS)
def test_a_row_without_an_id_is_not_a_job(api: str, odd: Any) -> None:
    def run_call(call: ApiCall[Any]) -> Any:
        body: dict[str, Any] = sample_of(call)
        rows = rows_of(body)
        rows.insert(0, odd)
        body |= {name: len(rows) for name in ("TotalCount", "total_count", "count") if name in body}
        return call.read(ApiResponse(200, {}, json.dumps(body).encode()))

    cluster = None if api == "modelarts" else CLUSTER
    jobs = run_flow(APIS[api].cluster_jobs(cluster, datetime(2000, 1, 1, tzinfo=UTC)), run_call)
    assert jobs
    assert "" not in jobs


# ------------------------------------------------------------------ responses about something else

V1 = JobRef("10", version_id="20")


def _response(function: Callable[..., Any], *changes: tuple[tuple[str | int, ...], Any]) -> ApiResponse:
    body = json.loads(json.dumps(CALLS[function][1]))
    for (*path, last), value in changes:
        part = body
        for key in path:
            part = part[key]
        if value is None:
            part.pop(last, None)
        else:
            part[last] = value
    return ApiResponse(200, {}, json.dumps(body).encode())


PLACES: list[tuple[str, tuple[str | int, ...]]] = [
    ("ehpc.get_job", ("JobInfo", "JobId")),
    ("ehpc.get_job_log", ("JobId",)),
    ("classic.get_job_log", ("JobId",)),
    ("serverless.describe_serverless_jobs", ("JobInfos", 0, "JobId")),
    ("modelarts.show_training_job", ("metadata", "id")),
    ("modelarts.terminate_training_job", ("metadata", "id")),
    ("modelarts_v1.show_job_version", ("job_id",)),
    ("modelarts_v1.show_job_version", ("version_id",)),
    ("hpc.job_detail", ("hpc_job_set", 0, "hpcjob_uuid")),
]
BY_NAME = {name_of(function): function for function in CALLS}


@pytest.mark.parametrize(("name", "place"), PLACES, ids=lambda value: str(value))
def test_a_response_about_another_job_is_rejected(name: str, place: tuple[str | int, ...]) -> None:
    """Otherwise the end of one job would be taken for that of another."""
    call, _ = CALLS[BY_NAME[name]]
    for other in ("4711", 4711, "4711.manager", "hpcjob-other"):
        with pytest.raises(UnexpectedResponse, match=r"is about '[^']*(4711|other)"):
            call.read(_response(BY_NAME[name], (place, other)))
    for nothing in (None, "", " "):
        call.read(_response(BY_NAME[name], (place, nothing)))


@pytest.mark.parametrize(
    ("asked", "given", "same"),
    [
        *(("1", "1", True), ("1", "1.manager", True), ("1.manager", "1", True), (" 1.manager\n", "1", True)),
        *(("1.manager", "1.manager.cluster.local", True), ("1.Manager", "1.manager", True)),
        *(("1.scheduler", "1.scheduler****", True), ("77", "77[]", True), ("77[].m", "77", True)),
        *(
            ("77_3", "77", True),
            ("77_3", "77_[1-5%2]", True),
            ("77", "77_3", True),
            ("77[3].m", "77[].m", True),
        ),
        *(("77[3]", "77_3", True), ("123+1", "123", True), ("hpcjob-A", "hpcjob-a ", True)),
        *(("1", "2", False), ("1", "11", False), ("11", "1", False), ("1.manager", "1.other", False)),
        *(("77_3", "77_4", False), ("77[3].m", "77[4].m", False), ("77_3", "78_3", False), ("a", "b", False)),
        *(
            ("1", "1x", False),
            ("1", "x", False),
            ("123+0", "123+1", False),
            ("1.manager", "2.manager", False),
        ),
    ],
)
def test_spellings_of_one_id(asked: str, given: str, same: bool) -> None:
    """qsub adds the server's name, users omit it, and a scheduler returns the array of a waiting sub-job."""
    assert same_job(asked, given) is same


def test_a_sub_job_of_slurm_has_a_number_of_its_own() -> None:
    """``scontrol show job 77_3`` prints JobId=80 ArrayJobId=77 ArrayTaskId=3."""
    info = {"JobId": "80", "ArrayJobId": "77", "ArrayJobSubId": "3", "State": "RUNNING"}
    body = json.dumps({"RequestId": "1", "JobInfo": info}).encode()
    assert ehpc.get_job(CLUSTER, "77_3").read(ApiResponse(200, {}, body))
    for other in ("77_4", "78_3", "79"):
        with pytest.raises(ApiError, match="is about '80'"):
            ehpc.get_job(CLUSTER, other).read(ApiResponse(200, {}, body))


# ------------------------------------------------------------------ JSON of other services

_OTHERS: list[tuple[int, Any]] = [
    *((200, {"status": "ok"}), (200, {"status": 503}), (200, {"message": "maintenance", "request_id": "1"})),
    *((200, {"code": "NotFound", "message": "no such job"}), (200, {"code": 0, "message": "ok", "data": []})),
    *((404, {"code": 404, "message": "Not Found"}), (404, {"code": "NotFound", "message": "Not Found"})),
    *((404, {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}), (404, {"error": "x"})),
    *((403, {"error_code": 403, "error_msg": "denied"}), (403, {"errorCode": "403", "message": "denied"})),
    *((404, {"kind": "Status", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404}),),
    *((404, {"status": 404, "error": "Not Found", "message": "job not found", "path": "/"}),),
    *((404, {"ret_code": 0}), (200, {"ret_code": []}), (200, {"ret_code": ""}), (200, {"ret_code": "x"})),
    *((200, []), (200, "ok"), (200, None), (200, True), (404, {"detail": "Not Found"})),
]


@pytest.mark.parametrize("function", CALLS, ids=name_of)
def test_json_of_another_service_is_not_a_result(function: Callable[..., Any]) -> None:
    """A gateway's 404 once meant an unknown job, its 403 a missing permission, and a health check a job."""
    call, _ = CALLS[function]
    for status, body in _OTHERS:
        if call.operation == "ListTrainingJobTasks" and body == []:
            continue  # its response is a bare list
        if call.operation in ("CreateMetadataToken", "GetSecurityKey") and status != 200:
            continue  # no proxy is between a server and its metadata service, which has no format for errors
        with pytest.raises(ForeignResponse):
            call.read(ApiResponse(status, {}, json.dumps(body).encode()))


# ------------------------------------------------------------------ lists of nodes


@pytest.mark.parametrize(
    "text",
    [
        *("compute[0-999999999]", "c[0-9999][0-9999]", "c[0-99]" * 4, "[" * 100_000, "a[" * 50_000),
        *(",".join(["a[0-9998]"] * 10_000), "a[7-7]" * 10_000 + "[0-9999]", "c" * 90_000 + "[0-9999]"),
        *(f"n[{','.join(['0-9999'] * 14_000)}]", "a[0-9]" * 15_000, "a," * 10**6, f"n[0-{'9' * 5000}]"),
        "n[" + "0" * 5000 + "-" + "9" * 5000 + "]",
    ],
    ids=lambda text: text[:20],
)
def test_a_list_of_too_many_nodes_is_not_expanded(text: str) -> None:
    """compute[0-999999999] once took 3.9 GB."""
    tracemalloc.start()
    started = time.monotonic()
    names = node_names(text)
    took, memory = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(names) <= 10_000
    assert took < 5
    assert memory < 20_000_000


def test_invalid_ranges_are_not_expanded() -> None:
    assert node_names("compute[0-999999999],login") == ("compute[0-999999999]", "login")
    assert node_names("c[5-2,007]") == ("c5-2", "c007")
    assert len(node_names("compute[000-999,5-2]")) == 1001
    assert len(node_names("compute[0000-4095]")) == 4096

# SPDX-License-Identifier: Apache-2.0
"""The models for every sample response."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from airflow_provider_ehpc.apis.call import ApiResponse
from airflow_provider_ehpc.apis.huawei.iam import CreateTokenResponse
from airflow_provider_ehpc.apis.huawei.job_version import JobVersion
from airflow_provider_ehpc.apis.huawei.logs_bytes import LogSlice
from airflow_provider_ehpc.apis.huawei.logs_lines import LogLines
from airflow_provider_ehpc.apis.huawei.logs_preview import LogPreview
from airflow_provider_ehpc.apis.huawei.modelarts import (
    EventsResponse,
    SearchResponse,
    list_training_job_tasks,
)
from airflow_provider_ehpc.apis.huawei.modelarts_v1 import (
    AomLogResponse,
    ListResponse,
    LogFilesResponse,
    StopResponse,
)
from airflow_provider_ehpc.apis.huawei.protocol import read_response
from airflow_provider_ehpc.apis.huawei.training_job import TrainingJob
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.apis.response import ResponseModel
from tests.apis.huawei.drive import response, sample

MODELS: dict[str, type[ResponseModel]] = {
    "iam-token": CreateTokenResponse,
    "v1-aom-log": AomLogResponse,
    "v1-aom-log-captured": AomLogResponse,
    "v1-list": ListResponse,
    "v1-log": LogSlice,
    "v1-log-files": LogFilesResponse,
    "v1-stop": StopResponse,
    "v1-version": JobVersion,
    "v1-version-captured": JobVersion,
    "v2-create": TrainingJob,
    "v2-events": EventsResponse,
    "v2-log-preview": LogPreview,
    "v2-search": SearchResponse,
    "v2-show": TrainingJob,
    "v2-terminate": TrainingJob,
}


def read(name: str) -> Any:
    return read_response(MODELS[name], response(sample(name)))


def undeclared(model: BaseModel, where: str = "") -> Iterator[str]:
    """Return all fields of a response that no model declares."""
    for name in model.model_extra or {}:
        yield f"{where}{name}"
    for name, value in model:
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, BaseModel):
                yield from undeclared(part, f"{where}{name}.")


@pytest.mark.parametrize("name", MODELS)
def test_every_field_of_the_sample_is_typed(name: str) -> None:
    """An undeclared field can be read, but has no type and no completion in an editor."""
    assert list(undeclared(read(name))) == []


@pytest.mark.parametrize("name", MODELS)
def test_unknown_fields_and_null_are_accepted(name: str) -> None:
    """The cloud adds fields without a new version, and sends null although the table promises a value."""
    body = sample(name)
    more = read_response(MODELS[name], response({**body, "brand_new": {"x": 1}}))
    assert more.model_extra == {"brand_new": {"x": 1}}
    if "token" not in body:
        nulls = {field: None for field in body if field not in ("is_success", "metadata", "status")}
        read_response(MODELS[name], response({**body, **nulls}))


def test_v2_job() -> None:
    """The job in the sample could not be created."""
    job = read("v2-show")
    status = job.job_status(JobRef("3faf5c03-aaa1-4cbe-879d-24b05d997347"))
    assert status.state is JobState.FAILED
    assert status.raw_state == "Abnormal"
    assert status.reason == "job completed; CreateFailed"
    assert status.name == "trainjob--py14_mem06-108"
    assert status.submitted_at == datetime(2021, 11, 9, 8, 42, 26, 315000, tzinfo=UTC)
    assert status.started_at is None
    assert status.exit_code is None
    assert status.resources == {
        "nodes": "1",
        "cores": "8",
        "gpus": "1",
        "memory": "64GB",
        "flavor": "modelarts.vm.pnt1.large.eco",
    }
    assert job.status.tasks == ["worker-0"]
    assert job.status.running_records[0].start_at == datetime(2023, 11, 30, 6, 51, 33, tzinfo=UTC)
    assert job.status.running_records[0].end_related_task == "worker-2"
    assert job.algorithm.engine.engine_name == "PyTorch"


def test_v2_reason_names_the_task_that_failed() -> None:
    """Users ask the vendor: "The job failed, can the log show the reason"."""
    body = sample("v2-show")
    body["status"] |= {
        "phase": "Failed",
        "secondary_phase": "Failed",
        "task_statuses": [
            {"task": "worker-0", "exit_code": 0, "message": ""},
            {"task": "worker-1", "exit_code": "137", "message": "OOMKilled"},
        ],
        "running_records": [
            {"end_reason": "exit with 1", "end_related_task": "worker-0", "end_recover": "job_reschedule"},
            {"end_reason": "exit with 137", "end_related_task": "worker-1"},
        ],
    }
    job = read_response(TrainingJob, response(body))
    status = job.job_status(JobRef("j"))
    assert status.exit_code == 137
    assert status.reason == "worker-1: exit code 137, OOMKilled; worker-1: exit with 137"
    assert job.failed_tasks == ["worker-1"]


@pytest.mark.parametrize(
    ("phase", "secondary", "codes", "reason", "exit_code"),
    [
        ("Pending", "Queuing", [], "Queuing", None),
        ("Running", "Running", [], None, None),
        ("Running", "running", [None], None, None),
        ("Completed", "Completed", [0, 0], None, 0),
        ("Terminated", "TerminatedFailed", [], "TerminatedFailed", None),
        ("Failed", "Lost", [None], "Lost", None),
        ("Failed", "Failed", [0, 1], "worker-1: exit code 1", 1),
    ],
)
def test_v2_reason_and_exit_code(
    phase: str, secondary: str, codes: list[int | None], reason: str | None, exit_code: int | None
) -> None:
    """A task without a code did not end with 0. The second level is shown if it contains more."""
    statuses = [{"task": f"worker-{n}", "exit_code": code} for n, code in enumerate(codes)]
    body = {"phase": phase, "secondary_phase": secondary, "task_statuses": statuses}
    status = read_response(TrainingJob, response({"status": body})).job_status(JobRef("j"))
    assert (status.reason, status.exit_code) == (reason, exit_code)


def test_v2_response_without_tasks() -> None:
    """For a job that is being created, lists are null, and there are no times."""
    body = {"status": {"phase": "Creating", "tasks": None, "task_statuses": None, "start_time": 0}}
    job = read_response(TrainingJob, response(body))
    assert job.status.tasks == []
    assert job.job_status(JobRef("j")).started_at is None


def test_v2_secrets_are_not_shown() -> None:
    """The response contains the token of the job's notebook, and the job's environment."""
    body = {
        "endpoints": {"jupyter_lab": {"url": "https://x?token=SECRET1", "token": "SECRET1"}},
        "algorithm": {"environments": [{"DB_PASSWORD": "SECRET2"}]},
    }
    assert "SECRET" not in repr(read_response(TrainingJob, response(body)))


def test_v2_tasks_are_a_bare_list() -> None:
    """They show which node failed."""
    tasks = list_training_job_tasks("p", "j").read(response(sample("v2-tasks")))
    assert [(task.task, task.host_ip) for task in tasks.tasks] == [
        ("worker-0", "192.168.0.82"),
        ("worker-1", "192.168.0.83"),
    ]
    assert list(undeclared(tasks)) == []


def test_v2_events() -> None:
    """The numbers are documented as texts."""
    page = read("v2-events")
    assert (page.total, page.limit, page.offset) == (27, 10, 0)
    assert page.events[0].message == "Training job failed."
    assert page.events[0].time.isoformat() == "2022-11-26T16:03:41+08:00"


def test_v2_preview_under_its_old_name() -> None:
    """Before March 2022, the name was context. A private cloud may still use it."""
    old = read_response(LogPreview, response({"context": " line\n", "current_size": 6, "full_size": 6}))
    assert old.content == " line\n"


@pytest.mark.parametrize(
    ("name", "created"), [("v1-version", 1524189990635), ("v1-version-captured", 1609121837000)]
)
def test_v1_version(name: str, created: int) -> None:
    """Amounts of resources are numbers in one sample and texts in the captured response."""
    version = read(name)
    status = version.job_status(JobRef("10", version_id="10"))
    assert status.state is JobState.SUCCEEDED
    assert status.raw_state == "JOBSTAT_COMPLETED"
    assert status.submitted_at == datetime.fromtimestamp(created / 1000, UTC)
    assert version.job_id == str(sample(name)["job_id"])
    if name == "v1-version-captured":
        assert status.resources == {
            "nodes": "1",
            "cores": "8",
            "memory": "32",
            "flavor": "modelarts.vm.cpu.8u",
        }
        assert version.model_metric_list == {}
    else:
        assert status.resources["gpus"] == "2"
        assert version.parameter[0].value == "0.01"
        assert version.model_metric_list["total_metric"]["total_metric_values"]["recall"] == 0.005833
        assert version.volumes[1].host_path.dest_path == "/home/mind"


def test_v1_reason_of_a_failed_version() -> None:
    """The captured response has error_result, which is not documented."""
    body = {"status": "11", "error_result": "exit code 1"}
    status = read_response(JobVersion, response(body)).job_status(JobRef("1", version_id="1"))
    assert (status.state, status.reason) == (JobState.FAILED, "exit code 1")


@pytest.mark.parametrize(
    ("body", "files"),
    [
        ({"log_file_list": ["job-jobtest-tf.0"]}, ["job-jobtest-tf.0"]),
        ({"log_file_list": "job-jobtest-tf.0"}, ["job-jobtest-tf.0"]),
        ({"log_file_list": ""}, []),
        ({"log_file_list": None}, []),
        ({"is_success": True}, []),
    ],
)
def test_v1_log_files(body: dict[str, object], files: list[str]) -> None:
    """The list is a string according to the table, and empty before the job runs."""
    assert read_response(LogFilesResponse, response(body)).log_file_list == files


def test_v1_log_slice() -> None:
    """Numbers are in quotes, and log_byte_count in the table is count in the sample."""
    piece = read("v1-log")
    assert (piece.log, piece.end(0), piece.log_byte_count) == ("Log string", 10, 10)
    other = read_response(LogSlice, response({"log": " x\n", "log_byte_count": 3}))
    assert (other.log, other.end(5)) == (" x\n", 8)


def test_half_a_surrogate_pair_is_a_replaced_character() -> None:
    """A server that cuts its own UTF-16 sends one. It has no UTF-8, so reading the log would end there."""
    body = rb'{"log": "a\ud83d", "end_byte": 4, "count": 4}'
    piece = read_response(LogSlice, ApiResponse(200, {}, body))
    assert (piece.data, piece.whole(0), piece.ends_replaced) == ("a\ufffd".encode(), True, True)


@pytest.mark.parametrize("number", ["1551252759254000002", 1551252759254000002])
def test_line_numbers_stay_exact(number: str | int) -> None:
    """As floats, they would lose their last digits, and lines would be lost."""
    page = read_response(LogLines, response({"start_line": number, "end_line": number, "lines": "1"}))
    assert (page.start_line, page.end_line, page.lines) == (str(number), str(number), 1)


def test_captured_lines_are_the_lines_the_job_wrote() -> None:
    """Without a conversion, every second line of the task log would be empty."""
    records = read("v1-aom-log-captured").records()
    assert len(records) == 8
    assert records[0] == "Done exporting!"
    assert records[-1] == "[ModelArts Service Log]modelarts-pipe: total length: 23303"

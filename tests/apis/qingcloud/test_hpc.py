# SPDX-License-Identifier: Apache-2.0
"""Jobs and operations of QingCloud HPC with the common interface."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiRequest, InvalidArgument, NotFound, NotSupported
from airflow_provider_ehpc.apis.job import JobApi, JobRef, JobSpec, JobState, LogCursor
from airflow_provider_ehpc.apis.operation import OperationStatus
from airflow_provider_ehpc.apis.qingcloud.hpc import QingCloudHpcApi
from airflow_provider_ehpc.apis.qingcloud.states import job_state, operation_state, operation_status
from tests.apis.answering import Answering, sample

API: JobApi = QingCloudHpcApi("jinan1a")
REF = JobRef("hpcjob-cz8ngntp", "ehpc-2i6bsme6")
OPERATION = JobRef("j-8ajjp28fps8")


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("pending", JobState.QUEUED),
        ("running", JobState.RUNNING),
        ("paused", JobState.SUSPENDED),
        ("finished", JobState.SUCCEEDED),
        ("exited", JobState.FAILED),
        ("cancelled", JobState.CANCELLED),
        ("stopped", JobState.CANCELLED),
        (" Running ", JobState.RUNNING),
        ("unknown", JobState.UNKNOWN),
        ("deleted", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_every_documented_word_for_a_job_has_a_state(word: str, state: JobState) -> None:
    """Filter, list, detail and console have different words. A job with a missing word would never end."""
    assert job_state(word) is state


@pytest.mark.parametrize(
    ("word", "status", "state"),
    [
        ("pending", OperationStatus.IN_PROGRESS, JobState.RUNNING),
        ("working", OperationStatus.IN_PROGRESS, JobState.RUNNING),
        ("successful", OperationStatus.SUCCEEDED, JobState.SUCCEEDED),
        ("failed", OperationStatus.FAILED, JobState.FAILED),
        ("skipped", OperationStatus.UNKNOWN, JobState.UNKNOWN),
    ],
)
def test_every_word_for_an_operation_has_a_status_and_a_state(
    word: str, status: OperationStatus, state: JobState
) -> None:
    assert operation_status(word) is status
    assert operation_state(word) is state


def test_the_status_of_a_job_from_its_detail() -> None:
    """The documented sample has only the reason of its time in the queue, which is not that of its end."""
    cloud = Answering(lambda request: sample("qingcloud/job_detail.json"))
    status = cloud.run(API.job_status(REF))
    assert cloud.requests[0].path == "/api/job/jobdetail/hpcjob-cz8ngntp"
    assert cloud.requests[0].query == {"zone": "jinan1a", "cluster_id": "ehpc-2i6bsme6"}
    assert status.as_dict() == {
        "job_id": "hpcjob-cz8ngntp",
        "state": "CANCELLED",
        "raw_state": "cancelled",
        "cluster_id": "ehpc-2i6bsme6",
        "name": "作业-XaLEL",
        "user": "admin",
        "queue": "slurm",
        "submitted_at": "2022-04-01T03:23:25+00:00",
        "started_at": "2022-04-01T03:24:04+00:00",
        "modified_at": "2022-04-01T03:24:09+00:00",
        "resources": {"cores": "1"},
        "stdout_path": "home/admin/output/Customize20220401112325/job-7.out",
        "stderr_path": "home/admin/output/Customize20220401112325/job-7.err",
    }


def test_an_unknown_job_is_not_found() -> None:
    """The cloud may report it by a code or by an empty list."""
    with pytest.raises(NotFound):
        Answering(lambda request: {"ret_code": 0, "hpc_job_set": []}).run(API.job_status(REF))
    with pytest.raises(NotFound):
        Answering(lambda request: {"ret_code": 2100, "message": "gone"}).run(API.job_status(REF))


def test_an_asynchronous_operation_has_a_status_like_a_job() -> None:
    """Starting a cluster only returns a j-…, whose operation shows when the cluster has started."""
    cloud = Answering(lambda request: sample("qingcloud/operation.json"))
    status = cloud.run(API.job_status(API.job_ref("j-8ajjp28fps8", None, None)))
    assert (status.state, status.name) == (JobState.SUCCEEDED, "HpcQueueRemoveEhpcQueueNodes")
    assert status.ended_at == datetime(2022, 4, 6, 1, 26, 40, tzinfo=UTC)
    assert cloud.requests[0].query["jobs"] == cloud.requests[0].query["job_ids"] == "j-8ajjp28fps8"


def test_if_the_server_ignores_the_filter_the_operation_is_not_found() -> None:
    """It is not documented which of the two filters by ID works; possibly none."""
    cloud = Answering(lambda request: sample("qingcloud/operation.json"))
    with pytest.raises(NotFound):
        cloud.run(API.job_status(JobRef("j-another")))


def _listing(jobs: dict[str, str]) -> Any:
    """Return a cluster with these jobs and states."""

    def row(job_id: str) -> dict[str, Any]:
        return {"hpcjob_uuid": job_id, "job_status": jobs[job_id]}

    def respond(request: ApiRequest) -> Any:
        if request.path == "/api/job/list":
            found = [row(job) for job, word in jobs.items() if word == request.query["jobs_status"]]
            offset = int(request.query["offset"])
            return {"ret_code": 0, "total_count": len(found), "hpc_job_set": found[offset : offset + 100]}
        job_id = request.path.rpartition("/")[2]
        return {"ret_code": 0, "hpc_job_set": [row(job_id)] if job_id in jobs else []}

    return respond


def test_many_jobs_of_a_cluster_take_few_requests() -> None:
    """A thousand waiting sensors must not use up the quota of 2,000 requests per hour."""
    jobs = {f"hpcjob-{n}": "running" if n % 2 else "pending" for n in range(250)}
    jobs |= {"hpcjob-done": "finished", "hpcjob-bad": "exited"}
    refs = [JobRef(job_id, "ehpc-1") for job_id in [*jobs, "hpcjob-gone"]]
    cloud = Answering(_listing(jobs))
    statuses = cloud.run(API.job_statuses(refs))
    assert {ref.job_id: status and status.raw_state for ref, status in statuses.items()} == {
        **jobs,
        "hpcjob-gone": None,
    }
    assert len(cloud.requests) == 2 + 2 + 3


def test_a_long_list_is_not_read_for_three_jobs() -> None:
    jobs = {f"hpcjob-{n}": "running" for n in range(5000)}
    refs = [JobRef(f"hpcjob-{n}", "ehpc-1") for n in (4001, 4002, 4003)]
    cloud = Answering(_listing(jobs))
    assert [s.state for s in cloud.run(API.job_statuses(refs)).values()] == [JobState.RUNNING] * 3
    assert len(cloud.requests) <= 5


def test_jobs_and_operations_can_be_polled_together() -> None:
    jobs = _listing({"hpcjob-1": "running"})

    def respond(request: ApiRequest) -> Any:
        return sample("qingcloud/operation.json") if request.path == "/api/operation" else jobs(request)

    refs = [JobRef("hpcjob-1", "ehpc-1"), OPERATION]
    statuses = Answering(respond).run(API.job_statuses(refs))
    assert [statuses[ref].state for ref in refs] == [JobState.RUNNING, JobState.SUCCEEDED]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("hpcjob-1", None, None), "cluster_id"),
        (("hpcjob-1", "ehpc-1", "v1"), "version_id"),
        (("  ", "ehpc-1", None), "job_id"),
        (("hpcjob-1,hpcjob-2", "ehpc-1", None), "job_id: .* is not an ID of the API 'qingcloud'"),
        (("../hpcjob-1", "ehpc-1", None), "job_id: .* is not an ID of the API 'qingcloud'"),
    ],
)
def test_the_error_of_an_invalid_address_names_the_argument(arguments: Any, named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        API.job_ref(*arguments)


def test_reading_a_log_is_not_supported() -> None:
    """There is no such call; the error shows where the output is."""
    with pytest.raises(NotSupported, match="stdout_path"):
        API.read_log(REF, LogCursor(), 1024)
    with pytest.raises(NotSupported, match="log of a job"):
        API.log_tail(REF, 1024)


def test_submit_returns_the_id_that_all_calls_accept() -> None:
    """The job_id in the response is a number that jobdetail does not accept."""
    cloud = Answering(
        lambda request: {
            "ret_code": 0,
            "hpcjob_uuid": "hpcjob-bc2n5lyb",
            "job_id": "1547554",
            "job_status": "pending",
        }
    )
    spec = JobSpec("zz1", "sleep 600", queue="ehpcq-cq1opkdy", user="usr-IuZxPyn2", cores=4, priority=1)
    assert cloud.run(API.submit(spec, "ehpc-8jqdq0mz")) == JobRef("hpcjob-bc2n5lyb", "ehpc-8jqdq0mz")
    body = json.loads(cloud.requests[0].body)
    assert (body["hpcqueue_id"], body["core_limit"], body["priority"]) == ("ehpcq-cq1opkdy", 4, 1)
    named = JobSpec("zz1", "sleep 600", queue="slurm", user="admin")
    cloud.run(API.submit(named, "ehpc-8jqdq0mz"))
    assert json.loads(cloud.requests[1].body)["scheduler_queue_name"] == "slurm"


@pytest.mark.parametrize(
    "unknown",
    [
        {"memory": "4GB"},
        {"wall_time": 3600},
        {"gpus": 1},
        {"nodes": 2},
        {"array": "1-10:1"},
        {"environment": {"A": "1"}},
        {"password": "secret"},
    ],
)
def test_unsupported_fields_are_errors_before_any_request(unknown: dict[str, Any]) -> None:
    """If they were silently ignored, another job than the specified one would run."""
    with pytest.raises(NotSupported, match=next(iter(unknown))) as raised:
        API.submit(JobSpec("a", "hostname", user="admin", **unknown), "ehpc-1")
    assert "secret" not in str(raised.value)


def test_a_submission_needs_a_user() -> None:
    with pytest.raises(InvalidArgument, match="user"):
        API.submit(JobSpec("a", "hostname"), "ehpc-1")


def test_a_job_can_be_stopped_and_an_operation_cannot() -> None:
    cloud = Answering(lambda request: sample("qingcloud/stop_jobs.json"))
    cloud.run(API.stop(REF))
    assert json.loads(cloud.requests[0].body)["job_ids"] == ["hpcjob-cz8ngntp"]
    with pytest.raises(NotSupported, match="j-8ajjp28fps8"):
        API.stop(OPERATION)


def test_times_of_the_list_have_no_time_zone() -> None:
    """They have no Z, unlike jobdetail's, and must not be taken for UTC."""
    listed = sample("qingcloud/job_list.json")
    refs = [JobRef("hpcjob-vka21yhq", "ehpc-1"), JobRef("hpcjob-a", "ehpc-1"), JobRef("hpcjob-b", "ehpc-1")]

    def respond(request: ApiRequest) -> Any:
        return listed if "list" in request.path else {"ret_code": 0, "hpc_job_set": []}

    status = Answering(respond).run(API.job_statuses(refs))[refs[0]]
    assert status.started_at == datetime(2021, 8, 19, 14, 6, 41)  # noqa: DTZ001
    assert status.queue == "vis"

# SPDX-License-Identifier: Apache-2.0
"""API v2 with the common interface."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import (
    ApiRequest,
    ApiResponse,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.huawei.modelarts import (
    ModelArtsApi,
    create_training_job,
    list_training_job_events,
    list_training_job_tasks,
    search_training_jobs,
    show_log_lines,
    show_log_preview,
    show_training_job,
    terminate_training_job,
)
from airflow_provider_ehpc.apis.job import (
    JobApi,
    JobRef,
    JobSpec,
    JobState,
    LogBatch,
    LogChunk,
    LogCursor,
)
from tests.apis.huawei.aom import CREATED_MS, AomLog
from tests.apis.huawei.drive import Recorder, drive, rejection, response, sample

API = ModelArtsApi("p1")
REF = JobRef("j1")
BEGINNING = LogCursor()


def job(phase: str = "Running", tasks: tuple[str, ...] = ("worker-0",), **status: Any) -> ApiResponse:
    return response(
        {
            "metadata": {"id": "j1", "create_time": CREATED_MS},
            "status": {"phase": phase, "tasks": tasks, **status},
        }
    )


def read_log(cloud: Recorder, cursor: LogCursor = BEGINNING, size: int = 10**6) -> LogBatch:
    return drive(API.read_log(REF, cursor, size), cloud)


def test_it_is_a_job_api() -> None:
    """Everything above the hooks uses only this interface."""
    api: JobApi = API
    assert (api.name, api.log_limits.largest > api.log_limits.smallest) == ("modelarts", True)


class TestRequests:
    """The requests are those of the reference; the paths are those of the vendor's SDK."""

    def test_show(self) -> None:
        request = show_training_job("p1", "j1").request
        assert (request.method, request.target) == ("GET", "/v2/p1/training-jobs/j1")

    def test_search(self) -> None:
        call = search_training_jobs("p1", page=2, phases=("Running",), name="train")
        assert (call.request.method, call.request.target) == ("POST", "/v2/p1/training-job-searches")
        assert json.loads(call.request.body) == {
            "offset": 2,
            "limit": 50,
            "sort_by": "create_time",
            "order": "desc",
            "filters": [
                {"key": "phase", "operator": "in", "value": ["Running"]},
                {"key": "name", "operator": "like", "value": ["train"]},
            ],
        }
        assert not call.writes
        assert json.loads(search_training_jobs("p1").request.body)["filters"] == []

    def test_create(self) -> None:
        call = create_training_job("p1", {"kind": "job", "metadata": {"name": "n"}})
        assert (call.request.method, call.request.target) == ("POST", "/v2/p1/training-jobs")
        assert call.request.body == b'{"kind": "job", "metadata": {"name": "n"}}'
        assert call.writes

    def test_terminate(self) -> None:
        call = terminate_training_job("p1", "j1")
        assert (call.request.method, call.request.target) == ("POST", "/v2/p1/training-jobs/j1/actions")
        assert call.request.body == b'{"action_type": "terminate"}'
        assert call.writes

    def test_events(self) -> None:
        since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
        assert list_training_job_events("p1", "j1").request.target == (
            "/v2/p1/training-jobs/j1/events?offset=0&limit=50&order=desc"
        )
        call = list_training_job_events("p1", "j1", level="Error", pattern="a b", since=since, until=until)
        assert call.request.target == (
            "/v2/p1/training-jobs/j1/events?offset=0&limit=50&order=desc&level=Error&pattern=a%20b"
            "&start_time=1767225600000&end_time=1767312000000"
        )
        with pytest.raises(InvalidArgument, match="since and until"):
            list_training_job_events("p1", "j1", since=since)

    def test_tasks(self) -> None:
        assert list_training_job_tasks("p1", "j1").request.target == "/v2/p1/training-jobs/j1/tasks"
        assert list_training_job_tasks("p1", "j1", schedule_count=2).request.target == (
            "/v2/p1/training-jobs/j1/tasks?schedule_count=2"
        )

    def test_log(self) -> None:
        call = show_log_lines("p1", "j1", "worker-0", base_line="1", lines=500, order="asc")
        assert call.request.target == (
            "/v2/p1/training-jobs/j1/logs/worker-0?base_line=1&lines=500&order=asc"
        )
        assert show_log_preview("p1", "j1", "worker-0").request.target == (
            "/v2/p1/training-jobs/j1/tasks/worker-0/logs/preview"
        )


class TestJobRef:
    def test_id_is_enough(self) -> None:
        assert API.job_ref(" j1 ", None, None) == REF

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("j1", "c1", None), "cluster_id"),
            (("j1", None, "10"), "version_id"),
            ((" ", None, None), "job_id"),
            (("..", None, None), "job_id"),
        ],
    )
    def test_the_error_names_the_unsupported_argument(
        self, arguments: tuple[Any, Any, Any], named: str
    ) -> None:
        """A user would rely on a cluster that is silently ignored."""
        with pytest.raises(InvalidArgument, match=rf"^{named}: "):
            API.job_ref(*arguments)

    def test_project_is_needed(self) -> None:
        """Without it, the path is that of another resource, and causes a 404 without an explanation."""
        with pytest.raises(InvalidArgument, match=r"^project_id: "):
            ModelArtsApi(" ")


class TestStatus:
    def test_one_job(self) -> None:
        ref = JobRef(sample("v2-show")["metadata"]["id"])
        cloud = Recorder({f"/training-jobs/{ref.job_id}": response(sample("v2-show"))})
        status = drive(API.job_status(ref), cloud)
        assert (status.job_id, status.state, status.raw_state) == (ref.job_id, JobState.FAILED, "Abnormal")

    def test_unknown_job(self) -> None:
        """The status is 400. A job may still be unknown shortly after its submission."""
        cloud = Recorder({"/j1": rejection("ModelArts.2775", 400, "Training job (ID: j1) not found.")})
        with pytest.raises(NotFound):
            drive(API.job_status(REF), cloud)


class Project:
    """The jobs of a project, which can be searched page by page."""

    def __init__(self, phases: dict[str, str]) -> None:
        self.phases = phases
        self.searches = 0
        self.shows: list[str] = []

    def __call__(self, request: ApiRequest) -> ApiResponse:
        if request.path.endswith("/training-job-searches"):
            self.searches += 1
            search = json.loads(request.body)
            wanted = search["filters"][0]["value"]
            found = [self._job(name) for name, phase in self.phases.items() if phase in wanted]
            start = search["offset"] * search["limit"]
            page = found[start : start + search["limit"]]
            return response({"total": len(self.phases), "count": len(found), "items": page})
        name = request.path.rsplit("/", 1)[1]
        self.shows.append(name)
        return response(self._job(name)) if name in self.phases else rejection("ModelArts.2775", 400)

    def _job(self, name: str) -> dict[str, Any]:
        return {"metadata": {"id": name}, "status": {"phase": self.phases[name]}}


class TestManyStatuses:
    def states(self, cloud: Project, *names: str) -> dict[str, JobState | None]:
        found = drive(API.job_statuses([JobRef(name) for name in names]), cloud)
        return {ref.job_id: status and status.state for ref, status in found.items()}

    def test_a_page_has_fifty_jobs(self) -> None:
        """A thousand waiting jobs must not cost a thousand requests in each poll."""
        cloud = Project({f"j{n}": "Running" for n in range(120)})
        states = self.states(cloud, *cloud.phases)
        assert set(states.values()) == {JobState.RUNNING}
        assert len(states) == 120
        assert (cloud.searches, cloud.shows) == (3, [])

    def test_failed_jobs_are_requested_one_by_one(self) -> None:
        """Only their details contain exit code and reason."""
        cloud = Project({"a": "Running", "b": "Completed", "c": "Pending", "d": "Failed"})
        assert self.states(cloud, "a", "b", "c", "d", "gone") == {
            "a": JobState.RUNNING,
            "b": JobState.SUCCEEDED,
            "c": JobState.QUEUED,
            "d": JobState.FAILED,
            "gone": None,
        }
        assert (cloud.searches, sorted(cloud.shows)) == (2, ["d", "gone"])

    def test_two_jobs_are_requested_one_by_one(self) -> None:
        """A page would cost as much and contain less."""
        cloud = Project({"a": "Running", "b": "Running"})
        assert self.states(cloud, "a", "b") == {"a": JobState.RUNNING, "b": JobState.RUNNING}
        assert (cloud.searches, sorted(cloud.shows)) == (0, ["a", "b"])

    def test_a_long_list_is_not_read_for_a_few_jobs(self) -> None:
        """In a project with thousands of jobs, pages would cost more than single requests."""
        cloud = Project({f"j{n}": "Running" for n in range(1000)})
        assert self.states(cloud, "j997", "j998", "j999").keys() == {"j997", "j998", "j999"}
        assert (cloud.searches, len(cloud.shows)) == (1, 3)

    def test_other_errors_are_not_taken_for_a_missing_job(self) -> None:
        """With a wrong project, a thousand jobs would seem never to have existed."""
        with pytest.raises(InvalidRequest, match="project"):
            drive(API.job_statuses([REF]), lambda r: rejection("ModelArts.2786", 404, "project mismatch"))
        with pytest.raises(PermissionDenied):
            drive(API.job_statuses([REF] * 3), lambda r: rejection("ModelArts.0108", 403))


class TestLog:
    def test_every_task_is_a_stream(self) -> None:
        """A distributed job writes one log per node, and each is read from its own position on."""
        logs = {"worker-0": AomLog(["a"]), "worker-1": AomLog(["b", "c"])}
        cloud = Recorder(
            {"/j1": job(tasks=("worker-0", "worker-1")), **{f"/logs/{n}": log for n, log in logs.items()}}
        )
        batch = read_log(cloud)
        assert {chunk.stream: chunk.data for chunk in batch.chunks} == {
            "worker-0": b"a\n",
            "worker-1": b"b\nc\n",
        }
        assert (batch.more, batch.notes) == (False, ())
        cursor = BEGINNING
        for chunk in batch.chunks:
            cursor = cursor.moved(chunk.stream, chunk.next)
        logs["worker-1"].lines.append("d")
        assert [chunk.data for chunk in read_log(cloud, cursor).chunks] == [b"", b"d\n"]

    def test_tasks_that_come_later_are_found(self) -> None:
        """A job that is being created has no tasks yet, and elastic training adds some."""
        assert read_log(Recorder({"/j1": job("Creating", ())})) == LogBatch((), more=False)

    def test_more_is_set(self) -> None:
        """One incomplete stream is enough to read again at once."""
        logs = {"/logs/worker-0": AomLog(["x" * 99] * 1000), "/logs/worker-1": AomLog(["a"])}
        cloud = Recorder({"/j1": job(tasks=("worker-0", "worker-1")), **logs})
        assert read_log(cloud, size=20_000).more

    @pytest.mark.parametrize("nothing", [response(None, 204), rejection("ModelArts.2818", 400)])
    def test_log_that_is_not_there_yet(self, nothing: ApiResponse) -> None:
        """It is not an error: the job runs, and its log appears later."""
        batch = read_log(Recorder({"/j1": job(), "/logs/worker-0": nothing}))
        assert batch == LogBatch((LogChunk("worker-0", b"", 0),), more=False)

    @pytest.mark.parametrize(
        "absent",
        [
            rejection("APIG.0101", 404),
            rejection("ModelArts.2836", 404),
            rejection("ModelArts.2803", 405),
            rejection("ModelArts.2820", 400),
            rejection("ModelArts.2788", 400),
        ],
    )
    def test_previews_if_the_endpoint_has_no_lines(self, absent: ApiResponse) -> None:
        """In older regions and Open Telekom Cloud, the log is read all the same. The change is noted once."""
        preview = {"content": "one\n", "current_size": 4, "full_size": 4}
        cloud = Recorder(
            {"/j1": job(), "/logs/worker-0": absent, "/logs/preview": lambda request: response(preview)}
        )
        batch = read_log(cloud)
        assert batch.chunks[0].data == b"one\n"
        assert len(batch.notes) == 1
        assert "followed by its last 5 MB" in batch.notes[0]
        preview |= {"content": "one\ntwo\n", "current_size": 8, "full_size": 8}
        cursor = BEGINNING.moved("worker-0", batch.chunks[0].next)
        assert [chunk.data for chunk in read_log(cloud, cursor).chunks] == [b"two\n"]
        assert read_log(cloud, cursor).notes == ()
        assert len(cloud.requests_to("/logs/worker-0")) == 1

    def test_previews_of_a_log_that_is_still_empty(self) -> None:
        """The lines are not requested again, and the change is not noted again."""
        cloud = Recorder(
            {
                "/j1": job(),
                "/logs/worker-0": rejection("APIG.0101", 404),
                "/logs/preview": response(None, 204),
            }
        )
        batch = read_log(cloud)
        cursor = BEGINNING.moved("worker-0", batch.chunks[0].next)
        again = read_log(cloud, cursor)
        assert (len(batch.notes), again.notes) == (1, ())
        assert len(cloud.requests_to("/logs/worker-0")) == 1

    def test_previews_if_the_beginning_cannot_be_requested(self) -> None:
        """The base line for the beginning is invented: if the API does not know it, the log is not empty."""
        log = AomLog(["a", "b"], knows_any_base=False)
        body = {"content": "a\nb\n", "current_size": 4, "full_size": 4}
        cloud = Recorder({"/j1": job(), "/logs/worker-0": log, "/logs/preview": response(body)})
        assert read_log(cloud).chunks[0].data == b"a\nb\n"

    def test_gap_in_a_preview_is_passed_on(self) -> None:
        """The reader of the task log must know of missing data."""
        body = {"content": "z" * 10, "current_size": 10, "full_size": 30}
        cloud = Recorder(
            {"/j1": job(), "/logs/worker-0": rejection("APIG.0101", 404), "/logs/preview": response(body)}
        )
        assert read_log(cloud).notes[1] == (
            "20 bytes of worker-0 are missing here: the preview holds the last 10"
        )

    def test_no_change_to_previews_in_the_middle(self) -> None:
        """Lines would be shown again."""
        cloud = Recorder({"/j1": job(), "/logs/worker-0": rejection("APIG.0101", 404)})
        with pytest.raises(InvalidRequest):
            read_log(cloud, BEGINNING.moved("worker-0", "1609121886518240330"))

    def test_temporary_faults_change_nothing(self) -> None:
        """A fault of the gateway does not mean that the endpoint has no lines."""
        cloud = Recorder({"/j1": job(), "/logs/worker-0": rejection("APIG.0203", 504)})
        with pytest.raises(ServiceUnavailable):
            read_log(cloud)

    def test_cleared_log_is_an_error(self) -> None:
        """After 30 days, the error explains to the user why there are no lines."""
        gone = rejection("ModelArts.2819", 400, "the log file has been cleared")
        with pytest.raises(InvalidRequest, match="has been cleared"):
            read_log(Recorder({"/j1": job(), "/logs/worker-0": gone, "/logs/preview": gone}))


class TestTail:
    def test_of_the_tasks_that_failed(self) -> None:
        """The error message of a failed job has room for a few lines: those of the task that failed."""
        statuses = [{"task": "worker-0", "exit_code": 0}, {"task": "worker-1", "exit_code": 1}]
        failed = job("Failed", ("worker-0", "worker-1"), task_statuses=statuses)
        log = AomLog([f"line {n}" for n in range(100)])
        chunks = drive(API.log_tail(REF, 16), Recorder({"/j1": failed, "/logs/worker-1": log}))
        assert [(chunk.stream, chunk.data) for chunk in chunks] == [("worker-1", b"line 98\nline 99\n")]
        assert log.requests[0].query == {"lines": "10", "order": "desc"}

    def test_of_all_tasks_if_none_is_known_to_have_failed(self) -> None:
        """A job may end as Abnormal without any report of its tasks."""
        cloud = Recorder({"/j1": job("Abnormal", ("worker-0", "worker-1")), "/worker-0": AomLog(["a"])})
        cloud.responses["/worker-1"] = AomLog(["b"])
        assert [chunk.data for chunk in drive(API.log_tail(REF, 100), cloud)] == [b"a\n", b"b\n"]

    def test_by_preview_if_the_endpoint_has_no_lines(self) -> None:
        """As for reading."""
        body = {"content": "x" * 50 + "\nlast\n", "current_size": 56, "full_size": 56}
        cloud = Recorder(
            {"/j1": job("Failed"), "/logs/worker-0": rejection("APIG.0101", 404), "/preview": response(body)}
        )
        assert [chunk.data for chunk in drive(API.log_tail(REF, 5), cloud)] == [b"last\n"]


class TestSubmitAndStop:
    def test_submit(self) -> None:
        cloud = Recorder({"/training-jobs": response(sample("v2-create"), 201)})
        ref = drive(
            API.submit(JobSpec("n", "run", options={"spec": {"resource": {"flavor_id": "f"}}}), ""), cloud
        )
        assert ref == JobRef("425b7087-83de-49ed-9e40-5bb642be956f")
        assert json.loads(cloud.requests[0].body)["spec"] == {"resource": {"flavor_id": "f"}}

    def test_submit_rejects_a_cluster(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^cluster_id: "):
            drive(API.submit(JobSpec("n", "run"), "c1"), Recorder({}))

    def test_submit_without_an_id_is_an_error(self) -> None:
        """Without an ID, no task can wait for the job, and another submission would run it twice."""
        with pytest.raises(UnexpectedResponse, match="no job id"):
            drive(
                API.submit(JobSpec("n", "run"), None),
                Recorder({"/training-jobs": response({"metadata": {}}, 201)}),
            )

    def test_stop(self) -> None:
        ref = JobRef(sample("v2-terminate")["metadata"]["id"])
        cloud = Recorder({"/actions": response(sample("v2-terminate"), 202)})
        assert drive(API.stop(ref), cloud) is None
        assert len(cloud.requests) == 1

    @pytest.mark.parametrize("phase", ["Completed", "Terminated", "Failed", "Terminating"])
    def test_stopping_a_job_that_has_ended_is_not_an_error(self, phase: str) -> None:
        """Otherwise a task that is killed just when its job ends would fail in its clean-up."""
        cloud = Recorder({"/actions": rejection("ModelArts.2796", 409), "/j1": job(phase)})
        assert drive(API.stop(REF), cloud) is None

    def test_failing_to_stop_a_running_job_is_an_error(self) -> None:
        """The job costs money while it runs."""
        cloud = Recorder({"/actions": rejection("ModelArts.2796", 409), "/j1": job("Running")})
        with pytest.raises(InvalidRequest, match=r"ModelArts\.2796"):
            drive(API.stop(REF), cloud)

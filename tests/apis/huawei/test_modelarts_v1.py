# SPDX-License-Identifier: Apache-2.0
"""API v1 with the common interface."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import (
    ApiRequest,
    ApiResponse,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.huawei.modelarts_v1 import (
    ModelArtsV1Api,
    list_jobs,
    list_log_files,
    show_job_version,
    show_log_lines,
    show_log_slice,
    stop_job_version,
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
from tests.apis.huawei.aom import CREATED_MS, FIRST, AomLog
from tests.apis.huawei.drive import Recorder, drive, rejection, response, sample

API = ModelArtsV1Api("p1")
REF = JobRef("10", version_id="20")
BEGINNING = LogCursor()
VERSION = "/v1/p1/training-jobs/10/versions/20"


class LogFile:
    """The /log of one file, as in the sample: numbers are texts, and the length is ``count``."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()

    def __call__(self, request: ApiRequest) -> ApiResponse:
        start, length = int(request.query["start_byte"]), int(request.query["offset"])
        start = max(0, len(self.data) - length) if start == -1 else start
        piece = self.data[start : start + length]
        end = str(start + len(piece))
        return response(
            {
                "is_success": True,
                "log": piece.decode(errors="replace"),
                "end_byte": end,
                "count": str(len(piece)),
            }
        )


def files(*names: str) -> ApiResponse:
    return response({"is_success": True, "log_file_list": list(names)})


def read_log(cloud: Recorder, cursor: LogCursor = BEGINNING, size: int = 65536) -> LogBatch:
    return drive(API.read_log(REF, cursor, size), cloud)


def test_it_is_a_job_api() -> None:
    """Everything above the hooks uses only this interface."""
    api: JobApi = API
    assert (api.name, api.log_limits.smallest) == ("modelarts-v1", 2048)


class TestRequests:
    """The requests are those of the reference."""

    def test_reads(self) -> None:
        calls = {
            VERSION: show_job_version("p1", REF),
            f"{VERSION}/log/file-names": list_log_files("p1", REF),
            "/v1/p1/training-jobs?page=1&per_page=1000&sortBy=create_time&order=desc": list_jobs("p1"),
            f"{VERSION}/aom-log?log_file=f.0&base_line=1&lines=50&order=desc": show_log_lines(
                "p1", REF, "f.0", base_line="1", lines=50, order="desc"
            ),
            f"{VERSION}/log?log_file=log%201.log&start_byte=0&offset=2048": show_log_slice(
                "p1", REF, "log 1.log"
            ),
        }
        for target, call in calls.items():
            assert (call.request.method, call.request.target) == ("GET", target)
            assert call.request.body == b""

    def test_stop(self) -> None:
        call = stop_job_version("p1", REF)
        assert (call.request.method, call.request.target) == ("POST", f"{VERSION}/stop")
        assert call.writes

    @pytest.mark.parametrize(("start", "offset"), [(0, 0), (0, 2049), (0, -5), (-2, 10)])
    def test_slices_out_of_range_are_not_sent(self, start: int, offset: int) -> None:
        """The page allows negative lengths without an explanation."""
        with pytest.raises(InvalidArgument, match="start_byte, offset"):
            show_log_slice("p1", REF, "f.0", start_byte=start, offset=offset)

    def test_version_is_part_of_the_path(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^version_id: "):
            show_job_version("p1", JobRef("10"))


class TestJobRef:
    def test_job_and_version(self) -> None:
        assert API.job_ref(" 10", None, "20 ") == REF

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("10", "c1", "20"), "cluster_id"),
            (("10", None, None), "version_id"),
            (("10", None, " "), "version_id"),
            (("10", None, "V0001"), "version_id"),
            (("3faf5c03-aaa1-4cbe-879d-24b05d997347", None, "20"), "job_id"),
            (("", None, "20"), "job_id"),
        ],
    )
    def test_the_error_names_the_missing_or_wrong_argument(
        self, arguments: tuple[Any, Any, Any], named: str
    ) -> None:
        """A version's name in place of its number, or an ID of v2, would only cause an unexplained 404."""
        with pytest.raises(InvalidArgument, match=rf"^{named}: "):
            API.job_ref(*arguments)

    def test_project_is_needed(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^project_id: .*modelarts-v1"):
            ModelArtsV1Api("")


class TestStatus:
    def test_one_version(self) -> None:
        version = {**sample("v1-version-captured"), "job_id": 10, "version_id": 20}
        cloud = Recorder({VERSION: response(version)})
        status = drive(API.job_status(REF), cloud)
        assert (status.job_id, status.state, status.raw_state) == (
            "10",
            JobState.SUCCEEDED,
            "JOBSTAT_COMPLETED",
        )

    def test_unknown_version(self) -> None:
        """v1 may report it with status 200."""
        body = {"is_success": False, "error_code": "ModelArts.0102", "error_msg": "The job does not exist."}
        with pytest.raises(NotFound):
            drive(API.job_status(REF), Recorder({VERSION: response(body)}))

    def test_many(self) -> None:
        """The list is enough for running versions. Only the details contain the reason of an end."""
        rows = [
            {"job_id": 1, "version_id": 1, "status": 8},
            {"job_id": 2, "version_id": 1, "status": "7"},
            {"job_id": 3, "version_id": 1, "status": 11},
            {"job_id": 4, "version_id": 2, "status": 8},
        ]
        cloud = Recorder(
            {
                "/training-jobs": response({"jobs": rows, "job_total_count": 4}),
                "/training-jobs/3/versions/1": response({"status": 11, "error_result": "exit code 1"}),
                "/training-jobs/4/versions/1": response({"status": 10}),
                "/training-jobs/5/versions/1": rejection("ModelArts.0102", 404),
            }
        )
        refs = [JobRef(str(n), version_id="1") for n in range(1, 6)]
        found = drive(API.job_statuses(refs), cloud)
        assert [found[ref] and found[ref].state for ref in refs] == [
            JobState.RUNNING,
            JobState.QUEUED,
            JobState.FAILED,
            JobState.SUCCEEDED,
            None,
        ]
        assert found[refs[2]].reason == "exit code 1"
        assert len(cloud.requests) == 4
        assert cloud.requests[0].query["page"] == "1"


class TestLog:
    def test_every_file_is_a_stream(self) -> None:
        """There is one file per node, each with its own offset."""
        logs = {"job.0": LogFile("训练\n" * 700), "job.1": LogFile("b\n")}
        cloud = Recorder(
            {
                "/file-names": files("job.0", "job.1"),
                "/log": lambda request: logs[request.query["log_file"]](request),
            }
        )
        batch = read_log(cloud)
        assert batch == LogBatch(
            (LogChunk("job.0", logs["job.0"].data, 4900), LogChunk("job.1", b"b\n", 2)), more=False
        )
        logs["job.1"].data += b"c\n"
        cursor = LogCursor({"job.0": 4900, "job.1": 2})
        assert [chunk.data for chunk in read_log(cloud, cursor).chunks] == [b"", b"c\n"]

    def test_no_files_yet(self) -> None:
        """There is none before the job runs."""
        assert read_log(Recorder({"/file-names": files()})) == LogBatch((), more=False)

    def test_size_bounds_the_calls(self) -> None:
        """At 2 KiB per call, a large log would hold up everything else."""
        cloud = Recorder({"/file-names": files("job.0"), "/log": LogFile("x" * 10**6)})
        batch = read_log(cloud, size=API.log_limits.largest)
        assert (len(batch.chunks[0].data), batch.more) == (65536, True)
        assert len(cloud.requests_to("/log")) == 32

    @pytest.mark.parametrize("gone", [rejection("APIG.0101", 404), rejection("ModelArts.0105", 400)])
    def test_reads_lines_if_the_endpoint_has_no_bytes(self, gone: ApiResponse) -> None:
        """Open Telekom Cloud documents only aom-log. Its words for the direction are the opposite of v2's."""
        log = AomLog(["a", "b"], forward="desc", doubled=True)
        cloud = Recorder(
            {
                "/file-names": files("job.0"),
                "/aom-log": log,
                "/log": gone,
                VERSION: response({"create_time": CREATED_MS}),
            }
        )
        batch = read_log(cloud)
        assert batch == LogBatch((LogChunk("job.0", b"a\nb\n", str(FIRST + 10)),), more=False)
        log.lines.append("c")
        again = read_log(cloud, LogCursor({"job.0": batch.chunks[0].next}))
        assert again.chunks[0].data == b"c\n"
        assert len(cloud.requests_to("/log")) == 1

    def test_no_change_to_lines_in_the_middle(self) -> None:
        """A byte offset cannot be converted to a line, so lines would be shown again."""
        cloud = Recorder({"/file-names": files("job.0"), "/log": rejection("APIG.0101", 404)})
        with pytest.raises(InvalidRequest):
            read_log(cloud, LogCursor({"job.0": 5}))

    def test_a_log_whose_beginning_cannot_be_read_is_an_error(self) -> None:
        """It must not look like an empty log."""
        cloud = Recorder(
            {
                "/file-names": files("job.0"),
                "/aom-log": AomLog(["a"], forward="desc", knows_any_base=False),
                "/log": rejection("APIG.0101", 404),
                VERSION: response({"create_time": CREATED_MS}),
            }
        )
        with pytest.raises(UnexpectedResponse, match=r"job\.0"):
            read_log(cloud)

    def test_is_success_false_is_not_an_empty_log(self) -> None:
        """Otherwise the log would seem to have ended."""
        cloud = Recorder({"/file-names": response(sample("v1-log-failed"))})
        with pytest.raises(InvalidRequest, match="Error string"):
            read_log(cloud)


class TestTail:
    def test_end_of_each_file(self) -> None:
        """One call per file; a cut character is omitted."""
        cloud = Recorder({"/file-names": files("job.0"), "/log": LogFile("训" * 2000 + "end\n")})
        (chunk,) = drive(API.log_tail(REF, 10**6), cloud)
        assert chunk.data == ("训" * 681 + "end\n").encode()
        assert chunk.next == 6004
        assert cloud.requests_to("/log")[0].query["start_byte"] == "-1"
        assert drive(API.log_tail(REF, 4), cloud)[0].data == b"end\n"

    def test_by_lines_if_the_endpoint_has_no_bytes(self) -> None:
        """As for reading."""
        log = AomLog(["a", "b"], forward="desc")
        cloud = Recorder(
            {"/file-names": files("job.0"), "/aom-log": log, "/log": rejection("APIG.0101", 404)}
        )
        assert drive(API.log_tail(REF, 100), cloud)[0].data == b"a\nb\n"


class TestSubmitAndStop:
    def test_nothing_is_submitted(self) -> None:
        """The error is raised before any request."""
        with pytest.raises(InvalidArgument, match=r"^api: .*use api='modelarts'"):
            API.submit(JobSpec("n", "run"), None)

    def test_stop(self) -> None:
        cloud = Recorder({"/stop": response(sample("v1-stop"))})
        assert drive(API.stop(REF), cloud) is None

    @pytest.mark.parametrize("status", [10, 9])
    def test_stopping_a_job_that_has_ended_is_not_an_error(self, status: int) -> None:
        """The error code of v1 is not documented."""
        cloud = Recorder({"/stop": response(sample("v1-failed")), VERSION: response({"status": status})})
        assert drive(API.stop(REF), cloud) is None

    def test_failing_to_stop_a_running_job_is_an_error(self) -> None:
        cloud = Recorder({"/stop": response(sample("v1-failed")), VERSION: response({"status": 8})})
        with pytest.raises(InvalidRequest, match="Error string"):
            drive(API.stop(REF), cloud)

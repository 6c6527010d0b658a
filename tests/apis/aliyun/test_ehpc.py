# SPDX-License-Identifier: Apache-2.0
"""E-HPC 2024-07-30, tested with the small cluster in this file."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun.ehpc import (
    EhpcApi,
    create_job,
    get_job,
    get_job_log,
    list_jobs,
    stop_jobs,
)
from airflow_provider_ehpc.apis.call import (
    ApiRequest,
    ApiResponse,
    InvalidArgument,
    NotFound,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, JobSpec, JobState, LogCursor

API = EhpcApi()
CLUSTER = "ehpc-hz-FYUr32****"
REF = JobRef("1.manager", CLUSTER)


@dataclass
class Job:
    """A job, or a sub-job of an array job."""

    state: str = "Running"
    name: str = "job"
    array_request: str = ""
    array_job_id: str = ""
    index: str = ""
    gone: bool = False
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass
class Cluster:
    """Cluster that implements the API's operations as their pages describe them."""

    jobs: dict[str, Job] = field(default_factory=dict)
    sizes_are_true: bool = True

    def __call__(self, request: ApiRequest) -> ApiResponse:
        assert request.method == "POST"
        assert request.headers["x-acs-version"] == "2024-07-30"
        query = dict(request.query)
        assert query.pop("ClusterId") == CLUSTER
        fields = getattr(self, request.headers["x-acs-action"])(query)
        body = json.dumps({"RequestId": "04F0", "Success": True, **fields}).encode()
        return ApiResponse(200, {"content-type": "application/json"}, body)

    def GetJob(self, query: dict[str, str]) -> Any:
        job = self.jobs.get(query["JobId"])
        if job is None:
            return {"JobInfo": {}}
        return {
            "JobInfo": {
                "JobId": query["JobId"],
                "JobName": job.name,
                "State": job.state,
                "ArrayRequest": job.array_request,
                "ArrayJobId": job.array_job_id,
                "ArrayJobSubId": job.index,
            }
        }

    def ListJobs(self, query: dict[str, str]) -> Any:
        number, size = int(query["PageNumber"]), int(query["PageSize"])
        assert size <= 50
        wanted = json.loads(query["JobFilter"])
        chosen = [
            {
                "JobName": job.name,
                "JobSpec": {
                    "Id": job_id,
                    "State": job.state,
                    "ArrayRequest": job.array_request,
                    "ArrayJobId": job.array_job_id,
                    "ArrayJobSubId": job.index,
                    "SubmitTime": "1724122486",
                },
            }
            for job_id, job in self.jobs.items()
            if wanted.get("JobStatus", "all")
            in ("all", "finished" if job.state in ("FINISHED", "Completed", "Failed") else "notfinish")
            and wanted.get("JobName", "") in job.name
        ]
        return {"TotalCount": len(chosen), "Jobs": chosen[(number - 1) * size : number * size]}

    def GetJobLog(self, query: dict[str, str]) -> Any:
        job = self.jobs[query["JobId"]]
        offset, size = int(query["Offset"]), int(query["Size"])
        log: dict[str, Any] = {"JobId": query["JobId"]}
        for name, content in (("Stdout", job.stdout), ("Stderr", job.stderr)):
            if query["LogType"] in (name.lower(), "all"):
                log[f"{name}Log"] = base64.b64encode(content[offset : offset + size]).decode()
                log[f"{name}LogSize"] = len(content) if self.sizes_are_true else 0
        return log

    def CreateJob(self, query: dict[str, str]) -> Any:
        return {"JobId": "14"} if query["JobName"] != "silent" else {"JobId": ""}

    def StopJobs(self, query: dict[str, str]) -> Any:
        for job_id in json.loads(query["JobIds"]):
            self.jobs[job_id].state = "FINISHED"
        return {"Success": "true"}


# ------------------------------------------------------------------ GetJob


def test_the_documented_job(sample, drive):
    response = get_job(CLUSTER, "1.manager").read(sample("aliyun_2024_get_job"))
    job = response.job_info
    assert job is not None
    assert (job.job_id, job.job_name, job.state) == ("1.manager", "testJob", "Running")
    assert (job.priority, job.array_job_id, job.array_job_sub_id) == ("0", "1", "3")
    assert job.create_time == datetime.fromisoformat("2024-08-16T10:52:48")
    assert job.create_time.tzinfo is None
    assert job.extra_info == {}
    assert not response.model_extra
    assert not job.model_extra

    status = drive(API.job_status(REF), lambda _: sample("aliyun_2024_get_job")).result
    assert status.as_dict() == {
        "job_id": "1.manager",
        "cluster_id": CLUSTER,
        "state": "RUNNING",
        "raw_state": "Running",
        "name": "testJob",
        "user": "testuser",
        "queue": "workq",
        "submitted_at": "2024-08-16T10:52:48",
        "started_at": "2024-08-16T10:52:48",
        "modified_at": "2024-08-16T10:52:48",
        "nodes": ["compute000"],
        "resources": {"nodes": "1", "cores": "2", "gpus": "1", "memory": "1gb"},
        "resources_used": {"nodes": "2", "cores": "2", "memory": "512mb"},
        "stdout_path": "/home/xxx/STDIN.o1",
        "stderr_path": "/home/xxx/STDIN.e1",
    }


@pytest.mark.parametrize(
    ("field", "attribute", "value", "read"),
    [
        ("Priority", "priority", 0, "0"),
        ("Priority", "priority", "0", "0"),
        ("ArrayJobId", "array_job_id", 1, "1"),
        ("ArrayJobId", "array_job_id", "1", "1"),
        ("ArrayJobId", "array_job_id", "", ""),
        ("ArrayJobSubId", "array_job_sub_id", 3, "3"),
        ("ArrayRequest", "array_request", "", ""),
        ("ArrayRequest", "array_request", None, ""),
        ("ArrayRequest", "array_request", "1-5:2", "1-5:2"),
        ("JobName", "job_name", "testJob\n", "testJob"),
        ("State", "state", " Running\n", "Running"),
        ("ExtraInfo", "extra_info", {}, {}),
        ("ExtraInfo", "extra_info", "{}", "{}"),
        ("Variables", "variables", [{"Name": "x", "Value": "y"}], [{"Name": "x", "Value": "y"}]),
        ("Variables", "variables", '{"PBS_O_SHELL":"/bin/bash"}', '{"PBS_O_SHELL":"/bin/bash"}'),
        ("CreateTime", "create_time", "1724122486", datetime(2024, 8, 20, 2, 54, 46, tzinfo=UTC)),
        ("CreateTime", "create_time", 1724122486000, datetime(2024, 8, 20, 2, 54, 46, tzinfo=UTC)),
        ("CreateTime", "create_time", "2024-08-16T10:52Z", datetime(2024, 8, 16, 10, 52, tzinfo=UTC)),
        ("CreateTime", "create_time", "", None),
        ("CreateTime", "create_time", None, None),
        ("CreateTime", "create_time", 0, None),
        ("CreateTime", "create_time", "soon", None),
    ],
)
def test_type_drift_of_get_job(reply, field, attribute, value, read):
    """Pages, samples and translations disagree about types: no such difference may fail a wait."""
    response = get_job(CLUSTER, "1").read(reply({"JobInfo": {"JobId": "1", field: value}}))
    assert getattr(response.job_info, attribute) == read


@pytest.mark.parametrize(
    "resources", [{"Nodes": 1, "Cores": 2, "Memory": "1gb"}, {"Nodes": "1", "Cores": "2", "Memory": "1gb\n"}]
)
def test_type_drift_of_resources(reply, resources):
    response = get_job(CLUSTER, "1").read(reply({"JobInfo": {"JobId": "1", "Resources": resources}}))
    assert response.job_info.resources.reported() == {"nodes": "1", "cores": "2", "memory": "1gb"}


@pytest.mark.parametrize("success", [True, "true", "True", None])
def test_type_drift_of_success(reply, success):
    response = get_job(CLUSTER, "1").read(reply({"Success": success, "JobInfo": {"JobId": "1"}}))
    assert response.job_info.job_id == "1"


def test_undocumented_fields_are_preserved(reply):
    response = get_job(CLUSTER, "1").read(reply({"JobInfo": {"JobId": "1", "ExitCode": 3}, "HostId": "h"}))
    assert response.job_info.model_extra == {"ExitCode": 3}
    assert response.model_extra == {"HostId": "h"}


@pytest.mark.parametrize("fields", [{"JobInfo": None}, {"JobInfo": {}}, {"JobInfo": {"JobId": ""}}])
def test_a_response_without_a_job(drive, reply, fields):
    """No error is documented for an unknown job; an empty response must not pass for a job."""
    with pytest.raises(NotFound):
        drive(API.job_status(REF), lambda _: reply(fields))


@pytest.mark.parametrize("odd", [None, "", [], 1.5])
def test_a_job_without_an_id_is_known(drive, reply, odd):
    """An unreadable field must not turn a running job into an unknown one."""
    fields = {"JobInfo": {"JobId": odd, "State": "RUNNING"}}
    assert drive(API.job_status(REF), lambda _: reply(fields)).result.state is JobState.RUNNING


@pytest.mark.parametrize(
    ("word", "state", "assumed"),
    [
        ("FINISHED", JobState.SUCCEEDED, True),
        ("Completed", JobState.SUCCEEDED, False),
        ("RUNNING", JobState.RUNNING, False),
        ("QUEUED", JobState.QUEUED, False),
        ("Pending", JobState.QUEUED, False),
        ("FAILED", JobState.FAILED, False),
        ("Whatever", JobState.UNKNOWN, False),
    ],
)
def test_states(drive, word, state, assumed):
    status = drive(API.job_status(REF), Cluster({"1.manager": Job(word)})).result
    assert (status.state, status.raw_state, status.outcome_assumed) == (state, word, assumed)


# ------------------------------------------------------------------ requests


def test_recorded_queries_of_the_vendors_sdk():
    """Recorded from alibabacloud-ehpc20240730 2.4.0."""
    assert get_job(CLUSTER, "1.manager").request.query == {"ClusterId": CLUSTER, "JobId": "1.manager"}
    log = get_job_log(CLUSTER, "1.manager", log_type="all", offset=10240, size=20480)
    assert log.request.query == {
        "ClusterId": CLUSTER,
        "JobId": "1.manager",
        "LogType": "all",
        "Offset": "10240",
        "Size": "20480",
    }
    spec = JobSpec(
        name="TestJob",
        command="/home/u/a b.sh --x='1&2'",
        queue="comp",
        user="testuser",
        password="p@ss/w+rd",
        nodes=2,
        cores=2,
        gpus=1,
        memory="4gb",
        wall_time=3600,
        priority=1,
        array="1-5:2",
        environment={"x": "y", "中": "文"},
        stdout_path="/home/u/job.out",
        stderr_path="/home/u/job.err",
        options={"PostCmdLine": "/bin/sleep 10"},
    )
    request = create_job(CLUSTER, spec).request
    query = dict(request.query)
    recorded = (
        r"""{"ArrayRequest":"1-5:2","CommandLine":"/home/u/a b.sh --x='1&2'","JobQueue":"comp","""
        r""""PostCmdLine":"/bin/sleep 10","Priority":"1","Resources":{"Cores":2,"Gpus":1,"Memory":"4gb","""
        r""""Nodes":2},"RunasUser":"testuser","RunasUserPassword":"p@ss/w+rd","StderrPath":"/home/u/job.err","""
        r""""StdoutPath":"/home/u/job.out","Variables":"[{\"Name\":\"x\",\"Value\":\"y\"},"""
        r"""{\"Name\":\"中\",\"Value\":\"文\"}]","WallTime":"01:00:00"}"""
    )
    assert json.loads(query.pop("JobSpec")) == json.loads(recorded)
    assert query == {"ClusterId": CLUSTER, "JobName": "TestJob"}


def test_list_jobs_filter():
    request = list_jobs(
        CLUSTER, page_number=2, job_status="notfinish", queues=["comp"], created_from=1, created_to=2
    ).request
    assert json.loads(request.query["JobFilter"]) == {
        "CreateTimeEnd": "2",
        "CreateTimeStart": "1",
        "JobStatus": "notfinish",
        "Queues": ["comp"],
    }
    assert (request.query["PageNumber"], request.query["PageSize"]) == ("2", "50")


def test_stop_request():
    call = stop_jobs(CLUSTER, ["14", "15.manager"])
    assert call.writes
    assert call.request.query["JobIds"] == '["14","15.manager"]'
    with pytest.raises(InvalidArgument):
        stop_jobs(CLUSTER, [])


# ------------------------------------------------------------------ array jobs


def array_job(*states: str, parent: str = "Running", request: str = "1-5:2") -> Cluster:
    jobs = {"12[].manager": Job(parent, name="sweep", array_request=request)}
    for index, state in zip((1, 3, 5), states, strict=False):
        jobs[f"12[{index}].manager"] = Job(state, "sweep", request, "12[].manager", str(index))
    # Names match in part and need not be unique: neither of these jobs belongs to the array.
    jobs["11[7].manager"] = Job("Failed", "sweep", "7-7", "11[].manager", "7")
    jobs["13.manager"] = Job("Failed", name="sweep-other")
    return Cluster(jobs)


@pytest.mark.parametrize(
    ("states", "parent", "whole", "counts"),
    [
        (
            ("Completed", "Running", "Failed"),
            "Running",
            "RUNNING",
            {"RUNNING": 1, "SUCCEEDED": 1, "FAILED": 1},
        ),
        (("Completed", "Failed", "Completed"), "Running", "RUNNING", {"SUCCEEDED": 2, "FAILED": 1}),
        (("Completed", "Failed", "Completed"), "Completed", "FAILED", {"SUCCEEDED": 2, "FAILED": 1}),
        (("Completed", "Completed", "Completed"), "Failed", "FAILED", {"SUCCEEDED": 3}),
        (("Completed", "Completed", "Completed"), "Completed", "SUCCEEDED", {"SUCCEEDED": 3}),
        (("Completed", "CANCELLED"), "Completed", "CANCELLED", {"SUCCEEDED": 2, "CANCELLED": 1}),
        (("Completed",), "Pending", "QUEUED", {"QUEUED": 2, "SUCCEEDED": 1}),
        ((), "Pending", "QUEUED", {"QUEUED": 3}),
    ],
)
def test_state_of_a_whole_array(drive, states, parent, whole, counts):
    """An array has failed if one sub-job has, but only after the array and its last sub-job ended."""
    ref = JobRef("12[].manager", CLUSTER)
    status = drive(API.job_status(ref), array_job(*states, parent=parent)).result
    assert status.state == whole
    assert status.array == counts


def test_a_sub_job_is_read_like_a_job(drive):
    ref = JobRef("12[3].manager", CLUSTER)
    driven = drive(API.job_status(ref), array_job("Completed", "Failed", "Running"))
    assert driven.result.state is JobState.FAILED
    assert driven.result.array == {}
    assert driven.operations == ["GetJob"]


def test_a_large_array_is_counted_over_all_pages(drive):
    cluster = Cluster({"12": Job("Completed", "sweep", "0-119")})
    for n in range(120):
        cluster.jobs[f"12_{n}"] = Job("Failed" if n == 119 else "Completed", "sweep", "0-119", "12", str(n))
    status = drive(API.job_status(JobRef("12", CLUSTER)), cluster).result
    assert status.state is JobState.FAILED
    assert status.array == {"SUCCEEDED": 119, "FAILED": 1}


# ------------------------------------------------------------------ many jobs


def test_two_jobs_are_read_one_by_one(drive):
    jobs = {str(n): Job() for n in range(400)}
    driven = drive(API.job_statuses([JobRef("1", CLUSTER), JobRef("2", CLUSTER)]), Cluster(jobs))
    assert driven.operations == ["GetJob", "GetJob"]


def test_a_thousand_unfinished_jobs_cost_twenty_pages(drive):
    jobs = {str(n): Job() for n in range(1000)}
    driven = drive(API.job_statuses([JobRef(job_id, CLUSTER) for job_id in jobs]), Cluster(jobs))
    assert Counter(driven.operations) == {"ListJobs": 20}
    assert all(status.state is JobState.RUNNING for status in driven.result.values())
    first = next(iter(driven.result.values()))
    assert first.submitted_at == datetime(2024, 8, 20, 2, 54, 46, tzinfo=UTC)


def test_few_jobs_among_very_many_are_not_searched_in_pages(drive):
    """Five jobs on a cluster with ten thousand: two hundred pages per poll would be throttled."""
    jobs = {str(n): Job() for n in range(10_000)}
    refs = [JobRef(str(n), CLUSTER) for n in range(9_000, 9_005)]
    driven = drive(API.job_statuses(refs), Cluster(jobs))
    assert Counter(driven.operations) == {"ListJobs": 1, "GetJob": 5}


def test_a_thousand_jobs_that_ended_cost_pages_too(drive):
    """Jobs submitted together end together: one poll would need a thousand single requests."""
    jobs = {str(n): Job("Completed") for n in range(1000)}
    driven = drive(API.job_statuses([JobRef(job_id, CLUSTER) for job_id in jobs]), Cluster(jobs))
    assert Counter(driven.operations)["ListJobs"] <= 22
    assert Counter(driven.operations)["GetJob"] <= 3
    assert all(status.state is JobState.SUCCEEDED for status in driven.result.values())


def test_years_of_ended_jobs_are_not_paged_through(drive):
    """A few ended jobs are read one by one, and so are many if the first page lists none of them."""
    jobs = {str(n): Job("Completed") for n in range(10_000)}
    for refs in (range(9_000, 9_003), range(9_000, 9_010)):
        driven = drive(API.job_statuses([JobRef(str(n), CLUSTER) for n in refs]), Cluster(jobs))
        assert Counter(driven.operations)["GetJob"] == len(refs)
        assert Counter(driven.operations)["ListJobs"] <= 1 + max(1, len(refs) // 4)


def test_jobs_of_two_clusters_are_paged_each(drive):
    jobs = {str(n): Job() for n in range(100)}
    refs = [JobRef(job_id, cluster) for job_id in jobs for cluster in (CLUSTER, "ehpc-hz-2")]
    cloud = Cluster(jobs)

    def respond(request):
        return cloud(replace(request, query={**request.query, "ClusterId": CLUSTER}))

    driven = drive(API.job_statuses(refs), respond)
    assert driven.operations == ["ListJobs"] * 4
    assert set(driven.result) == set(refs)


def test_a_key_without_permission_to_list_jobs_reads_each_job(drive, reply):
    """If one waiting task does not need a permission, several together must not need it either."""
    cluster = Cluster({str(n): Job() for n in range(5)})

    def respond(request):
        if request.headers["x-acs-action"] == "ListJobs":
            return reply({"Code": "NoPermission", "Message": "You are not authorized"}, 403)
        return cluster(request)

    driven = drive(API.job_statuses([JobRef(str(n), CLUSTER) for n in range(5)]), respond)
    assert Counter(driven.operations) == {"ListJobs": 1, "GetJob": 5}


def test_ended_unknown_and_array_jobs_among_many(drive):
    cluster = array_job("Completed", "Failed", "Running")
    cluster.jobs |= {str(n): Job() for n in range(20, 25)} | {"30": Job("Completed")}
    refs = [JobRef(i, CLUSTER) for i in ("20", "21", "22", "30", "99", "12[].manager", "12[3].manager")]
    driven = drive(API.job_statuses(refs), cluster)
    states = {ref.job_id: status and str(status.state) for ref, status in driven.result.items()}
    assert states == {
        "20": "RUNNING",
        "21": "RUNNING",
        "22": "RUNNING",
        "30": "SUCCEEDED",
        "99": None,
        "12[].manager": "RUNNING",
        "12[3].manager": "FAILED",
    }
    assert driven.result[JobRef("12[].manager", CLUSTER)].array == {"RUNNING": 1, "SUCCEEDED": 1, "FAILED": 1}


def test_an_unknown_cluster_fails_the_poll(drive, reply):
    """If it counted as an unknown job, a wrong cluster_id would be reported only after the grace time."""
    error = reply({"Code": "ClusterNotFound", "Message": "no"}, 404)
    with pytest.raises(NotFound):
        drive(API.job_statuses([JobRef("1", "elsewhere")]), lambda _: error)


# ------------------------------------------------------------------ the log


def test_each_stream_has_its_own_offset(drive):
    cluster = Cluster({"1.manager": Job(stdout=b"0123456789", stderr=b"abc")})
    driven = drive(API.read_log(REF, LogCursor({"stdout": 8, "stderr": 1}), 4), cluster)
    assert [(c.stream, c.data, c.next, c.size) for c in driven.result.chunks] == [
        ("stdout", b"89", 10, 10),
        ("stderr", b"bc", 3, 3),
    ]
    assert not driven.result.more
    assert [request.query["LogType"] for request in driven.requests] == ["stdout", "stderr"]


def test_a_full_piece_means_that_there_may_be_more(drive):
    cluster = Cluster({"1.manager": Job(stdout=b"0123456789")})
    assert drive(API.read_log(REF, LogCursor(), 4), cluster).result.more


def test_reading_advances_by_the_bytes_received(drive):
    """A piece may end inside a character: a position in characters would lose or repeat some."""
    text = "第一步\n" * 50
    cluster = Cluster({"1.manager": Job(stdout=text.encode())}, sizes_are_true=False)
    cursor, read, more = LogCursor(), b"", True
    while more:
        batch = drive(API.read_log(REF, cursor, 7), cluster).result
        read += batch.chunks[0].data
        cursor, more = cursor.moved("stdout", batch.chunks[0].next), batch.more
    assert read.decode() == text


def test_tail_is_read_from_the_end(drive):
    cluster = Cluster({"1.manager": Job(stdout=b"x" * 100_000 + b"the end\n", stderr=b"boom\n")})
    driven = drive(API.log_tail(REF, 8), cluster)
    assert [chunk.data for chunk in driven.result] == [b"the end\n", b"boom\n"]
    assert len(driven.requests) == 3


# ------------------------------------------------------------------ submit and stop


def test_submit_and_stop(drive):
    cluster = Cluster({"14": Job()})
    ref = drive(API.submit(JobSpec(name="j", command="-- /bin/true"), CLUSTER), cluster).result
    assert ref == JobRef("14", CLUSTER)
    drive(API.stop(ref), cluster)
    assert cluster.jobs["14"].state == "FINISHED"


def test_a_submission_that_returns_no_id_is_an_error(drive):
    with pytest.raises(UnexpectedResponse, match="search for the job by its name"):
        drive(API.submit(JobSpec(name="silent", command="x"), CLUSTER), Cluster())


def test_job_versions_are_rejected():
    with pytest.raises(InvalidArgument, match=r"^version_id: "):
        API.job_ref("1.manager", CLUSTER, "2")


def test_a_reported_size_without_bytes_does_not_mean_more(drive, reply):
    """The documented sample reports 4096 bytes for a log of 8: reading until then would never end."""
    response = {"RequestId": "1", "StdoutLog": "", "StdoutLogSize": 4096, "StderrLog": "", "StderrLogSize": 1}
    batch = drive(API.read_log(REF, LogCursor(), 1024), lambda _: reply(response)).result
    assert not batch.more
    assert not any(chunk.data for chunk in batch.chunks)


@pytest.mark.parametrize("odd", ["1.manager", 5, [1], True])
def test_a_job_of_the_wrong_shape_is_not_an_unknown_job(reply, odd):
    with pytest.raises(UnexpectedResponse, match="field JobInfo is not as documented"):
        get_job(CLUSTER, "1").read(reply({"JobInfo": odd, "RequestId": "04F0"}))


@pytest.mark.parametrize("nothing", [None, "", {}, []])
def test_an_empty_job_is_an_unknown_job(drive, reply, nothing):
    with pytest.raises(NotFound):
        drive(API.job_status(REF), lambda _: reply({"JobInfo": nothing, "RequestId": "04F0"}))


@pytest.mark.parametrize("odd", [{"a": "b"}, ["1"], True, 1.5])
def test_an_id_is_a_text_or_a_number(reply, odd):
    with pytest.raises(UnexpectedResponse, match="field JobId is not as documented"):
        create_job(CLUSTER, JobSpec("j", "hostname")).read(reply({"JobId": odd, "RequestId": "04F0"}))

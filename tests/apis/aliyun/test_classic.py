# SPDX-License-Identifier: Apache-2.0
"""E-HPC 2018-04-12 for jobs of a scheduler, tested with the small cluster in this file."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun.classic import (
    ClassicListJobsResponse,
    EhpcClassicApi,
    describe_job,
    get_job_log,
    list_jobs,
    stop_jobs,
    submit_job,
)
from airflow_provider_ehpc.apis.call import (
    ApiRequest,
    ApiResponse,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, JobSpec, JobState, LogCursor
from airflow_provider_ehpc.apis.schedulers.described import describe
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import JobWatch

API = EhpcClassicApi()
CLUSTER = "ehpc-hz-jeJki6****"
REF = JobRef("1.scheduler", CLUSTER)


@dataclass
class Job:
    """A job on PBS, as the cluster stores it."""

    letter: str = "R"
    host: str = "compute000"
    exit_status: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    describable: bool = True
    listed: bool = True

    @property
    def running(self) -> bool:
        return self.letter in "RE"

    @property
    def state(self) -> str:
        return {"Q": "QUEUED", "F": "FINISHED"}.get(self.letter, "RUNNING")


@dataclass
class Cluster:
    """Cluster that implements the API's operations as their pages describe them."""

    jobs: dict[str, Job] = field(default_factory=dict)
    as_text: bool = False
    queries: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, request: ApiRequest) -> ApiResponse:
        assert request.method == "GET"
        assert request.headers["x-acs-version"] == "2018-04-12"
        query = dict(request.query)
        self.queries.append(query)
        assert query.pop("ClusterId") == CLUSTER
        response = getattr(self, request.headers["x-acs-action"])(query)
        status, fields = response if isinstance(response, tuple) else (200, response)
        return ApiResponse(
            status, {"content-type": "application/json"}, json.dumps({"RequestId": "B745", **fields}).encode()
        )

    def DescribeJob(self, query: dict[str, str]) -> Any:
        job = self.jobs.get(query["JobId"])
        if job is None:
            return 406, {"Code": "AgentError", "Message": f"qstat: Unknown Job Id {query['JobId']}"}
        if not job.describable:
            return 403, {"Code": "ExecFail", "Message": "Failed to execute the command: qstat: syntax error."}
        attributes: dict[str, Any] = {"job_state": job.letter, "server": "scheduler", "queue": "workq"}
        if job.letter not in "QH":
            attributes["exec_host"] = f"{job.host}/0*2+compute009/0"
        if job.exit_status is not None:
            attributes["Exit_status"] = job.exit_status
        info: Any = {query["JobId"]: attributes}
        return {"Message": {"JobInfo": json.dumps(info) if self.as_text else info}}

    def ListJobs(self, query: dict[str, str]) -> Any:
        number, size = int(query["PageNumber"]), int(query["PageSize"])
        assert size <= 50
        chosen = [
            {
                "Id": job_id,
                "State": job.state,
                "NodeList": f"['{job.host}', 'compute009']",
                "StartTime": "2018-07-18T17:46:48",
            }
            for job_id, job in self.jobs.items()
            if job.listed
            and {"finished": job.letter == "F", "notfinish": job.letter != "F"}.get(query["State"], True)
        ]
        page = chosen[(number - 1) * size : number * size]
        return {
            "PageNumber": number,
            "PageSize": size,
            "TotalCount": len(chosen),
            "Jobs": {"JobInfo": page},
        }

    def GetJobLog(self, query: dict[str, str]) -> Any:
        job, host = self.jobs[query["JobId"]], query.get("ExecHost")
        offset, size = int(query["Offset"]), int(query["Size"])
        if job.running and host != job.host:
            return 400, {"Code": "InvalidParams", "Message": "The specified parameter ExecHost is invalid."}
        if not job.running and host:
            return 404, {"Code": "ComputeNotFound", "Message": "The specified compute node does not exist."}
        if size > 409600:
            return 400, {"Code": "InvalidParams", "Message": "The specified parameter Size is invalid."}
        return {
            "JobId": query["JobId"],
            "OutputLog": base64.b64encode(job.stdout[offset : offset + size]).decode(),
            "ErrorLog": base64.b64encode(job.stderr[offset : offset + size]).decode(),
        }

    def SubmitJob(self, query: dict[str, str]) -> Any:
        return {"JobId": "7.scheduler"} if query["Name"] != "silent" else {}

    def StopJobs(self, query: dict[str, str]) -> Any:
        for job in json.loads(query["Jobs"]):
            self.jobs[job["Id"]].letter = "F"
        return {}


# ------------------------------------------------------------------ requests and responses


def test_get_job_log_as_the_vendors_sdk_sends_it():
    """Recorded from alibabacloud-ehpc20180412 4.0.0: a GET with everything in the query."""
    request = get_job_log(CLUSTER, "1.scheduler", exec_host="compute000", offset=1024, size=409600).request
    assert (request.method, request.path, request.body) == ("GET", "/", b"")
    assert request.query == {
        "ClusterId": "ehpc-hz-jeJki6****",
        "ExecHost": "compute000",
        "JobId": "1.scheduler",
        "Offset": "1024",
        "Size": "409600",
    }


def test_get_job_log_of_an_ended_job_has_no_host():
    assert "ExecHost" not in get_job_log(CLUSTER, "1.scheduler", offset=0, size=1024).request.query


def test_the_documented_log_response(sample):
    response = get_job_log(CLUSTER, "1.scheduler", offset=0, size=1024).read(
        sample("aliyun_2018_get_job_log")
    )
    assert response.job_id == "1.scheduler****"
    assert response.request_id == "B745C159-3155-4B94-95D0-4B73D4D2****"
    assert base64.b64decode(response.output_log) == b"sleep 30"
    assert base64.b64decode(response.error_log) == b"sleep 30"
    assert not response.model_extra


def test_list_jobs_request():
    request = list_jobs(CLUSTER, page_number=2, state="notfinish", owner="alice").request
    assert request.query == {
        "ClusterId": CLUSTER,
        "Owner": "alice",
        "PageNumber": "2",
        "PageSize": "50",
        "State": "notfinish",
    }


@pytest.mark.parametrize("wrapped", [True, False])
def test_list_jobs_response(reply, wrapped):
    """The page documents Jobs.JobInfo; ListJobsWithFilters, the same list, has it bare."""
    jobs = [
        {
            "Id": "0.sched",
            "Name": "job1\n",
            "Owner": "alice",
            "State": "RUNNING",
            "NodeList": "['compute2', 'compute3']",
            "SubmitTime": "2018-07-18T17:46:44",
            "StartTime": "2018-07-18T17:46:48",
            "LastModifyTime": "",
            "Resources": {"Nodes": "2", "Cores": 4},
            "Priority": 0,
            "Stdout": "/home/alice/job1.o0",
            "Rerunable": True,
        }
    ]
    fields = {"TotalCount": "1", "PageNumber": 1, "Jobs": {"JobInfo": jobs} if wrapped else jobs}
    response: ClassicListJobsResponse = list_jobs(CLUSTER).read(reply(fields))
    (job,) = response.jobs
    assert (job.name, job.priority, response.total_count) == ("job1", "0", 1)
    assert job.start_time == datetime.fromisoformat("2018-07-18T17:46:48")
    assert job.last_modify_time is None
    assert job.resources is not None
    assert job.resources.reported() == {"nodes": "2", "cores": "4"}
    assert job.model_extra == {"Rerunable": True}


@pytest.mark.parametrize(
    "job_info",
    [
        {"2.scheduler": {"job_state": "R", "egroup": "users", "Stageout_status": 1, "queue": "workq"}},
        '{"2.scheduler": {"job_state": "R", "egroup": "users", "Stageout_status": 1, "queue": "workq"}}',
        {"2": {"job_state": "R", "queue": "workq", "egroup": "users"}},
        {"job_state": "R", "queue": "workq", "egroup": "users", "Resource_List": {"ncpus": 1}},
    ],
)
def test_forms_of_describe_job(reply, job_info):
    """Documented as a string, shown as an object by job ID: a state in either form must be found."""
    response = describe_job(CLUSTER, "2.scheduler").read(reply({"Message": {"JobInfo": job_info}}))
    (job,) = response.jobs.values()
    assert (job.job_state, job.queue) == ("R", "workq")
    assert job.model_extra["egroup"] == "users"
    description = describe(JobRef("2.scheduler", CLUSTER), response.jobs)
    assert description is not None
    assert description.status.state is JobState.RUNNING


@pytest.mark.parametrize(
    ("message", "jobs"),
    [
        (None, {}),
        ("", {}),
        ({}, {}),
        ({"JobInfo": None}, {}),
        ({"JobInfo": []}, {}),
        ({"JobInfo": {}}, {}),
        ({"JobInfo": " "}, {}),
        # Unreadable attributes must not count as missing ones.
        ({"JobInfo": "JobId=2"}, None),
        ({"JobInfo": ["a"]}, None),
        ({"JobInfo": {"2.scheduler": "R"}}, None),
    ],
)
def test_describe_job_without_attributes(reply, message, jobs):
    response = describe_job(CLUSTER, "2.scheduler").read(reply({"Message": message}))
    assert response.jobs == jobs


def test_submit_request():
    spec = JobSpec(
        name="nightly",
        command="/home/alice/run.sh --x='1&2'",
        queue="workq",
        user="alice",
        password="p@ss/w+rd",
        nodes=2,
        cores=4,
        gpus=1,
        memory="8GB",
        wall_time=43200,
        priority=0,
        array="1-5:2",
        environment={"x": "y", "中": "文"},
        stdout_path="/home/alice/o",
        stderr_path="/home/alice/e",
        options={"Task": 2, "ReRunable": False, "JobRetry.Count": 3, "PackagePath": None},
    )
    call = submit_job(CLUSTER, spec)
    assert call.writes
    assert call.request.method == "GET"
    assert call.request.query == {
        "ArrayRequest": "1-5:2",
        "ClockTime": "12:00:00",
        "ClusterId": CLUSTER,
        "CommandLine": "/home/alice/run.sh --x='1&2'",
        "Cpu": "4",
        "Gpu": "1",
        "JobQueue": "workq",
        "Mem": "8GB",
        "Name": "nightly",
        "Node": "2",
        "Priority": "0",
        "RunasUser": "alice",
        "RunasUserPassword": "p@ss/w+rd",
        "StderrRedirectPath": "/home/alice/e",
        "StdoutRedirectPath": "/home/alice/o",
        "Variables": '[{"Name":"x","Value":"y"},{"Name":"中","Value":"文"}]',
        "Task": "2",
        "ReRunable": "false",
        "JobRetry.Count": "3",
    }


def test_cores_without_nodes_are_not_ignored():
    """Without Node the API silently ignores Cpu, Gpu and Mem, and the job gets one core."""
    query = submit_job(CLUSTER, JobSpec(name="nightly", command="x", user="alice", cores=8)).request.query
    assert (query["Node"], query["Cpu"]) == ("1", "8")
    bare = submit_job(CLUSTER, JobSpec(name="nightly", command="x", user="alice")).request.query
    assert set(bare) == {"ClusterId", "CommandLine", "Name", "RunasUser"}


def test_submit_without_a_cluster_user():
    with pytest.raises(InvalidArgument, match=r"^user: "):
        submit_job(CLUSTER, JobSpec(name="nightly", command="x"))


def test_stop_request():
    call = stop_jobs(CLUSTER, ["0.sched", "1.sched"])
    assert call.writes
    assert call.request.query == {"ClusterId": CLUSTER, "Jobs": '[{"Id":"0.sched"},{"Id":"1.sched"}]'}


def test_stop_of_nothing():
    with pytest.raises(InvalidArgument):
        stop_jobs(CLUSTER, [])


# ------------------------------------------------------------------ states


@pytest.mark.parametrize(
    ("job", "state", "assumed"),
    [
        (Job("Q"), JobState.QUEUED, False),
        (Job("R"), JobState.RUNNING, False),
        (Job("F", exit_status=0), JobState.SUCCEEDED, False),
        (Job("F", exit_status=1), JobState.FAILED, False),
        (Job("F"), JobState.SUCCEEDED, True),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_status_by_one_call(drive, job, state, assumed, as_text):
    driven = drive(API.job_status(REF), Cluster({"1.scheduler": job}, as_text=as_text))
    assert (driven.result.state, driven.result.outcome_assumed) == (state, assumed)
    assert driven.operations == ["DescribeJob"]


def test_status_from_the_list_if_the_scheduler_command_fails(drive):
    """qstat may fail for a job that is only in its history: the list still shows that it is over."""
    jobs = {f"{n}.scheduler": Job("F") for n in range(120, 1, -1)} | {
        "1.scheduler": Job("F", describable=False)
    }
    driven = drive(API.job_status(REF), Cluster(jobs))
    assert driven.result.state is JobState.SUCCEEDED
    assert driven.result.outcome_assumed
    assert driven.result.raw_state == "FINISHED"
    assert "qstat: syntax error" in driven.result.reason
    assert driven.result.nodes == ("compute000", "compute009")
    assert driven.result.started_at == datetime.fromisoformat("2018-07-18T17:46:48")
    assert Counter(driven.operations) == {"DescribeJob": 1, "ListJobs": 3}


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ("JobId=1", "cannot read the scheduler's response (DescribeJob)"),
        (
            '{"1.scheduler": {"job_state": "F" "Exit_status": 3}}',
            "cannot read the scheduler's response",
        ),
        ('{"1.scheduler": {"job_state": "F", "Exit', "cannot read the scheduler's response (DescribeJob)"),
        ({}, "the scheduler's response (DescribeJob) does not contain the job's state"),
    ],
)
def test_an_assumed_outcome_has_a_reason(drive, info, reason):
    """Without a warning, a failed job with a malformed description would count as SUCCEEDED."""
    cluster = Cluster({"1.scheduler": Job("F")})
    cluster.DescribeJob = lambda query: {"Message": {"JobInfo": info}}  # type: ignore[method-assign]
    driven = drive(API.job_status(REF), cluster)
    assert driven.result.outcome_assumed
    assert reason in driven.result.reason
    _, notes = JobWatch(REF, WaitConditions(), 0.0).saw(driven.result, 1.0)
    assert any(note.warning and reason in note.text for note in notes)


@pytest.mark.parametrize(
    "key", ["1", "1.scheduler", "1.scheduler.cluster.local", "", "job", "Job Id: 1.scheduler"]
)
def test_a_description_under_another_form_of_the_id(drive, key):
    cluster = Cluster()
    attributes = {"job_state": "F", "Exit_status": 4}
    cluster.DescribeJob = lambda query: {"Message": {"JobInfo": {key: attributes}}}  # type: ignore[method-assign]
    assert drive(API.job_status(REF), cluster).result.exit_code == 4


def test_a_description_of_another_job_is_an_error(drive):
    """The state of the other job would end the wait for this one."""
    cluster = Cluster({"1.scheduler": Job("R")})
    other = {"2.scheduler": {"job_state": "F", "Exit_status": 0}}
    cluster.DescribeJob = lambda query: {"Message": {"JobInfo": other}}  # type: ignore[method-assign]
    with pytest.raises(UnexpectedResponse, match=r"2\.scheduler"):
        drive(API.job_status(REF), cluster)


@dataclass
class Described:
    """Cluster that responds to DescribeJob with recorded attributes."""

    jobs: dict[str, dict[str, Any]]
    requested: list[str] = field(default_factory=list)
    broken: frozenset[str] = frozenset()

    def __call__(self, request: ApiRequest) -> ApiResponse:
        job_id = request.query["JobId"]
        if request.headers["x-acs-action"] != "DescribeJob":
            self.requested.append(request.headers["x-acs-action"])
            raise NotImplementedError
        self.requested.append(job_id)
        if job_id in self.broken:
            return ApiResponse(500, {"content-type": "application/json"}, b'{"Code": "UnknownError"}')
        fields = {"RequestId": "B745", "Message": {"JobInfo": {job_id: self.jobs[job_id]}}}
        return ApiResponse(200, {"content-type": "application/json"}, json.dumps(fields).encode())


def _array(**exits: int) -> Described:
    parts = {
        f"17[{index[1:]}].vm": {
            "job_state": "F",
            "substate": 93 if code else 92,
            "Exit_status": code,
            "array_id": "17[].vm",
        }
        for index, code in exits.items()
    }
    whole = {
        "job_state": "F",
        "substate": 93 if any(exits.values()) else 92,
        # The exit status of the sub-job that ended last.
        "Exit_status": 0,
        "array": "True",
        "array_indices_submitted": f"0-{len(exits) - 1}",
    }
    return Described({"17[].vm": whole, **parts})


@pytest.mark.parametrize("job_id", ["17[].vm", "17[]", "17"])
def test_a_failed_array_names_its_failed_sub_jobs(drive, job_id):
    """The array's own Exit_status is 0 if the sub-job that ended last succeeded."""
    cloud = _array(i0=0, i1=7, i2=0, i3=271)
    server = ".vm" if job_id.endswith(".vm") else ""
    cloud.jobs |= {f"17[{i}]{server}": cloud.jobs[f"17[{i}].vm"] for i in range(4)}
    cloud.jobs[job_id] = cloud.jobs["17[].vm"]
    status = drive(API.job_status(JobRef(job_id, CLUSTER)), cloud).result
    assert (status.state, status.exit_code, status.outcome_assumed) == (JobState.FAILED, None, False)
    assert status.array == {"SUCCEEDED": 2, "FAILED": 2}
    assert list(status.failed_members.values()) == [
        "FAILED, exit code 7",
        "FAILED, exit code 271, ended by SIGTERM",
    ]


def test_a_successful_array_costs_one_request(drive):
    cloud = _array(i0=0, i1=0)
    assert drive(API.job_status(JobRef("17[].vm", CLUSTER)), cloud).result.state is JobState.SUCCEEDED
    assert cloud.requested == ["17[].vm"]


def test_the_sub_jobs_of_an_array_without_a_reported_outcome_are_read(drive):
    cloud = _array(i0=7, i1=0)
    del cloud.jobs["17[].vm"]["substate"]
    status = drive(API.job_status(JobRef("17[].vm", CLUSTER)), cloud).result
    assert (status.state, status.outcome_assumed) == (JobState.FAILED, False)
    assert list(status.failed_members) == ["17[0].vm"]


def test_the_outcome_of_an_array_with_successful_sub_jobs_is_not_assumed(drive):
    cloud = _array(i0=0, i1=0)
    del cloud.jobs["17[].vm"]["substate"]
    status = drive(API.job_status(JobRef("17[].vm", CLUSTER)), cloud).result
    assert (status.state, status.outcome_assumed) == (JobState.SUCCEEDED, False)


def test_a_failed_array_whose_sub_jobs_cannot_be_read(drive):
    cloud = _array(i0=7, i1=7, i2=0)
    cloud.broken = frozenset({"17[1].vm"})
    status = drive(API.job_status(JobRef("17[].vm", CLUSTER)), cloud).result
    assert (status.state, status.array) == (JobState.FAILED, {})
    assert status.failed_members == {"17[0].vm": "FAILED, exit code 7"}


def test_reading_the_log_of_a_failed_array_does_not_read_its_sub_jobs(drive):
    """A log is read every few seconds: one request for each sub-job would take minutes."""
    cloud = _array(i0=7, i1=7)
    with pytest.raises(NotImplementedError):
        drive(API.read_log(JobRef("17[].vm", CLUSTER), LogCursor(), 4096), cloud)
    assert cloud.requested == ["17[].vm", "GetJobLog"]


def test_the_first_sub_jobs_of_a_huge_failed_array_are_read(drive):
    cloud = _array(i0=1)
    cloud.jobs["17[].vm"]["array_indices_submitted"] = "0-999999"
    cloud.jobs |= {f"17[{n}].vm": cloud.jobs["17[0].vm"] for n in range(1, 1000)}
    status = drive(API.job_status(JobRef("17[].vm", CLUSTER)), cloud).result
    assert (len(cloud.requested), len(status.failed_members), status.array) == (201, 10, {})


def test_an_unknown_job(drive):
    """Not found is neither a success nor a reason to wait forever."""
    with pytest.raises(NotFound, match=r"job 1\.scheduler in cluster"):
        drive(API.job_status(REF), Cluster({f"{n}.x": Job() for n in range(60)}))


def test_an_unknown_cluster_fails_at_once(drive, reply):
    calls = []

    def cloud(request):
        calls.append(request)
        return reply({"Code": "ClusterNotFound", "Message": "The specified cluster does not exist."}, 404)

    with pytest.raises(NotFound) as caught:
        drive(API.job_status(REF), cloud)
    assert caught.value.code == "ClusterNotFound"
    assert len(calls) == 1


def test_a_transient_error_is_not_hidden_by_the_list(drive, reply):
    with pytest.raises(ServiceUnavailable):
        drive(API.job_status(REF), lambda _: reply({"Code": "UnknownError", "Message": ""}, 500))


def test_many_unfinished_jobs_cost_pages(drive):
    jobs = {f"{n}.scheduler": Job("R" if n % 2 else "Q") for n in range(1, 121)}
    refs = [JobRef(job_id, CLUSTER) for job_id in jobs]
    driven = drive(API.job_statuses(refs), Cluster(jobs))
    assert Counter(driven.operations) == {"ListJobs": 3}
    assert Counter(s.state for s in driven.result.values()) == {JobState.RUNNING: 60, JobState.QUEUED: 60}


def test_the_outcomes_of_ended_jobs_are_read_one_by_one(drive):
    """The list also reports FINISHED for a failed job: only DescribeJob has the exit code."""
    jobs = {f"{n}.scheduler": Job("R") for n in range(1, 11)}
    jobs["3.scheduler"] = Job("F", exit_status=2)
    jobs["4.scheduler"] = Job("F", exit_status=0)
    refs = [JobRef(job_id, CLUSTER) for job_id in jobs] + [JobRef("99.scheduler", CLUSTER)]
    driven = drive(API.job_statuses(refs), Cluster(jobs))
    states = {ref.job_id: status and status.state for ref, status in driven.result.items()}
    assert states["3.scheduler"] is JobState.FAILED
    assert states["4.scheduler"] is JobState.SUCCEEDED
    assert states["5.scheduler"] is JobState.RUNNING
    assert states["99.scheduler"] is None
    assert Counter(driven.operations) == {"ListJobs": 2, "DescribeJob": 3}


# ------------------------------------------------------------------ the log


def texts(batch) -> dict[str, bytes]:
    return {chunk.stream: chunk.data for chunk in batch.chunks}


def moved(cursor: LogCursor, batch) -> LogCursor:
    for chunk in batch.chunks:
        cursor = cursor.moved(chunk.stream, chunk.next)
    return cursor


def test_log_of_a_running_job_is_read_on_its_first_node(drive):
    """A running job's log cannot be read without ExecHost, or on another node than its first."""
    cluster = Cluster({"1.scheduler": Job("R", host="compute042", stdout=b"step 1\n", stderr=b"warm\n")})
    driven = drive(API.read_log(REF, LogCursor(), 4096), cluster)
    assert texts(driven.result) == {"stdout": b"step 1\n", "stderr": b"warm\n"}
    assert not driven.result.more
    assert cluster.queries[-1]["ExecHost"] == "compute042"


def test_the_host_comes_from_the_list_if_the_scheduler_does_not_report_it(drive):
    cluster = Cluster({"1.scheduler": Job("R", host="compute042", stdout=b"step 1\n", describable=False)})
    assert texts(drive(API.read_log(REF, LogCursor(), 4096), cluster).result)["stdout"] == b"step 1\n"


def test_log_from_queue_to_end(drive):
    """There is no log in the queue, then it is on the node, then on the shared disk: no byte is lost."""
    line = "第一步 ✓ naïve\n".encode()
    job = Job("Q")
    cluster, cursor = Cluster({"1.scheduler": job}), LogCursor()
    read = {"stdout": b"", "stderr": b""}

    def poll(size: int = 1000) -> None:
        nonlocal cursor
        more = True
        while more:
            batch = drive(API.read_log(REF, cursor, size), cluster).result
            cursor, more = moved(cursor, batch), batch.more
            for stream, data in texts(batch).items():
                read[stream] += data

    poll()
    assert [query for query in cluster.queries if "Offset" in query] == []
    job.letter = "R"
    for n in range(1, 30):
        job.stdout += line * n
        job.stderr += b"!" * (n % 3)
        poll(size=101)  # not a multiple of the line: pieces end inside characters
    job.letter, job.exit_status = "F", 0
    job.stdout += b"done"
    poll()
    assert read == {"stdout": job.stdout, "stderr": job.stderr}
    assert read["stdout"].decode().endswith("✓ naïve\ndone")


def test_each_stream_resumes_at_its_own_offset(drive):
    """After a crash the offsets differ: one for both streams would repeat one or skip the other."""
    job = Job("F", stdout=b"0123456789", stderr=b"abcdefghij")
    cursor = LogCursor({"stdout": 8, "stderr": 3})
    batch = drive(API.read_log(REF, cursor, 1024), Cluster({"1.scheduler": job})).result
    assert texts(batch) == {"stdout": b"89", "stderr": b"defghij"}
    assert moved(cursor, batch) == LogCursor({"stdout": 10, "stderr": 10})


def test_log_of_a_job_that_the_scheduler_has_forgotten(drive):
    """The history expires after some days; the files remain, and reading them needs no node."""
    job = Job("F", stdout=b"old\n", listed=False)
    cluster = Cluster({"1.scheduler": job})
    cluster.DescribeJob = lambda query: (406, {"Code": "AgentError", "Message": "qstat: Unknown Job Id 1"})  # type: ignore[method-assign]
    assert texts(drive(API.read_log(REF, LogCursor(), 1024), cluster).result)["stdout"] == b"old\n"


def test_no_request_exceeds_the_largest_window(drive):
    job = Job("F", stdout=b"x" * 1_000_000)
    cluster = Cluster({"1.scheduler": job})
    batch = drive(API.read_log(REF, LogCursor(), 10_000_000), cluster).result
    assert len(texts(batch)["stdout"]) == API.log_limits.largest == 409600
    assert batch.more


def test_a_log_error_reaches_the_caller(drive):
    cluster = Cluster({"1.scheduler": Job("R")})
    cluster.GetJobLog = lambda query: (400, {"Code": "InvalidParams", "Message": "Size"})  # type: ignore[method-assign]
    with pytest.raises(InvalidRequest):
        drive(API.read_log(REF, LogCursor(), 1024), cluster)


@pytest.mark.parametrize("letter", ["R", "F"])
def test_tail_of_both_streams(drive, letter):
    job = Job(letter, stdout=b"x" * 1_000_000 + b"the end\n", stderr=b"boom\n")
    driven = drive(API.log_tail(REF, 8), Cluster({"1.scheduler": job}))
    assert [(chunk.stream, chunk.data, chunk.next) for chunk in driven.result] == [
        ("stdout", b"the end\n", 1_000_008),
        ("stderr", b"boom\n", 5),
    ]
    assert len(driven.requests) < 10


def test_tail_of_a_job_that_has_not_started(drive):
    driven = drive(API.log_tail(REF, 8), Cluster({"1.scheduler": Job("Q")}))
    assert [chunk.data for chunk in driven.result] == [b"", b""]
    assert driven.operations == ["DescribeJob"]


# ------------------------------------------------------------------ submit and stop


def test_submit_and_stop(drive):
    cluster = Cluster()
    ref = drive(API.submit(JobSpec(name="nightly", command="x", user="alice"), CLUSTER), cluster).result
    assert ref == JobRef("7.scheduler", CLUSTER)
    cluster.jobs["7.scheduler"] = Job("R")
    drive(API.stop(ref), cluster)
    assert cluster.jobs["7.scheduler"].letter == "F"


def test_a_submission_that_returns_no_id_is_an_error(drive):
    """If it were retried, the job could run twice."""
    with pytest.raises(UnexpectedResponse, match="search for the job by its name"):
        drive(API.submit(JobSpec(name="silent", command="x", user="alice"), CLUSTER), Cluster())


def test_job_versions_are_rejected():
    with pytest.raises(InvalidArgument, match="ehpc-classic"):
        API.job_ref("1.scheduler", CLUSTER, "2")


def test_log_of_a_job_that_waits_to_be_rerun_is_still_read(drive):
    """Otherwise its last lines are lost: the scheduler may truncate the file at the next start."""
    cluster = Cluster({"1.scheduler": Job("Q", stdout=b"run 1\nkilled\n")})
    cursor = LogCursor({"stdout": 6})
    assert texts(drive(API.read_log(REF, cursor, 1024), cluster).result)["stdout"] == b"killed\n"
    assert texts(drive(API.read_log(REF, LogCursor(), 1024), cluster).result)["stdout"] == b""

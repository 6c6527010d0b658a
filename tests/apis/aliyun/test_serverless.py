# SPDX-License-Identifier: Apache-2.0
"""Serverless jobs of E-HPC 2018-04-12, tested with the small cluster in this file."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun.serverless import (
    EhpcServerlessApi,
    describe_serverless_jobs,
    list_serverless_jobs,
    stop_serverless_jobs,
    submit_serverless_job,
)
from airflow_provider_ehpc.apis.call import (
    ApiRequest,
    ApiResponse,
    InvalidArgument,
    NotFound,
    NotSupported,
    ServiceUnavailable,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, JobSpec, JobState, LogCursor

API = EhpcServerlessApi()
CLUSTER = "ehpc-hz-FYUr32****"
REF = JobRef("5", CLUSTER)


@dataclass
class Job:
    """A serverless job; an array job has the states of its sub-tasks by index."""

    state: str = "Running"
    exit_code: int | None = None
    reason: str = ""
    subtasks: dict[int, str] | None = None


@dataclass
class Cluster:
    """Cluster that implements the API's operations as their pages describe them."""

    jobs: dict[str, Job] = field(default_factory=dict)
    lists_subtasks: bool = False
    describes: bool = True

    def __call__(self, request: ApiRequest) -> ApiResponse:
        assert request.method == "POST"
        assert request.headers["x-acs-version"] == "2018-04-12"
        query = dict(request.query)
        assert query.pop("ClusterId") == CLUSTER
        ids = [query.pop(f"JobIds.{n}") for n in range(1, 102) if f"JobIds.{n}" in query]
        response = getattr(self, request.headers["x-acs-action"])(ids, query)
        status, fields = response if isinstance(response, tuple) else (200, response)
        body = json.dumps({"RequestId": "04F0", **fields}).encode()
        return ApiResponse(status, {"content-type": "application/json"}, body)

    def find(self, job_id: str) -> Job | None:
        parent, _, index = job_id.partition("_")
        job = self.jobs.get(parent)
        if job and index:
            return Job(job.subtasks[int(index)]) if job.subtasks and int(index) in job.subtasks else None
        return job

    def DescribeServerlessJobs(self, ids: list[str], query: dict[str, str]) -> Any:
        (job_id,) = ids
        job = self.find(job_id)
        if job is None or job.subtasks is not None:
            return 400, {"Code": "InvalidParams", "Message": "The specified parameter JobIds is invalid."}
        if not self.describes:
            return 406, {"Code": "DbError", "Message": "A database service error occurred."}
        state = {"State": "Terminated", "ExitCode": job.exit_code, "Reason": job.reason}
        groups = [] if job.exit_code is None else [{"Containers": [{"CurrentState": state}]}]
        return {"JobInfos": [{"JobId": job_id, "State": job.state, "ContainerGroups": groups}]}

    def ListServerlessJobs(self, ids: list[str], query: dict[str, str]) -> Any:
        number, size = int(query["PageNumber"]), int(query["PageSize"])
        assert size <= 100
        assert len(ids) <= 100
        chosen: dict[str, dict[str, Any]] = {}
        for job_id in ids:
            job = self.find(job_id)
            if job is None:
                continue
            chosen[job_id] = {"JobId": job_id, "State": job.state, "IsArrayJob": job.subtasks is not None}
            for index, state in (job.subtasks or {}).items() if self.lists_subtasks else ():
                chosen[f"{job_id}_{index}"] = {"JobId": f"{job_id}_{index}", "State": state}
        page = list(chosen.values())[(number - 1) * size : number * size]
        return {"TotalCount": len(chosen), "PageNumber": number, "PageSize": size, "Jobs": page}

    def SubmitServerlessJob(self, ids: list[str], query: dict[str, str]) -> Any:
        return {"JobId": "7"} if query["JobName"] != "silent" else {}

    def StopServerlessJobs(self, ids: list[str], query: dict[str, str]) -> Any:
        for job_id in ids:
            self.jobs[job_id].state = "Canceled"
        return {}


# ------------------------------------------------------------------ requests


def test_describe_as_the_vendors_sdk_sends_it():
    """Recorded from alibabacloud-ehpc20180412 4.0.0: a POST that numbers the IDs from 1."""
    request = describe_serverless_jobs(CLUSTER, ["5", "10_3"]).request
    assert (request.method, request.body) == ("POST", b"")
    assert request.query == {"ClusterId": "ehpc-hz-FYUr32****", "JobIds.1": "5", "JobIds.2": "10_3"}


def test_list_request():
    request = list_serverless_jobs(
        CLUSTER, job_ids=["5"], job_names=["a", "b"], state="Running", submitted_from=1, submitted_to=2
    ).request
    assert request.query == {
        "ClusterId": CLUSTER,
        "JobIds.1": "5",
        "JobNames.1": "a",
        "JobNames.2": "b",
        "PageNumber": "1",
        "PageSize": "100",
        "State": "Running",
        "SubmitTimeStart": "1",
        "SubmitTimeEnd": "2",
    }


def test_submit_as_the_vendors_sdk_sends_it():
    """Recorded from alibabacloud-ehpc20180412 4.0.0, with all parameters."""
    volume = {
        "FlexVolumeDriver": "alicloud/nas",
        "FlexVolumeOptions": '{"server":"x.nas.aliyuncs.com","path":"/","vers":"4.0"}',
        "MountPath": "/data",
    }
    spec = JobSpec(
        name="testjob",
        command="echo hi",
        cores=2,
        gpus=1,
        memory="4GB",
        wall_time=3600,
        priority=10,
        array="1-5:2",
        environment={"K": "V"},
        options={
            "Container": {
                "Image": "registry-vpc.cn-hangzhou.aliyuncs.com/x/hpl:latest",
                "VolumeMount": [volume],
                "WorkingDir": "/data",
            },
            "DependsOn": [{"JobId": "4", "Type": "AfterSucceeded"}],
            "EphemeralStorage": 200,
            "InstanceType": ["ecs.c7.large"],
            "RamRoleName": "RamTestRole",
            "RetryStrategy": {"Attempts": 3, "EvaluateOnExit": [{"Action": "Retry", "OnExitCode": "1"}]},
            "SpotPriceLimit": 0.062,
            "SpotStrategy": "SpotWithPriceLimit",
            "VSwitchId": ["vsw-a", "vsw-b"],
        },
    )
    call = submit_serverless_job(CLUSTER, spec)
    assert call.writes
    assert call.request.method == "POST"
    assert call.request.query == {
        "ArrayProperties": '{"IndexEnd":5,"IndexStart":1,"IndexStep":2}',
        "ClusterId": "ehpc-hz-FYUr32****",
        "Container": '{"Arg":["echo hi"],"Command":["/bin/sh","-c"],"EnvironmentVar":[{"Key":"K",'
        '"Value":"V"}],"Gpu":1,"Image":"registry-vpc.cn-hangzhou.aliyuncs.com/x/hpl:latest","VolumeMount":[{'
        '"FlexVolumeDriver":"alicloud/nas","FlexVolumeOptions":"{\\"server\\":\\"x.nas.aliyuncs.com\\",'
        '\\"path\\":\\"/\\",\\"vers\\":\\"4.0\\"}","MountPath":"/data"}],"WorkingDir":"/data"}',
        "Cpu": "2.0",
        "DependsOn": '[{"JobId":"4","Type":"AfterSucceeded"}]',
        "EphemeralStorage": "200",
        "InstanceType": '["ecs.c7.large"]',
        "JobName": "testjob",
        "JobPriority": "10",
        "Memory": "4.0",
        "RamRoleName": "RamTestRole",
        "RetryStrategy": '{"Attempts":3,"EvaluateOnExit":[{"Action":"Retry","OnExitCode":"1"}]}',
        "SpotPriceLimit": "0.062",
        "SpotStrategy": "SpotWithPriceLimit",
        "Timeout": "3600",
        "VSwitchId": '["vsw-a","vsw-b"]',
    }


def submitted(**fields: Any) -> dict[str, str]:
    fields = {"name": "j", "command": "true", "options": {"Container": {"Image": "i"}}, **fields}
    return dict(submit_serverless_job(CLUSTER, JobSpec(**fields)).request.query)


def test_the_smallest_submission():
    assert submitted() == {
        "ClusterId": CLUSTER,
        "Container": '{"Arg":["true"],"Command":["/bin/sh","-c"],"Image":"i"}',
        "JobName": "j",
    }


def test_an_empty_command_runs_the_images_own():
    """With an empty shell command, the job would succeed at once without doing anything."""
    assert submitted(command="")["Container"] == '{"Image":"i"}'


def test_another_shell_and_half_a_core():
    options = {"Container": {"Image": "i", "Command": ["/bin/bash", "-lc"]}, "Cpu": 0.5}
    query = submitted(options=options)
    assert json.loads(query["Container"])["Command"] == ["/bin/bash", "-lc"]
    assert json.loads(query["Container"])["Arg"] == ["true"]
    assert query["Cpu"] == "0.5"


@pytest.mark.parametrize(
    ("memory", "gib"),
    [("4GB", "4.0"), ("4g", "4.0"), ("4 GiB", "4.0"), ("512MB", "0.5"), ("1536Mi", "1.5"), ("1TB", "1024.0")],
)
def test_memory_in_gib(memory, gib):
    assert submitted(memory=memory)["Memory"] == gib


@pytest.mark.parametrize(
    ("array", "indexes"), [("0-9", (0, 9, 1)), ("2-7:2", (2, 7, 2)), (" 1-5:2 ", (1, 5, 2))]
)
def test_array_indexes(array, indexes):
    sent = json.loads(submitted(array=array)["ArrayProperties"])
    assert (sent["IndexStart"], sent["IndexEnd"], sent["IndexStep"]) == indexes


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"options": {}}, "options"),
        ({"options": {"Container": {"Image": ""}}}, "options"),
        ({"queue": "comp"}, "queue"),
        ({"user": "alice"}, "user"),
        ({"password": "secret"}, "password"),
        ({"nodes": 2}, "nodes"),
        ({"stdout_path": "/o"}, "stdout_path"),
        ({"stderr_path": "/e"}, "stderr_path"),
        ({"memory": "4"}, "memory"),
        ({"memory": "lots"}, "memory"),
        ({"array": "1,2,3"}, "array"),
        ({"cores": 4, "options": {"Container": {"Image": "i"}, "Cpu": 2}}, "options"),
        ({"options": {"Container": {"Image": "i", "Arg": ["false"]}}}, "options"),
    ],
)
def test_unsupported_and_invalid_fields_are_rejected_by_name(fields, argument):
    """If a queue or a memory limit were silently ignored, users would notice only after the job ran."""
    with pytest.raises(InvalidArgument, match=rf"^{argument}: ") as caught:
        submitted(**fields)
    assert "secret" not in str(caught.value)


def test_stop_request():
    call = stop_serverless_jobs(CLUSTER, ["5", "10_3"])
    assert call.writes
    assert call.request.query == {"ClusterId": CLUSTER, "JobIds.1": "5", "JobIds.2": "10_3"}
    with pytest.raises(InvalidArgument):
        stop_serverless_jobs(CLUSTER, [])


# ------------------------------------------------------------------ the documented response


def test_the_documented_job(sample, drive):
    """Only the state counts: the sample is running, but has an end time, a terminated container, and both
    SucceededTime and FailedTime."""
    driven = drive(API.job_status(REF), lambda _: sample("aliyun_2018_describe_serverless_jobs"))
    assert driven.result.as_dict() == {
        "job_id": "5",
        "cluster_id": CLUSTER,
        "state": "RUNNING",
        "raw_state": "Running",
        "name": "testjob",
        "user": "testuser",
        "queue": "comp",
        "submitted_at": "2022-03-16T09:41:58+00:00",
        "started_at": "2022-03-16T10:47:47+00:00",
        "modified_at": "2022-09-22T07:24:01+00:00",
        "resources": {"cores": "2", "memory": "4GiB"},
    }


def test_all_of_the_documented_response_is_read(sample):
    response = describe_serverless_jobs(CLUSTER, ["5"]).read(sample("aliyun_2018_describe_serverless_jobs"))
    job = response.job_infos[0]
    assert (response.total_count, job.priority, job.is_array_job) == (1, 9, False)
    assert not response.model_extra
    assert not job.model_extra
    assert job.array_properties is not None
    properties = job.array_properties
    assert (properties.index_start, properties.index_end, properties.index_step) == (1, 5, 2)
    assert job.end_time == datetime(2022, 9, 1, 7, 8, 41, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        {"JobId": "5", "JobName": "testjob", "User": "testuser", "State": "Running", "Priority": "9"},
        {"Id": 5, "Name": "testjob\n", "Owner": "testuser", "State": "Running\n", "Priority": 9},
    ],
)
def test_list_response_of_today_and_of_an_older_sdk(reply, fields):
    fields |= {"SubmitTime": "1647423718", "StartTime": 1647427667, "EndTime": "", "IsArrayJob": "False"}
    (job,) = list_serverless_jobs(CLUSTER).read(reply({"Jobs": [fields], "TotalCount": "1"})).jobs
    assert (job.job_id, job.job_name, job.user, job.state, job.priority) == (
        "5",
        "testjob",
        "testuser",
        "Running",
        9,
    )
    assert job.submit_time == datetime(2022, 3, 16, 9, 41, 58, tzinfo=UTC)
    assert job.end_time is None
    assert job.is_array_job is False


# ------------------------------------------------------------------ states


@pytest.mark.parametrize(
    ("job", "state", "exit_code", "reason"),
    [
        (Job("Pending"), JobState.QUEUED, None, None),
        (Job("Initing"), JobState.RUNNING, None, None),
        (Job("Running", exit_code=0), JobState.RUNNING, None, None),
        (Job("Succeeded", exit_code=0, reason="Completed"), JobState.SUCCEEDED, 0, None),
        (Job("Failed", exit_code=3, reason="Error"), JobState.FAILED, 3, "Error"),
        (Job("Failed"), JobState.FAILED, None, None),
        (Job("Canceled", exit_code=137, reason="Error"), JobState.CANCELLED, 137, "Error"),
        (Job("Paused"), JobState.UNKNOWN, None, None),
    ],
)
def test_status_by_one_call(drive, job, state, exit_code, reason):
    driven = drive(API.job_status(REF), Cluster({"5": job}))
    status = driven.result
    assert (status.state, status.exit_code, status.reason) == (state, exit_code, reason)
    assert status.raw_state == job.state
    assert not status.outcome_assumed
    assert driven.operations == ["DescribeServerlessJobs"]


def test_only_an_ended_job_has_an_end_time(drive, reply):
    fields = {"JobId": "5", "EndTime": 1662016121}
    for state, ended_at in (("Running", None), ("Failed", datetime(2022, 9, 1, 7, 8, 41, tzinfo=UTC))):
        cloud = reply({"JobInfos": [{**fields, "State": state}]})
        assert drive(API.job_status(REF), lambda _, cloud=cloud: cloud).result.ended_at == ended_at


def test_an_unknown_job(drive):
    """No error code is documented for it, so the list must confirm what Describe rejects."""
    with pytest.raises(NotFound, match="job 5 in cluster"):
        drive(API.job_status(REF), Cluster())


def test_a_response_about_another_job_is_an_error(drive, reply):
    with pytest.raises(UnexpectedResponse, match="'6', not about '5'"):
        drive(API.job_status(REF), lambda _: reply({"JobInfos": [{"JobId": "6", "State": "Succeeded"}]}))


def test_an_unknown_cluster_fails_at_once(drive, reply):
    calls = []

    def cloud(request):
        calls.append(request)
        return reply({"Code": "ClusterNotFound", "Message": "no"}, 404)

    with pytest.raises(NotFound):
        drive(API.job_status(REF), cloud)
    assert len(calls) == 1


def test_a_transient_error_is_raised(drive):
    with pytest.raises(ServiceUnavailable):
        drive(API.job_status(REF), Cluster({"5": Job()}, describes=False))


# ------------------------------------------------------------------ array jobs


def test_a_subtask_is_described(drive):
    driven = drive(API.job_status(JobRef("10_3", CLUSTER)), Cluster({"10": Job(subtasks={3: "Failed"})}))
    assert driven.result.state is JobState.FAILED
    assert driven.operations == ["DescribeServerlessJobs"]


@pytest.mark.parametrize(
    ("parent", "subtasks", "state", "counts"),
    [
        ("Running", {1: "Succeeded", 3: "Running", 5: "Failed"}, "RUNNING", (1, 1, 1)),
        ("Failed", {1: "Succeeded", 3: "Succeeded", 5: "Failed"}, "FAILED", (0, 2, 1)),
        ("Succeeded", {1: "Succeeded", 3: "Succeeded"}, "SUCCEEDED", (0, 2, 0)),
        # The cloud may report an array as failed when its first sub-task fails.
        ("Failed", {1: "Failed", 3: "Running"}, "RUNNING", (1, 0, 1)),
        # Waiting sub-tasks may not be listed yet.
        ("Running", {1: "Succeeded"}, "RUNNING", (0, 1, 0)),
    ],
)
def test_array_whose_subtasks_are_listed(drive, parent, subtasks, state, counts):
    cluster = Cluster({"10": Job(parent, subtasks=subtasks)}, lists_subtasks=True)
    driven = drive(API.job_status(JobRef("10", CLUSTER)), cluster)
    assert driven.result.state == state
    expected = dict(zip(("RUNNING", "SUCCEEDED", "FAILED"), counts, strict=True))
    assert driven.result.array == {name: count for name, count in expected.items() if count}
    assert driven.operations == ["DescribeServerlessJobs", "ListServerlessJobs"]


def test_array_whose_subtasks_are_not_listed(drive):
    """Then only the array's own state is known: no counts must be invented."""
    cluster = Cluster({"10": Job("Running", subtasks={1: "Succeeded", 3: "Running"})})
    status = drive(API.job_status(JobRef("10", CLUSTER)), cluster).result
    assert (status.state, status.array) == (JobState.RUNNING, {})


def test_a_subtask_requested_with_its_array_does_not_count_as_its_list(drive):
    """The state of sub-task 10_3 must not replace that of array 10, whose wait would end too early."""
    cluster = Cluster({"10": Job("Failed", subtasks={1: "Failed", 3: "Succeeded"})})
    refs = [JobRef("10", CLUSTER), JobRef("10_3", CLUSTER)]
    found = drive(API.job_statuses(refs), cluster).result
    assert found[refs[0]].state is JobState.FAILED
    assert found[refs[1]].state is JobState.SUCCEEDED


def test_job_1_is_not_the_array_of_job_10(drive):
    cluster = Cluster({"1": Job("Running"), "10": Job("Failed", subtasks={1: "Failed"})}, lists_subtasks=True)
    found = drive(API.job_statuses([JobRef("1", CLUSTER), JobRef("10", CLUSTER)]), cluster).result
    assert found[JobRef("1", CLUSTER)].array == {}


def test_a_large_array_is_counted_over_all_pages(drive):
    cluster = Cluster(
        {"10": Job("Running", subtasks=dict.fromkeys(range(250), "Running"))}, lists_subtasks=True
    )
    driven = drive(API.job_statuses([JobRef("10", CLUSTER)]), cluster)
    assert driven.result[JobRef("10", CLUSTER)].array == {"RUNNING": 250}
    assert Counter(driven.operations) == {"ListServerlessJobs": 3}


# ------------------------------------------------------------------ many jobs


def test_a_thousand_jobs_cost_ten_calls(drive):
    jobs = {str(n): Job() for n in range(1000)}
    driven = drive(API.job_statuses([JobRef(job_id, CLUSTER) for job_id in jobs]), Cluster(jobs))
    assert Counter(driven.operations) == {"ListServerlessJobs": 10}
    assert all(status.state is JobState.RUNNING for status in driven.result.values())


def test_only_the_details_of_failed_jobs_are_read(drive):
    """Their exit codes and reasons are worth one call each; those of a success are known."""
    jobs = {str(n): Job() for n in range(5)} | {
        "5": Job("Succeeded", exit_code=0),
        "6": Job("Failed", exit_code=9, reason="Error"),
        "7": Job("Canceled"),
    }
    refs = [JobRef(job_id, CLUSTER) for job_id in (*jobs, "99")]
    driven = drive(API.job_statuses(refs), Cluster(jobs))
    failed = driven.result[JobRef("6", CLUSTER)]
    assert (failed.state, failed.exit_code, failed.reason) == (JobState.FAILED, 9, "Error")
    assert driven.result[JobRef("5", CLUSTER)].state is JobState.SUCCEEDED
    assert driven.result[JobRef("7", CLUSTER)].state is JobState.CANCELLED
    assert driven.result[JobRef("99", CLUSTER)] is None
    assert Counter(driven.operations) == {"ListServerlessJobs": 1, "DescribeServerlessJobs": 2}


def test_an_error_in_the_details_does_not_hide_the_outcome(drive):
    cluster = Cluster({"6": Job("Failed", exit_code=9)}, describes=False)
    status = drive(API.job_statuses([JobRef("6", CLUSTER)]), cluster).result[JobRef("6", CLUSTER)]
    assert (status.state, status.exit_code) == (JobState.FAILED, None)


def test_no_jobs_cost_no_call(drive):
    driven = drive(API.job_statuses([]), Cluster())
    assert driven.result == {}
    assert driven.operations == []


# ------------------------------------------------------------------ the log, submit and stop


def test_reading_a_log_fails_before_any_request():
    """E-HPC has no log operation for these jobs: the error must be clearer than InvalidParams."""
    with pytest.raises(NotSupported, match=r"^api: .*ehpc-serverless.*log of a job"):
        API.read_log(REF, LogCursor(), 1024)
    with pytest.raises(NotSupported):
        API.log_tail(REF, 1024)


def test_submit_and_stop(drive):
    cluster = Cluster({"7": Job()})
    spec = JobSpec(name="j", command="true", options={"Container": {"Image": "i"}})
    ref = drive(API.submit(spec, CLUSTER), cluster).result
    assert ref == JobRef("7", CLUSTER)
    drive(API.stop(ref), cluster)
    assert cluster.jobs["7"].state == "Canceled"


def test_a_submission_that_returns_no_id_is_an_error(drive):
    spec = JobSpec(name="silent", command="true", options={"Container": {"Image": "i"}})
    with pytest.raises(UnexpectedResponse, match="search for the job by its name"):
        drive(API.submit(spec, CLUSTER), Cluster())


def test_job_versions_are_rejected():
    with pytest.raises(InvalidArgument, match=r"^version_id: .*ehpc-serverless"):
        API.job_ref("5", CLUSTER, "2")

# SPDX-License-Identifier: Apache-2.0
"""The operations of E-HPC 2024-07-30 have the documented forms."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun.states import scheduler_state
from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.emulator.aliyun.dialect import PBS, SLURM
from airflow_provider_ehpc.emulator.jobs import Phase
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client
from tests.gates import eventually

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def _log(client: Client, job_id: str, **parameters: str) -> tuple[bytes, bytes]:
    result = client.call("GetJobLog", JobId=job_id, **parameters)
    return base64.b64decode(result["StdoutLog"]), base64.b64decode(result["StderrLog"])


def test_every_operation_reports_a_job(client: Client) -> None:
    """One job from its submission to its log, in the form on the page of each operation."""
    job_id = client.create(
        '-- /bin/echo "$GREETING"; echo oh >&2',
        name="first",
        Variables='[{"Name": "GREETING", "Value": "good day, 世界"}]',
        Resources={"Nodes": 1, "Cores": 2, "Memory": "1gb"},
        WallTime="00:10:00",
        Priority="3",
    )
    client.emulator.wait_for(job_id, "COMPLETED")

    assert job_id == "1.manager"
    info = client.info(job_id)
    assert info.keys() == {
        *(
            "ArrayJobId",
            "ArrayJobSubId",
            "ArrayRequest",
            "CommandLine",
            "CreateTime",
            "ErrorLog",
            "ExtraInfo",
        ),
        *("JobId", "JobName", "JobQueue", "LastModifyTime", "NodeList", "OutputLog", "Priority", "Resources"),
        *("ResourcesUsed", "RunasUser", "StartTime", "State", "Variables"),
    }
    assert (info["JobId"], info["JobName"], info["State"]) == (job_id, "first", "FINISHED")
    assert info["Resources"] == {"Nodes": 1, "Cores": 2, "Memory": "1gb", "Gpus": 0}
    assert info["Variables"] == [{"Name": "GREETING", "Value": "good day, 世界"}]
    assert info["NodeList"] == "compute000"
    for name in ("CreateTime", "StartTime", "LastModifyTime"):
        assert _ISO.fullmatch(info[name])
    assert _log(client, job_id) == ("good day, 世界\n".encode(), b"oh\n")

    listed = client.call("ListJobs")
    assert (listed["TotalCount"], listed["PageNumber"], listed["PageSize"]) == (1, 1, 10)
    spec = listed["Jobs"][0]["JobSpec"]
    assert spec.keys() == {
        *("ArrayJobId", "ArrayJobSubId", "ArrayRequest", "Comment", "Id", "JobQueue", "LastModifyTime"),
        *("NodeList", "Priority", "Resources", "ResourcesActualOccupied", "RunasUser", "StartTime", "State"),
        *("StderrPath", "StdoutPath", "SubmitTime", "Variables"),
    }
    assert (spec["Id"], spec["State"], spec["Priority"]) == (job_id, "FINISHED", "3")
    assert json.loads(spec["Variables"]) == {"GREETING": "good day, 世界"}
    # A single poll and a list report the same resources of an ended job, as numbers and as strings.
    assert info["ResourcesUsed"] == {"Nodes": 1, "Cores": 2, "Memory": "0mb"}
    assert spec["ResourcesActualOccupied"] == {"Nodes": "1", "Cores": "2", "Memory": "0mb"}
    assert all(spec[name].isdigit() for name in ("SubmitTime", "StartTime", "LastModifyTime"))


def test_a_password_is_neither_saved_nor_reported(client: Client) -> None:
    job_id = client.create("true", RunasUser="alice", RunasUserPassword="planted-secret")

    assert client.info(job_id)["RunasUser"] == "alice"
    for file in client.emulator.directory.rglob("*"):
        assert not file.is_file() or b"planted-secret" not in file.read_bytes()
    assert "planted-secret" not in str(client.emulator.requests.recent)


@pytest.mark.parametrize(
    ("spelling", "code", "phase", "word"),
    [
        ("pbs", 0, "COMPLETED", "FINISHED"),
        ("pbs", 3, "FAILED", "FAILED"),
        ("slurm", 0, "COMPLETED", "Completed"),
        ("slurm", 3, "FAILED", "Failed"),
    ],
)
def test_an_ended_job_has_the_word_of_its_cluster(spelling: str, code: int, phase: str, word: str) -> None:
    with Emulator(spelling=spelling) as emulator:
        client = Client(emulator)
        job_id = client.create(f"exit {code}")

        assert emulator.wait_for(job_id, phase).exit_code == code
        assert client.info(job_id)["State"] == word
        assert job_id == ("1" if spelling == "slurm" else "1.manager")


@pytest.mark.parametrize(("spelling", "word"), [("pbs", "FINISHED"), ("slurm", "Cancelled")])
def test_a_stopped_job_is_cancelled_on_slurm_and_only_finished_on_pbs(spelling: str, word: str) -> None:
    with Emulator(spelling=spelling) as emulator:
        client = Client(emulator)
        job_id = client.create("echo ready; sleep 60")
        eventually(lambda: _log(client, job_id)[0] == b"ready\n")
        client.call("StopJobs", JobIds=json.dumps([job_id]))

        assert emulator.wait_for(job_id, "CANCELLED").exit_code == 128 + 15
        assert client.info(job_id)["State"] == word


def test_the_words_mean_to_the_provider_what_they_mean_here() -> None:
    """If the provider did not know a state, a sensor would wait forever."""
    for phase in Phase:
        result = scheduler_state(SLURM.state(phase))
        assert result.terminal == phase.ended
        assert (result is JobState.SUCCEEDED) == (phase is Phase.COMPLETED)
        assert scheduler_state(PBS.state(phase)).terminal == phase.ended


@pytest.mark.parametrize(
    ("spelling", "job_id", "message"),
    [
        ("pbs", "5.manager", "qstat: Unknown Job Id 5.manager"),
        ("slurm", "5", "slurm_load_jobs error: Invalid job id specified"),
        ("pbs", "no job at all", "qstat: Unknown Job Id no job at all"),
    ],
)
def test_an_unknown_job_gets_the_message_of_the_scheduler(spelling: str, job_id: str, message: str) -> None:
    with Emulator(spelling=spelling) as emulator:
        answer = Client(emulator).send("GetJob", {"JobId": job_id})

    assert answer.refusal == (406, "AgentError")
    assert answer.json["Message"] == f"The agent service request failed: {message}"


def test_an_unknown_cluster_is_an_error(client: Client) -> None:
    assert client.refusal("ListJobs", ClusterId="ehpc-hz-other") == (404, "ClusterNotFound")


@pytest.mark.parametrize(
    ("operation", "parameters", "named"),
    [
        ("GetJob", {}, "JobId"),
        ("GetJob", {"ClusterId": "", "JobId": "1.manager"}, "ClusterId"),
        ("GetJobLog", {}, "JobId"),
        ("ListJobs", {"PageSize": "51"}, "PageSize"),
        ("ListJobs", {"PageSize": "0"}, "PageSize"),
        ("ListJobs", {"PageNumber": "0"}, "PageNumber"),
        ("ListJobs", {"PageNumber": "one"}, "PageNumber"),
        ("ListJobs", {"JobFilter": "{"}, "JobFilter"),
        ("ListJobs", {"JobFilter": '{"JobStatus": "running"}'}, "JobFilter.JobStatus"),
        ("ListJobs", {"JobFilter": '{"Users": "root"}'}, "JobFilter.Users"),
        ("ListJobs", {"JobFilter": '{"CreateTimeStart": "today"}'}, "JobFilter.CreateTimeStart"),
        ("ListJobs", {"JobFilter": '{"SortBy": {"SubmitOrder": "up"}}'}, "JobFilter.SortBy"),
        ("StopJobs", {"JobIds": "1.manager"}, "JobIds"),
        ("CreateJob", {"JobName": "a"}, "JobSpec"),
        ("CreateJob", {"JobSpec": "{}"}, "JobSpec.CommandLine"),
        ("CreateJob", {"JobSpec": '{"CommandLine": "-- "}'}, "JobSpec.CommandLine"),
        ("CreateJob", {"JobSpec": '{"CommandLine": "true", "WallTime": "60"}'}, "JobSpec.WallTime"),
        (
            "CreateJob",
            {"JobSpec": '{"CommandLine": "true", "ArrayRequest": "5-1:1"}'},
            "JobSpec.ArrayRequest",
        ),
        (
            "CreateJob",
            {"JobSpec": '{"CommandLine": "true", "ArrayRequest": "1-99999"}'},
            "JobSpec.ArrayRequest",
        ),
        ("CreateJob", {"JobSpec": '{"CommandLine": "true", "Variables": "A=1"}'}, "JobSpec.Variables"),
        ("CreateJob", {"JobSpec": '{"CommandLine": "true", "Priority": "high"}'}, "JobSpec.Priority"),
        ("CreateJob", {"JobSpec": '{"CommandLine": "true", "StdoutPath": "out"}'}, "JobSpec.StdoutPath"),
        (
            "CreateJob",
            {"JobSpec": '{"CommandLine": "true", "Resources": {"Cores": "two"}}'},
            "JobSpec.Resources.Cores",
        ),
        (
            "CreateJob",
            {"JobSpec": '{"CommandLine": "true", "Resources": {"Memory": "much"}}'},
            "JobSpec.Resources.Memory",
        ),
    ],
)
def test_a_parameter_that_is_wrong_is_named(
    client: Client, operation: str, parameters: dict[str, str], named: str
) -> None:
    answer = client.send(operation, parameters)

    assert answer.refusal == (400, "InvalidParams")
    assert answer.json["Message"] == f"The specified parameter {named} is invalid."


class TestListJobs:
    def test_pages_hold_every_job_once_newest_first(self, client: Client) -> None:
        """A poller that reads all pages must find all its jobs."""
        ids = [client.emulator.submit("true", name=f"job{n}") for n in range(23)]

        pages = [client.listed(PageNumber=str(n), PageSize="10") for n in (1, 2, 3, 4)]

        assert [len(page) for page in pages] == [10, 10, 3, 0]
        assert [job_id for page in pages for job_id in page] == ids[::-1]
        assert client.call("ListJobs", PageNumber="4")["TotalCount"] == 23

    def _filtered(self, client: Client, **wanted: Any) -> list[str]:
        return client.listed(JobFilter=json.dumps(wanted))

    def test_the_filter_keeps_what_is_asked_for(self, client: Client) -> None:
        submit = client.emulator.submit
        done = submit("true", name="train-a", user="alice", queue="fast")
        failed = submit("false", name="train-b", user="bob", queue="slow")
        client.emulator.wait_for(done)
        client.emulator.wait_for(failed)
        running = submit("sleep 60", name="evaluate", user="bob", queue="fast", nodes=2)
        client.emulator.wait_for(running, "RUNNING")

        assert self._filtered(client, JobStatus="all") == [running, failed, done]
        assert self._filtered(client, JobStatus="finished") == [failed, done]
        assert self._filtered(client, JobStatus="notfinish") == [running]
        assert self._filtered(client, JobName="train") == [failed, done]
        assert self._filtered(client, Users=["bob"], JobStatus="finished") == [failed]
        assert self._filtered(client, Queues=["slow", "none"]) == [failed]
        assert self._filtered(client, Nodes=["compute001"]) == [running]
        assert self._filtered(client, JobName="nothing") == []
        assert self._filtered(client, SortBy={"SubmitOrder": "asc"}) == [done, failed, running]
        assert client.info(running)["NodeList"] == "compute[000,001]"

    def test_the_filter_by_time_includes_its_ends(self, client: Client) -> None:
        job_id = client.emulator.submit("true")
        at = int(client.emulator.job(job_id).submission.submitted_at)

        assert self._filtered(client, CreateTimeStart=str(at), CreateTimeEnd=str(at)) == [job_id]
        assert self._filtered(client, CreateTimeStart=str(at + 1)) == []
        assert self._filtered(client, CreateTimeEnd=str(at - 1)) == []


class TestGetJobLog:
    def test_bytes_are_read_from_where_asked(self, client: Client) -> None:
        """Offsets count bytes of the file. A reader that counts anything else loses or repeats text."""
        job_id = client.create("printf '0123456789'; printf 'abc' >&2")
        client.emulator.wait_for(job_id)

        assert _log(client, job_id, Offset="4", Size="3") == (b"456", b"")
        assert _log(client, job_id, Offset="8", LogType="stdout") == (b"89", b"")
        assert _log(client, job_id, LogType="stderr") == (b"", b"abc")
        assert _log(client, job_id, Offset="99") == (b"", b"")
        result = client.call("GetJobLog", JobId=job_id, Size="2")
        assert (result["StdoutLogSize"], result["StderrLogSize"]) == ("10", "3")

    def test_a_chunk_may_end_within_a_character(self, client: Client) -> None:
        job_id = client.create("printf '世界'")
        client.emulator.wait_for(job_id)

        assert _log(client, job_id, Size="4")[0] == "世界".encode()[:4]

    def test_the_default_is_ten_kilobytes_and_the_most_four_hundred(self, client: Client) -> None:
        job_id = client.create("head -c 500000 /dev/zero")
        client.emulator.wait_for(job_id)

        assert len(_log(client, job_id)[0]) == 10240
        assert len(_log(client, job_id, Size="409600")[0]) == 409600
        assert client.refusal("GetJobLog", JobId=job_id, Size="409601") == (400, "InvalidParams")
        assert client.refusal("GetJobLog", JobId=job_id, LogType="log") == (400, "InvalidParams")

    def test_a_job_that_waits_has_an_empty_log(self) -> None:
        with Emulator(slots=1) as emulator:
            client = Client(emulator)
            emulator.submit("sleep 60")
            waiting = client.create("true")

            assert client.info(waiting)["State"] == "QUEUED"
            assert _log(client, waiting) == (b"", b"")

    def test_a_log_grows_while_its_job_runs(self, client: Client) -> None:
        job_id = client.create("echo started; sleep 60")
        client.emulator.wait_for(job_id, "RUNNING")
        eventually(lambda: _log(client, job_id)[0] == b"started\n")
        client.emulator.write_log(job_id, b"more\n")

        assert _log(client, job_id, Offset=str(len(b"started\n")))[0] == b"more\n"


class TestStopJobs:
    def test_a_job_that_has_ended_cannot_be_stopped(self, client: Client) -> None:
        job_id = client.create("true")
        client.emulator.wait_for(job_id)

        answer = client.send("StopJobs", {"JobIds": json.dumps([job_id])})

        assert answer.refusal == (406, "AgentError.Job.StopFailure")
        assert "Job has finished" in answer.json["Message"]

    def test_one_that_cannot_be_stopped_does_not_save_the_others(self, client: Client) -> None:
        running, waiting = client.create("sleep 60"), client.create("sleep 60")

        assert client.refusal("StopJobs", JobIds=json.dumps(["99.manager", running, waiting])) == (
            406,
            "AgentError",
        )
        client.emulator.wait_for(running, "CANCELLED")
        client.emulator.wait_for(waiting, "CANCELLED")

    def test_no_job_named_is_no_error(self, client: Client) -> None:
        """The pages describe JobIds as optional and do not document what happens without it."""
        assert client.call("StopJobs")["Success"] is True


class TestArrays:
    @pytest.mark.parametrize(
        ("spelling", "whole", "parts"),
        [
            ("pbs", "1[].manager", ["1[2].manager", "1[4].manager", "1[6].manager"]),
            ("slurm", "1", ["1_2", "1_4", "1_6"]),
        ],
    )
    def test_an_array_and_its_sub_jobs_are_jobs(self, spelling: str, whole: str, parts: list[str]) -> None:
        """The state of an array is computed from its sub-jobs, so ListJobs must list each of them."""
        with Emulator(spelling=spelling) as emulator:
            client = Client(emulator)
            job_id = client.create(
                "echo $SLURM_ARRAY_TASK_ID $PBS_ARRAY_INDEX; exit $((PBS_ARRAY_INDEX == 4))",
                ArrayRequest="2-7:2",
            )
            emulator.wait_for(job_id)

            assert job_id == whole
            assert client.listed() == [whole, *parts]
            info = client.info(whole)
            assert (info["ArrayRequest"], info["ArrayJobId"], info["ArrayJobSubId"]) == ("2-7:2", "1", "")
            assert info["State"] == ("FAILED" if spelling == "pbs" else "Failed")
            sub = client.info(parts[1])
            assert (sub["JobId"], sub["ArrayJobId"], sub["ArrayJobSubId"]) == (parts[1], "1", "4")
            assert [emulator.job(part).exit_code for part in parts] == [0, 1, 0]
            assert [_log(client, part)[0] for part in parts] == [b"2 2\n", b"4 4\n", b"6 6\n"]
            assert emulator.job(whole).phase == "FAILED"

    def test_an_array_is_queued_begun_and_ended(self) -> None:
        with Emulator(slots=1) as emulator:
            client = Client(emulator)
            hold = client.create("sleep 60")
            emulator.wait_for(hold, "RUNNING")
            array = client.create("true", ArrayRequest="1-3:1")

            assert client.info(array)["State"] == "QUEUED"
            client.call("StopJobs", JobIds=json.dumps([hold]))
            assert emulator.wait_for(array).phase == "COMPLETED"
            assert client.info(array)["State"] == "FINISHED"

    def test_stopping_an_array_stops_what_has_not_ended(self, client: Client) -> None:
        array = client.create("test $PBS_ARRAY_INDEX = 1 || sleep 60", ArrayRequest="1-3:1")
        client.emulator.wait_for("1[1].manager", "COMPLETED")
        client.call("StopJobs", JobIds=json.dumps(["1[2].manager"]))
        client.emulator.wait_for("1[2].manager", "CANCELLED")
        assert client.emulator.job("1[3].manager").phase == "RUNNING"

        client.call("StopJobs", JobIds=json.dumps([array]))

        assert client.emulator.wait_for(array).phase == "CANCELLED"
        assert client.emulator.job("1[1].manager").phase == "COMPLETED"

# SPDX-License-Identifier: Apache-2.0
"""The operations of E-HPC 2018-04-12 on jobs of a scheduler have the documented forms."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_ehpc.emulator.dependencies import OPTION
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Answer, Client
from tests.gates import eventually

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_HOST = {"ExecHost": "compute000"}


def _send(client: Client, operation: str, **parameters: str) -> Answer:
    return client.send(operation, parameters, version="2018-04-12", method="GET")


def _call(client: Client, operation: str, **parameters: str) -> dict[str, Any]:
    answer = _send(client, operation, **parameters)
    assert answer.status == 200, answer.body
    return answer.json


def _submit(client: Client, command: str, **parameters: str) -> str:
    job_id: str = _call(client, "SubmitJob", CommandLine=command, RunasUser="alice", **parameters)["JobId"]
    return job_id


def _log(client: Client, job_id: str, **parameters: str) -> tuple[bytes, bytes]:
    result = _call(client, "GetJobLog", JobId=job_id, **parameters)
    assert result.keys() == {"RequestId", "JobId", "OutputLog", "ErrorLog"}
    return base64.b64decode(result["OutputLog"]), base64.b64decode(result["ErrorLog"])


def _attributes(client: Client, job_id: str) -> dict[str, Any]:
    info: dict[str, Any] = _call(client, "DescribeJob", JobId=job_id)["Message"]["JobInfo"]
    return info


def _listed(client: Client, **parameters: str) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = _call(client, "ListJobs", **parameters)["Jobs"]["JobInfo"]
    return jobs


def _jobs(*job_ids: str) -> str:
    return json.dumps([{"Id": job_id} for job_id in job_ids])


@pytest.fixture
def slurm_client() -> Iterator[Client]:
    with Emulator(spelling="slurm") as emulator:
        yield Client(emulator)


def test_every_operation_reports_a_job(client: Client) -> None:
    """One job from its submission to its log, in the form on the page of each operation."""
    job_id = _submit(
        client,
        'echo "$GREETING"; echo oh >&2',
        Name="first.job",
        Variables='[{"Name":"GREETING","Value":"good day, 世界"}]',
        Node="2",
        Cpu="4",
        Mem="1GB",
        ClockTime="10:00",
        Priority="3",
        StdoutRedirectPath="out.txt",
        Async="False",
    )
    job = client.emulator.wait_for(job_id, "COMPLETED")

    assert job_id == "1.manager"
    assert (job.spec.nodes, job.spec.cores, job.spec.memory, job.spec.wall_time) == (2, 4, "1GB", 600)
    assert _log(client, job_id) == ("good day, 世界\n".encode(), b"oh\n")
    (listed,) = _listed(client)
    assert listed.keys() == {
        *("ArrayRequest", "Comment", "Id", "LastModifyTime", "Name", "NodeList", "Owner", "Priority"),
        *("Resources", "ShellPath", "StartTime", "State", "Stderr", "Stdout", "SubmitTime"),
    }
    assert (listed["Id"], listed["Name"], listed["Owner"]) == (job_id, "first.job", "alice")
    assert (listed["State"], listed["Priority"]) == ("FINISHED", "3")
    assert listed["NodeList"] == "['compute000', 'compute001']"
    assert listed["Resources"] == {"Nodes": 2, "Cores": 4}
    assert listed["Stdout"].endswith("/home/out.txt")
    for name in ("SubmitTime", "StartTime", "LastModifyTime"):
        assert _ISO.fullmatch(listed[name])
    assert client.info(job_id)["State"] == "FINISHED"


def test_there_is_no_word_for_a_job_that_failed() -> None:
    """The version has only FINISHED, RUNNING and QUEUED. FINISHED does not mean success."""
    with Emulator(slots=1) as emulator:
        busy = Client(emulator)
        failed = _submit(busy, "exit 3")
        emulator.wait_for(failed, "FAILED")
        running = _submit(busy, "sleep 60")
        emulator.wait_for(running, "RUNNING")
        waiting = _submit(busy, "true")

        states = {job["Id"]: job["State"] for job in _listed(busy)}

    assert states == {failed: "FINISHED", running: "RUNNING", waiting: "QUEUED"}


class TestGetJobLog:
    def test_one_window_lies_over_both_streams(self, client: Client) -> None:
        job_id = _submit(client, "printf 0123456789; printf abcdef >&2")
        client.emulator.wait_for(job_id)

        assert _log(client, job_id, Offset="4", Size="4") == (b"4567", b"ef")
        assert _log(client, job_id, Offset="8") == (b"89", b"")
        assert _log(client, job_id, Offset="99") == (b"", b"")

    def test_1024_bytes_are_the_default_and_409600_the_most(self, client: Client) -> None:
        job_id = _submit(client, "head -c 500000 /dev/zero")
        client.emulator.wait_for(job_id)

        assert len(_log(client, job_id)[0]) == 1024
        assert len(_log(client, job_id, Size="409600")[0]) == 409600
        assert _send(client, "GetJobLog", JobId=job_id, Size="409601").refusal == (400, "InvalidParams")

    def test_a_running_jobs_node_has_to_be_named_and_to_be_the_jobs(self, client: Client) -> None:
        """A client that omits ExecHost gets the logs of all jobs except running ones."""
        job_id = _submit(client, "echo here; sleep 60")
        client.emulator.wait_for(job_id, "RUNNING")
        eventually(lambda: _log(client, job_id, **_HOST)[0] == b"here\n")

        missing = _send(client, "GetJobLog", JobId=job_id)
        assert missing.refusal == (400, "InvalidParams")
        assert missing.json["Message"] == "The specified parameter ExecHost is invalid."
        other = _send(client, "GetJobLog", JobId=job_id, ExecHost="compute001")
        assert other.refusal == (404, "ComputeNotFound")

    def test_an_ended_jobs_node_need_not_be_there_any_more(self, client: Client) -> None:
        job_id = _submit(client, "echo done")
        client.emulator.wait_for(job_id)

        assert _log(client, job_id)[0] == _log(client, job_id, ExecHost="gone")[0] == b"done\n"

    def test_an_unknown_job_fails_in_the_command(self, client: Client) -> None:
        answer = _send(client, "GetJobLog", JobId="9.manager")

        assert answer.refusal == (406, "ExecFail")
        assert "Unknown Job Id 9.manager" in answer.json["Message"]


class TestDescribeJob:
    def test_pbs_attributes_show_the_outcome_of_a_job(self, client: Client) -> None:
        """Only here does a failed job differ from a successful one."""
        job_id = _submit(client, "exit 3", Name="failing", Node="2", Cpu="2", ClockTime="01:00:00")
        client.emulator.wait_for(job_id)

        attributes = _attributes(client, job_id)[job_id]

        assert (attributes["job_state"], attributes["Exit_status"], attributes["substate"]) == ("F", 3, 93)
        assert attributes["Job_Owner"] == "alice@manager"
        assert attributes["exec_host"] == "compute000/0*2+compute001/0*2"
        assert attributes["Resource_List"]["walltime"] == "01:00:00"
        assert attributes["Output_Path"].startswith("manager:/")
        # as in the sample of the page
        assert {"egroup", "Stageout_status", "Keep_Files", "server", "queue"} <= attributes.keys()

    def test_a_running_job_has_no_exit_status(self, client: Client) -> None:
        job_id = _submit(client, "sleep 60")
        client.emulator.wait_for(job_id, "RUNNING")

        attributes = _attributes(client, job_id)[job_id]

        assert (attributes["job_state"], "Exit_status" in attributes) == ("R", False)

    def test_a_stopped_job_was_terminated_by_a_signal(self, client: Client) -> None:
        job_id = _submit(client, "echo ready; sleep 60")
        client.emulator.wait_for(job_id, "RUNNING")
        eventually(lambda: _log(client, job_id, **_HOST)[0] == b"ready\n")
        _call(client, "StopJobs", Jobs=_jobs(job_id))
        client.emulator.wait_for(job_id, "CANCELLED")

        attributes = _attributes(client, job_id)[job_id]

        assert (attributes["job_state"], attributes["Exit_status"], attributes["substate"]) == ("F", 271, 91)

    def test_an_array_counts_its_sub_jobs(self, client: Client) -> None:
        array = _submit(client, "test $PBS_ARRAY_INDEX = 1 || sleep 60", ArrayRequest="1-3:1")
        client.emulator.wait_for("1[1].manager", "COMPLETED")
        eventually(lambda: client.emulator.job("1[3].manager").phase == "RUNNING")

        whole = _attributes(client, array)["1[].manager"]
        ended = _attributes(client, "1[1].manager")["1[1].manager"]

        assert (whole["job_state"], whole["array_indices_submitted"]) == ("B", "1-3:1")
        assert whole["array_state_count"] == "Queued:0 Running:2 Exiting:0 Expired:1 "
        assert (ended["job_state"], ended["array_id"], ended["array_index"]) == ("X", "1[].manager", "1")

    def test_an_array_has_the_exit_status_of_the_sub_job_that_ended_last(self, client: Client) -> None:
        """OpenPBS 23.06: 0 in three of five arrays with failed sub-jobs. Only the substate differs."""
        array = _submit(client, "test $PBS_ARRAY_INDEX = 2 && sleep 1 && exit 0; exit 7", ArrayRequest="1-2")
        client.emulator.wait_for(array)

        whole = _attributes(client, array)[array]

        assert (whole["job_state"], whole["Exit_status"], whole["substate"]) == ("F", 0, 93)
        assert re.fullmatch(r"Job Array Began at \w{3} \w{3} \d\d at \d\d:\d\d and failed", whole["comment"])

    def test_a_job_that_traps_the_signal_at_its_wall_time_has_exceeded_it(self, client: Client) -> None:
        job_id = _submit(client, "trap 'exit 0' TERM; while :; do sleep 0.1; done", ClockTime="1")
        client.emulator.wait_for(job_id)

        attributes = _attributes(client, job_id)[job_id]

        assert (attributes["Exit_status"], attributes["substate"]) == (-29, 93)
        assert attributes["comment"].endswith("on (compute000:ncpus=1) and exceeded resource walltime")

    def test_a_job_whose_dependency_failed_never_runs(self, client: Client) -> None:
        """PBS deletes it: substate 92, as for a successful job, but no exit status and no start."""
        assert _submit(client, "exit 3") == "1.manager"
        options = {OPTION: [["AfterSucceeded", 1, None]]}
        waiting = client.emulator.submit("true", options=options)
        client.emulator.wait_for(waiting)

        attributes = _attributes(client, waiting)[waiting]

        assert (attributes["job_state"], attributes["substate"]) == ("F", 92)
        assert not {"Exit_status", "stime", "exec_host", "comment"} & attributes.keys()
        assert attributes["depend"] == "afterok:1.manager@manager"

    @pytest.mark.parametrize(
        ("command", "end"),
        [("true", "finished"), ("exit 3", "failed"), ("sleep 60", "terminated by alice@manager")],
    )
    def test_the_comment_says_how_a_job_ended(self, client: Client, command: str, end: str) -> None:
        job_id = _submit(client, command)
        if command == "sleep 60":
            client.emulator.wait_for(job_id, "RUNNING")
            _call(client, "StopJobs", Jobs=_jobs(job_id))
        client.emulator.wait_for(job_id)
        assert _attributes(client, job_id)[job_id]["comment"].endswith(f" on (compute000:ncpus=1) and {end}")

    def test_slurm_describes_a_job_as_scontrol_does(self, slurm_client: Client) -> None:
        job_id = _submit(slurm_client, "exit 3")
        slurm_client.emulator.wait_for(job_id)

        attributes = _attributes(slurm_client, job_id)[job_id]

        assert (attributes["JobState"], attributes["ExitCode"]) == ("FAILED", "3:0")
        assert (attributes["UserId"], attributes["NodeList"]) == ("alice(1000)", "compute000")

    def test_an_unknown_job_fails_in_the_command(self, client: Client, slurm_client: Client) -> None:
        """Here, the same code has another HTTP status than in GetJobLog."""
        assert _send(client, "DescribeJob", JobId="9.manager").refusal == (403, "ExecFail")
        assert _send(slurm_client, "DescribeJob", JobId="9").refusal == (403, "ExecFail")


class TestListJobs:
    def test_pages_hold_every_job_once_newest_first(self, client: Client) -> None:
        ids = [client.emulator.submit("true") for _ in range(23)]

        pages = [_listed(client, PageNumber=str(n), PageSize="10") for n in (1, 2, 3, 4)]

        assert [len(page) for page in pages] == [10, 10, 3, 0]
        assert [job["Id"] for page in pages for job in page] == ids[::-1]
        assert _call(client, "ListJobs", PageNumber="4")["TotalCount"] == 23

    def test_the_filter_keeps_what_is_asked_for(self, client: Client) -> None:
        done = _submit(client, "true", ReRunable="True")
        client.emulator.wait_for(done)
        other = client.emulator.submit("sleep 60", user="bob")

        def ids(**parameters: str) -> list[str]:
            return [job["Id"] for job in _listed(client, **parameters)]

        assert ids() == ids(State="all") == [other, done]
        assert ids(State="finished") == ids(Owner="alice") == ids(Rerunable="true") == [done]
        assert ids(State="notfinish") == ids(Owner="bob") == [other]


class TestStopJobs:
    def test_jobs_are_stopped_also_beside_one_that_cannot_be(self, client: Client) -> None:
        running = _submit(client, "sleep 60")

        answer = _send(client, "StopJobs", Jobs=_jobs("9.manager", running))

        assert answer.refusal == (406, "AgentError")
        client.emulator.wait_for(running, "CANCELLED")
        again = _send(client, "StopJobs", Jobs=_jobs(running))
        assert again.refusal == (406, "AgentError.Job.StopFailure")


@pytest.mark.parametrize(
    ("operation", "parameters", "named"),
    [
        ("GetJobLog", {}, "JobId"),
        ("GetJobLog", {"JobId": "1.manager", "Offset": "-1"}, "Offset"),
        ("DescribeJob", {}, "JobId"),
        ("ListJobs", {"PageSize": "51"}, "PageSize"),
        ("ListJobs", {"State": "RUNNING"}, "State"),
        ("StopJobs", {}, "Jobs"),
        ("StopJobs", {"Jobs": '["1.manager"]'}, "Jobs"),
        ("StopJobs", {"Jobs": "[]"}, "Jobs"),
        ("StopJobs", {"Jobs": _jobs(*(f"{n}.manager" for n in range(101)))}, "Jobs"),
        ("SubmitJob", {"RunasUser": "alice"}, "CommandLine"),
        ("SubmitJob", {"CommandLine": "true"}, "RunasUser"),
        ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", "Name": "short"}, "Name"),
        ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", "Name": "with-hyphen"}, "Name"),
        ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", "Priority": "10"}, "Priority"),
        ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", "ClockTime": "1h"}, "ClockTime"),
        ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", "Variables": "[{A:1}]"}, "Variables"),
        ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", "ArrayRequest": "5-1"}, "ArrayRequest"),
        ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", "Node": "1", "Mem": "much"}, "Mem"),
        ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", "JobRetry.Count": "11"}, "JobRetry.Count"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(
    client: Client, operation: str, parameters: dict[str, str], named: str
) -> None:
    answer = _send(client, operation, **parameters)

    assert answer.refusal == (400, "InvalidParams")
    assert answer.json["Message"] == f"The specified parameter {named} is invalid."


def test_cores_mean_nothing_without_a_number_of_nodes(client: Client) -> None:
    job_id = _submit(client, "true", Cpu="4", Mem="1GB", ClockTime="90")

    spec = client.emulator.job(job_id).spec

    assert (spec.nodes, spec.cores, spec.memory, spec.wall_time) == (None, None, None, 90)


def test_an_operation_is_served_by_its_method_and_version_alone(client: Client) -> None:
    """Only GET is documented here; 2024-07-30 uses POST."""
    by_post = client.send("ListJobs", version="2018-04-12", method="POST")
    assert by_post.refusal == (404, "InvalidAction.NotFound")
    assert client.send("GetJob", version="2018-04-12").refusal == (404, "InvalidAction.NotFound")
    assert client.send("DescribeJob").refusal == (404, "InvalidAction.NotFound")


def test_forms_drift(client: Client) -> None:
    """The description of a job is an object on the page and a string in its table of fields."""
    job_id = _submit(client, "true")
    client.emulator.wait_for(job_id)
    client.emulator.fault("drift")

    pages = [_call(client, "ListJobs") for _ in range(2)]

    wrapped, bare = pages[0]["Jobs"]["JobInfo"][0], pages[1]["Jobs"][0]
    assert (wrapped["State"], bare["State"]) == ("FINISHED\n", "FINISHED")
    assert (wrapped["Resources"]["Cores"], bare["Resources"]["Cores"]) == ("1", 1)
    assert json.loads(_call(client, "DescribeJob", JobId=job_id)["Message"]["JobInfo"])[job_id]

# SPDX-License-Identifier: Apache-2.0
"""Outcomes of Slurm jobs in the fields of scontrol, which differ from PBS's attributes."""

from __future__ import annotations

from datetime import datetime

import pytest

from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.apis.schedulers.described import describe, read_jobs
from airflow_provider_ehpc.apis.schedulers.slurm import SlurmJob, slurm_fields, slurm_status

REF = JobRef("5", "ehpc-hz-1")
OUTPUT = "the job could not be launched: check that its output files can be written"
TIMES = {
    "SubmitTime": "2026-11-27T09:07:41",
    "StartTime": "2026-11-27T09:07:42",
    "EndTime": "2026-11-27T09:08:42",
}


def status(**fields):
    return slurm_status(
        REF, SlurmJob.model_validate({"JobId": "5", "NodeList": "compute000", **TIMES, **fields})
    )


@pytest.mark.parametrize(
    ("fields", "state", "exit_code", "reason"),
    [
        (("COMPLETED", "0:0", "None"), JobState.SUCCEEDED, 0, None),
        (("FAILED", "3:0", "NonZeroExitCode"), JobState.FAILED, 3, "NonZeroExitCode"),
        (("FAILED", "137:0", "NonZeroExitCode"), JobState.FAILED, 137, "NonZeroExitCode"),
        (("FAILED", "0:9", "JobLaunchFailure"), JobState.FAILED, 137, "JobLaunchFailure; ended by SIGKILL"),
        (
            ("FAILED", "0:53", "JobLaunchFailure"),
            JobState.FAILED,
            None,
            "JobLaunchFailure; " + OUTPUT,
        ),
        (
            ("OUT_OF_MEMORY", "0:125", "OutOfMemory"),
            JobState.FAILED,
            None,
            "OutOfMemory; out of memory",
        ),
        (("TIMEOUT", "0:15", "TimeLimit"), JobState.FAILED, 143, "TimeLimit; ended by SIGTERM"),
        (("TIMEOUT", "0:0", "TimeLimit"), JobState.FAILED, 0, "TimeLimit"),
        (("NODE_FAIL", "0:0", "NodeDown"), JobState.FAILED, 0, "NodeDown"),
        (("CANCELLED by 1000", "0:15", "None"), JobState.CANCELLED, 143, "ended by SIGTERM"),
        (("F", "1:0", ""), JobState.FAILED, 1, None),
        # The exit code of an earlier run, or none yet.
        (("RUNNING", "3:0", "None"), JobState.RUNNING, None, None),
        (("PENDING", "3:0", "JobHeldUser"), JobState.QUEUED, None, "JobHeldUser"),
        (("FAILED", "", ""), JobState.FAILED, None, None),
        ((["FAILED"], 3, ""), JobState.FAILED, 3, None),
        # slurmrestd: the status of wait(2), later an object, later with numbers that may be unset.
        (("FAILED", 768, ""), JobState.FAILED, 3, None),
        (("FAILED", {"return_code": 3, "status": "ERROR"}, ""), JobState.FAILED, 3, None),
        (("FAILED", {"return_code": {"set": True, "number": 3}}, ""), JobState.FAILED, 3, None),
        (
            ("FAILED", {"return_code": {"set": False}, "signal": {"id": {"set": True, "number": 9}}}, ""),
            JobState.FAILED,
            137,
            "ended by SIGKILL",
        ),
        (
            ("FAILED", {"return_code": 0, "signal": {"signal_id": 9}}, ""),
            JobState.FAILED,
            137,
            "ended by SIGKILL",
        ),
        (("FAILED", "x:y", ""), JobState.FAILED, None, None),
    ],
)
def test_outcome(fields, state, exit_code, reason):
    word, code, why = fields
    reported = status(JobState=word, ExitCode=code, Reason=why)
    assert (reported.state, reported.exit_code, reported.reason) == (state, exit_code, reason)
    assert not reported.outcome_assumed


def test_cancelled_while_it_waited():
    """Slurm sets its start to its end, and its exit code to 0:0."""
    reported = status(JobState="CANCELLED", ExitCode="0:0", Reason="JobHeldUser", NodeList="")
    assert (reported.exit_code, reported.started_at) == (None, None)
    assert reported.reason == "cancelled before it started (pending reason: JobHeldUser)"


def test_times_are_those_of_the_job():
    ended = status(JobState="COMPLETED", ExitCode="0:0")
    assert ended.submitted_at == datetime.fromisoformat(TIMES["SubmitTime"])
    assert ended.started_at == datetime.fromisoformat(TIMES["StartTime"])
    assert ended.ended_at == datetime.fromisoformat(TIMES["EndTime"])
    # A running job's end is the end of its time limit; a waiting job's start is the expected one.
    assert status(JobState="RUNNING").ended_at is None
    waiting = status(JobState="PENDING", NodeList="(null)")
    assert (waiting.started_at, waiting.ended_at, waiting.nodes) == (None, None, ())
    assert status(JobState="PENDING", StartTime="Unknown", NodeList="").started_at is None


def test_the_reason_names_a_dependency_that_is_never_satisfied():
    reported = status(JobState="PENDING", Reason="DependencyNeverSatisfied", Dependency="afterok:4(failed)")
    assert reported.reason == "DependencyNeverSatisfied (afterok:4(failed))"


def test_a_terminal_state_that_may_not_be_final():
    assert status(JobState="NODE_FAIL").may_rerun
    assert not status(JobState="FAILED").may_rerun


@pytest.mark.parametrize(
    ("fields", "restarts"),
    [
        ({"Restarts": "2"}, 2),
        ({"Restarts": 0}, 0),
        ({"restart_cnt": {"set": True, "infinite": False, "number": 3}}, 3),
        ({"Restarts": "many"}, None),
        ({}, None),
    ],
)
def test_restarts(fields, restarts):
    assert status(**slurm_fields({"job_state": ["RUNNING"], "job_id": 5, **fields})).restarts == restarts


# From scontrol 22.05.8; a user could choose this name and this command.
ARRAY = """JobId=2 ArrayJobId=2 ArrayTaskId=3-6%2 ArrayTaskThrottle=2 JobName=a JobState=COMPLETED b
   UserId=root(0) GroupId=root(0) MCS_label=N/A
   JobState=PENDING Reason=JobArrayTaskLimit Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=Unknown EndTime=Unknown Deadline=N/A
   NodeList=
   Command=/bin/x JobState=FAILED ExitCode=9:9

JobId=6 ArrayJobId=2 ArrayTaskId=2 ArrayTaskThrottle=2 JobName=a JobState=COMPLETED b
   UserId=root(0) GroupId=root(0) MCS_label=N/A
   JobState=FAILED Reason=NonZeroExitCode Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=7:0
   StartTime=2026-11-27T09:07:42 EndTime=2026-11-27T09:07:45 Deadline=N/A
   NodeList=compute000
   StdOut=/tmp/out.txt

JobId=5 ArrayJobId=2 ArrayTaskId=1 ArrayTaskThrottle=2 JobName=a JobState=COMPLETED b
   UserId=root(0) GroupId=root(0) MCS_label=N/A
   JobState=COMPLETED Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=2026-11-27T09:07:42 EndTime=2026-11-27T09:07:45 Deadline=N/A
   NodeList=compute000
"""


def described(text: str, job_id: str):
    jobs = read_jobs(text)
    assert jobs is not None
    description = describe(JobRef(job_id, "c"), jobs)
    assert description is not None
    return description.status


def test_the_text_of_scontrol():
    """An array has one entry for each sub-job that started, and one for all that wait."""
    whole = described(ARRAY, "2")
    assert (whole.state, whole.array) == (JobState.QUEUED, {"QUEUED": 4, "SUCCEEDED": 1, "FAILED": 1})
    assert whole.restarts is None
    part = described(ARRAY, "2_2")
    assert (part.state, part.exit_code, part.name) == (JobState.FAILED, 7, "a JobState=COMPLETED b")
    assert (part.stdout_path, part.restarts) == ("/tmp/out.txt", 0)
    assert described(ARRAY, "2_1").state is JobState.SUCCEEDED


def test_the_text_of_scontrol_when_the_array_is_over():
    ended = ARRAY.split("\n\n", 1)[1]
    whole = described(ended, "2")
    assert (whole.state, whole.array) == (JobState.FAILED, {"SUCCEEDED": 1, "FAILED": 1})
    assert whole.failed_members == {"2_2": "FAILED, exit code 7, NonZeroExitCode"}


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("00:10:00", 600),
        ("1-02:00:03", 93603),
        ("UNLIMITED", None),
        ("Partition_Limit", None),
        (90, None),
        (None, None),
        ("9999999-00:00:00", None),
    ],
)
def test_the_time_limit(limit, seconds):
    assert status(JobState="RUNNING", TimeLimit=limit).wall_time == seconds

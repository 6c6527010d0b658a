# SPDX-License-Identifier: Apache-2.0
"""Outcomes of PBS jobs: E-HPC 2018-04-12 has no word for a failed job; only these attributes show it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.apis.schedulers.pbs import PbsJob, pbs_status

REF = JobRef("2.scheduler", "ehpc-hz-1")


def status(**attributes):
    return pbs_status(REF, PbsJob.model_validate(attributes))


@pytest.mark.parametrize(
    ("attributes", "state", "exit_code", "assumed"),
    [
        ({"job_state": "F", "Exit_status": 0, "substate": 92}, JobState.SUCCEEDED, 0, False),
        ({"job_state": "F", "Exit_status": "0"}, JobState.SUCCEEDED, 0, False),
        ({"job_state": "F", "Exit_status": 3, "substate": 93}, JobState.FAILED, 3, False),
        ({"job_state": "F", "Exit_status": " 271 "}, JobState.FAILED, 271, False),
        ({"job_state": "F", "Exit_status": -29}, JobState.FAILED, -29, False),
        ({"job_state": "F", "Exit_status": 271, "substate": "91"}, JobState.CANCELLED, 271, False),
        ({"job_state": "F", "substate": 91}, JobState.CANCELLED, None, False),
        ({"job_state": "F", "substate": 93}, JobState.FAILED, None, False),
        ({"job_state": "F"}, JobState.SUCCEEDED, None, True),
        ({"job_state": "X", "Exit_status": 1}, JobState.FAILED, 1, False),
        ({"job_state": "R", "Exit_status": 1}, JobState.RUNNING, None, False),
        ({"job_state": "Q", "Exit_status": 1, "substate": 91}, JobState.QUEUED, None, False),
        ({"job_state": "B"}, JobState.RUNNING, None, False),
        ({"job_state": "?"}, JobState.UNKNOWN, None, False),
        # A word that is not from PBS includes the outcome.
        ({"job_state": "FAILED"}, JobState.FAILED, None, False),
        ({"job_state": "Canceled"}, JobState.CANCELLED, None, False),
        ({"job_state": "TIMEOUT"}, JobState.FAILED, None, False),
        ({"job_state": "FINISHED", "Exit_status": 3}, JobState.FAILED, 3, False),
        # The exit status of an array is that of the sub-job that ended last.
        ({"job_state": "F", "Exit_status": 0, "array": "True"}, JobState.SUCCEEDED, None, True),
        (
            {"job_state": "F", "Exit_status": 0, "array": "True", "substate": 92},
            JobState.SUCCEEDED,
            None,
            False,
        ),
        ({"job_state": "F", "Exit_status": 1, "array": "True"}, JobState.FAILED, None, False),
    ],
)
def test_outcome(attributes, state, exit_code, assumed):
    """A rerun job has the exit status of its first run, which must not end the wait for the second."""
    reported = status(**attributes)
    assert (reported.state, reported.exit_code, reported.outcome_assumed) == (state, exit_code, assumed)
    assert reported.raw_state == attributes["job_state"]


def test_everything_a_status_needs():
    reported = status(
        Job_Name="train",
        Job_Owner="alice@scheduler",
        job_state="R",
        queue="workq",
        comment="Job run at Wed Jul 18 at 17:46 on (compute000:ncpus=2)",
        exec_host="compute000/0*2+compute001/0+compute000/1",
        ctime="Wed Jul 18 17:46:48 2018",
        stime="Wed Jul  8 07:46:50 2018",
        mtime=1531907210,
        Output_Path="scheduler:/home/alice/train.o2",
        Error_Path="/home/alice/train.e2",
        Keep_Files="n",
    )
    assert (reported.job_id, reported.cluster_id, reported.name, reported.user, reported.queue) == (
        "2.scheduler",
        "ehpc-hz-1",
        "train",
        "alice",
        "workq",
    )
    assert reported.nodes == ("compute000", "compute001")
    assert reported.reason is not None
    assert reported.reason.startswith("Job run at")
    assert reported.submitted_at == datetime.fromisoformat("2018-07-18T17:46:48")
    assert reported.started_at == datetime.fromisoformat("2018-07-08T07:46:50")
    assert reported.modified_at == datetime(2018, 7, 18, 9, 46, 50, tzinfo=UTC)
    assert reported.stdout_path == "/home/alice/train.o2"
    assert reported.stderr_path == "/home/alice/train.e2"


def test_bare_attributes_are_enough():
    reported = status(job_state="Q")
    assert reported.as_dict() == {
        "job_id": "2.scheduler",
        "cluster_id": "ehpc-hz-1",
        "state": "QUEUED",
        "raw_state": "Q",
    }


@pytest.mark.parametrize(
    ("attributes", "state", "reason"),
    [
        ({"Exit_status": -29, "substate": 93}, JobState.FAILED, "wall time exceeded"),
        ({"Exit_status": -4}, JobState.FAILED, "the node's PBS daemon (MOM) was lost or restarted"),
        ({"Exit_status": -27}, JobState.FAILED, "memory limit exceeded"),
        ({"Exit_status": -99}, JobState.FAILED, "PBS ended the job or could not start it"),
        ({"Exit_status": 271, "substate": 91}, JobState.CANCELLED, "ended by SIGTERM"),
        ({"Exit_status": 265}, JobState.FAILED, "ended by SIGKILL"),
        ({"Exit_status": 256 + 74}, JobState.FAILED, "ended by signal 74"),
        ({"Exit_status": 3}, JobState.FAILED, None),
        ({"Exit_status": "1_0"}, JobState.SUCCEEDED, "Exit_status '1_0' is unreadable"),
        ({"Exit_status": 0, "substate": 93}, JobState.FAILED, None),
        ({"Exit_status": 0, "substate": 91}, JobState.CANCELLED, None),
        ({"Exit_status": 0, "substate": 92, "comment": "and finished"}, JobState.SUCCEEDED, "and finished"),
        ({"Exit_status": -29, "comment": "too long"}, JobState.FAILED, "wall time exceeded; too long"),
        ({"substate": 92}, JobState.CANCELLED, "deleted before it started"),
        ({"ctime": "Fri Nov 27 07:04:49 2026"}, JobState.CANCELLED, "deleted before it started"),
        (
            {"substate": 92, "depend": "afterok:2.vm@vm"},
            JobState.CANCELLED,
            "deleted before it started; it depended on afterok:2.vm@vm",
        ),
        # It ran, but its outcome is unknown.
        ({"substate": 92, "stime": "Fri Nov 27 07:04:49 2026"}, JobState.SUCCEEDED, None),
        ({"substate": 92, "exec_host": "vm/0"}, JobState.SUCCEEDED, None),
    ],
)
def test_reasons(attributes, state, reason):
    reported = status(job_state="F", **attributes)
    assert (reported.state, reported.reason) == (state, reason)


def test_an_array_that_runs_counts_its_sub_jobs():
    reported = status(
        job_state="B", array="True", array_state_count="Queued:2 Running:1 Exiting:1 Expired:3 "
    )
    assert (reported.state, reported.array) == (JobState.RUNNING, {"QUEUED": 2, "RUNNING": 2})


def test_torques_completed():
    assert status(job_state="C", exit_status=3).state is JobState.FAILED


_FILE = Path(__file__).parents[2] / "samples" / "openpbs-23.06-qstat.json"
SAMPLES = json.loads(_FILE.read_text())["Jobs"]
# Outcomes of these OpenPBS 23.06.06 jobs in qstat's attributes, by name or ID.
ENDS = {
    **dict.fromkeys(("done", "rerun", "held", "susp", "unwrit", "memkill", "a_allok"), ("SUCCEEDED", 0)),
    **dict.fromkeys(("exit3", "e", "l"), ("FAILED", 3)),
    **dict.fromkeys(("sigkill", "sigkillchild", "half"), ("FAILED", 137)),
    "segv": ("FAILED", 139),
    "exit255": ("FAILED", 255),
    "exit143": ("FAILED", 143),
    "c127": ("FAILED", 127),
    **dict.fromkeys(("walltime", "walltrap0"), ("FAILED", -29)),
    "nodedown": ("FAILED", -4),
    **dict.fromkeys(("cancelq", "dep", "depafter", "dep2"), ("CANCELLED", None)),
    **dict.fromkeys(("cancelr", "cancelr0"), ("CANCELLED", 271)),
    "forcedel": ("CANCELLED", 265),
    **dict.fromkeys(("17[].vm", "23[].vm", "24[].vm", "25[].vm", "27[].vm"), ("FAILED", None)),
    "18[].vm": ("CANCELLED", None),
    "26[].vm": ("SUCCEEDED", None),
    "18[3].vm": ("CANCELLED", 143),
    "18[4].vm": ("CANCELLED", 271),
    **{
        f"{job}.vm": ("FAILED", 7)
        for job in ("17[2]", "17[4]", "23[0]", "24[2]", "25[0]", "25[1]", "25[2]", "27[2]", "27[4]")
    },
    "34[].vm": ("PENDING", None),
    **dict.fromkeys(("34[0].vm", "34[1].vm"), ("QUEUED", None)),
}


@pytest.mark.parametrize("job_id", SAMPLES)
def test_a_real_job(job_id):
    attributes = SAMPLES[job_id]
    reported = pbs_status(JobRef(job_id, "c"), PbsJob.model_validate(attributes))
    default = ("SUCCEEDED", 0) if "[" in job_id else None
    expected = ENDS.get(job_id) or ENDS.get(attributes["Job_Name"]) or default
    assert (str(reported.state), reported.exit_code) == expected
    assert not reported.outcome_assumed
    if reported.state in (JobState.FAILED, JobState.CANCELLED):
        assert reported.reason
    runs = attributes.get("run_count")
    assert reported.restarts == (None if runs is None else runs - 1)


@pytest.mark.parametrize(
    ("state", "runs", "restarts"),
    [("R", 1, 0), ("R", "3", 2), ("F", 2, 1), ("Q", 0, 0), ("Q", 1, 1), ("H", 2, 2), ("R", None, None)],
)
def test_restarts(state, runs, restarts):
    """PBS counts runs; a requeued job that waits has no run of its own yet."""
    assert status(job_state=state, run_count=runs).restarts == restarts


@pytest.mark.parametrize(
    ("requested", "seconds"),
    [
        ({"walltime": "01:30:00"}, 5400),
        ({"walltime": "100:00:00", "ncpus": 4}, 360_000),
        ({"ncpus": 4}, None),
        ({}, None),
        ({"walltime": None}, None),
        ({"walltime": "soon"}, None),
    ],
)
def test_the_time_limit(requested, seconds):
    assert status(job_state="R", Resource_List=requested).wall_time == seconds

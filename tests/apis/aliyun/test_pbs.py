"""How a PBS job ended: E-HPC 2018-04-12 has no word for a failed job, only these attributes tell it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_ehpc.apis.aliyun.pbs import SchedulerJob, scheduler_status
from airflow_provider_ehpc.apis.job import JobRef, JobState

REF = JobRef("2.scheduler", "ehpc-hz-1")


def status(**attributes):
    return scheduler_status(REF, SchedulerJob.model_validate(attributes))


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
    ],
)
def test_outcome(attributes, state, exit_code, assumed):
    """A job that is run again has the first run's exit status: it must not end the wait for the second."""
    told = status(**attributes)
    assert (told.state, told.exit_code, told.outcome_assumed) == (state, exit_code, assumed)
    assert told.raw_state == attributes["job_state"]


def test_everything_a_status_needs():
    told = status(
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
    assert (told.job_id, told.cluster_id, told.name, told.user, told.queue) == (
        "2.scheduler",
        "ehpc-hz-1",
        "train",
        "alice",
        "workq",
    )
    assert told.nodes == ("compute000", "compute001")
    assert told.reason is not None
    assert told.reason.startswith("Job run at")
    assert told.submitted_at == datetime.fromisoformat("2018-07-18T17:46:48")
    assert told.started_at == datetime.fromisoformat("2018-07-08T07:46:50")
    assert told.modified_at == datetime(2018, 7, 18, 9, 46, 50, tzinfo=UTC)
    assert told.stdout_path == "/home/alice/train.o2"
    assert told.stderr_path == "/home/alice/train.e2"


def test_bare_attributes_are_enough():
    told = status(job_state="Q")
    assert told.as_dict() == {
        "job_id": "2.scheduler",
        "cluster_id": "ehpc-hz-1",
        "state": "QUEUED",
        "raw_state": "Q",
    }

"""State words: one that is misread ends a wait too early, or never."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.apis.aliyun.states import outcome_untold, scheduler_state, serverless_state
from airflow_provider_ehpc.apis.job import JobState


@pytest.mark.parametrize(
    ("word", "state"),
    [
        # ListJobs of 2024-07-30 (PBS/Slurm) and of 2018-04-12.
        ("FINISHED", JobState.SUCCEEDED),
        ("Completed", JobState.SUCCEEDED),
        ("RUNNING", JobState.RUNNING),
        ("Running", JobState.RUNNING),
        ("QUEUED", JobState.QUEUED),
        ("Pending", JobState.QUEUED),
        ("FAILED", JobState.FAILED),
        ("Failed", JobState.FAILED),
        # squeue(1), with what Slurm's tools append.
        ("CONFIGURING", JobState.PENDING),
        ("COMPLETING", JobState.RUNNING),
        ("SUSPENDED", JobState.SUSPENDED),
        ("CANCELLED by 1000", JobState.CANCELLED),
        ("COMPLETED+", JobState.SUCCEEDED),
        ("TIMEOUT", JobState.FAILED),
        ("NODE_FAIL", JobState.FAILED),
        ("OUT_OF_MEMORY", JobState.FAILED),
        ("PREEMPTED", JobState.CANCELLED),
        # qstat(1B).
        ("B", JobState.RUNNING),
        ("E", JobState.RUNNING),
        ("F", JobState.SUCCEEDED),
        ("H", JobState.PENDING),
        ("Q", JobState.QUEUED),
        ("R", JobState.RUNNING),
        ("S", JobState.SUSPENDED),
        ("T", JobState.QUEUED),
        ("U", JobState.SUSPENDED),
        ("W", JobState.PENDING),
        ("X", JobState.SUCCEEDED),
        (" running\n", JobState.RUNNING),
        # Nobody's.
        ("M", JobState.UNKNOWN),
        ("Exception", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_scheduler_words(word, state):
    assert scheduler_state(word) is state


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Pending", JobState.QUEUED),
        ("Initing", JobState.RUNNING),
        ("Running", JobState.RUNNING),
        ("Succeeded", JobState.SUCCEEDED),
        ("Canceled", JobState.CANCELLED),
        ("Failed", JobState.FAILED),
        ("Failed\n", JobState.FAILED),
        ("Terminated", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_serverless_words(word, state):
    assert serverless_state(word) is state


@pytest.mark.parametrize(
    ("word", "untold"),
    [
        ("FINISHED", True),
        ("finished\n", True),
        ("F", True),
        ("X", True),
        ("Completed", False),
        ("Failed", False),
    ],
)
def test_words_that_do_not_tell_the_outcome(word, untold):
    """FINISHED of PBS covers exit code 1 too: taken for a report, a failed job would pass for a good one."""
    assert outcome_untold(word) is untold

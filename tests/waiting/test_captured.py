# SPDX-License-Identifier: Apache-2.0
"""An exit code from the output beside what the scheduler reports, and arrays of which members may fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_ehpc.apis.array import array_status
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.waiting.captured import tolerated, with_exit_code
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import JobWatch, Outcome

REF = JobRef("7", "c1")


@pytest.mark.parametrize(
    ("state", "more", "code", "expected"),
    [
        ("SUCCEEDED", {"outcome_assumed": True}, 0, ("SUCCEEDED", 0)),
        ("SUCCEEDED", {"outcome_assumed": True}, 3, ("FAILED", 3)),
        ("SUCCEEDED", {}, 0, ("SUCCEEDED", 0)),
        ("FAILED", {}, 3, ("FAILED", 3)),
        ("CANCELLED", {}, 143, ("CANCELLED", 143)),
        # The scheduler has the last word: a time limit after which the program exits with 0.
        ("FAILED", {}, 0, ("FAILED", None)),
        ("CANCELLED", {}, 0, ("CANCELLED", None)),
        ("SUCCEEDED", {}, 3, ("SUCCEEDED", None)),
        ("FAILED", {"exit_code": 9}, 3, ("FAILED", 9)),
        ("SUCCEEDED", {"exit_code": 0, "outcome_assumed": True}, 3, ("SUCCEEDED", 0)),
        ("RUNNING", {}, 3, ("RUNNING", None)),
        ("SUCCEEDED", {"outcome_assumed": True, "array": {"SUCCEEDED": 2}}, 3, ("SUCCEEDED", None)),
    ],
)
def test_what_the_scheduler_reports_takes_precedence(
    state: str, more: dict[str, Any], code: int, expected: tuple[str, int | None]
) -> None:
    status = with_exit_code(JobStatus("7", JobState(state), state, "c1", **more), code)
    assert (status.state, status.exit_code) == expected


def array(**counts: int) -> JobStatus:
    states = [state for state, n in counts.items() for _ in range(n)]
    parent = JobStatus("7", JobState.FAILED, "FAILED", "c1")
    return array_status(parent, {str(n): JobState(state) for n, state in enumerate(states)}, len(states))


@pytest.mark.parametrize(
    ("counts", "most", "state"),
    [
        ({"SUCCEEDED": 8, "FAILED": 2}, 2, "SUCCEEDED"),
        ({"SUCCEEDED": 8, "FAILED": 1, "CANCELLED": 1}, 2, "SUCCEEDED"),
        ({"SUCCEEDED": 8, "FAILED": 2}, 1, "FAILED"),
        ({"SUCCEEDED": 8, "FAILED": 1, "CANCELLED": 1}, 1, "FAILED"),
        ({"SUCCEEDED": 8, "FAILED": 1}, 0, "FAILED"),
        ({"FAILED": 2}, 2, "SUCCEEDED"),
        ({"SUCCEEDED": 8}, 2, "FAILED"),  # its parent failed, for a reason of its own
        ({"SUCCEEDED": 8, "FAILED": 1, "RUNNING": 1}, 2, "RUNNING"),
    ],
)
def test_how_many_members_may_fail(counts: dict[str, int], most: int, state: str) -> None:
    assert tolerated(array(**counts), most).state == state


def test_failed_members_that_nobody_counted_are_not_tolerated() -> None:
    status = JobStatus("7", JobState.FAILED, "F", "c1", failed_members={"7_1": "FAILED"})
    assert tolerated(status, 10).state is JobState.FAILED


def test_every_failed_member_is_listed() -> None:
    verdict, _ = JobWatch(REF, WaitConditions(max_failed_members=5), 0.0).saw(
        array(SUCCEEDED=3, FAILED=20), 1.0
    )
    assert verdict is not None
    assert verdict.outcome is Outcome.FAILED
    assert "all failed members: 3-22; max_failed_members=5;" in verdict.message


def test_the_conditions_survive_as_data() -> None:
    conditions = WaitConditions(exit_token="t", max_failed_members=3)
    assert WaitConditions.from_dict(json.loads(json.dumps(conditions.as_dict()))) == conditions
    assert WaitConditions().as_dict() == {}
    # As an older triggerer wrote them.
    assert WaitConditions.from_dict({"target_states": ["FAILED"]}).exit_token is None


def test_a_job_that_this_task_cancelled_needs_no_code() -> None:
    watch = JobWatch(REF, WaitConditions(exit_token="t", cancelled_by_us=True), 0.0)
    verdict, _ = watch.saw(JobStatus("7", JobState.SUCCEEDED, "FINISHED", "c1", outcome_assumed=True), 1.0)
    assert verdict is not None
    assert verdict.jobs[0]["state"] == "CANCELLED"

"""An array from its sub-jobs: the whole is over last, and its failure names those to blame."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.apis.array import with_members
from airflow_provider_ehpc.apis.job import JobState, JobStatus


def members(**states: str) -> dict[str, JobStatus]:
    return {
        f"7_{index[1:]}": JobStatus(f"7_{index[1:]}", JobState(state), state.title())
        for index, state in states.items()
    }


def parent(state: str) -> JobStatus:
    return JobStatus("7", JobState(state), state.title())


@pytest.mark.parametrize("unfinished", ["RUNNING", "QUEUED", "PENDING", "SUSPENDED", "UNKNOWN", "CANCELLING"])
@pytest.mark.parametrize("size", [0, 2, 5])
def test_no_array_is_over_before_its_parent(unfinished: str, size: int) -> None:
    whole = with_members(parent(unfinished), members(i1="SUCCEEDED", i2="FAILED"), size)
    assert not whole.state.terminal
    assert whole.failed_members == {}


@pytest.mark.parametrize(
    ("own", "states", "state"),
    [
        ("SUCCEEDED", {"i1": "SUCCEEDED", "i2": "FAILED", "i3": "CANCELLED"}, "FAILED"),
        ("SUCCEEDED", {"i1": "SUCCEEDED", "i2": "CANCELLED"}, "CANCELLED"),
        ("FAILED", {"i1": "SUCCEEDED"}, "FAILED"),
        ("CANCELLED", {"i1": "SUCCEEDED"}, "CANCELLED"),
        ("SUCCEEDED", {"i1": "RUNNING"}, "RUNNING"),
        ("FAILED", {}, "FAILED"),
    ],
)
def test_the_worst_end_counts(own: str, states: dict[str, str], state: str) -> None:
    assert with_members(parent(own), members(**states)).state == state


def test_the_failed_are_named_in_order_and_before_the_cancelled() -> None:
    """The first one's log is shown: one that was cancelled in its queue has none."""
    whole = with_members(parent("FAILED"), members(i10="FAILED", i1="CANCELLED", i2="FAILED", i3="SUCCEEDED"))
    assert list(whole.failed_members) == ["7_2", "7_10", "7_1"]


def test_ten_are_named_however_many_failed() -> None:
    whole = with_members(parent("FAILED"), members(**{f"i{n}": "FAILED" for n in range(5000)}))
    assert list(whole.failed_members) == [f"7_{n}" for n in range(10)]
    assert whole.array == {"FAILED": 5000}


def test_sub_jobs_that_wait_together_count_each() -> None:
    waiting = {"7_[3-6%2]": JobStatus("7_[3-6%2]", JobState.QUEUED, "Pending")}
    whole = with_members(parent("QUEUED"), waiting | members(i1="SUCCEEDED"), 5)
    assert whole.array == {"QUEUED": 4, "SUCCEEDED": 1}


def test_an_entry_for_too_many_sub_jobs_is_not_written_out() -> None:
    """A cloud can name a thousand million sub-jobs in one ID."""
    waiting = {f"7_[{n}00000000-999999999]": JobStatus("7", JobState.QUEUED, "PENDING") for n in range(3)}
    assert with_members(parent("RUNNING"), waiting | members(i1="RUNNING")).array == {"RUNNING": 1}

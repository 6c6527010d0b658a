# SPDX-License-Identifier: Apache-2.0
"""The status of an array: it ends last, and its failure names the sub-jobs that failed."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.array import (
    failed_members_expression,
    index_list,
    member_states,
    range_of,
    with_earlier,
    with_members,
)
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.apis.schedulers.ids import array_indexes


def members(**states: str) -> dict[str, JobStatus]:
    return {
        f"7_{index[1:]}": JobStatus(f"7_{index[1:]}", JobState(state), state.title())
        for index, state in states.items()
    }


def parent(state: str) -> JobStatus:
    return JobStatus("7", JobState(state), state.title())


@pytest.mark.parametrize("unfinished", ["RUNNING", "QUEUED", "PENDING", "SUSPENDED", "UNKNOWN", "CANCELLING"])
@pytest.mark.parametrize("size", [0, 2, 5])
def test_no_array_ends_before_its_parent(unfinished: str, size: int) -> None:
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
    """The log of the first one is shown, and a sub-job that was cancelled in its queue has no log."""
    whole = with_members(parent("FAILED"), members(i10="FAILED", i1="CANCELLED", i2="FAILED", i3="SUCCEEDED"))
    assert list(whole.failed_members) == ["7_2", "7_10", "7_1"]


def test_ten_are_named_however_many_failed() -> None:
    whole = with_members(parent("FAILED"), members(**{f"i{n}": "FAILED" for n in range(5000)}))
    assert list(whole.failed_members) == [f"7_{n}" for n in range(10)]
    assert whole.array == {"FAILED": 5000}


def test_an_array_may_run_again_if_a_sub_job_may() -> None:
    lost = {"7_1": JobStatus("7_1", JobState.FAILED, "NODE_FAIL", may_rerun=True)}
    assert with_members(parent("FAILED"), lost | members(i2="SUCCEEDED")).may_rerun


@pytest.mark.parametrize("job_id", ["7_4294967294", "7_[1-999999999]", "7_x"])
def test_a_sub_job_without_readable_indexes_counts(job_id: str) -> None:
    """A large range in an ID must not take gigabytes."""
    odd = {job_id: JobStatus(job_id, JobState.RUNNING, "Running")}
    assert with_members(parent("SUCCEEDED"), odd | members(i1="SUCCEEDED")).state is JobState.RUNNING


def test_each_sub_job_that_waits_in_one_entry_counts() -> None:
    waiting = {"7_[3-6%2]": JobStatus("7_[3-6%2]", JobState.QUEUED, "Pending")}
    whole = with_members(parent("QUEUED"), waiting | members(i1="SUCCEEDED"), 5)
    assert whole.array == {"QUEUED": 4, "SUCCEEDED": 1}


def test_a_hostile_number_of_waiting_sub_jobs_is_not_expanded() -> None:
    """A list of a billion indexes would crash the triggerer."""
    waiting = {"7_[0-999999998]": JobStatus("7_[0-999999998]", JobState.QUEUED, "Pending")}
    whole = with_members(parent("RUNNING"), waiting | members(i1="SUCCEEDED"))
    assert whole.array == {"QUEUED": 1, "SUCCEEDED": 1}


INDEXES = st.sets(st.integers(0, 300), min_size=1, max_size=60)


@given(INDEXES)
def test_a_list_of_indexes_is_an_array_expression(indexes: set[int]) -> None:
    assert array_indexes(index_list(indexes)) is not None
    assert list(array_indexes(index_list(indexes)) or ()) == sorted(indexes)


@given(INDEXES)
def test_the_range_to_submit_is_the_smallest_that_has_all_indexes(indexes: set[int]) -> None:
    """E-HPC, PBS and serverless accept nothing but ``X-Y:Z`` with X < Y."""
    request = range_of(index_list(indexes))
    first, last, step = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?", request).groups()  # type: ignore[union-attr]
    assert int(first) < int(last)
    found = array_indexes(request) or ()
    assert set(found) >= indexes
    assert (found[0], found[-1]) == (min(indexes), max(indexes))
    larger = range(int(step or 1) + 1, 301)
    assert not any(indexes <= set(range(found[0], found[-1] + 1, each)) for each in larger) or len(found) == 1


@pytest.mark.parametrize(
    ("job", "members", "expected"),
    [
        (
            {"array": {"SUCCEEDED": 2, "FAILED": 1}, "members": {"SUCCEEDED": "2,6", "FAILED": "10"}},
            "2-10:4",
            {"array": {"SUCCEEDED": 9, "FAILED": 1}, "members": {"SUCCEEDED": "1-9", "FAILED": "10"}},
        ),
        # A member that succeeded earlier and ran again has the state of its last run.
        (
            {"array": {"FAILED": 2}, "members": {"FAILED": "3-4"}},
            "3-4",
            {"array": {"SUCCEEDED": 8, "FAILED": 2}, "members": {"SUCCEEDED": "1-2,5-10", "FAILED": "3-4"}},
        ),
        ({"array": {"FAILED": 10}, "members": {"FAILED": "1-10"}}, "1-10", {}),
        ({"state": "FAILED"}, "3-4", {}),
    ],
)
def test_members_of_earlier_jobs_are_a_part_of_the_result(
    job: dict[str, Any], members: str, expected: dict[str, Any]
) -> None:
    assert with_earlier(job, "1-10", members) == {**job, **expected}


@pytest.mark.parametrize(
    ("array", "states", "expression", "request_range"),
    [
        ("1-100:2", dict.fromkeys(range(1, 100, 2), "SUCCEEDED") | {3: "FAILED"}, "3", "3-4:2"),
        (
            "1-10",
            dict.fromkeys((1, 2, 4, 5, 6, 10), "SUCCEEDED") | {3: "FAILED", 7: "CANCELLED"},
            "3,7-9",
            "3-9",
        ),
        ("1-4", {}, "1-4", "1-4"),
        ("1-4", dict.fromkeys(range(1, 5), "SUCCEEDED"), "", ""),
        ("0-8:4%2", {0: "FAILED", 4: "FAILED", 8: "FAILED"}, "0,4,8", "0-8:4"),
    ],
)
def test_the_failed_members_are_submitted_again(
    array: str, states: dict[int, str], expression: str, request_range: str
) -> None:
    failed = failed_members_expression(array, {n: JobState(state) for n, state in states.items()})
    assert failed == expression
    assert (range_of(failed) if failed else "") == request_range


def test_what_is_no_array() -> None:
    with pytest.raises(InvalidArgument, match="array: 'x' is not of the form X-Y:Z"):
        failed_members_expression("x", {})
    with pytest.raises(InvalidArgument, match="array: '' is not an array expression"):
        range_of("")


def test_the_states_of_members_and_the_status_survive_as_data() -> None:
    whole = with_members(parent("FAILED"), members(i1="SUCCEEDED", i2="FAILED", i3="FAILED", i4="CANCELLED"))
    assert whole.members == {"SUCCEEDED": "1", "FAILED": "2-3", "CANCELLED": "4"}
    assert member_states(whole.members)[3] is JobState.FAILED
    assert JobStatus.from_dict(whole.as_dict()) == whole
    rich = dataclasses.replace(
        whole, ended_at=datetime(2026, 1, 2, 3, tzinfo=UTC), nodes=("a", "b"), exit_code=0, restarts=2
    )
    assert JobStatus.from_dict(json.loads(json.dumps(rich.as_dict()))) == rich


def test_a_running_array_lists_no_members() -> None:
    assert with_members(parent("RUNNING"), members(i1="SUCCEEDED")).members == {}

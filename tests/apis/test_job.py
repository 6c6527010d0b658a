# SPDX-License-Identifier: Apache-2.0
"""The types for jobs that all APIs share."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus


def test_a_status_as_a_dict_has_only_known_fields() -> None:
    """It is a task's result. An exit code of 0 is known, an empty field is not."""
    status = JobStatus(
        "14",
        JobState.SUCCEEDED,
        "Completed",
        exit_code=0,
        started_at=datetime(2026, 1, 15, 8, tzinfo=UTC),
        nodes=("compute000",),
    )
    assert status.as_dict() == {
        "job_id": "14",
        "state": "SUCCEEDED",
        "raw_state": "Completed",
        "exit_code": 0,
        "started_at": "2026-01-15T08:00:00+00:00",
        "nodes": ["compute000"],
    }


def test_an_address_can_be_rebuilt_from_its_fields() -> None:
    """It is an argument of triggers."""
    ref = JobRef("10", version_id="3")
    assert JobRef(**ref.as_dict()) == ref
    assert str(ref) == "job 10 version 3"


@pytest.mark.parametrize("state", list(JobState))
def test_only_three_states_are_terminal(state: JobState) -> None:
    """A job in any other state may still change it, also if it is suspended, unknown or being cancelled."""
    assert state.terminal == (state.value in {"SUCCEEDED", "FAILED", "CANCELLED"})


def test_a_state_can_be_in_any_case_and_a_wrong_one_is_an_error() -> None:
    assert JobState.parse(" succeeded ") is JobState.SUCCEEDED
    with pytest.raises(ValueError, match="no job state 'DONE'; the states are PENDING, "):
        JobState.parse("DONE")

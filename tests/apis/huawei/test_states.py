# SPDX-License-Identifier: Apache-2.0
"""Every word and number for a state in the reference."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.apis.huawei.states import UNFINISHED_PHASES, phase_state, status_name, status_state
from airflow_provider_ehpc.apis.job import JobState


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        ("Creating", "PENDING"),
        ("Pending", "QUEUED"),
        ("Running", "RUNNING"),
        ("Terminating", "CANCELLING"),
        ("Completed", "SUCCEEDED"),
        ("Failed", "FAILED"),
        ("Terminated", "CANCELLED"),
        ("Abnormal", "FAILED"),
        (" completed\n", "SUCCEEDED"),
        ("TERMINATED", "CANCELLED"),
        ("Hibernated", "UNKNOWN"),
        ("", "UNKNOWN"),
    ],
)
def test_phase(phase: str, state: str) -> None:
    """The existing provider counts a terminated job as a success. An unknown word must never end a wait."""
    assert phase_state(phase) is JobState(state)


def test_a_search_for_unfinished_jobs_finds_those_that_are_being_stopped() -> None:
    """A job that it leaves out would count as ended, with its last known state."""
    words = ("Creating", "Pending", "Running", "Terminating", "Completed", "Failed", "Terminated", "Abnormal")
    assert set(UNFINISHED_PHASES) == {word for word in words if not phase_state(word).terminal}


@pytest.mark.parametrize(
    ("number", "name", "state"),
    [
        (0, "JOBSTAT_UNKNOWN", "UNKNOWN"),
        (1, "JOBSTAT_INIT", "PENDING"),
        (2, "JOBSTAT_IMAGE_CREATING", "PENDING"),
        (3, "JOBSTAT_IMAGE_FAILED", "FAILED"),
        (4, "JOBSTAT_SUBMIT_TRYING", "PENDING"),
        (5, "JOBSTAT_SUBMIT_FAILED", "FAILED"),
        (6, "JOBSTAT_DELETE_FAILED", "FAILED"),
        (7, "JOBSTAT_WAITING", "QUEUED"),
        (8, "JOBSTAT_RUNNING", "RUNNING"),
        (9, "JOBSTAT_KILLING", "CANCELLING"),
        (10, "JOBSTAT_COMPLETED", "SUCCEEDED"),
        (11, "JOBSTAT_FAILED", "FAILED"),
        (12, "JOBSTAT_KILLED", "CANCELLED"),
        (13, "JOBSTAT_CANCELED", "CANCELLED"),
        (14, "JOBSTAT_LOST", "FAILED"),
        (15, "JOBSTAT_SCALING", "RUNNING"),
        (16, "JOBSTAT_SUBMIT_MODEL_FAILED", "FAILED"),
        (17, "JOBSTAT_DEPLOY_SERVICE_FAILED", "FAILED"),
        (18, "JOBSTAT_CHECK_INIT", "PENDING"),
        (19, "JOBSTAT_CHECK_RUNNING", "PENDING"),
        (20, "JOBSTAT_CHECK_RUNNING_COMPLETED", "UNKNOWN"),
        (21, "JOBSTAT_CHECK_FAILED", "FAILED"),
        (22, "JOBSTAT_MOUNT_FAILED", "FAILED"),
        (23, "23", "UNKNOWN"),
        (-1, "-1", "UNKNOWN"),
        (None, "", "UNKNOWN"),
    ],
)
def test_status_number(number: int | None, name: str, state: str) -> None:
    """Other clients poll lost jobs forever, because they end a wait only on 10, 11 and 12."""
    assert (status_name(number), status_state(number)) == (name, JobState(state))

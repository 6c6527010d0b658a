# SPDX-License-Identifier: Apache-2.0
"""The words and numbers that ModelArts uses for a training job's state, and their meaning."""

from __future__ import annotations

from airflow_provider_ehpc.apis.job import JobState

# ``status.phase`` of API v2 (ShowTrainingJobDetails). The second level, ``secondary_phase``, is internal
# ("dependency is not recommended"): it is shown, but never decides.
_PHASES = {
    "creating": JobState.PENDING,
    "pending": JobState.QUEUED,
    "running": JobState.RUNNING,
    "terminating": JobState.CANCELLING,
    "completed": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "terminated": JobState.CANCELLED,
    # The sample's abnormal job could not be created (secondary phase CreateFailed) and never ran.
    "abnormal": JobState.FAILED,
}
UNFINISHED_PHASES = ("Creating", "Pending", "Running", "Terminating")

# API v1, "Job Statuses" (modelarts_03_0074). The page has only names; which of them are terminal is inferred.
# "List jobs" calls 13 a failure and leaves out 11, which contradicts these names.
_STATUSES = {
    0: ("JOBSTAT_UNKNOWN", JobState.UNKNOWN),
    1: ("JOBSTAT_INIT", JobState.PENDING),
    2: ("JOBSTAT_IMAGE_CREATING", JobState.PENDING),
    3: ("JOBSTAT_IMAGE_FAILED", JobState.FAILED),
    4: ("JOBSTAT_SUBMIT_TRYING", JobState.PENDING),
    5: ("JOBSTAT_SUBMIT_FAILED", JobState.FAILED),
    6: ("JOBSTAT_DELETE_FAILED", JobState.FAILED),
    7: ("JOBSTAT_WAITING", JobState.QUEUED),
    8: ("JOBSTAT_RUNNING", JobState.RUNNING),
    9: ("JOBSTAT_KILLING", JobState.CANCELLING),
    10: ("JOBSTAT_COMPLETED", JobState.SUCCEEDED),
    11: ("JOBSTAT_FAILED", JobState.FAILED),
    12: ("JOBSTAT_KILLED", JobState.CANCELLED),
    13: ("JOBSTAT_CANCELED", JobState.CANCELLED),
    14: ("JOBSTAT_LOST", JobState.FAILED),
    15: ("JOBSTAT_SCALING", JobState.RUNNING),
    16: ("JOBSTAT_SUBMIT_MODEL_FAILED", JobState.FAILED),
    17: ("JOBSTAT_DEPLOY_SERVICE_FAILED", JobState.FAILED),
    18: ("JOBSTAT_CHECK_INIT", JobState.PENDING),
    19: ("JOBSTAT_CHECK_RUNNING", JobState.PENDING),
    # "The approval job is completed": the job itself may not have ended.
    20: ("JOBSTAT_CHECK_RUNNING_COMPLETED", JobState.UNKNOWN),
    21: ("JOBSTAT_CHECK_FAILED", JobState.FAILED),
    # Only in the SDK reference (modelarts_04_0077).
    22: ("JOBSTAT_MOUNT_FAILED", JobState.FAILED),
}


def phase_state(phase: str) -> JobState:
    """Return the state for a phase of API v2; UNKNOWN for an undocumented one."""
    return _PHASES.get(phase.strip().casefold(), JobState.UNKNOWN)


def status_state(status: int | None) -> JobState:
    """Return the state for a status number of API v1; UNKNOWN for an undocumented one."""
    return _STATUSES[status][1] if status in _STATUSES else JobState.UNKNOWN


def status_name(status: int | None) -> str:
    """Return the documented name of a status number of API v1, or the number if it has none."""
    if status in _STATUSES:
        return _STATUSES[status][0]
    return "" if status is None else str(status)

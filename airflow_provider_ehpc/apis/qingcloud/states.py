# SPDX-License-Identifier: Apache-2.0
"""The words that QingCloud HPC uses for the states of jobs and operations, and their meaning."""

from __future__ import annotations

from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.apis.operation import OperationStatus

# The pages disagree on the words for a job: job/list filters by pending, running, finished, exited and
# cancelled, its response documents finished, stopped and running, jobdetail's samples have cancelled, and the
# console's manual also has paused and unknown. It distinguishes finished from exited (失败, failed), so
# finished means success.
_JOB_STATES: dict[str, JobState] = {
    "pending": JobState.QUEUED,
    "running": JobState.RUNNING,
    "paused": JobState.SUSPENDED,
    "suspended": JobState.SUSPENDED,
    "finished": JobState.SUCCEEDED,
    "exited": JobState.FAILED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
    "canceled": JobState.CANCELLED,
    "stopped": JobState.CANCELLED,
}

# /operation documents pending (执行中: in progress), successful and failed. The same cloud's DescribeJobs,
# from which it is derived, also has working.
_OPERATION_STATUSES: dict[str, OperationStatus] = {
    "pending": OperationStatus.IN_PROGRESS,
    "working": OperationStatus.IN_PROGRESS,
    "successful": OperationStatus.SUCCEEDED,
    "failed": OperationStatus.FAILED,
}
_OPERATION_STATES: dict[OperationStatus, JobState] = {
    OperationStatus.IN_PROGRESS: JobState.RUNNING,
    OperationStatus.SUCCEEDED: JobState.SUCCEEDED,
    OperationStatus.FAILED: JobState.FAILED,
    OperationStatus.UNKNOWN: JobState.UNKNOWN,
}


def job_state(raw_state: str) -> JobState:
    """Return the state for a job's word; UNKNOWN for an undocumented one."""
    return _JOB_STATES.get(raw_state.strip().casefold(), JobState.UNKNOWN)


def operation_status(raw_status: str) -> OperationStatus:
    """Return the status for an operation's word; UNKNOWN for an undocumented one."""
    return _OPERATION_STATUSES.get(raw_status.strip().casefold(), OperationStatus.UNKNOWN)


def operation_state(raw_status: str) -> JobState:
    """Return the state of an operation as that of a job, so that a task can wait for it."""
    return _OPERATION_STATES[operation_status(raw_status)]

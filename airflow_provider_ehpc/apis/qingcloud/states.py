"""The words QingCloud HPC uses for the state of a job and of an operation, and what they mean."""

from __future__ import annotations

from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.apis.operation import OperationStatus

# The pages disagree on the words of a job: job/list filters by pending, running, finished, exited and
# cancelled, its answer documents finished, stopped and running, jobdetail's samples have cancelled, and the
# console's manual also tells of paused and unknown. finished stands beside exited (失败, failed) there, so it
# does say that the job ended well.
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

# /operation documents pending (执行中: being carried out), successful and failed; DescribeJobs of the same
# cloud, from which it descends, has working besides.
_OPERATION_STATUSES: dict[str, OperationStatus] = {
    "pending": OperationStatus.IN_PROGRESS,
    "working": OperationStatus.IN_PROGRESS,
    "successful": OperationStatus.SUCCEEDED,
    "failed": OperationStatus.FAILED,
}
_WAITED_FOR: dict[OperationStatus, JobState] = {
    OperationStatus.IN_PROGRESS: JobState.RUNNING,
    OperationStatus.SUCCEEDED: JobState.SUCCEEDED,
    OperationStatus.FAILED: JobState.FAILED,
    OperationStatus.UNKNOWN: JobState.UNKNOWN,
}


def job_state(raw_state: str) -> JobState:
    """Return the state for a job's word; UNKNOWN for one that nobody documents."""
    return _JOB_STATES.get(raw_state.strip().casefold(), JobState.UNKNOWN)


def operation_status(raw_status: str) -> OperationStatus:
    """Return the status for an operation's word; UNKNOWN for one that nobody documents."""
    return _OPERATION_STATUSES.get(raw_status.strip().casefold(), OperationStatus.UNKNOWN)


def operation_state(raw_status: str) -> JobState:
    """Return the state of an operation that is waited for like a job."""
    return _WAITED_FOR[operation_status(raw_status)]

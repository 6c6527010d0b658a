"""The words E-HPC uses for a job's state.

API 2024-07-30, ListJobs documents (PBS/Slurm): FINISHED/Completed, RUNNING/Running, QUEUED/Pending,
FAILED/Failed; GetJob documents none. Other words are the cluster's scheduler's own.
"""

from __future__ import annotations

from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.apis.schedulers.words import may_rerun, outcome_unreported, scheduler_state

__all__ = ["may_rerun", "outcome_unreported", "scheduler_state", "serverless_state"]

# DescribeServerlessJobs and ListServerlessJobs document these six. What is being initialised holds its
# resources already.
_SERVERLESS = {
    "pending": JobState.QUEUED,
    "initing": JobState.RUNNING,
    "running": JobState.RUNNING,
    "succeeded": JobState.SUCCEEDED,
    "canceled": JobState.CANCELLED,
    "failed": JobState.FAILED,
}


def serverless_state(raw_state: str) -> JobState:
    """Return the state for a word of E-HPC on a serverless job; UNKNOWN for one that nobody documents."""
    return _SERVERLESS.get(raw_state.strip().casefold(), JobState.UNKNOWN)

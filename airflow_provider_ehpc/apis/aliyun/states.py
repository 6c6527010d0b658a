# SPDX-License-Identifier: Apache-2.0
"""E-HPC's words for a job's state.

API 2024-07-30, ListJobs documents (PBS/Slurm): FINISHED/Completed, RUNNING/Running, QUEUED/Pending,
FAILED/Failed; GetJob documents none. Other words come from the cluster's scheduler.
"""

from __future__ import annotations

from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.apis.schedulers.words import may_rerun, outcome_unreported, scheduler_state

__all__ = ["may_rerun", "outcome_unreported", "scheduler_state", "serverless_state"]

# DescribeServerlessJobs and ListServerlessJobs document these six. A job that is being initialised already
# holds its resources.
_SERVERLESS = {
    "pending": JobState.QUEUED,
    "initing": JobState.RUNNING,
    "running": JobState.RUNNING,
    "succeeded": JobState.SUCCEEDED,
    "canceled": JobState.CANCELLED,
    "failed": JobState.FAILED,
}


def serverless_state(raw_state: str) -> JobState:
    """Return the state for E-HPC's word for a serverless job; UNKNOWN if the word is not documented."""
    return _SERVERLESS.get(raw_state.strip().casefold(), JobState.UNKNOWN)

# SPDX-License-Identifier: Apache-2.0
"""Format durations, counts and names for the task log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from airflow_provider_ehpc.apis.job import JobState, JobStatus


def lasted(seconds: float) -> str:
    """Return a duration as ``0:01:40``."""
    return str(timedelta(seconds=round(max(0.0, seconds))))


def counts(numbers: Mapping[str, int]) -> str:
    """Return the number of jobs in each state, as ``3 RUNNING, 1 FAILED``."""
    return ", ".join(f"{number} {state}" for state, number in numbers.items())


def some(names: tuple[str, ...]) -> str:
    """Return the first four nodes of a job and the number of the others."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more nodes" if len(names) > 4 else "")


def own_duration(before: JobStatus, status: JobStatus) -> float | None:
    """Return the seconds that a job ran by its own times; None if they are missing or it was not RUNNING."""
    begin, end = status.started_at, status.ended_at
    if before.state is not JobState.RUNNING or not status.state.terminal or begin is None or end is None:
        return None
    if (begin.tzinfo is None) != (end.tzinfo is None) or end < begin:
        return None
    return (end - begin).total_seconds()

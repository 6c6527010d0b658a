"""Stopping jobs when the task that waits for them is killed, on the worker or in the triggerer."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Iterable, Mapping
from typing import Any

from airflow_provider_ehpc.apis.call import ApiCall, ApiError
from airflow_provider_ehpc.apis.job import JobApi, JobRef, JobState, JobStatus
from airflow_provider_ehpc.polling.watch import Note


def stop_jobs(api: JobApi, refs: Iterable[JobRef]) -> Generator[ApiCall[Any] | Note, Any, list[JobRef]]:
    """Ask for each job to be stopped and note the response; return the jobs for which the cloud agreed.

    An error for one job does not keep the others from being stopped.
    """
    stopped = []
    for ref in refs:
        try:
            yield from api.stop(ref)
        except ApiError as error:
            yield Note(f"{ref} could not be stopped: {error}", warning=True)
        else:
            stopped.append(ref)
            yield Note(f"asked the cloud to stop {ref}")
    return stopped


def as_cancelled(
    statuses: Mapping[JobRef, JobStatus | None], stopped: Collection[JobRef]
) -> dict[JobRef, JobStatus | None]:
    """Return the statuses, with CANCELLED as the terminal state of each job that we stopped.

    Some schedulers report a job that was stopped as failed, or only as finished (PBS).
    """
    return {ref: _cancelled(status) if ref in stopped else status for ref, status in statuses.items()}


def _cancelled(status: JobStatus | None) -> JobStatus | None:
    if status is None or not status.state.terminal:
        return status
    reason = status.reason or "the task stopped it"
    return dataclasses.replace(status, state=JobState.CANCELLED, outcome_assumed=False, reason=reason)

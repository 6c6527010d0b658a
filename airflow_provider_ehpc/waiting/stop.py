"""Stopping jobs when the task that waits for them is killed, on the worker or in the triggerer."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from airflow_provider_ehpc.apis.call import ApiCall, ApiError
from airflow_provider_ehpc.apis.job import JobApi, JobRef
from airflow_provider_ehpc.waiting.verdict import Note


def stop_jobs(api: JobApi, refs: Iterable[JobRef]) -> Generator[ApiCall[Any] | Note, Any, list[JobRef]]:
    """Ask for each job to be stopped and note the response; return the jobs for which the cloud agreed.

    An error for one job does not prevent the others from being stopped.
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

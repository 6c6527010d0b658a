# SPDX-License-Identifier: Apache-2.0
"""Stop jobs when the task that waits for them is killed, on the worker or in the triggerer."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from airflow_provider_ehpc.apis.call import ApiCall, ApiError
from airflow_provider_ehpc.apis.job import JobApi, JobRef
from airflow_provider_ehpc.waiting.verdict import Note


def stop_jobs(api: JobApi, refs: Iterable[JobRef]) -> Generator[ApiCall[Any] | Note, Any, list[JobRef]]:
    """Request to stop each job and log the response; return the jobs whose request the API accepted.

    An error for one job does not prevent the others from being stopped.
    """
    stopped = []
    for ref in refs:
        try:
            yield from api.stop(ref)
        except ApiError as error:
            yield Note(f"could not stop {ref}: {error}", warning=True)
        else:
            stopped.append(ref)
            yield Note(f"requested to stop {ref}")
    return stopped

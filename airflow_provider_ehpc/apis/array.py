"""What the states of an array job's sub-jobs say of the whole."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

from airflow_provider_ehpc.apis.job import JobState, JobStatus

# The first of these that any sub-job is in is the state of an array that has not ended: one running
# sub-job makes it running, and only an array of which nothing moves is suspended or unknown.
_UNFINISHED = (
    JobState.RUNNING,
    JobState.CANCELLING,
    JobState.QUEUED,
    JobState.PENDING,
    JobState.SUSPENDED,
    JobState.UNKNOWN,
)


def array_size(request: str) -> int:
    """Return how many sub-jobs ``X-Y:Z`` makes; 0 where the text is of another form."""
    indexes, _, step = request.partition(":")
    first, dash, last = indexes.partition("-")
    if not (dash and first.isdigit() and last.isdigit() and (step.isdigit() or not step)):
        return 0
    return max(0, (int(last) - int(first)) // max(1, int(step or 1)) + 1)


def array_status(parent: JobStatus, states: Mapping[str, JobState], size: int) -> JobStatus:
    """Return ``parent`` with the state of the whole and how many sub-jobs are in which.

    It has failed when one sub-job has, but not before the last has ended. A sub-job that the cloud does
    not list by itself yet (Slurm keeps those that wait in one entry) is counted in the parent's state.
    """
    counts = Counter(states.values())
    if size > len(states):
        counts[parent.state] += size - len(states)
    if not counts:
        return parent
    whole = next((state for state in _UNFINISHED if counts[state]), None)
    if whole is None:
        ends = (JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED)
        whole = next(state for state in ends if counts[state])
    return dataclasses.replace(
        parent,
        state=whole,
        outcome_assumed=parent.outcome_assumed and whole is JobState.SUCCEEDED,
        array={state.value: counts[state] for state in JobState if counts[state]},
    )

"""The state of an array job, from its own state and those of its sub-jobs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.apis.schedulers.ids import array_indexes, member_indexes

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
_ENDED = (JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED)
"""The first of these that any sub-job ended in is how the array ended."""
_NAMED = 10
"""Failed sub-jobs that a status names; the others are counted."""


def array_size(request: str) -> int:
    """Return the number of sub-jobs that ``X-Y:Z`` makes, or ``1,3,5-7%2``; 0 for a text of another form."""
    return len(array_indexes(request) or ())


def array_status(
    parent: JobStatus,
    states: Mapping[str, JobState],
    size: int,
    failures: Mapping[str, str] | None = None,
) -> JobStatus:
    """Return ``parent`` with the state of the whole array and the number of its sub-jobs in each state.

    An array is not over before its parent and every sub-job are: the parent knows of sub-jobs that are not
    listed yet, and a list that was read later knows of ends that the parent did not. It has failed if one
    sub-job has.

    :param size: the number of sub-jobs; 0 if it is not known. Those that the cloud does not list (Slurm
        keeps waiting ones in one entry) are counted in the parent's state.
    :param failures: how sub-jobs failed, by their IDs.
    """
    counts = Counter(states.values())
    if size > len(states):
        counts[parent.state] += size - len(states)
    if not counts:
        return parent
    whole = next((state for state in _UNFINISHED if counts[state]), None)
    if whole is None and not parent.state.terminal:
        whole = parent.state
    if whole is None:
        whole = next(state for state in _ENDED if counts[state] or state is parent.state)
    return dataclasses.replace(
        parent,
        state=whole,
        outcome_assumed=parent.outcome_assumed and whole is JobState.SUCCEEDED,
        array={state.value: counts[state] for state in JobState if counts[state]},
        failed_members=failures or {} if whole.terminal else {},
    )


def with_members(parent: JobStatus, members: Mapping[str, JobStatus], size: int = 0) -> JobStatus:
    """Return the status of an array from its own and those of its sub-jobs, by their IDs.

    :param size: the number of sub-jobs; 0 if it is not known.
    """
    states: dict[str, JobState] = {}
    for job_id, member in members.items():
        # Several that wait together are one entry. One whose indexes are unreadable counts as well.
        states |= dict.fromkeys([str(index) for index in member_indexes(job_id)] or [job_id], member.state)
    # The first to be named is the one whose log explains the failure.
    blamed = [
        job_id
        for state in (JobState.FAILED, JobState.CANCELLED)
        for job_id in sorted(members, key=lambda job_id: list(member_indexes(job_id)[:1]))
        if members[job_id].state is state
    ]
    failures = {job_id: _failure(members[job_id]) for job_id in blamed[:_NAMED]}
    assumed = parent.outcome_assumed or any(member.outcome_assumed for member in members.values())
    may_rerun = parent.may_rerun or any(member.may_rerun for member in members.values())
    # Each sub-job is requeued by itself.
    whole = dataclasses.replace(parent, outcome_assumed=assumed, may_rerun=may_rerun, restarts=None)
    return array_status(whole, states, size, failures)


def _failure(member: JobStatus) -> str:
    """Return how a sub-job ended, in a few words."""
    parts = [member.state.value]
    if member.exit_code:
        parts.append(f"exit code {member.exit_code}")
    if member.reason:
        # What stands behind is the scheduler's comment on its own words.
        parts.append(member.reason.partition("; ")[0])
    elif member.raw_state.casefold() != member.state.casefold() and len(member.raw_state) > 1:
        parts.append(member.raw_state)
    return ", ".join(parts)

# SPDX-License-Identifier: Apache-2.0
"""Compute the state of an array job from those of its sub-jobs, and which of these to submit again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from math import gcd
from typing import Any

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.apis.schedulers.ids import array_indexes, member_indexes

# An array that has not ended has the first of these states that any of its sub-jobs has: one running sub-job
# makes it running, and it is suspended or unknown only if no sub-job is in another of these states.
_UNFINISHED = (
    JobState.RUNNING,
    JobState.CANCELLING,
    JobState.QUEUED,
    JobState.PENDING,
    JobState.SUSPENDED,
    JobState.UNKNOWN,
)
_ENDED = (JobState.FAILED, JobState.CANCELLED, JobState.SUCCEEDED)
"""An array that has ended has the first of these states that any of its sub-jobs has."""
_MOST_NAMED = 10
"""Maximum number of failed sub-jobs that a status names; the others are only counted."""


def array_size(request: str) -> int:
    """Return the number of sub-jobs of ``X-Y:Z`` or ``1,3,5-7%2``; 0 for a text of another form."""
    return len(array_indexes(request) or ())


def array_status(
    parent: JobStatus,
    states: Mapping[str, JobState],
    size: int,
    failures: Mapping[str, str] | None = None,
) -> JobStatus:
    """Return ``parent`` with the state of the whole array and the number of its sub-jobs in each state.

    An array has ended when its parent and every sub-job have: the parent's state includes sub-jobs that are
    not listed yet, and a list that was read later contains ends that the parent's state does not. The array
    has failed if one sub-job has.

    :param size: the number of sub-jobs; 0 if it is not known. Sub-jobs that the cloud does not list (Slurm
        lists waiting ones in one entry) are counted in the parent's state.
    :param failures: descriptions of the sub-jobs' failures, by their IDs.
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
        members=_indexes_by_state(states) if whole.terminal else {},
    )


def with_members(parent: JobStatus, members: Mapping[str, JobStatus], size: int = 0) -> JobStatus:
    """Return the status of an array.

    :param parent: the array's own status.
    :param members: statuses of its sub-jobs, by their IDs.
    :param size: the number of sub-jobs; 0 if it is not known.
    """
    states: dict[str, JobState] = {}
    for job_id, member in members.items():
        # Sub-jobs that wait together are one entry. An entry with unreadable indexes counts as one.
        states |= dict.fromkeys([str(index) for index in member_indexes(job_id)] or [job_id], member.state)
    # Ordered so that the log of the first one explains the failure.
    blamed = [
        job_id
        for state in (JobState.FAILED, JobState.CANCELLED)
        for job_id in sorted(members, key=lambda job_id: list(member_indexes(job_id)[:1]))
        if members[job_id].state is state
    ]
    failures = {job_id: _failure(members[job_id]) for job_id in blamed[:_MOST_NAMED]}
    assumed = parent.outcome_assumed or any(member.outcome_assumed for member in members.values())
    may_rerun = parent.may_rerun or any(member.may_rerun for member in members.values())
    # Each sub-job is requeued by itself.
    whole = dataclasses.replace(parent, outcome_assumed=assumed, may_rerun=may_rerun, restarts=None)
    return array_status(whole, states, size, failures)


def _failure(member: JobStatus) -> str:
    """Describe the end of a sub-job in a few words."""
    parts = [member.state.value]
    if member.exit_code:
        parts.append(f"exit code {member.exit_code}")
    if member.reason:
        # The rest of the reason is the scheduler's comment.
        parts.append(member.reason.partition("; ")[0])
    elif member.raw_state.casefold() != member.state.casefold() and len(member.raw_state) > 1:
        parts.append(member.raw_state)
    return ", ".join(parts)


def _indexes_by_state(states: Mapping[str, JobState]) -> dict[str, str]:
    """Return the indexes of the sub-jobs in each state, from their states by index or ID."""
    indexes: dict[JobState, list[int]] = {}
    for name, state in states.items():
        indexes.setdefault(state, []).extend([int(name)] if name.isdigit() else member_indexes(name))
    return {state.value: index_list(indexes[state]) for state in JobState if indexes.get(state)}


def member_states(members: Mapping[str, str]) -> dict[int, JobState]:
    """Return the state of each sub-job by its index, from :attr:`JobStatus.members`."""
    return {index: JobState(state) for state in members for index in array_indexes(members[state]) or ()}


def index_list(indexes: Iterable[int]) -> str:
    """Return indexes as an array expression in the shortest list of ranges, such as ``3,7-9``."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def failed_members_expression(array: str, states: Mapping[int, JobState]) -> str:
    """Return the array expression of the sub-jobs that have to run again; empty if there are none.

    Those are all that did not succeed, including those that the cloud did not report: a scheduler forgets
    a sub-job that was cancelled while it waited. Call it for an array that has ended.

    :param array: the expression of the whole array, such as ``1-100:2``.
    :param states: the sub-jobs' states by their indexes (:func:`member_states`).
    :raises InvalidArgument: if ``array`` is not an array expression.
    """
    indexes = array_indexes(array)
    if indexes is None:
        raise InvalidArgument(f"array: {array!r} is not of the form X-Y:Z")
    return index_list(index for index in indexes if states.get(index) is not JobState.SUCCEEDED)


def range_of(expression: str) -> str:
    """Return the smallest range ``X-Y:Z`` that contains the indexes of an array expression.

    No API here accepts a list of indexes: E-HPC documents ``X-Y:Z``, PBS takes nothing else, and serverless
    has a first index, a last one and a step. A single index 3 becomes ``3-4:2``, because PBS rejects ``3-3``.
    The range of a part of a range ``X-Y:Z`` contains no index that is not in it.

    :raises InvalidArgument: if it is not an array expression.
    """
    indexes = array_indexes(expression)
    if not indexes:
        raise InvalidArgument(f"array: {expression!r} is not an array expression, such as 3,7-9")
    first, last = indexes[0], indexes[-1]
    if first == last:
        return f"{first}-{first + 1}:2"
    step = gcd(*(index - first for index in indexes))
    return f"{first}-{last}" + (f":{step}" if step > 1 else "")


def with_earlier(job: Mapping[str, Any], array: str, members: str) -> dict[str, Any]:
    """Return the status of a job that ran only some members of an array, as that of the whole array.

    All other members succeeded in earlier jobs. A member that ran again has the state of its last run.

    :param job: a status as a dict (:meth:`JobStatus.as_dict`).
    :param array: the expression of the whole array.
    :param members: that of the members which the job ran.
    """
    earlier = sorted(set(array_indexes(array) or ()) - set(array_indexes(members) or ()))
    if not earlier or not job.get("array"):
        return dict(job)
    counts = Counter(job["array"])
    counts[JobState.SUCCEEDED.value] += len(earlier)
    listed = dict(job.get("members") or {})
    succeeded = (*earlier, *(array_indexes(listed.get(JobState.SUCCEEDED.value, "")) or ()))
    states = {**listed, JobState.SUCCEEDED.value: index_list(succeeded)}
    return {
        **job,
        "array": {state.value: counts[state.value] for state in JobState if counts[state.value]},
        "members": {state.value: states[state.value] for state in JobState if states.get(state.value)},
    }

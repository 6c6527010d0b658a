# SPDX-License-Identifier: Apache-2.0
"""Describe jobs in the words of the task log: durations, counts, changes, failures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.waiting.conditions import WaitConditions

_LONGEST = 100
"""Characters of a name to show, at most."""
_LONGEST_LIST = 2000
"""Characters of the list of an array's failed members in a message."""
_WAITS = (JobState.PENDING, JobState.QUEUED)
_LOST = (JobState.FAILED, JobState.CANCELLED)


def lasted(seconds: float) -> str:
    """Return a duration as ``0:01:40``."""
    return str(timedelta(seconds=round(max(0.0, seconds))))


def counts(numbers: Mapping[str, int]) -> str:
    """Return the number of jobs in each state, as ``3 RUNNING, 1 FAILED``."""
    return ", ".join(f"{number} {state}" for state, number in numbers.items())


def some(names: tuple[str, ...]) -> str:
    """Return the first four nodes of a job and the number of the others."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more nodes" if len(names) > 4 else "")


def description(status: JobStatus) -> list[str]:
    """Return what is known of a job before it ends in up to two lines: its name, user and queue, and its
    resources and time limit.
    """
    names = [
        f"{what} {shown[:_LONGEST]}"
        for what, text in (("name", status.name), ("user", status.user), ("queue", status.queue))
        if (shown := " ".join((text or "").split()))
    ]
    nodes = str(len(status.nodes) or status.resources.get("nodes") or "")
    requested = [_amount(nodes, "node")] if nodes else []
    per_node = [_amount(status.resources.get(f"{unit.lower()}s"), unit) for unit in ("core", "GPU")]
    per_node = [amount for amount in (*per_node, status.resources.get("memory", "")) if amount]
    if per_node:
        *others, last = per_node
        amounts = f"{', '.join(others)} and {last}" if others else last
        requested.append(amounts + (" each" if nodes not in ("", "1") else ""))
    limits = [" with ".join(requested)] if requested else []
    if status.wall_time:
        limits.append(f"wall time {lasted(status.wall_time)}")
    return [", ".join(names), ", ".join(limits)]


def _amount(number: str | None, unit: str) -> str:
    return f"{number} {unit}{'' if number == '1' else 's'}" if number and number != "0" else ""


def own_duration(before: JobStatus, status: JobStatus) -> float | None:
    """Return the seconds that a job ran by its own times; None if they are missing or it was not RUNNING."""
    begin, end = status.started_at, status.ended_at
    if before.state is not JobState.RUNNING or not status.state.terminal or begin is None or end is None:
        return None
    if (begin.tzinfo is None) != (end.tzinfo is None) or end < begin:
        return None
    return (end - begin).total_seconds()


def change(before: JobStatus | None, status: JobStatus, seconds: float, *, final: bool) -> str:
    """Return what a job has become: ``is RUNNING ('R'), after 0:01:40 QUEUED, on node7``.

    :param seconds: the time since the state ``before`` was first seen.
    :param final: False if the state of an ended job may still change: the state is then left out.
    """
    text = f"is {status.state}" if final else "has ended"
    live = not (status.state.terminal or status.state is JobState.UNKNOWN)
    if before and before.state.terminal and live:
        text = f"runs again after {before.raw_state}; it is {status.state}"
    # An array's raw state is that of its parent, not of the whole.
    if status.raw_state.casefold() != status.state.casefold() and not status.array:
        text += f" ({status.raw_state!r})"
    if before and not before.state.terminal:
        exact = own_duration(before, status)
        after = f"about {lasted(seconds)}" if exact is None else lasted(exact)
        unseen = before.state in _WAITS and status.state.terminal and status.started_at
        # If no poll saw it run, it is unknown how long it was in the state before.
        text += f", last seen {before.state}" if unseen else f", after {after} {before.state}"
    if status.state is JobState.RUNNING and status.nodes:
        text += f", on {some(status.nodes)}"
    if status.array:
        text += f"; sub-jobs: {counts(status.array)}"
    return text


def failure(status: JobStatus, conditions: WaitConditions, *, cancelled_by_us: bool) -> str:
    """Return how a job ended that cannot reach a target state any more."""
    parts = [f"ended {status.state}"]
    # An array's raw state is that of its parent; if this task cancelled the job, the reason names that.
    if not status.array and not cancelled_by_us:
        parts[0] += f" (the cloud reports {status.raw_state!r})"
    if status.exit_code is not None:
        parts.append(f"exit code {status.exit_code}")
    if status.reason:
        parts.append(f"reason: {status.reason}")
    if status.array:
        parts.append(f"sub-jobs: {counts(status.array)}")
    if status.failed_members:
        failed = (f"{job_id} ({how})" for job_id, how in status.failed_members.items())
        parts.append(f"failed: {', '.join(failed)}")
    lost = [status.members[state] for state in _LOST if state in status.members]
    if lost and sum(status.array.get(state, 0) for state in _LOST) > len(status.failed_members):
        parts.append(f"all failed members: {','.join(lost)[:_LONGEST_LIST]}")
    if status.array and (most := conditions.max_failed_members):
        parts.append(f"max_failed_members={most}")
    return "; ".join(parts) + f"; waited for {', '.join(conditions.target_states)}"

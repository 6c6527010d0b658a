# SPDX-License-Identifier: Apache-2.0
"""Format durations, counts and names for the task log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from airflow_provider_ehpc.apis.job import JobState, JobStatus

_LONGEST = 100
"""Characters of a name to show, at most."""


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

# SPDX-License-Identifier: Apache-2.0
"""The cost of a job: its time in the queue, its run time, its nodes. Pure: no Airflow, no I/O, no clock.

Nothing is guessed: a number that the cloud's report does not support is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_ehpc.apis.job import JobRef, JobState


def summary(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the cost of a job that has ended, given its status as a dict.

    The keys are ``queue_seconds``, ``run_seconds``, ``nodes``, ``node_hours``, ``cores_used`` and
    ``memory_used``, the last two per node. Those that are unknown are left out. For a job that has not ended,
    nothing is returned.
    """
    if not JobState(job.get("state", JobState.UNKNOWN)).terminal:
        return {}
    found: dict[str, Any] = {}
    # The times of a job that ran several times are those of its last run.
    if not job.get("restarts"):
        found["queue_seconds"] = _between(job, "submitted_at", "started_at")
    # The sub-jobs of an array do not run from its start to its end, nor on all of its nodes.
    if not job.get("array") and "[]" not in job["job_id"]:
        found["run_seconds"] = _between(job, "started_at", "ended_at")
        found["nodes"] = len(job.get("nodes") or ()) or _whole((job.get("resources") or {}).get("nodes"))
        if found["run_seconds"] is not None and found["nodes"]:
            found["node_hours"] = round(found["run_seconds"] * found["nodes"] / 3600, 4)
        used = job.get("resources_used") or {}
        found["cores_used"] = _whole(used.get("cores"))
        # A job that ended before its usage was read used 0kb.
        memory = str(used.get("memory", ""))
        found["memory_used"] = memory if any(digit in memory for digit in "123456789") else None
    return {name: value for name, value in found.items() if value is not None}


def sentence(job: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return a job's summary as a line of the log; an empty text if it has neither times nor usage."""
    nodes = found.get("nodes")
    parts = []
    if "run_seconds" in found:
        on = f" on {_number(nodes, 'node')}" if nodes else ""
        hours = f" ({_hours(found['node_hours'])} node-hours)" if "node_hours" in found else ""
        parts.append(f"ran {duration(found['run_seconds'])}{on}{hours}")
    if "queue_seconds" in found:
        parts.append(f"waited {duration(found['queue_seconds'])} in the queue")
    used = [_number(found["cores_used"], "core")] if "cores_used" in found else []
    used += [str(found["memory_used"])] if "memory_used" in found else []
    text = ", ".join(parts)
    if used:
        each = " per node" if nodes != 1 else ""
        text += ("; " if text else "") + f"used {', '.join(used)}{each}"
    ref = JobRef(job["job_id"], job.get("cluster_id"), job.get("version_id"))
    return f"{ref} {text}" if text else ""


def total(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Return the summaries of several jobs as one line of the log; an empty text if no run time is known."""
    ran = [found["run_seconds"] for found in summaries if "run_seconds" in found]
    if not ran:
        return ""
    of = f"{len(ran)} of {len(summaries)}" if len(ran) < len(summaries) else f"{len(ran)}"
    hours = [found["node_hours"] for found in summaries if "node_hours" in found]
    cost = f" ({_hours(sum(hours))} node-hours)" if len(hours) == len(ran) else ""
    waits = [found["queue_seconds"] for found in summaries if "queue_seconds" in found]
    waited = f"; the longest wait in the queue was {duration(max(waits))}" if waits else ""
    return f"{of} jobs ran {duration(sum(ran))} in all{cost}{waited}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, as ``2 h 3 min``."""
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if parts:
            parts += [f"{number} {unit}"] if number else []
            break
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts) or "0 s"


def _between(job: Mapping[str, Any], begin: str, end: str) -> float | None:
    """Return the seconds between two of a job's times; None if they cannot be compared."""
    if job.get("zones_mixed"):
        return None
    try:
        first, last = (datetime.fromisoformat(job[name]) for name in (begin, end))
        seconds = (last - first).total_seconds()
    except (KeyError, TypeError, ValueError):  # one is missing, or has no zone
        return None
    # A clock that is wrong, or changed.
    return seconds if seconds >= 0 else None


def _whole(value: Any) -> int | None:
    text = str(value or "").strip()
    return int(text) or None if text.isdecimal() and len(text) < 10 else None


def _number(count: Any, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _hours(value: float) -> str:
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"

# SPDX-License-Identifier: Apache-2.0
"""Build and read the event that ends a deferred wait. Airflow stores it, so its size is bounded.

If every job's status would make it larger than :data:`LARGEST_EVENT`, it holds counts, the first failed jobs,
and the state that each job reached; the worker polls the jobs again for the result.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.waiting.verdict import Verdict

LARGEST_EVENT = 16 * 1024
"""Bytes of an event with every job's status, at most. MySQL stores at most 64 KiB in a ``TEXT``."""
FAILED_JOBS = 100
"""Failed jobs in an event that does not hold all jobs, at most."""
_LONGEST_TEXT = 1000
"""Bytes of JSON to which a text from the cloud, such as a message, is cut."""
_LONGEST_FIELD = 100
"""The same for a failed job's fields and for a line of the log."""
_WAITING = "-"
_FAILED_FIELDS = ("job_id", "cluster_id", "version_id", "state", "raw_state", "exit_code", "reason", "array")


def bounded_event(
    verdict: Verdict, refs: Sequence[JobRef], waiting: Collection[JobRef], targets: Collection[JobState]
) -> dict[str, Any]:
    """Return the payload of the event that reports a verdict.

    :param refs: the jobs of the wait, in the order of the trigger's arguments.
    :param waiting: the jobs that have not reached a target state.
    :param targets: the target states.
    """
    event: dict[str, Any]
    whole = verdict.as_event()
    # Serializing thousands of statuses only to measure them would block the triggerer's other triggers.
    if len(verdict.jobs) <= FAILED_JOBS:
        event = _cut(whole, _LONGEST_TEXT)
        if len(json.dumps(event)) <= LARGEST_EVENT:
            return event
    event = {
        name: _cut(value, _LONGEST_TEXT) for name, value in whole.items() if name not in ("jobs", "news")
    }
    if "news" in whole:
        event["news"] = [[_cut(text, 2 * _LONGEST_FIELD), warning] for text, warning in whole["news"][:10]]
    states = [JobState(job["state"]) for job in verdict.jobs]
    failed = (
        job
        for job, state in zip(verdict.jobs, states, strict=True)
        if state.terminal and state not in targets
    )
    event["jobs"] = [
        _cut({name: job[name] for name in _FAILED_FIELDS if name in job}, _LONGEST_FIELD)
        for job in islice(failed, FAILED_JOBS)
    ]
    event["counts"] = Counter(state.value for state in states)
    event["reached"] = _reached(verdict, states, refs, set(waiting))
    return event


def reached_states(event: Mapping[str, Any], refs: Sequence[JobRef]) -> dict[JobRef, JobState] | None:
    """Return the state that each job reached, from an event without the jobs' statuses.

    Return None if the event holds the statuses. Jobs that reached no target state are missing.
    """
    if "reached" not in event:
        return None
    states = [JobState(state) for state in event["reached"]["states"]]
    codes = zip(refs, unpack(event["reached"]["jobs"]), strict=False)
    return {ref: states[int(code)] for ref, code in codes if code != _WAITING}


def not_reached(
    event: Mapping[str, Any], refs: Sequence[JobRef], targets: Collection[JobState]
) -> list[JobRef]:
    """Return the jobs that had not reached a target state when the trigger sent the event."""
    reached = reached_states(event, refs)
    if reached is not None:
        return [ref for ref in refs if ref not in reached]
    ids = {job["job_id"] for job in event.get("jobs", ()) if job.get("state") in targets}
    return [ref for ref in refs if ref.job_id not in ids]


def pack(text: str) -> str:
    """Compress a text to ASCII; :func:`unpack` reverses it."""
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def unpack(packed: str) -> str:
    """Return the text that :func:`pack` compressed."""
    return zlib.decompress(base64.b85decode(packed)).decode()


def _reached(
    verdict: Verdict, states: Sequence[JobState], refs: Sequence[JobRef], waiting: Collection[JobRef]
) -> dict[str, Any]:
    if len(states) == len(refs):
        # Match by order, not by ID: some APIs report a job under a longer ID than the requested one.
        found: Mapping[JobRef, JobState] = dict(zip(refs, states, strict=True))
    else:
        by_id = {job["job_id"]: state for job, state in zip(verdict.jobs, states, strict=True)}
        found = {ref: by_id.get(ref.job_id, JobState.UNKNOWN) for ref in refs}
    legend = list(dict.fromkeys(state.value for ref, state in found.items() if ref not in waiting))
    codes = (_WAITING if ref in waiting else str(legend.index(found[ref].value)) for ref in refs)
    return {"states": legend, "jobs": pack("".join(codes))}


def _cut(value: Any, longest: int) -> Any:
    """Return the value with every text in it cut to about ``longest`` bytes of JSON."""
    if isinstance(value, str):
        return value if len(json.dumps(value)) <= longest + 2 else _beginning(value, longest) + "…"
    if isinstance(value, dict):
        # A list of indexes that is cut is wrong.
        return {name: item if name == "members" else _cut(item, longest) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, longest) for item in value]
    return value


def _beginning(text: str, longest: int) -> str:
    text = text[:longest]
    # A Chinese character takes six bytes.
    while (size := len(json.dumps(text)) - 2) > longest:
        text = text[: len(text) * longest // size]
    return text

# SPDX-License-Identifier: Apache-2.0
"""Changes to the JSON of a response: hostile values where the API sends optional ones, and worse.

A change works on any response of any API. Which fields are more than optional is said once, in
:data:`ESSENTIAL`: they carry a job's identity or state, the bytes of a log, or the paging.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from tests.faults.server import Act, Exchange

_ESSENTIAL = (
    # identity
    "JobId Id id job_id version_id hpcjob_uuid kind JobIds metadata "
    # state and outcome
    "State JobState phase status job_status end_status Success is_success ret_code Status IsArrayJob "
    "ArrayRequest ArrayJobId ArrayJobSubId "
    # logs: bytes, sizes and positions, and what names the streams
    "StdoutLog StderrLog StdoutLogSize StderrLogSize OutputLog ErrorLog content log lines start_line "
    "end_line end_byte count tasks log_file_list "
    # what the log of API v1 and 2018-04-12 is found by
    "job_name NodeList BatchHost "
    # paging
    "TotalCount total_count total job_total_count PageNumber PageSize "
    # records of operations
    "RequestId Time Action job_action create_time "
    # an end without it is another end
    "ExitCode"
)
ESSENTIAL = frozenset(_ESSENTIAL.split())
JOB_LISTS = ("Jobs", "JobInfo", "JobInfos", "items", "jobs", "hpc_job_set", "job_set", "Logs")
TOTALS = ("TotalCount", "total_count", "total", "job_total_count")
IDS = ("JobId", "Id", "id", "job_id", "hpcjob_uuid")

Change: TypeAlias = Callable[[Any], Any]


def changed(change: Change) -> Act:
    """Forward a request and change the JSON of a successful response."""

    def act(exchange: Exchange) -> None:
        response = exchange.upstream()
        if response.status == 200 and response.body:
            reported = change(json.loads(response.body))
            response.body = reported if isinstance(reported, bytes) else json.dumps(reported).encode()
        exchange.relay(response)

    return act


def leaves(value: Any) -> Change:
    """Put a value in the place of every optional one."""
    return lambda reported: _replace(reported, lambda name, old: value)


def numbers(value: Any) -> Change:
    """Put a value in the place of every optional number, and of every text that is one or a time."""

    def new(name: str, old: Any) -> Any:
        is_text = isinstance(old, str) and not ((old[:1].isdigit() and ":" in old) or old.isdigit())
        return old if is_text or isinstance(old, bool) or old is None else value

    return lambda reported: _replace(reported, new)


def texts(suffix: str) -> Change:
    """Append something to every optional text that is not a number."""

    def new(name: str, old: Any) -> Any:
        return old + suffix if isinstance(old, str) and not old[:1].isdigit() else old

    return lambda reported: _replace(reported, new)


def wrong_types(reported: Any) -> Any:
    """Send an object for a text, a text for a number, a number for a list, a list for an object."""

    def new(name: str, old: Any) -> Any:
        if isinstance(old, str):
            return {"a": [old]}
        if isinstance(old, bool) or old is None:
            return [17]
        return "seventeen" if isinstance(old, int | float) else 17

    return _replace(reported, new, containers=True)


def null_containers(reported: Any) -> Any:
    """Send null for every optional list or object."""
    return _replace(
        reported, lambda name, old: None if isinstance(old, list | dict) else old, containers=True
    )


def null_jobs(reported: Any) -> Any:
    """Send null for the list of jobs, or for the job."""
    return _map(reported, lambda name, old: None if name in (*JOB_LISTS, "JobInfo", "metadata") else old)


def other_job(reported: Any) -> Any:
    """Answer about another job."""
    ids = {"JobId": "987654", "Id": "987654", "job_id": 987654, "hpcjob_uuid": "hpcjob-99999999"}

    def new(name: str, old: Any) -> Any:
        if name == "id":
            return "3faf5c03-aaa1-4cbe-879d-0000000f1206"
        if name == "JobInfo" and isinstance(old, dict) and not set(old) & {"JobId", "State"}:
            return {"987654": {**next(iter(old.values())), "JobId": "987654"}}
        return ids.get(name, old)

    return _map(reported, new)


def malformed_rows(reported: Any) -> Any:
    """Put rows that are none into the lists of jobs and of operations."""
    junk: list[Any] = [
        None,
        "text",
        17,
        [],
        {},
        {"JobName": {"a": 1}, "JobSpec": "x", "metadata": 3, "status": []},
    ]

    def new(name: str, old: Any) -> Any:
        return [*junk, *old, *junk] if name in JOB_LISTS and isinstance(old, list) else old

    return _map(reported, new)


def duplicate_keys(reported: Any) -> bytes:
    """Send every field twice; the last one counts (RFC 8259 leaves it open, every parser here takes it)."""

    def write(value: Any) -> str:
        if isinstance(value, dict):
            pairs = [f"{json.dumps(name)}:{write(part)}" for name, part in value.items()]
            twice = [f'{json.dumps(name)}:"an earlier value"' for name in value]
            return "{" + ",".join([*twice, *pairs]) + "}"
        return "[" + ",".join(map(write, value)) + "]" if isinstance(value, list) else json.dumps(value)

    return write(reported).encode()


def deep_field(reported: Any) -> bytes:
    """Add a field that is nested deeper than a parser recurses."""
    return json.dumps({"Deep": "@", **reported}).replace('"@"', "[" * 100_000 + "]" * 100_000, 1).encode()


def long_number(reported: Any) -> bytes:
    """Add a number that Python refuses to read (it has more than 4,300 digits)."""
    return json.dumps({"Long": "@", **reported}).replace('"@"', "9" * 5000, 1).encode()


def _replace(reported: Any, new: Callable[[str, Any], Any], *, containers: bool = False) -> Any:
    """Return the JSON with ``new(name, old)`` for every optional value; of objects only if asked to."""
    if not isinstance(reported, dict):
        return (
            [_replace(part, new, containers=containers) for part in reported]
            if isinstance(reported, list)
            else reported
        )
    result = {}
    for name, old in reported.items():
        whole = not isinstance(old, list | dict)
        vital = name in ESSENTIAL if whole else bool(_keys(old) & ESSENTIAL)
        if whole or (containers and not vital and name not in ESSENTIAL):
            result[name] = old if vital else new(name, old)
        else:
            result[name] = (
                old if name in ESSENTIAL and not vital else _replace(old, new, containers=containers)
            )
    return result


def _map(reported: Any, new: Callable[[str, Any], Any]) -> Any:
    if isinstance(reported, list):
        return [_map(part, new) for part in reported]
    if not isinstance(reported, dict):
        return reported
    return {name: new(name, _map(old, new)) for name, old in reported.items()}


def _keys(reported: Any) -> frozenset[str]:
    return frozenset(_walk(reported))


def _walk(reported: Any) -> Iterator[str]:
    parts = (
        reported.values() if isinstance(reported, dict) else reported if isinstance(reported, list) else ()
    )
    if isinstance(reported, dict):
        yield from reported
    for part in parts:
        yield from _walk(part)

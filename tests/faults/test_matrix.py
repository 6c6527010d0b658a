# SPDX-License-Identifier: Apache-2.0
"""Every fault, with every API, in every kind of task, on the worker and in the triggerer.

A cell's id says what it is: ``ehpc-sensor-deferred-html_200-passing``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiError, AuthenticationFailed
from tests.faults.catalogue import APIS, FAULTS, HUAWEI, Fault, Kind
from tests.faults.conftest import GRACE, Cell, Make, Record
from tests.faults.memory import Peak
from tests.faults.tasks import LINES, RECORDS, RUN, Result, modes, run_event

SLOW_APIS = ("ehpc", "modelarts")
"""The APIs that slow faults are tried with. How long an attempt lasts is the transport's business alone."""
MOST_MEMORY = 300 * 1024 * 1024
"""Bytes by which a cell may make the process grow."""


def _durations(fault: Fault) -> tuple[str, ...]:
    if fault.durations:
        return fault.durations
    return ("passing", "lasting") if fault.kind is Kind.PASSES else ("lasting",)


def _applies(fault: Fault, task: str) -> bool:
    if fault.tasks:
        return task in fault.tasks
    return task != "jobs" or fault.kind is Kind.HARMLESS or fault.name in ("html_200", "own_503", "null_jobs")


def _cells() -> Iterator[Any]:
    for fault in FAULTS:
        for api in APIS.values():
            if fault.apis and api.name not in fault.apis:
                continue
            if fault.slow and api.name not in SLOW_APIS:
                continue
            for task in RUN:
                if not _applies(fault, task):
                    continue
                for mode in modes(api, task):
                    for duration in _durations(fault):
                        if (fault.setup, task, duration) == ("refuse", "audit", "passing"):
                            # An audit tries five times; here that takes less time than to begin to listen.
                            continue
                        cell = Cell(api, task, mode, fault, duration)
                        marks = [pytest.mark.faults_slow] if fault.slow else []
                        yield pytest.param(cell, id=str(cell), marks=marks)


@pytest.mark.parametrize("cell", list(_cells()))
def test_cell(cell: Cell, make: Make, record: Record) -> None:
    setting = make(cell)
    (setting.folder).mkdir()
    fault = cell.fault
    lasts = fault.kind is not Kind.HARMLESS and cell.duration == "lasting"
    with Peak() as peak:
        if cell.task == "event" and lasts:
            result = run_event(setting, True, lasts=3 * GRACE)
        else:
            result = RUN[cell.task](setting, cell.mode == "deferred")
    if _pauses_too_long(cell):
        outcome = _ended(cell, result)
    elif not lasts:
        outcome = _recovered(cell, result)
    elif cell.task == "event":
        outcome = _reported(cell, result)
    else:
        outcome = _ended(cell, result)
    if fault.name.startswith("key_refused") and cell.api.name in HUAWEI:
        # The fifth refusal locks the key for a quarter of an hour.
        assert setting.server.struck == 1
    assert not [seen for seen in setting.server.seen if "cookie" in seen.headers]
    assert not [seen for seen in setting.server.seen if "elsewhere" in seen.target]
    assert peak.growth < MOST_MEMORY
    record(cell, outcome)


def _pauses_too_long(cell: Cell) -> bool:
    """Whether an audit ends because it may not ask again for longer than a call is retried.

    QingCloud's quota is counted by the hour, so without a readable Retry-After the pause is five minutes.
    """
    if cell.task != "audit" or not cell.fault.name.startswith("throttled"):
        return False
    hour = cell.fault.name == "throttled_hour"
    return hour or (cell.api.name == "qingcloud" and cell.fault.name != "throttled_seconds")


def _recovered(cell: Cell, result: Result) -> str:
    """Nothing is missing, and nothing is there twice."""
    if result.error:
        raise result.error
    if cell.task in ("sensor", "log"):
        assert result.value["state"] == "SUCCEEDED"
    if cell.task == "jobs":
        assert [job["state"] for job in result.value] == ["SUCCEEDED"] * 4
    if cell.task == "log":
        assert result.lines == LINES
    if cell.task == "event":
        ids = [job["job_id"] for job in result.value or ()]
        assert len(ids) == len(set(ids)) == (1 if cell.api.name == "modelarts-v1" else 4)
        assert {job["state"] for job in result.value} == {"SUCCEEDED"}
        assert not [job for job in result.value if "may_be_repeated" in job]
    if cell.task == "audit":
        (path,) = (path for path in result.written if path.suffix == ".jsonl")
        assert len({json.loads(line)["uid"] for line in path.read_text().split("\n")[:-1]}) == RECORDS
        assert path.read_text().count("\n") == RECORDS
    return "recovered" if cell.fault.kind is Kind.PASSES else "unaffected"


def _ended(cell: Cell, result: Result) -> str:
    """One clear error says why, and nothing was written."""
    assert isinstance(result.error, ApiError), result.error or result.value
    text = str(result.error)
    assert re.search(cell.fault.cause, text), text
    assert cell.fault.kind is not Kind.FINAL or not result.error.transient
    assert "ehpc_test" in text
    assert result.written == []
    assert result.lines == LINES[: len(result.lines)]
    if cell.fault.name.startswith("key_refused"):
        assert isinstance(result.error, AuthenticationFailed)
    if cell.fault.kind is Kind.PASSES and cell.task != "audit":
        assert len(result.warnings) <= 2, result.warnings
    return "ended with the cause"


def _reported(cell: Cell, result: Result) -> str:
    """A watcher of events has no end: it says once what is wrong, and goes on."""
    if result.error:
        raise result.error
    assert not result.value
    assert len(result.warnings) == 1
    assert re.search(cell.fault.cause, result.warnings[0]), result.warnings[0]
    return "reported once, goes on"

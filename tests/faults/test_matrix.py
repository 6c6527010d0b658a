"""Every fault, with every API, in every kind of task, on the worker and in the triggerer.

A cell's id says what it is: ``ehpc-sensor-deferred-html_200-passing``.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiError, AuthenticationFailed
from airflow_provider_ehpc.logs import follow
from airflow_provider_ehpc.polling import feed, positions, watch
from tests.conftest import Connect, Pauses, TaskLog
from tests.faults.catalogue import APIS, FAULTS, HUAWEI, Api, Fault, Kind
from tests.faults.memory import Peak
from tests.faults.server import FaultServer
from tests.faults.tasks import LINES, RECORDS, RUN, Cloud, Result, Setting, modes, run_event
from tests.hooks.conftest import _certificate
from tests.triggers.triggerer import Kept

STRIKES = {"sensor": 7, "jobs": 7, "log": 7, "event": 7, "audit": 3}
"""Requests that a passing fault strikes: more than the attempts of one call, except where nothing waits."""
GRACE = 0.1
"""Seconds of a lasting outage after which a wait is given up, in place of half an hour."""
MOST_MEMORY = 300 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of the matrix."""

    api: Api
    task: str
    mode: str
    fault: Fault
    duration: str

    def __str__(self) -> str:
        return "-".join((self.api.name, self.task, self.mode, self.fault.name, self.duration))


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
            for task in RUN:
                if not _applies(fault, task):
                    continue
                for mode in modes(api, task):
                    for duration in _durations(fault):
                        cell = Cell(api, task, mode, fault, duration)
                        marks = [pytest.mark.faults_slow] if fault.slow else []
                        yield pytest.param(cell, id=str(cell), marks=marks)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, pauses: Pauses, quick_triggers: None) -> None:
    """Let what takes minutes take a fraction of a second."""
    monkeypatch.setattr(feed, "GATHER", 0.0)
    monkeypatch.setattr(feed, "SAVE_EVERY", 0.2)
    monkeypatch.setattr(feed, "_LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(positions, "SETTLE", 0.02)
    monkeypatch.setattr(positions, "RETRY_AFTER", 0.02)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """What outlives a triggerer."""
    kept = Kept()
    monkeypatch.setattr(positions, "trigger_variables", lambda: kept)
    return kept


Make = Callable[[Cell], Setting]


@pytest.fixture
def make(
    cloud: Cloud,
    connect: Connect,
    kept: Kept,
    task_log: TaskLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Make]:
    """Put a server with a cell's fault in front of the cloud."""
    servers: list[FaultServer] = []

    def build(cell: Cell) -> Setting:
        api, fault = cell.api, cell.fault
        if cell.duration == "lasting":
            monkeypatch.setattr(watch, "OUTAGE_GRACE", GRACE)
            monkeypatch.setattr(follow, "LOG_OUTAGE", GRACE)
        connection = cloud.emulator.connections[api.conn_type]
        refs = cloud.refs(api, connect(connection))
        certificate = str(_certificate(tmp_path)) if fault.setup == "tls" else None
        server = FaultServer(cloud.emulator.url, certificate)
        servers.append(server)
        deferred = cell.mode == "deferred" and cell.task != "event"
        hosts = {"dns": "http://nosuch.invalid", "plain": server.url.replace("http:", "https:")}
        url = hosts.get(fault.setup, server.url)
        # If it defers, its first poll, on the worker, finds everything well.
        conn_id = connect(connection if fault.setup and deferred else {**connection, "host": url})
        cloud.begin(api, refs[0])
        server.on_over = cloud.end
        if fault.setup != "refuse" or (deferred and cell.duration == "passing"):
            server.listen()

        def strike() -> None:
            if fault.setup and deferred:
                connect({**connection, "host": url})
            server.strikes = STRIKES[cell.task] if cell.duration == "passing" else None
            if cell.task == "log" and fault.kind is not Kind.HARMLESS:
                # In the middle of the log.
                server.skip = 3 if cell.duration == "passing" else 0
            server.act = partial(fault.act, api)
            if fault.kind is Kind.HARMLESS or cell.task in ("audit", "event"):
                cloud.end()
            if fault.setup == "refuse" and cell.duration == "passing":
                server.act = None
                threading.Timer(GRACE / 2, lambda: (cloud.end(), server.listen())).start()

        return Setting(api, cloud, server, conn_id, refs, tmp_path / "audit", task_log, kept, strike)

    yield build
    for server in servers:
        server.close()
    cloud.emulator.faults.clear()


@pytest.mark.parametrize("cell", list(_cells()))
def test_cell(cell: Cell, make: Make, record_property: Callable[[str, object], None]) -> None:
    setting = make(cell)
    (setting.folder).mkdir()
    fault = cell.fault
    lasts = fault.kind is not Kind.HARMLESS and cell.duration == "lasting"
    with Peak() as peak:
        if cell.task == "event" and lasts:
            result = run_event(setting, True, lasts=5 * GRACE)
        else:
            result = RUN[cell.task](setting, cell.mode == "deferred")
    if not lasts:
        outcome = _recovered(cell, result)
    elif cell.task == "event":
        outcome = _reported(cell, result)
    else:
        outcome = _ended(cell, result)
    if fault.kind is Kind.FINAL and cell.api.name in HUAWEI:
        # The fifth refusal locks the key for a quarter of an hour.
        assert setting.server.struck == 1
    assert not [seen for seen in setting.server.seen if "cookie" in seen.headers]
    assert not [seen for seen in setting.server.seen if "elsewhere" in seen.target]
    assert peak.growth < MOST_MEMORY
    record_property("outcome", outcome)


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
        assert len({json.loads(line)["uid"] for line in path.read_text().splitlines()}) == RECORDS
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

# SPDX-License-Identifier: Apache-2.0
"""The cloud of the matrix, a setting for each cell, and the table that a run of it writes."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.events import position_store, watch_loop
from airflow_provider_ehpc.logs import follow
from airflow_provider_ehpc.waiting import watch
from tests.conftest import Connect, Pauses, TaskLog
from tests.faults.catalogue import APIS, FAULTS, Api, Fault, Kind
from tests.faults.server import FaultServer
from tests.faults.tasks import PATIENCE, Cloud, Setting
from tests.hooks.conftest import _certificate
from tests.triggers.triggerer import Kept

STRIKES = {"sensor": 7, "jobs": 7, "log": 7, "event": 7, "audit": 3}
"""Requests that a passing fault strikes: more than the attempts of one call, except where nothing waits."""
GRACE = 0.1
"""Seconds of a lasting outage after which a wait is given up, in place of half an hour."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of the matrix."""

    api: Api
    task: str
    mode: str
    fault: Fault
    duration: str

    @property
    def words(self) -> str:
        """The cell, for the table."""
        return " ".join((self.api.name, self.task, self.mode, self.fault.name, self.duration))

    def __str__(self) -> str:
        return self.words.replace(" ", "-")


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One emulator for all cells of a process."""
    with Emulator(tmp_path_factory.mktemp("cloud"), spelling="slurm") as emulator:
        yield Cloud(emulator)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, pauses: Pauses, quick_triggers: None) -> None:
    """Let what takes minutes take a fraction of a second."""
    monkeypatch.setattr(watch_loop, "GATHER", 0.0)
    monkeypatch.setattr(watch_loop, "SAVE_EVERY", 0.2)
    monkeypatch.setattr(watch_loop, "_LONGEST_RETRY_PAUSE", 0.02)
    monkeypatch.setattr(position_store, "EVENT_SETTLE_TIME", 0.02)
    monkeypatch.setattr(position_store, "RETRY_AFTER", 0.02)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """What outlives a triggerer."""
    kept = Kept()
    monkeypatch.setattr(position_store, "trigger_variables", lambda: kept)
    return kept


Make = Callable[[Cell], Setting]
Record = Callable[[Cell, str], None]


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    """Note what a cell was found to do, for the table."""

    def note(cell: Cell, outcome: str) -> None:
        record_property("cell", cell.words)
        record_property("outcome", outcome)

    return note


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
        if fault.slow:
            # An attempt ends after three times that.
            connection = {**connection, "extra": {**connection["extra"], "timeout": 0.2}}
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
            strikes = 3 if fault.slow else STRIKES[cell.task]
            server.strikes = strikes if cell.duration == "passing" else None
            if cell.task == "log" and fault.kind is not Kind.HARMLESS:
                # In the middle of the log.
                server.skip = 3 if cell.duration == "passing" else 0
            server.act = partial(fault.act, api)
            if fault.kind is Kind.HARMLESS or cell.task in ("audit", "event"):
                cloud.end()
            if fault.setup == "refuse" and cell.duration == "passing":
                server.act = None
                threading.Timer(GRACE / 2, lambda: (cloud.end(), server.listen())).start()

        # A resolver may take seconds to know no host.
        patience = 60.0 if fault.slow or fault.setup == "dns" else PATIENCE
        folder = tmp_path / "audit"
        return Setting(api, cloud, server, conn_id, refs, folder, task_log, kept, strike, patience)

    yield build
    for server in servers:
        server.close()
    cloud.emulator.faults.clear()


# ---------------------------------------------------------------------- the table for the docs

TABLE = "FAULTS_TABLE"
"""The environment variable that names the file to write; nothing is written without it."""
_rows: dict[str, dict[str, Counter[str]]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what a cell was found to do. With pytest-xdist, the reports of all processes come here."""
    outcome = dict(report.user_properties).get("outcome")
    cell = dict(report.user_properties).get("cell")
    if report.when == "call" and report.passed and outcome and cell:
        api, _, _, fault, _ = str(cell).split(" ")
        _rows.setdefault(fault, {}).setdefault(api, Counter())[str(outcome)] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table, from the process that has all reports."""
    path = os.environ.get(TABLE)
    if path and _rows and not hasattr(session.config, "workerinput"):
        Path(path).write_text(_table(_rows))


def _table(rows: Mapping[str, Mapping[str, Counter[str]]]) -> str:
    letters = {
        "recovered": "r",
        "unaffected": "u",
        "ended with the cause": "e",
        "reported once, goes on": "w",
    }
    total = sum(counts.total() for row in rows.values() for counts in row.values())
    head = f"""# What faults do

`make test-faults` puts a server in front of the emulator that does to requests what a cloud, a proxy or a
network can do to them, and runs every kind of task on a worker and in the triggerer: `JobStateSensor` for one
and for several jobs, `JobLogOperator`, `OperationAuditOperator`, `JobFinishedTrigger`. This table is written
by its last run: {total:,} combinations, each with an asserted outcome.

* **r**: the fault ended; the task continued and nothing was missing (states, lines, records, events).
* **u**: the task was not affected.
* **e**: the fault lasted; the task ended with one error that names the cause.
* **w**: the fault lasted; the event watcher logged it once and continues.
* **l**: the fault lasted, for the log alone; the task ended as the job did, with one warning.

| fault | {" | ".join(APIS)} |
|---|{"---|" * len(APIS)}
"""
    lines = []
    names = [fault.name for fault in FAULTS]
    for fault in sorted(rows, key=lambda name: names.index(name) if name in names else len(names)):
        cells = []
        for api in APIS:
            counts = rows[fault].get(api, Counter())
            cells.append(
                " ".join(f"{counts[name]}{letter}" for name, letter in letters.items() if counts[name])
            )
        lines.append(f"| {fault.replace('_', ' ')} | {' | '.join(cells)} |\n")
    return head + "".join(lines)

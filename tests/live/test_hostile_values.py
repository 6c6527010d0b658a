# SPDX-License-Identifier: Apache-2.0
"""A real triggerer with fifty deferred tasks, one of whose jobs is described in hostile ways, one by one.

One job name with half a surrogate pair once ended the whole triggerer, and with it the deferred tasks of
every DAG.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.deferred_tasks import LOGS, WAITS, Plan
from benchmarks.triggerers import Deferred, wait_until
from tests.faults import values
from tests.faults.server import Exchange, FaultServer

# The rows of deferred tasks are written as the API server of these versions writes them.
pytest.importorskip("airflow.sdk.serde", reason="this Airflow stores deferrals in another form")
pytestmark = pytest.mark.airflow

TASKS = 50
HOSTILE = 7
"""The map index of the wait for the hostile job."""


def _state(word: Any) -> values.Change:
    return lambda row: {**row, ("JobSpec" if "JobSpec" in row else "State"): _in(row, "State", word)}


def _in(row: dict[str, Any], name: str, value: Any) -> Any:
    return {**row["JobSpec"], name: value} if "JobSpec" in row else value


ROWS: dict[str, values.Change] = {
    "half a surrogate pair": values.texts("\ud83d"),
    "half a surrogate pair as state": _state("Running\ud83d"),
    "NUL": values.texts("\0"),
    "NUL as state": _state("Run\0ning"),
    "400 digits": values.numbers(10**400),
    "10^25": values.numbers(10**25),
    "NaN": values.numbers(float("nan")),
    "deep nesting": values.leaves(json.loads("[" * 500 + "]" * 500)),
    "wrong types": values.wrong_types,
    "nothing but nulls": values.leaves(None),
    "control characters": values.texts("\x1b[2J\r\u2028"),
    "a megabyte": values.texts("x" * 1_000_000),
    "a list as state": _state([["Running"]]),
    "no state": _state(None),
    "a text for the row": lambda row: "text",
    "null for the row": lambda row: None,
    "an empty row": lambda row: {},
}
"""What is made of the description of the one job, in turn."""
WHOLE: dict[str, values.Change] = {
    "every key twice": values.duplicate_keys,
    "a field that is too deep": values.deep_field,
    "a number that is too long": values.long_number,
}
"""What is made of a whole response that describes it."""


class Hostile:
    """Describes one job in each hostile way, in a response each, and then as it is."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.served: list[str] = []
        self._left = [*ROWS.items(), *WHOLE.items()]
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        response = exchange.upstream()
        reported = json.loads(response.body) if response.body else {}
        if self._describes(reported):
            with self._lock:
                name, change = self._left.pop(0) if self._left else ("", None)
                self.served += [name] if name else []
            if change and name in WHOLE:
                reported = change(reported)
            elif change:
                reported = self._changed(reported, change)
            response.body = reported if isinstance(reported, bytes) else json.dumps(reported).encode()
        exchange.relay(response)

    @property
    def over(self) -> bool:
        """Whether all ways were tried."""
        return not self._left

    def _is_it(self, row: Any) -> bool:
        if not isinstance(row, dict):
            return False
        spec = row.get("JobSpec")
        return self.job_id in (row.get("JobId"), spec.get("Id") if isinstance(spec, dict) else None)

    def _describes(self, reported: Any) -> bool:
        rows = [reported.get("JobInfo"), *(reported.get("Jobs") or ())]
        return any(self._is_it(row) for row in rows)

    def _changed(self, reported: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
        if self._is_it(reported.get("JobInfo")):
            return {**reported, "JobInfo": change(reported["JobInfo"])}
        return {**reported, "Jobs": [change(row) if self._is_it(row) else row for row in reported["Jobs"]]}


def test_one_hostile_job_does_not_touch_the_other_tasks(tmp_path: Path) -> None:
    with Emulator(tmp_path / "cloud", scheduler="timetable", spelling="slurm") as emulator:
        jobs = [emulator.submit("run=3600") for _ in range(TASKS - 1)]
        hostile = Hostile(jobs[HOSTILE])
        server = FaultServer(emulator.url)
        server.listen()
        connection = {**emulator.connection, "host": server.url}
        plan = Plan(interval=1.0, waits=jobs, logs=[jobs[HOSTILE]])
        airflow = Deferred(tmp_path / "airflow", plan, {"AIRFLOW_CONN_EHPC": json.dumps(connection)})
        try:
            airflow.prepare()
            airflow.defer(WAITS, LOGS)
            server.act = hostile
            pid = airflow.airflow.start_component("triggerer")
            wait_until(lambda: hostile.over or _failures(airflow), "the triggerer saw every description", 60)
            assert _failures(airflow) == [], hostile.served[-1]
            time.sleep(3)
            for job_id in jobs:
                emulator.stop(job_id)
            wait_until(lambda: not airflow.waiting(WAITS, LOGS), "all triggers fired", 40)
            fired = airflow.recorded(WAITS)
            assert _failures(airflow) == []
            outcomes = airflow.outcomes()
            (triggerer,) = airflow.triggerers()
            assert Path(f"/proc/{pid}").exists(), "the triggerer has ended"
            assert airflow.started(triggerer, WAITS, LOGS) == TASKS
        finally:
            airflow.airflow.stop()
            server.close()
    output = (airflow.airflow.home / "triggerer.out").read_text(errors="replace")
    assert "Traceback" not in output
    assert hostile.served == [*ROWS, *WHOLE]
    assert len(fired) == TASKS - 1
    # Stopped jobs are CANCELLED, which none of the tasks wants: that is their end.
    assert outcomes["failed"] >= TASKS - 2, outcomes
    assert outcomes.total() == TASKS


def _failures(airflow: Deferred) -> list[str]:
    """Return how triggers failed that raised something, instead of firing."""
    rows = airflow.rows("SELECT next_kwargs FROM task_instance WHERE state = 'scheduled'")
    reported = [json.loads(kwargs) if isinstance(kwargs, str) else kwargs for (kwargs,) in rows]
    return ["".join(kwargs["traceback"])[-500:] for kwargs in reported if "traceback" in kwargs]

# SPDX-License-Identifier: Apache-2.0
"""A log on a worker, put into a task's own: by JobLogOperator, by a bare loop, and read only."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.log_tasks import CONN_ID, KINDS, VARIABLE, Note, Plan
from benchmarks.numbered_lines import Line, Writer, complete, lines_of, numbered
from benchmarks.triggerers import ROOT, Record
from demo.local_airflow import LocalAirflow

DAGS = Path(__file__).parent / "log_dags"
LONGEST = 3600.0
"""Seconds that a run of the DAG may take."""


@dataclass
class Cost:
    """What a kind of task took for the whole log, in seconds: the median of its rounds."""

    wall: float
    cpu: float
    supervisor: float
    """The supervisor's processor time: it writes the log file for every process."""

    @property
    def all_cpu(self) -> float:
        """Of the task and its supervisor together."""
        return self.cpu + self.supervisor


@dataclass
class Lag:
    """How a task kept up with a job that wrote at a pace; times in seconds."""

    lines: int
    median: float
    """From a line's writing until it was in the task log."""
    worst: float
    last: float
    """The same of the last line."""
    complete: bool


def cost_of_a_log(megabytes: float, size: int, rounds: int) -> dict[str, Cost]:
    """Put a log of ``megabytes``, in lines of ``size`` bytes, into task logs; return what each kind took."""
    with _airflow() as (emulator, home, start):
        job = emulator.submit("run=0")
        path = emulator.job(job).stdout_path
        path.parent.mkdir(parents=True, exist_ok=True)
        count = int(megabytes * 1e6 / size)
        with path.open("w") as file:
            file.writelines(numbered(n + 1, time.time(), size) for n in range(count))
        plan = Plan(tasks=list(KINDS) * rounds, job_id=job, path=str(path), notes=str(home / "notes"))
        airflow, run_id = start(plan)
        _wait(airflow, run_id)
        for number, kind in enumerate(plan.tasks):
            if kind != "raw" and not complete(_logged(airflow, f"{kind}_{number}"), count):
                raise RuntimeError(f"{kind} did not log every line once and in order")
        notes = [Note(**json.loads(line)) for line in Path(plan.notes).read_text().splitlines()]

    def median(kind: str, what: str) -> float:
        return float(statistics.median(getattr(note, what) for note in notes if note.kind == kind))

    return {
        kind: Cost(median(kind, "wall"), median(kind, "cpu"), median(kind, "supervisor")) for kind in KINDS
    }


def lag_of_a_stream(rate: float, size: int, seconds: float, interval: float) -> Lag:
    """Follow the log of a job that writes ``rate`` lines of ``size`` bytes a second, on a worker."""
    with _airflow() as (emulator, home, start):
        ready_in = 60.0
        job = emulator.submit(f"run={ready_in + seconds:.3f}")
        end_at = time.time() + ready_in + seconds
        writer = Writer([emulator.job(job).stdout_path], rate, size)
        plan = Plan(tasks=["ours"], job_id=job, notes=str(home / "notes"), interval=interval)
        airflow, run_id = start(plan)
        while not emulator.requests.count("GetJobLog"):
            if time.time() > end_at - seconds:
                raise RuntimeError("the task did not start in time: this machine is too busy")
            time.sleep(0.2)
        writer.run(seconds)
        emulator.stop(job)
        _wait(airflow, run_id)
        lines = _logged(airflow, "ours_0")
    lags = [line.logged - line.written for line in lines]
    return Lag(
        lines=writer.written,
        median=statistics.median(lags),
        worst=max(lags),
        last=lags[-1],
        complete=complete(lines, writer.written),
    )


@contextmanager
def _airflow() -> Iterator[tuple[Emulator, Path, Any]]:
    with (
        tempfile.TemporaryDirectory(prefix="ehpc-benchmark-") as directory,
        Emulator(Path(directory, "cloud"), scheduler="timetable") as emulator,
    ):
        home = Path(directory, "airflow")
        airflow: LocalAirflow | None = None

        def start(plan: Plan) -> tuple[LocalAirflow, str]:
            nonlocal airflow
            plan.write(Path(directory, "plan.json"))
            environment = {
                VARIABLE: str(Path(directory, "plan.json")),
                f"AIRFLOW_CONN_{CONN_ID.upper()}": emulator.connection_json,
                "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            }
            airflow = LocalAirflow(home, DAGS, environment)
            airflow.start()
            return airflow, airflow.trigger("lines")

        try:
            yield emulator, Path(directory), start
        finally:
            if airflow is not None:
                airflow.stop()


def _wait(airflow: LocalAirflow, run_id: str) -> None:
    state = airflow.wait_for_run("lines", run_id, LONGEST)
    if state != "success":
        raise RuntimeError(f"the DAG run ended {state}")


def _logged(airflow: LocalAirflow, task_id: str) -> list[Line]:
    """Return the lines in a task's log, from its file: the API would take minutes for them."""
    (path,) = airflow.home.glob(f"logs/dag_id=lines/run_id=*/task_id={task_id}/attempt=1.log")

    def records() -> Iterator[Record]:
        with path.open() as file:
            for line in file:
                reported = json.loads(line)
                yield Record(
                    datetime.fromisoformat(reported["timestamp"]).timestamp(), str(reported["event"])
                )

    return lines_of(records())

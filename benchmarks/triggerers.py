# SPDX-License-Identifier: Apache-2.0
"""What is seen of real triggerers from outside: their processes, the logs they write, the database's rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.deferred_tasks import DAGS, VARIABLE, Plan
from demo.local_airflow import LocalAirflow

ROOT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """What a process has used up to a moment."""

    at: float
    """Epoch seconds."""
    cpu: float
    """Seconds of processor time since its start."""
    resident: int
    """Bytes of memory now."""


def usage(pid: int) -> Usage:
    """Return what a process has used so far."""
    # The process's name, in brackets, may hold anything; the numbers begin behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Usage(time.time(), (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE)


class Watched:
    """Notes once a second what processes use, from a thread."""

    def __init__(self, **pids: int) -> None:
        self.seen: dict[str, list[Usage]] = {name: [usage(pid)] for name, pid in pids.items()}
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop noting."""
        self._over.set()
        self._thread.join()

    def until(self, name: str, moment: float) -> Usage:
        """Return what a process had used at a moment, in epoch seconds; the last note before it."""
        return [note for note in self.seen[name] if note.at <= moment][-1]

    def share(self, name: str, start: float, end: float) -> float:
        """Return which share of a core a process used between two moments."""
        first, last = self.until(name, start), self.until(name, end)
        return (last.cpu - first.cpu) / (last.at - first.at)

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            for name, pid in self._pids.items():
                with suppress(OSError):
                    self.seen[name].append(usage(pid))


class LoopNote(NamedTuple):
    """A line of :class:`benchmarks.loop_watch.LoopWatch`."""

    runner: int
    """The process id of the triggerer's runner, in whose event loop the triggers are."""
    supervisor: int
    at: float
    stall: float
    busy: float
    collecting: float


def loop_notes(path: Path) -> list[LoopNote]:
    """Read the notes on the event loop so far."""
    if not path.exists():
        return []
    return [LoopNote(*json.loads(line)) for line in path.read_text().splitlines() if line.endswith("]")]


@dataclass(frozen=True)
class Record:
    """A record of a task's log."""

    at: float
    """Epoch seconds, by the process that wrote it."""
    text: str


def task_logs(
    airflow: LocalAirflow, dag_id: str, triggerer: int | None
) -> Iterator[tuple[int, list[Record]]]:
    """Yield the map index and the records of each log that a triggerer wrote for a DAG's tasks.

    :param triggerer: the triggerer's job id; None for what workers wrote.
    """
    name = "attempt=1.log" if triggerer is None else f"attempt=1.log.trigger.{triggerer}.log"
    for path in airflow.home.glob(f"logs/dag_id={dag_id}/*/task_id=task/map_index=*/{name}"):
        records = []
        for line in path.read_text().splitlines():
            # A process that is killed may leave a line half written.
            with suppress(ValueError):
                reported = json.loads(line)
                at = datetime.fromisoformat(reported["timestamp"]).timestamp()
                records.append(Record(at, str(reported["event"])))
        yield int(path.parent.name.partition("=")[2]), records


class Deferred:
    """An Airflow in a directory of its own, whose tasks are deferred by rows of the database.

    :param environment: variables, such as connections.
    """

    def __init__(self, home: Path, plan: Plan, environment: dict[str, str]) -> None:
        home.mkdir(parents=True)
        self.plan = plan
        self.loop_file = home / "loop"
        plan.loop_file = str(self.loop_file)
        plan.write(home / "plan.json")
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        more = {
            VARIABLE: str(home / "plan.json"),
            "PYTHONPATH": path,
            "AIRFLOW__TRIGGERER__CAPACITY": "20000",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        }
        self.airflow = LocalAirflow(home, DAGS, {**more, **environment}, parallelism=8)

    def prepare(self) -> None:
        """Create the database and register the DAGs."""
        self.airflow.make_database()
        self.airflow.cli("dags", "reserialize")

    def defer(self, *dag_ids: str) -> None:
        """Make one run of each DAG with all tasks deferred."""
        # The pace of requests is a triggerer's to keep; here each task looks once at its job.
        quickly = {**self.airflow.environment, "AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND": "2000"}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.deferred_tasks", *dag_ids],
            env=quickly,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"the tasks could not be deferred:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            )

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Ask the metadata database."""
        from sqlalchemy import create_engine, text

        engine = create_engine(self.airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        try:
            with engine.connect() as connection:
                return list(connection.execute(text(query), values))
        finally:
            engine.dispose()

    def triggerers(self) -> list[int]:
        """Return the job ids of all triggerers there were, oldest first."""
        return [row[0] for row in self.rows("SELECT id FROM job WHERE job_type = 'TriggererJob' ORDER BY id")]

    def waiting(self, *dag_ids: str) -> int:
        """Return how many of the DAGs' tasks are deferred."""
        query = "SELECT count(*) FROM task_instance WHERE dag_id = :dag AND state = 'deferred'"
        return sum(int(self.rows(query, dag=dag_id)[0][0]) for dag_id in dag_ids)

    def recorded(self, dag_id: str) -> dict[int, float]:
        """Return by map index when Airflow noted the event of each task, in epoch seconds."""
        query = (
            "SELECT map_index, scheduled_dttm FROM task_instance WHERE dag_id = :dag AND state = 'scheduled'"
        )
        return {index: _epoch(at) for index, at in self.rows(query, dag=dag_id)}

    def outcomes(self) -> Counter[str]:
        """Return how often triggers reported each outcome, for tasks that no worker has resumed yet."""
        query = "SELECT next_kwargs FROM task_instance WHERE state = 'scheduled'"
        reported = (row[0] for row in self.rows(query))
        events = (json.loads(kwargs) if isinstance(kwargs, str) else kwargs for kwargs in reported)
        return Counter(str(kwargs["event"]["outcome"]) for kwargs in events)

    def started(self, triggerer: int, *dag_ids: str) -> int:
        """Return how many of the DAGs' triggers have begun to run in a triggerer."""
        name = f"attempt=1.log.trigger.{triggerer}.log"
        folders = [f"logs/dag_id={dag_id}/*/task_id=task/*/{name}" for dag_id in dag_ids]
        return sum(1 for folder in folders for _ in self.airflow.home.glob(folder))


def wait_until(condition: Any, what: str, timeout: float) -> None:
    """Wait until a condition holds.

    :raises TimeoutError: where it does not within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(1.0)


def first(records: list[Record], text: str) -> float | None:
    """Return when a record with a text in it was written first; None where none was."""
    return next((record.at for record in records if text in record.text), None)


def _epoch(at: Any) -> float:
    # SQLite keeps times as text, PostgreSQL as times with their zone.
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())

# SPDX-License-Identifier: Apache-2.0
"""One deferred sensor waits for ten thousand jobs: the size of its row and event, and its result.

Run as ``python -m benchmarks.many_jobs``, with Debian's PostgreSQL installed. A real triggerer waits for
emulated jobs that all end at one moment; a worker resumes the task. Exits with 1 if the trigger's row or the
event takes more than MySQL's 64 KiB, or if the result is not complete.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.deferred_tasks import WAITS, Plan
from benchmarks.postgres import postgres
from benchmarks.triggerers import Deferred, wait_until

LIMIT = 65_535
"""Bytes of a ``TEXT`` on MySQL."""
COMPONENTS = ("api-server", "dag-processor", "scheduler")


def run(count: int, interval: float) -> list[str]:
    """Wait for ``count`` jobs in one task; print what it took and return the broken promises."""
    with (
        postgres() as database,
        tempfile.TemporaryDirectory(prefix="ehpc-benchmark-") as directory,
        Emulator(Path(directory, "cloud"), scheduler="timetable") as emulator,
    ):
        end_at = time.time() + 90 + 0.002 * count
        jobs = [emulator.submit(f"run={end_at - time.time():.3f}", name=f"job-{n}") for n in range(count)]
        environment = {**database, "AIRFLOW_CONN_EHPC": emulator.connection_json}
        airflow = Deferred(Path(directory, "airflow"), Plan(interval=interval, waits=[jobs]), environment)
        try:
            airflow.prepare()
            airflow.airflow.start_component("triggerer")
            wait_until(airflow.triggerers, "the triggerer started", 60)
            airflow.defer(WAITS)
            ((row,),) = airflow.rows("SELECT octet_length(kwargs) FROM trigger")
            left = end_at - time.time() + 300
            wait_until(lambda: not airflow.waiting(WAITS), "the trigger fired", left)
            fired = time.time() - end_at
            ((event,),) = airflow.rows("SELECT next_kwargs::text FROM task_instance WHERE task_id = 'task'")
            requests = emulator.requests.count()
            begun = time.time()
            state, result = _end_on_a_worker(airflow)
            resumed = time.time() - begun
            again = emulator.requests.count() - requests
        finally:
            airflow.airflow.stop()
    rows: list[tuple[str, object]] = [
        ("bytes of the trigger's row", f"{row:,}"),
        ("bytes of the event", f"{len(event.encode()):,}"),
        ("event recorded, s after the jobs' end", f"{fired:.1f}"),
        ("requests of the worker for the result", f"{again:,}"),
        ("worker's end, s after its scheduler's start", f"{resumed:.1f}"),
        ("state of the task", state),
        ("jobs in the result", f"{len(result):,}"),
    ]
    print(f"\n{count:,} jobs in one deferred sensor, every {interval:g} s, on PostgreSQL")
    for name, value in rows:
        print(f"{name:46}{value!s:>14}")
    broken = []
    if max(row, len(event.encode())) > LIMIT:
        broken.append(f"the row or the event takes more than {LIMIT:,} bytes")
    if state != "success":
        broken.append(f"the task ended {state}")
    if [job["job_id"] for job in result] != jobs:
        broken.append("the result does not hold every job in the order of the list")
    if [job.get("name") for job in result] != [f"job-{n}" for n in range(len(result))]:
        broken.append("some jobs of the result lack their details")
    if {job["state"] for job in result} != {"SUCCEEDED"}:
        broken.append("some jobs of the result did not succeed")
    return broken


def _end_on_a_worker(airflow: Deferred) -> tuple[str, list[dict[str, Any]]]:
    """Let a scheduler and its worker resume the task; return its state and its result."""
    for component in COMPONENTS:
        airflow.airflow.start_component(component)
    airflow.airflow.cli("dags", "unpause", WAITS)
    query = "SELECT state FROM task_instance WHERE task_id = 'task'"
    wait_until(lambda: airflow.rows(query)[0][0] in ("success", "failed"), "a worker ended the task", 300)
    values = airflow.rows("SELECT value FROM xcom WHERE task_id = 'task' AND key = 'return_value'")
    result = values[0][0] if values else []
    return airflow.rows(query)[0][0], json.loads(result) if isinstance(result, str) else result


def main() -> int:
    """Wait for many jobs and print what it took; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--interval", type=float, default=30.0, help="seconds (default: %(default)s)")
    arguments = parser.parse_args()
    broken = run(arguments.jobs, arguments.interval)
    print("".join(f"BROKEN: {text}\n" for text in broken), end="")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

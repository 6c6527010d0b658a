# SPDX-License-Identifier: Apache-2.0
"""``python -m demo``: real jobs on local clouds, followed by a real Airflow.

With ``--stay`` Airflow's UI stays open afterwards, until Ctrl-C. Everything is kept in ``.demo`` and made
anew each time; nothing is left running.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.local_airflow import LocalAirflow

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".demo"
MODES_DAG = "ehpc_wait_and_log"
CLOUDS_DAG = "every_cloud"
CONNECTIONS = 3
"""Of as many types the emulator prints a connection."""
SHOWN = "log_deferred"


@contextmanager
def cloud(directory: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Run the emulator in its own process; yield its URL, and the variables with connections and secret."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "airflow_provider_ehpc.emulator",
            "--directory",
            str(directory),
            "--slots",
            "1",
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        exports = [process.stdout.readline() for _ in range(CONNECTIONS + 1)]
        variables = (shlex.split(export)[1].split("=", 1) for export in exports)
        yield url, dict(variables)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def follow(airflow: LocalAirflow, run_id: str) -> None:
    """Print the log of the deferred task as Airflow shows it, until the run has ended."""
    shown = 0
    ended = False
    began = time.monotonic()
    while not ended:
        # First the state, then the log: the last look comes after the end.
        ended = airflow.run_state(MODES_DAG, run_id) in ("success", "failed")
        lines = [
            line
            for event in airflow.log_events(MODES_DAG, run_id, SHOWN)
            if "triggers.job_log" in str(event.get("logger"))
            for line in str(event["event"]).split("\n")
        ]
        for line in lines[shown:]:
            print(f"  {time.monotonic() - began:5.1f} s | {line}", flush=True)
        shown = len(lines)
        time.sleep(0 if ended else 1)


def summary(airflow: LocalAirflow, dag_id: str, run_id: str) -> bool:
    """Print what each task of a run saw, and how long it took; return whether all went well."""
    instances = airflow.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
    print(f"\n{dag_id:20} {'state':10} {'seconds':>8}   result")
    for task in sorted(instances, key=lambda task: str(task["task_id"])):
        reported = airflow.xcom(dag_id, run_id, task["task_id"]) if task["state"] == "success" else {}
        result = _reported(reported)
        print(f"{task['task_id']:20} {task['state'] or '-':10} {task['duration'] or 0:8.1f}   {result}")
    return all(task["state"] == "success" for task in instances)


def _reported(result: dict[str, Any]) -> str:
    if "job_id" not in result:
        actions = ", ".join(f"{action} {count}" for action, count in result.get("by_action", {}).items())
        return f"{result.get('records', '-')} operations: {actions}"
    text = f"job {result['job_id']} {result['state']} ({result['raw_state']})"
    if "exit_code" in result:
        text += f", exit code {result['exit_code']}"
    if log := result.get("log"):
        text += f", log: {log['lines']} lines, {log['bytes']} bytes"
    return text


def requests_made(url: str) -> str:
    """Return how many requests the emulator received, by operation."""
    headers = {"Authorization": f"Bearer {os.environ['EHPC_EMULATOR_SECRET']}"}
    request = urllib.request.Request(f"{url}/_emulator/requests", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        counts = json.load(answer)["counts"]
    return ", ".join(f"{name} {sum(outcomes.values())}" for name, outcomes in sorted(counts.items()))


def main() -> int:
    """Run the demonstration; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="leave Airflow's UI open afterwards")
    parser.add_argument("--port", type=int, default=0, help="port of Airflow's UI (default: a free one)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the job computes")
    arguments = parser.parse_args()

    shutil.rmtree(PLACE, ignore_errors=True)
    begun = datetime.now(UTC)
    with cloud(PLACE / "cloud") as (url, connections):
        print(f"a local cloud answers at {url}; starting Airflow ...", flush=True)
        os.environ.update(connections, AIRFLOW_HOME=str(PLACE / "airflow"))
        from demo import jobs  # not before AIRFLOW_HOME is set

        airflow = LocalAirflow(
            PLACE / "airflow", ROOT / "example_dags", connections, port=arguments.port, parallelism=6
        )
        with airflow:
            print(f"Airflow answers at {airflow.url}", flush=True)
            job_id = jobs.submit_heat_equation(arguments.seconds)
            modes_run = airflow.trigger(MODES_DAG, {"job_id": job_id})
            print(f"job {job_id} is submitted; this is the log of the task {SHOWN}, as it arrives:\n")
            follow(airflow, modes_run)

            print("\none job on each cloud, and an audit of all that was done ...", flush=True)
            window = {"start": begun.isoformat(), "audits": f"file://{PLACE}/audits"}
            ids = jobs.submit_everywhere()
            window["end"] = datetime.now(UTC).isoformat()
            clouds_run = airflow.trigger(CLOUDS_DAG, {**ids, **window})
            airflow.wait_for_run(CLOUDS_DAG, clouds_run)

            well = [summary(airflow, *run) for run in ((MODES_DAG, modes_run), (CLOUDS_DAG, clouds_run))]
            print(f"\nrequests made: {requests_made(url)}")
            for file in sorted((PLACE / "audits").iterdir()):
                print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes")
            if arguments.stay:
                print(
                    f"\nAirflow's UI is open at {airflow.url}; Ctrl-C ends it and the local cloud.",
                    flush=True,
                )
                signal.pause()
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())

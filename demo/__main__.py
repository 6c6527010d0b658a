"""``python -m demo``: a real job on a local cloud, followed by a real Airflow.

With ``--stay`` Airflow's UI stays open afterwards, until Ctrl-C. Everything is kept in ``.demo`` and made
anew each time; nothing is left running.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.local_airflow import LocalAirflow

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".demo"
DAG_ID = "ehpc_wait_and_log"
SHOWN = "log_deferred"


@contextmanager
def cloud(directory: Path) -> Iterator[tuple[str, str]]:
    """Run the emulator in a process of its own; yield its URL and the connection to it, as JSON."""
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
        connection = process.stdout.readline().split("=", 1)[1].strip().strip("'")
        yield url, connection
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def submit(seconds: float) -> str:
    """Submit the heat equation through the hook; return the job's id.

    The cluster has one core, and another job is on it: ours is queued at first, as jobs are.
    """
    from airflow_provider_ehpc.apis.job import JobSpec
    from airflow_provider_ehpc.hooks.aliyun import EhpcHook

    script = Path(__file__).with_name("heat_equation.py")
    hook = EhpcHook()
    hook.submit(JobSpec(name="somebody-elses-job", command="sleep 15", nodes=1, cores=1))
    spec = JobSpec(name="heat-equation", command=f"{sys.executable} {script} {seconds}", nodes=1, cores=1)
    return hook.submit(spec).job_id


def follow(airflow: LocalAirflow, run_id: str) -> None:
    """Print the log of the deferred task as Airflow shows it, until the run has ended."""
    shown = 0
    ended = False
    began = time.monotonic()
    while not ended:
        # First the state, then the log: the last look comes after the end.
        ended = airflow.run_state(DAG_ID, run_id) in ("success", "failed")
        lines = [
            str(event["event"])
            for event in airflow.log_events(DAG_ID, run_id, SHOWN)
            if "triggers.job_log" in str(event.get("logger"))
        ]
        lines = [line for record in lines for line in record.split("\n")]
        for line in lines[shown:]:
            print(f"  {time.monotonic() - began:5.1f} s | {line}", flush=True)
        shown = len(lines)
        time.sleep(0 if ended else 1)


def summary(airflow: LocalAirflow, run_id: str, url: str) -> bool:
    """Print what became of the job and what it cost to wait for it; return whether all went well."""
    tasks: dict[str, Any] = {
        task["task_id"]: task
        for task in airflow.get(f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")["task_instances"]
    }
    print(f"\n{'task':20} {'state':10} {'seconds':>8}   result")
    for task_id, task in sorted(tasks.items()):
        told = airflow.xcom(DAG_ID, run_id, task_id) if task["state"] == "success" else {}
        log = told.get("log")
        result = f"job {told.get('job_id')} {told.get('state')} ({told.get('raw_state')})"
        if log:
            result += f", log: {log['lines']} lines, {log['bytes']} bytes"
        print(f"{task_id:20} {task['state'] or '-':10} {task['duration'] or 0:8.1f}   {result}")
    with urllib.request.urlopen(f"{url}/_emulator/requests", timeout=10) as answer:
        counts = json.load(answer)["counts"]
    made = ", ".join(f"{name} {sum(outcomes.values())}" for name, outcomes in sorted(counts.items()))
    print(f"\nrequests made by all five tasks and the submission: {made}")
    return all(task["state"] == "success" for task in tasks.values())


def main() -> int:
    """Run the demonstration; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="leave Airflow's UI open afterwards")
    parser.add_argument("--port", type=int, default=0, help="port of Airflow's UI (default: a free one)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the job computes")
    arguments = parser.parse_args()

    shutil.rmtree(PLACE, ignore_errors=True)
    with cloud(PLACE / "cloud") as (url, connection):
        print(f"a local cloud answers at {url}; starting Airflow ...", flush=True)
        os.environ["AIRFLOW_HOME"] = str(PLACE / "airflow")
        os.environ["AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT"] = connection
        airflow = LocalAirflow(
            PLACE / "airflow",
            ROOT / "example_dags",
            {"AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT": connection},
            port=arguments.port,
            parallelism=6,
        )
        with airflow:
            print(f"Airflow answers at {airflow.url}", flush=True)
            job_id = submit(arguments.seconds)
            run_id = airflow.trigger(DAG_ID, {"job_id": job_id})
            print(f"job {job_id} is submitted; this is the log of the task {SHOWN}, as it arrives:\n")
            follow(airflow, run_id)
            well = summary(airflow, run_id, url)
            if arguments.stay:
                print(
                    f"\nAirflow's UI is open at {airflow.url}; Ctrl-C ends it and the local cloud.",
                    flush=True,
                )
                try:
                    while True:
                        time.sleep(3600)
                except KeyboardInterrupt:
                    print()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

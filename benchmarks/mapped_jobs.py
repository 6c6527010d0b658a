# SPDX-License-Identifier: Apache-2.0
"""Run many jobs as one mapped, deferred task, and check every result.

Run as ``python -m benchmarks.mapped_jobs --jobs 200``; it takes about ten minutes on two cores. A whole
Airflow submits the jobs to the emulator, where they run as processes. While all of them wait, no task may
hold a worker slot. Every fifth job fails. The exit code is 1 if a slot is held, or if a task or a job ends
otherwise.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow

DAGS = Path(__file__).with_name("mapped_dags")
LONGEST = 1800.0


def states(airflow: LocalAirflow, run_id: str) -> Counter[str]:
    """Return how many of the mapped tasks are in which state."""
    found: Counter[str] = Counter()
    offset = 0
    while True:
        page = airflow.get(
            f"/dags/mapped/dagRuns/{run_id}/taskInstances?task_id=run&limit=100&offset={offset}"
        )
        rows = page["task_instances"]
        found.update(str(row["state"]) for row in rows if row["task_id"] == "run")
        offset += len(rows)
        if not rows or offset >= page["total_entries"]:
            return found


def main() -> None:
    """Run the jobs, and print what was seen."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mapped_jobs",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, default=200, help="(default: %(default)s)")
    jobs = parser.parse_args().jobs
    # A signal that ends this process also ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mapped-") as directory:
        home = Path(directory)
        os.environ["AIRFLOW_HOME"] = str(home / "airflow")
        with Emulator(home / "cloud", slots=jobs) as cloud:
            settings = {"AIRFLOW_CONN_CLOUD": cloud.connection_json, "AIRFLOW__CORE__PARALLELISM": "4"}
            with LocalAirflow(home / "airflow", DAGS, settings) as airflow:
                began = time.monotonic()
                gate = home / "gate"
                run_id = airflow.trigger("mapped", {"jobs": jobs, "gate": str(gate)})
                seen = Counter[str]()
                while seen["deferred"] < jobs and time.monotonic() - began < LONGEST:
                    time.sleep(5)
                    seen = states(airflow, run_id)
                    print(f"{time.monotonic() - began:.0f} s: {dict(seen)}", flush=True)
                if seen != Counter(deferred=jobs):
                    wrong.append(f"not all tasks are deferred: {dict(seen)}")
                gate.touch()
                airflow.wait_for_run("mapped", run_id, LONGEST)
                seen = states(airflow, run_id)
                failing = jobs // 5
                if seen != Counter(success=jobs - failing, failed=failing):
                    wrong.append(f"the tasks ended otherwise: {dict(seen)}")
                submitted = cloud.requests.count("CreateJob", "ok")
                if submitted != jobs:
                    wrong.append(f"{submitted} jobs were submitted")
                for number in range(jobs):
                    lines = airflow.log_lines("mapped", run_id, "run", map_index=number)
                    if f"line of {number}" not in lines:
                        wrong.append(f"the log of task {number} lacks its job's line")
                requests = sum(sum(kinds.values()) for kinds in cloud.requests.counts.values())
                print(
                    f"{jobs} mapped jobs in {time.monotonic() - began:.0f} s: {submitted} submissions, "
                    f"{requests} requests in all, {dict(seen)}"
                )
    print("\n".join(wrong) or "all as it should be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

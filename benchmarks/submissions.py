# SPDX-License-Identifier: Apache-2.0
"""Count the jobs that tasks submit while their processes are killed: each task has to submit exactly one.

Run as ``python -m benchmarks.submissions --moments 50``; it takes about an hour on two cores. A whole
Airflow runs tasks that submit a job to the emulator. The exit code is 1 if a task has submitted another
number of jobs than one, or has not returned the result of its job.

* ``task``: SIGKILL of the task's process at a random moment, from its start to some seconds behind the
  submission. In every second run, the cloud responds to the submission half a second late, so that more
  moments hit it.
* ``deferred``: the same for a task that defers.
* ``triggerer``: SIGKILL of the triggerer while tasks are deferred, and a new one.
* ``lost``: the cloud accepts the submission and resets the connection, or responds with 503.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import ENDS, LocalAirflow

DAGS = Path(__file__).with_name("submission_dags")
WINDOW = 5.0
"""Seconds from the start of a task's process to the last moment of a kill."""
LONGEST = 300.0
KINDS = ("task", "deferred", "triggerer", "lost")


class Submissions:
    """Starts tasks, kills what they stand on, and counts their jobs."""

    def __init__(self, airflow: LocalAirflow, cloud: Emulator, seed: int) -> None:
        self._airflow = airflow
        self._cloud = cloud
        self._chance = random.Random(seed)
        self._number = 0
        self.moments: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self, kind: str, count: int) -> None:
        """Run ``count`` tasks with a fault each."""
        for _ in range(count):
            self._number += 1
            name = f"{kind}{self._number}x"
            dag_id = "submit_worker" if kind in ("task", "lost") else "submit_deferred"
            disturb: Callable[[str, str], str] = getattr(self, f"_{kind}")
            if kind == "lost":
                how = disturb(dag_id, "")
                run_id = self._airflow.trigger(dag_id, {"name": name})
            else:
                run_id = self._airflow.trigger(dag_id, {"name": name})
                how = disturb(dag_id, run_id)
            self._judge(kind, how, name, dag_id, run_id)

    def _judge(self, kind: str, how: str, name: str, dag_id: str, run_id: str) -> None:
        task = self._airflow.wait_for_task(dag_id, run_id, "run", LONGEST)
        result = self._airflow.xcom(dag_id, run_id, "run") or {}
        jobs = self._jobs(name)
        complaints = []
        if len(jobs) != 1:
            complaints.append(f"{len(jobs)} jobs: {jobs}")
        if task["state"] != "success" or result.get("state") != "SUCCEEDED":
            complaints.append(f"the task is {task['state']}, its result {result}")
        self.moments[f"{kind}: {how}"] += 1
        print(f"{kind}: {how}, {task['try_number']} tries, {len(jobs)} jobs", *complaints, flush=True)
        if complaints:
            log = [
                f"try {number}: {line}"
                for number in range(1, task["try_number"] + 1)
                for line in self._airflow.log_lines(dag_id, run_id, "run", number)
            ]
            self.failures.append("\n".join([f"{kind}: {how} ({name})", *complaints, *log]))

    def _jobs(self, name: str) -> list[str]:
        from airflow_provider_ehpc.hooks.aliyun import EhpcHook

        with contextlib.closing(EhpcHook("cloud")) as hook:
            found = hook.list_jobs(self._cloud.cluster_id, job_name=f"{name}.")
        return [f"{job.job_spec.id} {job.job_name}" for job in found.jobs]

    def _task(self, dag_id: str, run_id: str) -> str:
        slow = self._number % 2 == 0
        if slow:
            self._cloud.fault("latency", operation="SubmitJob", seconds=0.5)
        deadline = time.monotonic() + 120
        while not (pid := self._process(dag_id, run_id)):
            if time.monotonic() > deadline or self._ended(dag_id, run_id):
                return "too late"
            time.sleep(0.05)
        sent = self._cloud.requests.count("SubmitJob")
        time.sleep(self._chance.uniform(0, WINDOW))
        after = self._cloud.requests.count("SubmitJob") - sent
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"killed {'behind' if after else 'before'} the response{' (slow)' if slow else ''}"

    _deferred = _task

    def _triggerer(self, dag_id: str, run_id: str) -> str:
        deadline = time.monotonic() + 120
        while self._airflow.task(dag_id, run_id, "run")["state"] != "deferred":
            if time.monotonic() > deadline or self._ended(dag_id, run_id):
                return "too late"
            time.sleep(0.3)
        time.sleep(self._chance.uniform(0, 6))
        self._airflow.kill_component("triggerer")
        self._airflow.start_component("triggerer")
        return "killed"

    def _lost(self, _dag_id: str, _run_id: str) -> str:
        if self._number % 2:
            self._cloud.fault("reset", operation="SubmitJob", effect=True)
            return "reset behind the acceptance"
        self._cloud.fault("truncate", operation="SubmitJob")
        return "response cut off"

    def _process(self, dag_id: str, run_id: str) -> int | None:
        task = self._airflow.task(dag_id, run_id, "run")
        return self._airflow.task_process(str(task["id"])) if task["state"] == "running" else None

    def _ended(self, dag_id: str, run_id: str) -> bool:
        return self._airflow.task(dag_id, run_id, "run")["state"] in ENDS


@contextlib.contextmanager
def started(home: Path) -> Iterator[tuple[LocalAirflow, Emulator]]:
    """Run an Airflow with the DAGs, and the cloud of its jobs."""
    with Emulator(home / "cloud", slots=64) as cloud:
        os.environ["AIRFLOW_CONN_CLOUD"] = cloud.connection_json
        settings = {
            "AIRFLOW_CONN_CLOUD": cloud.connection_json,
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        }
        with LocalAirflow(home / "airflow", DAGS, settings, parallelism=8) as airflow:
            yield airflow, cloud


def main() -> None:
    """Kill, count and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.submissions",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--moments", type=int, default=50, help="kills of each kind (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the moments")
    arguments = parser.parse_args()
    # A signal that ends this process also ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as undo:
        home = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="submissions-")))
        os.environ["AIRFLOW_HOME"] = str(home / "airflow")
        airflow, cloud = undo.enter_context(started(home))
        submissions = Submissions(airflow, cloud, arguments.seed)
        for kind in arguments.kinds:
            submissions.run(kind, arguments.moments)
        print("\n| what was killed, and when | tasks |\n|---|---|")
        for how, number in sorted(submissions.moments.items()):
            print(f"| {how} | {number} |")
        print(f"\nseed {arguments.seed}, {len(submissions.failures)} failures")
        for failure in submissions.failures:
            print(f"\n{failure}")
    sys.exit(1 if submissions.failures else 0)


if __name__ == "__main__":
    main()

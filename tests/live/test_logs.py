# SPDX-License-Identifier: Apache-2.0
"""What a job writes, and what then stands in Airflow's task log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow
from tests.gates import Gate, eventually

pytestmark = pytest.mark.airflow
NOISY_JOB = Path(__file__).parent / "noisy_job.py"
SHOWN = 16 * 1024
WHERE = ("worker", "deferred")


def expected(raw: bytes) -> list[str]:
    """Say what a reader of the log must see of these bytes, by the shortest way there is."""
    lines = raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    shown = []
    for line in lines:
        line = line.removesuffix(b"\r")
        if len(line) > SHOWN:
            # whole characters only; the test data's long lines are valid UTF-8
            head = line[: SHOWN - SHOWN // 4].decode(errors="ignore")
            end = line[-SHOWN // 4 :].decode(errors="ignore")
            missing = len(line) - len(head.encode()) - len(end.encode())
            shown.append(f"{head} …[+{missing} bytes]… {end}")
        else:
            shown.append(line.decode(errors="backslashreplace"))
    return shown


@dataclass(frozen=True)
class Follow:
    """A run of one task that follows a job's log."""

    airflow: LocalAirflow
    where: str
    run_id: str
    job_id: str

    @property
    def state(self) -> str:
        """The task's state."""
        return str(self.airflow.task(f"log_{self.where}", self.run_id, "wait")["state"])

    @property
    def lines(self) -> list[str]:
        """The lines of the task's log."""
        return self.airflow.log_lines(f"log_{self.where}", self.run_id, "wait")

    def end(self) -> str:
        """Wait for the task's end; return its state."""
        dag_id = f"log_{self.where}"
        return str(self.airflow.wait_for_task(dag_id, self.run_id, "wait", timeout=400)["state"])


@pytest.fixture(scope="session")
def follow(cloud: Emulator, airflow: LocalAirflow) -> Callable[[str, str], Follow]:
    """Start a job and a task that follows its log."""

    def start(where: str, command: str) -> Follow:
        job_id = cloud.submit(command)
        return Follow(airflow, where, airflow.trigger(f"log_{where}", {"job_id": job_id}), job_id)

    return start


@pytest.fixture(scope="session")
def noisy(follow: Callable[[str, str], Follow]) -> dict[str, Follow]:
    """20 MB of noise, followed on a worker and in the triggerer at the same time."""
    command = f"sleep 3; exec {sys.executable} {NOISY_JOB} 20000000"
    return {where: follow(where, command) for where in WHERE}


@pytest.mark.parametrize("where", WHERE)
def test_every_line_of_20_mb_of_noise_arrives_once_and_in_order(
    where: str, noisy: dict[str, Follow], cloud: Emulator
) -> None:
    """A user who greps the task log for what the job said must find it there, whatever the job wrote."""
    task = noisy[where]
    assert task.end() == "success"
    raw = cloud.job(task.job_id).stdout_path.read_bytes()
    assert len(raw) >= 20_000_000
    wanted = expected(raw)
    lines = task.lines
    first = lines.index(wanted[0])
    # Our own notes on the job's state may stand between two of its lines.
    found = [line for line in lines[first:] if not line.startswith(f"job {task.job_id} in cluster")]
    assert found[: len(wanted)] == wanted
    reported = task.airflow.xcom(f"log_{where}", task.run_id, "wait")["log"]
    assert (reported["bytes"], reported["lines"], reported["errors"]) == (len(raw), len(wanted), 0)


def test_the_log_is_seen_while_the_job_runs(
    follow: Callable[[str, str], Follow], cloud: Emulator, gate: Gate
) -> None:
    """A user who opens a running task's log must see the job's progress, not an empty page."""
    tasks = [follow(where, f"echo the first line; {gate.wait}; echo the last line") for where in WHERE]
    for task in tasks:
        # The job runs on, whether or not its log stays empty.
        eventually(lambda task=task: "the first line" in task.lines, timeout=240, every=1)
        assert cloud.job(task.job_id).phase == "RUNNING"
        assert task.state == {"worker": "running", "deferred": "deferred"}[task.where]
    gate.open()
    for task in tasks:
        assert task.end() == "success"
        assert "the last line" in task.lines

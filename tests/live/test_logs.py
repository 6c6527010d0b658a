"""What a job writes, and what then stands in Airflow's task log."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow

pytestmark = pytest.mark.airflow
NOISY_JOB = Path(__file__).parent / "noisy_job.py"
SHOWN = 16 * 1024


def expected(raw: bytes) -> list[str]:
    """Say what a reader of the log must see of these bytes, by the shortest way there is."""
    lines = raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    shown = []
    for line in lines:
        line = line.removesuffix(b"\r")
        if len(line) > SHOWN:
            # up to the last whole character; the test data's long lines are valid UTF-8 up to the cut
            head = line[:SHOWN].decode(errors="ignore")
            shown.append(f"{head} …[+{len(line) - len(head.encode())} bytes]")
        else:
            shown.append(line.decode(errors="backslashreplace"))
    return shown


@pytest.mark.parametrize("where", ["worker", "deferred"])
def test_every_line_of_20_mb_of_noise_arrives_once_and_in_order(
    where: str, cloud: Emulator, airflow: LocalAirflow
) -> None:
    """A user who greps the task log for what the job said must find it there, whatever the job wrote."""
    job_id = cloud.submit(f"sleep 3; exec {sys.executable} {NOISY_JOB} 20000000", name=f"noise-{where}")
    run = airflow.trigger(f"log_{where}", {"job_id": job_id})
    task = airflow.wait_for_task(f"log_{where}", run, "wait", timeout=400)
    assert task["state"] == "success"
    raw = cloud.job(job_id).stdout_path.read_bytes()
    assert len(raw) >= 20_000_000
    wanted = expected(raw)
    lines = airflow.log_lines(f"log_{where}", run, "wait")
    first = lines.index(wanted[0])
    found = lines[first : first + len(wanted)]
    # Our own notes (a change of state) may stand between two of the job's lines.
    if found != wanted:
        notes = [line for line in lines[first:] if line.startswith(f"job {job_id} in cluster")]
        found = [line for line in lines[first:] if line not in notes][: len(wanted)]
    assert found == wanted
    told = airflow.xcom(f"log_{where}", run, "wait")["log"]
    assert (told["bytes"], told["lines"], told["errors"]) == (len(raw), len(wanted), 0)


@pytest.mark.parametrize("where", ["worker", "deferred"])
def test_the_log_is_seen_while_the_job_runs(where: str, cloud: Emulator, airflow: LocalAirflow) -> None:
    """A user who opens a running task's log must see the job's progress, not an empty page."""
    job_id = cloud.submit("echo the first line; sleep 60; echo the last line", name=f"slow-{where}")
    run = airflow.trigger(f"log_{where}", {"job_id": job_id})
    deadline = time.monotonic() + 50
    while "the first line" not in airflow.log_lines(f"log_{where}", run, "wait"):
        assert time.monotonic() < deadline, "the job ran on and its log stayed empty"
        time.sleep(1)
    assert cloud.job(job_id).phase == "RUNNING"
    assert airflow.task(f"log_{where}", run, "wait")["state"] == (
        "running" if where == "worker" else "deferred"
    )
    assert airflow.wait_for_task(f"log_{where}", run, "wait")["state"] == "success"
    assert "the last line" in airflow.log_lines(f"log_{where}", run, "wait")

# SPDX-License-Identifier: Apache-2.0
"""The memory of a task that follows a log does not grow with the log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator

ROOT = Path(__file__).parents[2]
NOISY_JOB = ROOT / "tests" / "live" / "noisy_job.py"

FOLLOW = """
import asyncio, json, logging, sys, time
from airflow_provider_ehpc.logs import emission
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.triggers import base
from airflow_provider_ehpc.triggers.job_log import JobLogTrigger

logging.disable(logging.CRITICAL)  # what Airflow does with the lines is not ours to measure
emission.SHARE, base.FIRST_POLL, base.EARLIEST_EVENT = 1000.0, 0.0, 0.0
where, job_id, cluster_id = sys.argv[1:]
if where == "worker":
    operator = JobLogOperator(task_id="log", job_id=job_id, cluster_id=cluster_id, poll_interval=0.5)
    log = operator.execute({})["log"]
else:
    job = {"job_id": job_id, "cluster_id": cluster_id}
    trigger = JobLogTrigger(
        conn_id="aliyun_ehpc_default",
        api="ehpc",
        jobs=[job],
        started=time.time(),
        poll_interval=0.5,
        settle=1,
    )
    async def run():
        try:
            return [event async for event in trigger.run()]
        finally:
            await trigger.cleanup()
    log = asyncio.run(run())[0].payload["log"]
# Not getrusage's ru_maxrss: across exec it keeps the peak of the process that started this one.
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"bytes": log["bytes"], "peak": int(peak) * 1024}))
"""


@pytest.mark.parametrize("where", ["worker", "trigger"])
def test_a_log_ten_times_as_long_needs_no_more_memory(
    where: str, ehpc_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that writes gigabytes must not get its task killed for memory, nor the triggerer."""
    monkeypatch.setenv("AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT", ehpc_emulator.connection_json)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    peaks = []
    for size in (1_000_000, 10_000_000):
        job_id = ehpc_emulator.submit(f"exec {sys.executable} {NOISY_JOB} {size}")
        ehpc_emulator.wait_for(job_id, timeout=120)
        done = subprocess.run(
            [sys.executable, "-c", FOLLOW, where, job_id, ehpc_emulator.cluster_id],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        reported = json.loads(done.stdout.splitlines()[-1])
        assert reported["bytes"] >= size
        peaks.append(reported["peak"])
    # The log grows by 9 MB; a third of that is more than chance and far less than keeping it.
    assert peaks[1] - peaks[0] < 3_000_000, peaks

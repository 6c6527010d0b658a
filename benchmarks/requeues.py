# SPDX-License-Identifier: Apache-2.0
"""Requeue jobs on a real Slurm at random moments and check that every line of every run is in the log.

Run as ``python -m benchmarks.requeues --moments 50`` after ``make slurm``; it takes about four minutes.
Each job is requeued once or twice while it writes; Slurm truncates its output at each start. Exits with 1 if
a line is missing or repeated, or if a rerun is not in the log.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.operators.job_log import JobLogOperator

LINES = 200
"""Lines of each run, one each 20 ms."""
# A line is in the side file only after it is in the log, so that nothing there may be missing here.
COMMAND = """run=${{SLURM_RESTART_COUNT:-0}}; n=0
while [ $n -lt {lines} ]; do
  echo "run $run line $n"; echo "$run $n" >>{side}; n=$((n+1)); sleep 0.02
done"""
_LINE = re.compile(r"run (\d+) line (\d+)")


@dataclass
class Requeued:
    """What one job's task log shows."""

    moments: Sequence[float]
    """Seconds from the job's (re)start to each requeue."""
    runs: int = 0
    missing: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    out_of_order: bool = False
    logged: int = 0
    """Reruns that the log mentions."""

    @property
    def right(self) -> bool:
        """Whether every line of every run stands there once, and each rerun is mentioned."""
        lines = not (self.missing or self.twice or self.out_of_order)
        return lines and self.logged >= self.runs - 1 and self.runs == len(self.moments) + 1


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().split("\n")


def requeue(cloud: Emulator, moments: Sequence[float]) -> Requeued:
    """Submit a job, requeue it at the given moments, and follow its log by a task on the worker."""
    side = cloud.directory / f"side-{random.getrandbits(64):x}"
    job_id = cloud.submit(COMMAND.format(lines=LINES, side=side))
    with ThreadPoolExecutor(1) as pool:
        seen = _Lines()
        shown = pool.submit(_follow, job_id, seen)
        _until(lambda: any("is RUNNING" in line for line in seen.lines), job_id)
        for number, moment in enumerate(moments, 1):
            time.sleep(moment)
            _scontrol("requeue", job_id)
            _until(lambda run=number: _starts(job_id, f"{run} 0\n", side), job_id)
        lines = shown.result()
    return _judge(lines, _text(side), moments)


def _judge(lines: list[str], side: str, moments: Sequence[float]) -> Requeued:
    shown = [line for line in lines if _LINE.fullmatch(line)]
    written = [f"run {run} line {n}" for run, n in (line.split() for line in side.splitlines())]
    places = [tuple(map(int, match.groups())) for match in map(_LINE.fullmatch, shown) if match]
    return Requeued(
        moments,
        runs=len({run for run, _ in places}),
        missing=sorted(set(written) - set(shown)),
        twice=sorted({line for line in shown if shown.count(line) > 1}),
        out_of_order=places != sorted(places),
        logged=sum("was rerun: " in line for line in lines),
    )


def _starts(job_id: str, line: str, side: Path) -> bool:
    """Start a requeued job: Slurm would wait two minutes. Return whether its run has begun."""
    time.sleep(1)
    if line in _text(side):
        return True
    _scontrol("update", f"JobId={job_id}", "StartTime=now")
    return False


def _follow(job_id: str, handler: _Lines) -> list[str]:
    logger = logging.Logger(f"task.{job_id}")
    logger.addHandler(handler)

    class Follow(JobLogOperator):
        @property
        def log(self) -> Any:
            return logger

    task = Follow(
        task_id=f"log_{job_id}",
        conn_id="aliyun_ehpc",
        job_id=job_id,
        poll_interval=0.5,
        log_settle_time=2,
        timeout=300,
    )
    task.execute({})
    return handler.lines


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _until(done: Any, job_id: str) -> None:
    end = time.monotonic() + 120
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"job {job_id} did not start again within two minutes")
        time.sleep(0.05)


def _scontrol(*arguments: str) -> int:
    return subprocess.run(["scontrol", *arguments], capture_output=True, timeout=30, check=False).returncode


def measure(moments: int, parallel: int, seed: int) -> list[Requeued]:
    """Requeue as many jobs as needed for so many moments, some of them twice."""
    chance = random.Random(seed)
    plans: list[list[float]] = []
    while (left := moments - sum(map(len, plans))) > 0:
        plans.append(
            [chance.uniform(0, LINES * 0.02 * 0.7) for _ in range(min(left, chance.choice((1, 1, 2))))]
        )
    with (
        tempfile.TemporaryDirectory(prefix="requeues-") as folder,
        Emulator(Path(folder) / "cloud", scheduler="slurm") as cloud,
        ThreadPoolExecutor(parallel) as pool,
    ):
        os.environ["AIRFLOW_CONN_ALIYUN_EHPC"] = json.dumps(cloud.connection)
        return list(pool.map(lambda plan: requeue(cloud, plan), plans))


def main() -> int:
    """Measure and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--parallel", type=int, default=4, help="jobs at once")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = measure(arguments.moments, arguments.parallel, arguments.seed)
    for one in found:
        if not one.right:
            print("WRONG", one)
    moments = sum(len(one.moments) for one in found)
    logged = sum(one.logged for one in found)
    print(f"{moments} requeues of {len(found)} jobs: {sum(len(one.missing) for one in found)} lines missing, "
          f"{sum(len(one.twice) for one in found)} twice, {logged} reruns in the logs, "
          f"{sum(not one.right for one in found)} jobs wrong")  # fmt: skip
    return 0 if all(one.right for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())

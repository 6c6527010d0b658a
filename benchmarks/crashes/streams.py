# SPDX-License-Identifier: Apache-2.0
"""Jobs, and the tasks that follow their logs."""

from __future__ import annotations

import random
import sys
import threading
import time
import urllib.error
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.crashes.check import judge
from benchmarks.crashes.cloud import Cloud
from benchmarks.crashes.processes import alive
from benchmarks.crashes.report import Row, say
from demo.local_airflow import ENDS, LocalAirflow

T = TypeVar("T")

JOB = Path(__file__).with_name("job.py")
SLACK = 5.0
"""Seconds that a cycle may be longer than reported, on a busy machine."""
LONGEST = 420.0
"""Seconds after which a stream is given up that nobody has hit meanwhile."""


@dataclass
class Stream:
    """A job, and the task that follows its log."""

    kind: str
    dag_id: str
    run_id: str
    job_id: str
    files: tuple[Path, Path]
    """What the job wrote, a file a stream."""
    job_ends: float
    """Epoch seconds at which the job stops writing, about."""
    kills: int = 0
    hits: int = 0
    """Of shared processes: kills while the stream was on."""
    hit_at: float = 0.0
    """Epoch seconds of the last of them."""


class Moments:
    """The moments at which to kill, for all streams together."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()

    def take(self) -> None:
        """Take one."""
        with self._lock:
            self._left -= 1

    @property
    def left(self) -> bool:
        """Whether there is one left."""
        return self._left > 0


class Streams:
    """Starts streams on a running Airflow, and looks for every line when they have ended."""

    def __init__(self, airflow: LocalAirflow, seed: int, keeps: bool) -> None:
        self.airflow = airflow
        self.rows: dict[str, Row] = defaultdict(Row)
        self.failures: list[str] = []
        self._keeps = keeps
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._running: list[Stream] = []
        self._stopping = threading.Event()

    def _start(self, kind: str, how: str, cloud: Cloud, seconds: float) -> Stream:
        with self._lock:
            seed = self._chance.randrange(1 << 30)
        command = f"exec {sys.executable} -S {JOB} {seed} {seconds:.1f}"
        job_id, *files = cloud.submit(command)
        dag_id = f"stream_{how}"
        conf = {"job_id": job_id, "conn_id": cloud.conn_id}
        run_id = self._patiently(lambda: self.airflow.trigger(dag_id, conf))
        stream = Stream(kind, dag_id, run_id, job_id, (files[0], files[1]), time.time() + seconds)
        with self._lock:
            self._running.append(stream)
        return stream

    def _finish(self, stream: Stream, tries_are_kills: Moments | None = None) -> None:
        """Wait for the end of a stream, and look for every line in its logs."""
        deadline = time.time() + LONGEST
        while (state := self._state(stream)) not in ENDS:
            if self._stopping.is_set():
                return
            if time.time() > max(deadline, stream.hit_at + LONGEST):
                self._complain(f"{stream} did not end; it is {state}\n{self._logs_of(stream)}")
                return
            time.sleep(1)
        with self._lock:
            self._running.remove(stream)
        attempts = self._task(stream)["try_number"]
        if tries_are_kills:
            stream.kills = attempts - 1
            for _ in range(stream.kills):
                tries_are_kills.take()
        stdout, stderr = (file.read_bytes() for file in stream.files)
        tries = [list(self._records(stream, number)) for number in range(1, attempts + 1)]
        findings = judge(tries, stdout, stderr, SLACK)
        with self._lock:
            row = self.rows[stream.kind]
            row.kills += stream.kills
            row.hits += stream.hits or stream.kills
            row.streams += 1
            row.findings.append(findings)
        complaints = list(findings.complaints)
        if state != "success":
            complaints.append(f"the task is {state}")
        if self._keeps and findings.repeated_anew and "cleared, deferred" not in stream.kind:
            complaints.append(f"{findings.repeated_anew} lines read again from the beginning")
        say(
            f"{stream.kind}: job {stream.job_id}, {attempts} tries, {stream.hits + stream.kills} kills, "
            f"{findings.lines} lines, {findings.repeated_marked} again" + ", FAILED" * bool(complaints)
        )
        if complaints:
            text = "\n".join(complaints[:20]) + ("\n…" if len(complaints) > 20 else "")
            self._complain(f"{stream}\n{text}\n{self._logs_of(stream)}")

    def _wait_for_process(self, stream: Stream) -> int | None:
        """Wait for the process of the task's next try; None where the task has ended."""
        deadline = time.time() + LONGEST
        while time.time() < deadline and not self._stopping.is_set():
            task = self._task(stream)
            if task["state"] in ENDS:
                return None
            if task["state"] == "running" and (pid := self.airflow.task_process(str(task["id"]))):
                return pid
            time.sleep(0.4)
        return None

    def _wait_for_state(self, stream: Stream, wanted: str) -> bool:
        """Wait until a task is in a state; False where it ends before."""
        while (state := self._state(stream)) != wanted:
            if state in ENDS or self._stopping.is_set():
                return False
            time.sleep(1)
        return True

    def _sleep_until(self, moment: float, pid: int) -> None:
        """Sleep while a process lives, to a moment at most."""
        while (left := moment - time.time()) > 0 and alive(pid):
            time.sleep(min(0.2, left))

    def _task(self, stream: Stream) -> dict[str, Any]:
        return self._patiently(lambda: self.airflow.task(stream.dag_id, stream.run_id, "log"))

    def _state(self, stream: Stream) -> str:
        return str(self._task(stream)["state"])

    def _records(self, stream: Stream, number: int) -> list[dict[str, Any]]:
        return self._patiently(
            lambda: list(self.airflow.log_events(stream.dag_id, stream.run_id, "log", number))
        )

    def _logs_of(self, stream: Stream) -> str:
        """Return the paths of the logs and their relevant lines, without most of the job's."""
        folder = self.airflow.home / "logs" / f"dag_id={stream.dag_id}" / f"run_id={stream.run_id}"
        reported = [f"logs in {folder}"]
        for number in range(1, self._task(stream)["try_number"] + 1):
            reported.append(f"try {number}:")
            reported += [f"  {line}" for line in _shortened(self._records(stream, number))]
        return "\n".join(reported)

    def _complain(self, text: str) -> None:
        say(text)
        with self._lock:
            self.failures.append(text)

    def _between(self, low: float, high: float) -> float:
        with self._lock:
            return self._chance.uniform(low, high)

    def _one_of(self, choices: tuple[int, ...]) -> int:
        with self._lock:
            return self._chance.choice(choices)

    @staticmethod
    def _patiently(ask: Callable[[], T]) -> T:
        """Ask Airflow's API, which answers with an error when SQLite is locked for long."""
        for pause in (1, 3, 9):
            try:
                return ask()
            except (urllib.error.URLError, OSError):
                time.sleep(pause)
        return ask()


def _shortened(records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a log with the job's lines left out but for the first and last of each row."""
    lines = [
        f"{str(record.get('timestamp', ''))[11:23]} {line[:160]}"
        for record in records
        for line in str(record.get("event", "")).split("\n")
    ]
    ours = [" of the run " in line for line in lines]
    left_out = 0
    for n, line in enumerate(lines):
        if ours[n] and all(ours[max(0, n - 3) : n + 4]) and 3 <= n < len(lines) - 3:
            left_out += 1
            continue
        if left_out:
            yield f"… {left_out} lines of the job …"
            left_out = 0
        yield line

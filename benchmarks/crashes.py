"""What a crash costs a log stream: processes are killed at random moments, and every line is looked for.

Run as ``python -m benchmarks.crashes --moments 50``; it takes about half an hour on two cores. One Airflow
with all its parts and two local clouds in processes of their own run real jobs, whose logs are followed on
workers and in the triggerer. What then stands in the task logs is compared with what the jobs wrote
(:mod:`benchmarks.crash_check`). The exit code is 1 where a line is missing, or stands twice outside a mark.

* ``task``: SIGKILL of the task's process on the worker, from its first moment to the drain of the log.
* ``triggerer``: SIGKILL of the triggerer with all its processes, and a new one.
* ``emulator``: SIGKILL of the cloud, back after up to five seconds.
* ``retry``: the other ways to a retry: SIGTERM, the task's time-outs, and a user who clears the task.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.crash_check import Findings, judge
from demo.local_airflow import ENDS, LocalAirflow, free_port

T = TypeVar("T")

JOB = Path(__file__).with_name("crash_job.py")
DAGS = Path(__file__).with_name("crash_dags")
EXECUTION_TIMEOUTS = (6, 9, 13)
WAIT_TIMEOUTS = (14, 19, 26)
"""Seconds; a time-out cannot be a template, so each has a DAG in :data:`DAGS`."""
SLACK = 4.0
"""Seconds that a turn may be longer than told: two until its lines have arrived, and a busy machine's own."""
LANES = {"task": 3, "triggerer": 5, "emulator": 4, "retry": 4}
"""Streams at once."""
TOGETHER = (("task", "triggerer"), ("emulator", "retry"))
"""Kinds that do not disturb each other."""
LONGEST = 420.0
"""Seconds after which a stream is given up."""


class Cloud:
    """The emulator in a process of its own, which may be killed.

    :param conn_id: the connection by which tasks and this process reach it.
    """

    def __init__(self, directory: Path, conn_id: str) -> None:
        self.directory = directory
        self.conn_id = conn_id
        self.there = threading.Lock()
        """Held while the cloud is away on purpose, or while it must not be."""
        self._port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self.connection = ""

    def start(self) -> None:
        """Start it; return when it answers."""
        settings = {"--directory": str(self.directory), "--port": str(self._port), "--slots": "64"}
        arguments = [text for setting in settings.items() for text in setting]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_ehpc.emulator", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for this script, which then ends the cloud with its jobs.
            start_new_session=True,
        )
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("export AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT="):
                (self.connection,) = shlex.split(line.partition("=")[2])
                return
        raise RuntimeError(f"the emulator in {self.directory} did not start")

    def kill(self) -> None:
        """SIGKILL it. Its jobs go on, as a cloud's jobs do when its API is away."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def end(self) -> None:
        """End it, and the jobs that still run."""
        from airflow_provider_ehpc.emulator.server import Emulator

        self.kill()
        Emulator(self.directory).start().close()

    def submit(self, command: str) -> tuple[str, Path, Path]:
        """Submit a job; return its id and the files of its streams."""
        from airflow_provider_ehpc.apis.job import JobSpec
        from airflow_provider_ehpc.hooks.aliyun import EhpcHook

        # A hook for each use: threads do not share a session.
        with self.there, contextlib.closing(EhpcHook(self.conn_id)) as hook:
            ref = hook.submit(JobSpec(name="crash", command=command))
            info = hook.get_job(ref.cluster_id or "", ref.job_id).job_info
            assert info
            return ref.job_id, Path(info.output_log), Path(info.error_log)


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


@dataclass
class Row:
    """What all streams of one kind came to."""

    kills: int = 0
    hits: int = 0
    streams: int = 0
    findings: list[Findings] = field(default_factory=list)


class Moments:
    """So many moments to kill at, whoever takes them."""

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


class Crashes:
    """The benchmark, on a running Airflow."""

    def __init__(self, airflow: LocalAirflow, steady: Cloud, mortal: Cloud, seed: int, keeps: bool) -> None:
        self.airflow = airflow
        self.steady = steady
        self.mortal = mortal
        self.rows: dict[str, Row] = defaultdict(Row)
        self.failures: list[str] = []
        self._keeps = keeps
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._running: list[Stream] = []
        self._stopping = threading.Event()

    # ------------------------------------------------------------------ kinds

    def run(self, kind: str, count: int) -> None:
        """Kill ``count`` times."""
        moments = Moments(count)
        lanes = LANES[kind]
        with ThreadPoolExecutor(lanes + 1) as pool:
            killer = {"triggerer": self._kill_triggerer, "emulator": self._kill_emulator}.get(kind)
            lane = {"task": self._task_lane, "retry": self._retry_lane}.get(kind, self._shared_lane)
            futures = [pool.submit(self._guarded, lane, kind, moments, n) for n in range(lanes)]
            if killer:
                futures.append(pool.submit(self._guarded, killer, kind, moments))
            for future in futures:
                future.result()

    def stop(self) -> None:
        """End early: no more kills, and no stream is waited for."""
        self._stopping.set()

    def _guarded(self, work: Callable[..., None], kind: str, *arguments: Any) -> None:
        try:
            work(kind, *arguments)
        except Exception:
            self._complain(f"{kind}: the benchmark itself failed\n{traceback.format_exc()}")
            self._stopping.set()

    def _task_lane(self, kind: str, moments: Moments, lane: int) -> None:
        time.sleep(2 * lane)
        while moments.left and not self._stopping.is_set():
            stream = self._start(kind, "worker", self.steady, self._between(20, 40))
            while moments.left and (pid := self._wait_for_process(stream)):
                self._sleep_until(self._task_moment(stream), pid)
                if _signal(pid, signal.SIGKILL):
                    stream.kills += 1
                    moments.take()
            self._finish(stream)

    def _task_moment(self, stream: Stream) -> float:
        """Choose when to kill a task's process that was just found: early, in the midst or in the drain."""
        now, draw = time.time(), self._between(0, 1)
        if draw < 0.2:
            return now + self._between(0, 2)
        if draw < 0.5 and now < stream.job_ends < now + 25:
            return stream.job_ends + self._between(-1, 6)
        return now + self._between(1, 12)

    def _retry_lane(self, kind: str, moments: Moments, lane: int) -> None:
        time.sleep(2 * lane)
        ways = [self._sigterm, self._clear, self._execution_timeout, self._wait_timeout, self._clear_deferred]
        turn = lane
        while moments.left and not self._stopping.is_set():
            ways[turn % len(ways)](kind, moments)
            turn += 1

    def _sigterm(self, kind: str, moments: Moments) -> None:
        stream = self._start(f"{kind}: SIGTERM", "worker", self.steady, self._between(25, 35))
        while stream.kills < 4 and moments.left and (pid := self._wait_for_process(stream)):
            self._sleep_until(time.time() + self._between(0, 10), pid)
            if _signal(pid, signal.SIGTERM):
                stream.kills += 1
                moments.take()
                self._sleep_until(time.time() + 10, pid)
        self._finish(stream)

    def _clear(self, kind: str, moments: Moments) -> None:
        stream = self._start(f"{kind}: cleared", "worker", self.steady, self._between(30, 40))
        while stream.kills < 2 and moments.left and (pid := self._wait_for_process(stream)):
            self._sleep_until(time.time() + self._between(1, 10), pid)
            if _alive(pid):
                self._patiently(lambda: self.airflow.clear(stream.dag_id, stream.run_id, "log"))
                stream.kills += 1
                moments.take()
                self._sleep_until(time.time() + 30, pid)
        self._finish(stream)

    def _clear_deferred(self, kind: str, moments: Moments) -> None:
        stream = self._start(f"{kind}: cleared, deferred", "deferred", self.steady, self._between(35, 45))
        if self._wait_for_state(stream, "deferred"):
            time.sleep(self._between(1, 25))
            if self._state(stream) == "deferred":
                self._patiently(lambda: self.airflow.clear(stream.dag_id, stream.run_id, "log"))
                stream.kills += 1
                moments.take()
        self._finish(stream)

    def _execution_timeout(self, kind: str, moments: Moments) -> None:
        seconds = self._one_of(EXECUTION_TIMEOUTS)
        how = f"worker_{seconds}"
        stream = self._start(f"{kind}: execution_timeout", how, self.steady, self._between(25, 40))
        self._finish(stream, tries_are_kills=moments)

    def _wait_timeout(self, kind: str, moments: Moments) -> None:
        seconds = self._one_of(WAIT_TIMEOUTS)
        how = f"deferred_{seconds}"
        stream = self._start(f"{kind}: timeout, deferred", how, self.steady, self._between(35, 50))
        self._finish(stream, tries_are_kills=moments)

    def _shared_lane(self, kind: str, moments: Moments, lane: int) -> None:
        """Keep streams going while a process that they share is killed."""
        time.sleep(4 * lane)
        cloud = self.mortal if kind == "emulator" else self.steady
        while moments.left and not self._stopping.is_set():
            where = "worker" if kind == "emulator" and lane % 2 else "deferred"
            name = f"{kind}: {where}" if kind == "emulator" else kind
            self._finish(self._start(name, where, cloud, self._between(30, 70)))

    def _kill_triggerer(self, kind: str, moments: Moments) -> None:
        while not self._stopping.is_set() and moments.left:
            # Its first moments count as well: it begins to read some five seconds later.
            self._stopping.wait(self._between(1, 23))
            if self._hit(kind, "deferred"):
                moments.take()
                self.airflow.kill_component("triggerer")
                killed = time.time()
                self._stopping.wait(self._between(0, 2))
                self.airflow.start_component("triggerer")
                self._wait_for_triggerer(killed)

    def _wait_for_triggerer(self, since: float) -> None:
        """Wait for the first heartbeat of a triggerer that was started."""
        while not self._stopping.is_set():
            told = self._patiently(lambda: self.airflow.get("/monitor/health"))["triggerer"]
            beat = told.get("latest_triggerer_heartbeat")
            if beat and datetime.fromisoformat(beat).timestamp() > since:
                return
            time.sleep(0.5)

    def _kill_emulator(self, kind: str, moments: Moments) -> None:
        while not self._stopping.is_set() and moments.left:
            self._stopping.wait(self._between(1, 8))
            with self.mortal.there:
                if self._hit(kind, "deferred", "running"):
                    moments.take()
                    self.mortal.kill()
                    self._stopping.wait(self._between(0, 5))
                    self.mortal.start()

    def _hit(self, kind: str, *states: str) -> bool:
        """Note a kill for the streams that are on; return whether there is one."""
        with self._lock:
            streams = [stream for stream in self._running if stream.kind.partition(":")[0] == kind]
        on = [stream for stream in streams if self._state(stream) in states]
        for stream in on:
            stream.hits += 1
        with self._lock:
            for name in {stream.kind for stream in on}:
                self.rows[name].kills += 1
        return bool(on)

    # ------------------------------------------------------------------ streams

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
            if time.time() > deadline:
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
        _say(
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
        while (left := moment - time.time()) > 0 and _alive(pid):
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
        """Return where the logs lie, and what of them tells the story: not all of the job's lines."""
        folder = self.airflow.home / "logs" / f"dag_id={stream.dag_id}" / f"run_id={stream.run_id}"
        told = [f"logs in {folder}"]
        for number in range(1, self._task(stream)["try_number"] + 1):
            told.append(f"try {number}:")
            told += [f"  {line}" for line in _shortened(self._records(stream, number))]
        return "\n".join(told)

    def _complain(self, text: str) -> None:
        _say(text)
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


def _alive(pid: int) -> bool:
    return _signal(pid, 0)


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def table(rows: dict[str, Row]) -> str:
    """Return the figures of each kind, a line a kind."""
    heads = (
        "kills",
        "hits",
        "streams",
        "resumed",
        "lines",
        "missing",
        "again in",
        "again out",
        "anew",
        "worst s",
    )
    text = f"{'kind':28}" + "".join(f"{head:>11}" for head in heads)
    for kind, row in sorted(rows.items()):
        found = row.findings
        values = (
            row.kills,
            row.hits,
            row.streams,
            sum(f.resumed for f in found),
            sum(f.lines for f in found),
            sum(len(f.missing) for f in found),
            sum(f.repeated_marked for f in found),
            sum(len(f.repeated_outside) + len(f.disordered) + len(f.foreign) for f in found),
            sum(f.repeated_anew for f in found),
        )
        worst = max((f.worst_repeat for f in found), default=0.0)
        text += f"\n{kind:28}" + "".join(f"{value:11,}" for value in values) + f"{worst:11.1f}"
    return text


def main() -> None:
    """Kill, look and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.crashes",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--moments", type=int, default=50, help="kills of each kind (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=list(LANES), default=list(LANES))
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the moments")
    parser.add_argument("--directory", type=Path, help="where all is kept (default: a temporary directory)")
    arguments = parser.parse_args()
    # Whoever ends this process ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.ExitStack() as undo:
        home = arguments.directory or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="crashes-")))
        os.environ["AIRFLOW_HOME"] = str(home / "airflow")
        from airflow_provider_ehpc.compat import async_xcom

        clouds = [Cloud(home / name, name) for name in ("steady", "mortal")]
        for cloud in clouds:
            undo.callback(cloud.end)
            cloud.start()
            os.environ[f"AIRFLOW_CONN_{cloud.conn_id.upper()}"] = cloud.connection
        connections = {name: os.environ[name] for name in os.environ if name.startswith("AIRFLOW_CONN_")}
        # A triggerer that was killed is missed after so many seconds without a heartbeat.
        quick = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6"}
        _say(f"seed {arguments.seed}; starting Airflow in {home}")
        airflow = LocalAirflow(home / "airflow", DAGS, {**connections, **quick}, parallelism=12)
        undo.enter_context(airflow)
        crashes = Crashes(airflow, *clouds, arguments.seed, keeps=async_xcom() is not None)
        begun = time.monotonic()
        for group in TOGETHER:
            kinds = [kind for kind in group if kind in arguments.kinds]
            threads = [threading.Thread(target=crashes.run, args=(kind, arguments.moments)) for kind in kinds]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt:
                crashes.stop()
                raise
        print(f"\n{table(crashes.rows)}\n\nseed {arguments.seed}, {time.monotonic() - begun:.0f} s")
        for failure in crashes.failures:
            print(f"\n{failure}")
    sys.exit(1 if crashes.failures else 0)


if __name__ == "__main__":
    main()

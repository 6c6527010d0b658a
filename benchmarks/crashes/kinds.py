# SPDX-License-Identifier: Apache-2.0
"""The kinds of crashes: what is killed, and when."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from benchmarks.crashes.cloud import Cloud
from benchmarks.crashes.processes import alive, send
from benchmarks.crashes.streams import Moments, Stream, Streams
from demo.local_airflow import LocalAirflow

EXECUTION_TIMEOUTS = (6, 9, 13)
WAIT_TIMEOUTS = (14, 19, 26)
"""Seconds; a time-out cannot be a template, so each has a DAG of its own."""
LANES = {"task": 3, "triggerer": 5, "emulator": 4, "retry": 4}
"""Streams at once."""
TOGETHER = (("task", "triggerer"), ("emulator", "retry"))
"""Kinds that do not disturb each other."""


class Crashes(Streams):
    """Kills what streams stand on.

    :param steady: the cloud that is not killed.
    """

    def __init__(self, airflow: LocalAirflow, steady: Cloud, mortal: Cloud, seed: int, keeps: bool) -> None:
        super().__init__(airflow, seed, keeps)
        self.steady = steady
        self.mortal = mortal

    def run_all(self, kinds: list[str], count: int) -> None:
        """Kill ``count`` times of each kind."""
        for group in TOGETHER:
            threads = [threading.Thread(target=self.run, args=(k, count)) for k in group if k in kinds]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt:
                # No more kills, and no stream is waited for.
                self._stopping.set()
                raise

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
                if send(pid, signal.SIGKILL):
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
            if send(pid, signal.SIGTERM):
                stream.kills += 1
                moments.take()
                self._sleep_until(time.time() + 10, pid)
        self._finish(stream)

    def _clear(self, kind: str, moments: Moments) -> None:
        stream = self._start(f"{kind}: cleared", "worker", self.steady, self._between(30, 40))
        while stream.kills < 2 and moments.left and (pid := self._wait_for_process(stream)):
            self._sleep_until(time.time() + self._between(1, 10), pid)
            if alive(pid):
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
            reported = self._patiently(lambda: self.airflow.get("/monitor/health"))["triggerer"]
            beat = reported.get("latest_triggerer_heartbeat")
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
            stream.hit_at = time.time()
        with self._lock:
            for name in {stream.kind for stream in on}:
                self.rows[name].kills += 1
        return bool(on)

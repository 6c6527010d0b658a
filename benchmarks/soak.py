# SPDX-License-Identifier: Apache-2.0
"""Half an hour of everything at once: waits, log streams, faults, and a triggerer that keeps being killed.

Run as ``python -m benchmarks.soak``. Five hundred deferred tasks wait for emulated jobs that end one by one,
fifty others stream the logs of jobs that write a numbered line a second. One request of twenty meets a fault
of the matrix (``tests/faults``), and every five minutes the triggerer is killed with SIGKILL and started
anew. At the end every task has to have its event, every line has to be in the logs, once or behind a mark,
and no triggerer may have grown. Exits with 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.deferred_tasks import LOGS, WAITS, Plan
from benchmarks.triggerers import Deferred, Record, task_logs, usage, wait_until
from benchmarks.two_triggerers import Check
from tests.faults.catalogue import APIS, FAULTS, Kind
from tests.faults.server import Exchange, FaultServer

DAG_IDS = (WAITS, LOGS)
DEAD_FOR = 30.0
"""Seconds after which Airflow gives the triggers of a killed triggerer to another
([triggerer] triggerer_health_check_threshold)."""
MOST_GROWTH = 40.0
"""MB by which a triggerer may have grown between the middle and the end of its life."""


class RandomFaults:
    """Meets a share of the requests with a fault that passes or does no harm, chosen at random."""

    def __init__(self, share: float) -> None:
        self.counts: Counter[str] = Counter()
        self.requests = 0
        self._share = share
        self._faults = [
            fault
            for fault in FAULTS
            if fault.kind in (Kind.PASSES, Kind.HARMLESS)
            and not (fault.slow or fault.setup or fault.tasks)
            and (not fault.apis or "ehpc" in fault.apis)
            # Each makes the connection pause for a minute: others of its kind stand for it.
            and fault.name not in ("throttled_billion", "throttled_5000_digits", "gzip_bomb")
        ]

    def __call__(self, exchange: Exchange) -> None:
        self.requests += 1
        if random.random() >= self._share:
            exchange.relay(exchange.upstream())
            return
        fault = random.choice(self._faults)
        self.counts[fault.name] += 1
        fault.act(APIS["ehpc"], exchange)


@dataclass
class Life:
    """The memory of one triggerer with its processes."""

    pid: int
    began: float
    samples: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since its start, and MB."""

    @property
    def growth(self) -> float | None:
        """MB from the third quarter of its life to the fourth; None if it was too short to have any."""
        if len(self.samples) < 12:
            return None
        quarter = len(self.samples) // 4
        middle, end = self.samples[2 * quarter : 3 * quarter], self.samples[3 * quarter :]
        return statistics.median(mb for _, mb in end) - statistics.median(mb for _, mb in middle)


class Triggerers:
    """Starts and kills triggerers, one at a time, and notes what memory they take."""

    def __init__(self, airflow: Deferred) -> None:
        self.lives: list[Life] = []
        self._airflow = airflow
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Start the next one."""
        pid = self._airflow.airflow.start_component("triggerer", f"triggerer-{len(self.lives) + 1}")
        self.lives.append(Life(pid, time.monotonic()))

    def kill(self) -> None:
        """Kill the one that runs."""
        self._airflow.airflow.kill_component(f"triggerer-{len(self.lives)}")

    def end(self) -> None:
        """Stop noting."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(2.0):
            if self.lives:
                life = self.lives[-1]
                if resident := sum(usage(pid).resident for pid in _group(life.pid)):
                    life.samples.append((time.monotonic() - life.began, resident / 1e6))


def _group(leader: int) -> Iterator[int]:
    """Yield the living processes of a process group."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if entry.name.isdigit() and int(fields[2]) == leader and fields[0] != "Z":
                yield int(entry.name)


@contextmanager
def deferred(
    streams: int, waits: int, interval: float, seconds: float
) -> Iterator[tuple[Emulator, FaultServer, Deferred, float]]:
    """Let so many tasks wait for jobs and follow logs; yield when the last jobs end, too."""
    end_at = time.time() + 40 + 0.03 * (streams + waits) + seconds
    with (
        tempfile.TemporaryDirectory(prefix="ehpc-soak-") as directory,
        Emulator(Path(directory, "cloud"), scheduler="timetable") as emulator,
    ):

        def submit(ends_at: float, words: str = "") -> str:
            return emulator.submit(f"run={ends_at - time.time():.3f} {words}")

        plan = Plan(
            interval=interval,
            waits=[submit(end_at - random.uniform(0, 0.85 * seconds)) for _ in range(waits)],
            logs=[submit(end_at, "lines=1") for _ in range(streams)],
        )
        server = FaultServer(emulator.url)
        server.listen()
        connection = {**emulator.connection, "host": server.url}
        settings = {
            "AIRFLOW_CONN_EHPC": json.dumps(connection),
            "AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND": "100",
        }
        airflow = Deferred(Path(directory, "airflow"), plan, settings)
        try:
            airflow.prepare()
            airflow.defer(*DAG_IDS)
            yield emulator, server, airflow, end_at
        finally:
            airflow.airflow.stop()
            server.close()


def run(
    streams: int, waits: int, interval: float, seconds: float, kill_every: float, share: float
) -> list[str]:
    """Run the soak; print what was found and return the broken promises."""
    count = streams + waits
    faults = RandomFaults(share)
    with deferred(streams, waits, interval, seconds) as (emulator, server, airflow, end_at):
        server.act = faults
        triggerers = Triggerers(airflow)
        triggerers.start()
        # The last one has time to take everything over.
        while end_at - time.time() > kill_every + 2 * DEAD_FOR:
            time.sleep(kill_every)
            triggerers.kill()
            triggerers.start()
            print(f"{end_at - time.time():5.0f} s left: {airflow.waiting(*DAG_IDS)} tasks wait", flush=True)
        left = end_at - time.time() + DEAD_FOR + 120 + count / 2
        with suppress(TimeoutError):
            wait_until(lambda: not airflow.waiting(*DAG_IDS), "all triggers fired", left)
        waiting = airflow.waiting(*DAG_IDS)
        triggerers.end()
        check = Check()
        logs: dict[int, list[list[Record]]] = {index: [] for index in range(streams)}
        for job in airflow.triggerers():
            for index, records in task_logs(airflow.airflow, LOGS, job):
                logs[index].append(records)
        for index, job_id in enumerate(airflow.plan.logs):
            wanted = len(emulator.job(job_id).stdout_path.read_text().splitlines())
            check.stream(f"stream {index}", wanted, logs[index])
        outcomes = airflow.outcomes()
    growths = [life.growth for life in triggerers.lives if life.growth is not None]
    peaks = [max(mb for _, mb in life.samples) for life in triggerers.lives if life.samples]
    print(f"\n{waits} waits and {streams} log streams for {seconds / 60:g} minutes, every {interval:g} s")
    rows: list[tuple[str, object]] = [
        ("triggerers, of which all but one were killed", len(triggerers.lives)),
        ("requests", f"{faults.requests:,}"),
        ("of which met a fault", f"{faults.counts.total():,} of {len(faults.counts)} kinds"),
        ("events by outcome", ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())),
        ("lines in all logs", f"{check.lines:,}"),
        ("lines that came again, all behind a mark", f"{check.repeated:,}"),
        ("memory of each triggerer at most, MB", ", ".join(f"{mb:.0f}" for mb in peaks)),
        ("its growth in the last quarter of its life, MB", ", ".join(f"{mb:+.1f}" for mb in growths)),
    ]
    for name, value in rows:
        print(f"{name:48}{value!s:>14}")
    broken = list(check.broken)
    if waiting or outcomes != {"reached": count}:
        broken.append(f"{waiting} tasks wait for ever; the others' events: {dict(outcomes)}")
    if growths and max(growths) > MOST_GROWTH:
        broken.append(f"a triggerer grew by {max(growths):.0f} MB in a quarter of its life")
    if len(triggerers.lives) < 2:
        broken.append("no triggerer was killed: give it more minutes")
    return broken


def main() -> int:
    """Run the soak and print what was found; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--waits", type=int, default=500)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two polls")
    parser.add_argument("--kill-every", type=float, default=300.0, help="seconds")
    parser.add_argument("--faults", type=float, default=0.05, help="share of the requests")
    arguments = parser.parse_args()
    broken = run(
        arguments.streams,
        arguments.waits,
        arguments.interval,
        60 * arguments.minutes,
        arguments.kill_every,
        arguments.faults,
    )
    for text in broken[:50]:
        print(f"BROKEN: {text}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

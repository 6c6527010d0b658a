# SPDX-License-Identifier: Apache-2.0
"""Two triggerers share five hundred deferred log streams and waits; one is killed, the other carries on.

Run as ``python -m benchmarks.two_triggerers``, with Debian's PostgreSQL installed. Half of the emulated jobs
write a numbered line a second; the tasks that follow their logs and those that wait for the other half are
deferred. When every stream has lines, one triggerer is killed with SIGKILL. After the jobs' end the logs of
all triggerers are compared with what the jobs wrote; then workers end the tasks. Exits with 1 where a line is
missing, comes twice behind no mark, or a task does not end well.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.deferred_tasks import LOGS, WAITS, Plan
from benchmarks.postgres import postgres
from benchmarks.triggerers import Deferred, Record, task_logs, wait_until

RATE = 1.0
"""Lines a second of each job."""
NAMES = ("triggerer", "triggerer-2")
DAG_IDS = (WAITS, LOGS)
COMPONENTS = ("api-server", "dag-processor", "scheduler")
_LINE = re.compile(r"line (\d+)")
_MARK = re.compile(r"--- resumed at .+ \(about ([\d.]+) s\) may be repeated ---")
SLACK = 5.0
"""Seconds by which the repeated lines may span more than the cycle that the mark names."""


@dataclass
class Check:
    """What stands in the logs of all streams."""

    lines: int = 0
    interrupted: int = 0
    """Streams of which some lines were written, and others left to the other triggerer."""
    resumed: int = 0
    """Streams that the other triggerer went on with."""
    repeated: int = 0
    longest_repeat: float = 0.0
    """Seconds of the killed triggerer's writing."""
    broken: list[str] = field(default_factory=list)

    def stream(self, name: str, wanted: int, logs: list[list[Record]]) -> None:
        """Check the logs that triggerers wrote for one job of ``wanted`` lines, oldest first."""
        reached = 0
        before: dict[int, float] = {}
        for number, records in enumerate(logs):
            mark: float | None = None
            here: dict[int, float] = {}
            last = 0
            again: list[int] = []
            for record in records:
                for line in record.text.split("\n"):
                    if reported := _MARK.match(line):
                        mark = float(reported[1])
                        self.resumed += 1
                    elif found := _LINE.fullmatch(line):
                        this = int(found[1])
                        if this > max(last, reached) + 1 or (last and this != last + 1):
                            self.broken.append(f"{name}: lines before {this} are not there in log {number}")
                        if this <= reached:
                            again.append(this)
                        here[this] = record.at
                        last = this
            if again and mark is None:
                self.broken.append(f"{name}: {len(again)} lines are repeated behind no mark in log {number}")
            elif mark is not None and again:
                # In the time of the log, for a job's first lines are read together however old they are.
                seconds = max(before.values()) - before[again[0]]
                self.longest_repeat = max(self.longest_repeat, seconds)
                if seconds > mark + SLACK:
                    self.broken.append(f"{name}: {seconds:.0f} s are repeated, the mark says {mark:g}")
            self.lines += len(here)
            self.repeated += len(again)
            reached = max(reached, last)
            self.interrupted += number + 1 < len(logs) and reached > 0
            before = here
        if reached != wanted:
            self.broken.append(f"{name}: {reached} of {wanted} lines are there")


@contextmanager
def deferred(
    streams: int, waits: int, interval: float, lasts: float
) -> Iterator[tuple[Emulator, Deferred, float]]:
    """Let so many tasks wait for jobs and follow logs; yield when the jobs end, too."""
    end_at = time.time() + 30 + 0.02 * (streams + waits) + lasts
    with (
        postgres() as database,
        tempfile.TemporaryDirectory(prefix="ehpc-benchmark-") as directory,
        Emulator(Path(directory, "cloud"), scheduler="timetable") as emulator,
    ):

        def submit(words: str) -> str:
            return emulator.submit(f"run={end_at - time.time():.3f} {words}")

        plan = Plan(
            interval=interval,
            waits=[submit("") for _ in range(waits)],
            logs=[submit(f"lines={RATE:g}") for _ in range(streams)],
        )
        connections = {"AIRFLOW_CONN_EHPC": emulator.connection_json}
        settings = {
            # 250 streams alone are fifty readings a second, every five seconds; the survivor has all of them.
            "AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND": "100",
            # Airflow's 50, or less, so that few triggers are shared by the two as well.
            "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": str(min(50, 1 + (streams + waits) // 10)),
        }
        airflow = Deferred(Path(directory, "airflow"), plan, {**database, **connections, **settings})
        try:
            airflow.prepare()
            yield emulator, airflow, end_at
        finally:
            airflow.airflow.stop()


def run(streams: int, waits: int, interval: float, workers: bool) -> list[str]:
    """Kill one of two triggerers; print what was found and return the broken promises."""
    count = streams + waits
    starting = 25 + 0.06 * count
    dead_for = 30.0  # [triggerer] triggerer_health_check_threshold
    lasts = 2 * starting + dead_for + 60
    with deferred(streams, waits, interval, lasts) as (emulator, airflow, end_at):
        for number, name in enumerate(NAMES, 1):
            airflow.airflow.start_component("triggerer", name)
            wait_until(lambda n=number: len(airflow.triggerers()) == n, f"{name} started", 60)
        killed, heir = airflow.triggerers()
        airflow.defer(*DAG_IDS)

        def started() -> list[int]:
            return [airflow.started(job, *DAG_IDS) for job in (killed, heir)]

        wait_until(lambda: sum(started()) >= count, "all triggers started", end_at - time.time())
        shares = started()
        half = airflow.started(killed, LOGS)
        # Some streams have kept their place by then and some have not.
        time.sleep(15 + random.uniform(0, 10))
        killed_at = time.time()
        airflow.airflow.kill_component(NAMES[0])
        wait_until(lambda: started()[1] >= count, "the other took all over", end_at - time.time())
        over_at = time.time()
        left = end_at - time.time() + 120 + count / 2
        wait_until(lambda: not airflow.waiting(*DAG_IDS), "all triggers fired", left)
        fired_at = max((*airflow.recorded(LOGS).values(), *airflow.recorded(WAITS).values()))
        check = Check()
        logs: dict[int, list[list[Record]]] = {index: [] for index in range(streams)}
        for job in (killed, heir):
            for index, records in task_logs(airflow.airflow, LOGS, job):
                logs[index].append(records)
        for index, job_id in enumerate(airflow.plan.logs):
            wanted = len(emulator.job(job_id).stdout_path.read_text().splitlines())
            check.stream(f"stream {index}", wanted, logs[index])
        outcomes = airflow.outcomes()
        states: Counter[str] = Counter()
        ended_after = 0.0
        if workers:
            begun = time.time()
            states = _end_on_workers(airflow, count)
            ended_after = time.time() - begun
    print(f"\n{streams} log streams and {waits} waits, every {interval:g} s, in two triggerers on PostgreSQL")
    rows: list[tuple[str, object]] = [
        ("triggers in each before the kill", " + ".join(map(str, shares))),
        ("the other runs them all, s after the kill", f"{over_at - killed_at:.1f}"),
        ("streams in the killed one, with lines by then", f"{half}, {check.interrupted}"),
        ("streams that went on behind a mark", check.resumed),
        ("lines in all logs", f"{check.lines:,}"),
        ("lines that came again, all behind a mark", f"{check.repeated:,}"),
        ("the same, s of a stream at most", f"{check.longest_repeat:.1f}"),
        ("last event, s after the jobs' end", f"{fired_at - end_at:.1f}"),
        ("events by outcome", ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())),
    ]
    if workers:
        rows.append(("tasks ended by workers", ", ".join(f"{number} {s}" for s, number in states.items())))
        rows.append(("they took, s", f"{ended_after:.0f}"))
    for name, value in rows:
        print(f"{name:46}{value!s:>14}")
    broken = check.broken
    if not check.interrupted or check.resumed < check.interrupted:
        broken.append(f"{check.interrupted} streams were cut short, {check.resumed} went on behind a mark")
    if outcomes != {"reached": count}:
        broken.append(f"not every trigger fired as it should: {dict(outcomes)}")
    if workers and states != {"success": count}:
        broken.append(f"not every task succeeded: {dict(states)}")
    return broken


def _end_on_workers(airflow: Deferred, count: int) -> Counter[str]:
    """Let a scheduler and its workers resume all tasks; return their states."""
    for component in COMPONENTS:
        airflow.airflow.start_component(component)
    for dag_id in DAG_IDS:
        airflow.airflow.cli("dags", "unpause", dag_id)

    def states() -> Counter[str]:
        query = "SELECT state, count(*) FROM task_instance WHERE dag_id IN (:a, :b) GROUP BY state"
        return Counter({str(state): int(number) for state, number in airflow.rows(query, a=WAITS, b=LOGS)})

    wait_until(
        lambda: states()["success"] + states()["failed"] == count, "workers ended all", 120 + 3 * count
    )
    return states()


def main() -> int:
    """Kill a triggerer and print what was found; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_triggerers", description=__doc__)
    parser.add_argument("--streams", type=int, default=250)
    parser.add_argument("--waits", type=int, default=250)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds (default: %(default)s)")
    parser.add_argument(
        "--no-workers", action="store_true", help="leave off where all events are in the database"
    )
    arguments = parser.parse_args()
    broken = run(arguments.streams, arguments.waits, arguments.interval, not arguments.no_workers)
    print("".join(f"BROKEN: {text}\n" for text in broken[:20]), end="")
    if len(broken) > 20:
        print(f"... and {len(broken) - 20} more")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What a thousand deferred sensors cost a real triggerer, and what happens when it is killed.

Run as ``python -m benchmarks.real_triggerer``. An ``airflow triggerer`` with a metadata database (SQLite) of
its own waits for emulated jobs which all end at one moment: with nothing to do, with our deferred
JobStateSensor, and with the http provider's deferred HttpSensor. Then ours again, and the triggerer is killed
while it waits. Exits with 1 where a promise of the restart is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks.limiter import BURST, DEFAULT_CEILING
from benchmarks.deferred_tasks import HTTP, LOOP, WAITS, Plan
from benchmarks.triggerers import Deferred, LoopNote, Watched, first, loop_notes, task_logs, wait_until

KINDS = {"nothing": None, "JobStateSensor": WAITS, "HttpSensor": HTTP}
RESUMED_IN = 5.0
"""Seconds, beside one interval, in which a trigger that a new triggerer runs has looked at its job."""


@dataclass
class Figures:
    """What one kind of sensor cost. CPU is in seconds or in percent of a core, a stall in milliseconds."""

    requests: float = 0
    runner_cpu_s: float = 0.0
    """From the triggerer's start until the last event is recorded."""
    supervisor_cpu_s: float = 0.0
    runner_waiting_percent: float = 0.0
    """While all wait: Airflow's work of starting and ending them is not in it."""
    supervisor_waiting_percent: float = 0.0
    runner_mb: float = 0.0
    supervisor_mb: float = 0.0
    all_run_after_s: float = 0.0
    """From the start of the process."""
    stall_starting_ms: float = 0.0
    """The event loop's worst stall by the clock, which holds the time that other processes took."""
    stall_waiting_ms: float = 0.0
    stall_ending_ms: float = 0.0
    busy_starting_ms: float = 0.0
    """The most processor time between two turns of the loop: what is the triggerer's own of a stall."""
    busy_waiting_ms: float = 0.0
    busy_ending_ms: float = 0.0
    garbage_starting_ms: float = 0.0
    """The longest garbage collection: it is in the stalls, and grows with what the process has loaded."""
    garbage_waiting_ms: float = 0.0
    garbage_ending_ms: float = 0.0
    detected_median_s: float = 0.0
    """From the jobs' end to the trigger's event."""
    detected_worst_s: float = 0.0
    recorded_worst_s: float = 0.0
    """From the jobs' end to the event in Airflow's database."""
    events: float = 0


class Cloud:
    """An emulated cluster, and a page that says 200 for ended jobs and 404 for others, for HttpSensor."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._pages = 0
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        port = asyncio.run_coroutine_threadsafe(self._open(), loop).result()
        self.connections = {
            "AIRFLOW_CONN_EHPC": emulator.connection_json,
            "AIRFLOW_CONN_PLAIN": json.dumps({"conn_type": "http", "host": f"http://127.0.0.1:{port}"}),
        }

    @property
    def requests(self) -> int:
        """How many requests there were so far."""
        return self.emulator.requests.count() + self._pages

    async def _open(self) -> int:
        from aiohttp import web

        async def page(request: web.Request) -> web.Response:
            self._pages += 1
            ended = self.emulator.job(request.match_info["job_id"]).phase.ended
            return web.json_response({}, status=200 if ended else 404)

        application = web.Application()
        application.router.add_get("/jobs/{job_id}", page)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])


@contextmanager
def deferred(
    dag_id: str | None, count: int, interval: float, lasts: float
) -> Iterator[tuple[Cloud, Deferred, float]]:
    """Let ``count`` tasks of a DAG wait for jobs, and a trigger watch the loop; yield when the jobs end, too.

    :param lasts: seconds that the jobs run on, from the moment that everything is ready.
    """
    # Some 10 ms a task to defer it, and what the process that does it takes to start.
    end_at = time.time() + 25 + 0.02 * count + lasts
    with (
        tempfile.TemporaryDirectory(prefix="ehpc-benchmark-") as directory,
        Emulator(Path(directory, "cloud"), scheduler="timetable") as emulator,
    ):
        jobs = [emulator.submit(f"run={end_at - time.time():.3f}") for _ in range(count if dag_id else 1)]
        cloud = Cloud(emulator)
        airflow = Deferred(Path(directory, "airflow"), Plan(interval=interval, waits=jobs), cloud.connections)
        try:
            airflow.prepare()
            airflow.defer(*filter(None, (dag_id, LOOP)))
            yield cloud, airflow, end_at
        finally:
            airflow.airflow.stop()


def starting_takes(count: int) -> float:
    """Return the seconds to allow Airflow for starting a triggerer and so many triggers, 50 in a turn."""
    return 20 + 0.04 * count


def measure(dag_id: str | None, count: int, interval: float, waiting: float) -> Figures:
    """Let a triggerer wait for ``count`` jobs with the tasks of one DAG, or for nothing."""
    # The first looks come within five seconds and an interval; behind them is waiting and nothing else.
    looking = 5 + interval
    lasts = starting_takes(count) + looking + waiting
    with deferred(dag_id, count, interval, lasts) as (cloud, airflow, end_at):
        before, began = cloud.requests, time.time()
        airflow.airflow.start_component("triggerer")
        wait_until(lambda: loop_notes(airflow.loop_file), "the triggerer started", 60)
        (triggerer,) = airflow.triggerers()
        note = loop_notes(airflow.loop_file)[0]
        watched = Watched(runner=note.runner, supervisor=note.supervisor)
        figures = Figures()
        if dag_id is None:
            all_run = time.time()
            end_at = over = all_run + looking + waiting
            time.sleep(looking + waiting + 1)
        else:
            left = end_at - time.time()
            wait_until(lambda: airflow.started(triggerer, dag_id) >= count, "all triggers started", left)
            time.sleep(max(0.0, end_at - time.time()))
            wait_until(lambda: not airflow.waiting(dag_id), "all events were recorded", 120 + count / 20)
            logs = dict(task_logs(airflow.airflow, dag_id, triggerer))
            all_run = max(records[0].at for records in logs.values())
            fired = [first(records, "Trigger fired event") or 0.0 for records in logs.values()]
            lags = [at - end_at for at in fired]
            recorded = airflow.recorded(dag_id)
            over = max(recorded.values())
            figures.all_run_after_s = all_run - began
            figures.detected_median_s, figures.detected_worst_s = statistics.median(lags), max(lags)
            figures.recorded_worst_s = over - end_at
            figures.events = len(recorded)
            time.sleep(2)
        watched.end()
        figures.requests = cloud.requests - before
        figures.runner_cpu_s = watched.until("runner", over + 1).cpu
        figures.supervisor_cpu_s = watched.until("supervisor", over + 1).cpu
        calm, last = all_run + looking, end_at - 1
        if last - calm < interval:
            raise RuntimeError("the triggers took too long to start; let the jobs run longer (--waiting)")
        figures.runner_waiting_percent = watched.share("runner", calm, last) * 100
        figures.supervisor_waiting_percent = watched.share("supervisor", calm, last) * 100
        figures.runner_mb = watched.until("runner", last).resident / 1e6
        figures.supervisor_mb = watched.until("supervisor", last).resident / 1e6
        notes = loop_notes(airflow.loop_file)
        phases = {"starting": (began, calm), "waiting": (calm, last), "ending": (last, over + 1)}
        for phase, (start, end) in phases.items():
            for name, what in (("stall", "stall"), ("busy", "busy"), ("garbage", "collecting")):
                setattr(figures, f"{name}_{phase}_ms", _worst(notes, what, start, end))
        return figures


def _worst(notes: list[LoopNote], what: str, start: float, end: float) -> float:
    return max((getattr(note, what) for note in notes if start <= note.at <= end), default=0.0) * 1000


def show(count: int, interval: float, found: dict[str, Figures]) -> None:
    """Print the figures beside each other, with the ratio of HttpSensor's to ours."""
    print(f"\n{count} deferred sensors in a triggerer, every {interval:g} s")
    print(f"{'':28}" + "".join(f"{kind:>16}" for kind in found) + f"{'ratio':>10}")
    reported = {kind: asdict(figures) for kind, figures in found.items()}
    for name in asdict(Figures()):
        values = {kind: reported[kind][name] for kind in reported}
        ours = values.get("JobStateSensor")
        ratio = f"{values['HttpSensor'] / ours:10.1f}" if ours and "HttpSensor" in values else ""
        print(f"{name:28}" + "".join(f"{value:16,.2f}" for value in values.values()) + ratio)


def restart(count: int, interval: float) -> list[str]:
    """Kill the triggerer while ``count`` jobs are waited for, start another; return the broken promises."""
    dead_for = (
        40.0  # Airflow gives a dead triggerer's triggers away after triggerer_health_check_threshold, 30 s
    )
    lasts = 2 * starting_takes(count) + dead_for + 4 * interval
    with deferred(WAITS, count, interval, lasts) as (cloud, airflow, end_at):
        began = time.time()
        airflow.airflow.start_component("triggerer")
        left = end_at - time.time()
        wait_until(lambda: airflow.triggerers(), "the triggerer started", 60)
        (killed,) = airflow.triggerers()
        wait_until(lambda: airflow.started(killed, WAITS) >= count, "all triggers started", left)
        time.sleep(5 + 2 * interval)
        killed_at = time.time()
        airflow.airflow.kill_component("triggerer")
        airflow.airflow.start_component("triggerer")
        wait_until(lambda: len(airflow.triggerers()) == 2, "another triggerer started", 60)
        _, heir = airflow.triggerers()
        wait_until(
            lambda: airflow.started(heir, WAITS) >= count, "all triggers started again", end_at - time.time()
        )
        wait_until(
            lambda: not airflow.waiting(WAITS),
            "all events were recorded",
            end_at - time.time() + 120 + count / 20,
        )
        begun: list[float] = []
        resumed: list[float] = []
        for _, records in task_logs(airflow.airflow, WAITS, heir):
            begun.append(records[0].at)
            looked = first(records, " is RUNNING")
            if looked is not None:
                resumed.append(looked - records[0].at)
        recorded = airflow.recorded(WAITS)
        asked = sorted(request.at for request in cloud.emulator.requests.recent)
    asked = [at for at in asked if at >= began]
    after = [at for at in asked if at >= killed_at]
    busiest = max(bisect(asked, at + 1) - index for index, at in enumerate(asked))
    ceiling = DEFAULT_CEILING + BURST
    allowed = interval + RESUMED_IN
    print(f"\na triggerer killed with {count} waiting sensors, every {interval:g} s")
    rows = [
        ("Airflow runs the first in the new triggerer, s after the kill", min(begun) - killed_at),
        ("Airflow runs the last, s after the kill", max(begun) - killed_at),
        ("first request of the new triggerer, s after the kill", after[0] - killed_at),
        ("a trigger has looked again, s after it runs: median", statistics.median(resumed)),
        (f"the same, worst (at most {allowed:g})", max(resumed)),
        (f"requests in the busiest second (at most {ceiling:g})", busiest),
        (f"sensors that looked again (of {count})", len(resumed)),
        (f"events in the database (of {count})", len(recorded)),
        ("last event, s after the jobs' end", max(recorded.values()) - end_at),
    ]
    for name, value in rows:
        print(f"{name:66}{value:10,.2f}")
    broken = []
    if max(resumed) > allowed:
        broken.append(f"a sensor looked again only {max(resumed):.1f} s after it ran")
    if busiest > ceiling:
        broken.append(f"{busiest} requests came in one second")
    if not len(resumed) == len(recorded) == count:
        broken.append("not every sensor went on and ended")
    return broken


def main() -> int:
    """Measure and print tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_triggerer", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds (default: %(default)s)")
    parser.add_argument("--waiting", type=float, default=60.0, help="seconds in which all wait")
    parser.add_argument("--part", choices=("costs", "restart"), help="do one of the two only")
    arguments = parser.parse_args()
    count, interval = arguments.jobs, arguments.interval
    broken = []
    if arguments.part != "restart":
        found = {}
        for kind, dag_id in KINDS.items():
            found[kind] = measure(dag_id, count, interval, arguments.waiting)
        show(count, interval, found)
    if arguments.part != "costs":
        broken = restart(count, interval)
        print("".join(f"BROKEN: {text}\n" for text in broken), end="")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

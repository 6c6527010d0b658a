# SPDX-License-Identifier: Apache-2.0
"""What many waiting jobs cost the triggerer: ours beside the http and the amazon provider's.

Run as ``python -m benchmarks.waiting_jobs --jobs 1000``, in the environment of ``make benchmarks``. One
emulated cluster, in a process of its own, runs jobs on a timetable which all end at one moment; for the other
two it has a page a job (``HttpSensorTrigger``) and AWS Batch's DescribeJobs (``BatchJobTrigger``). For each
kind of trigger a fresh process waits for all of them in one event loop, as a triggerer does, without a
database behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import json
import math
import multiprocessing
import os
import selectors
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.plots import Chart, draw

KINDS = ("JobStateTrigger", "HttpSensorTrigger", "BatchJobTrigger")
REFUSED = "Throttling.User"
_MOST_BATCH = 1000
"""Jobs for which BatchJobTrigger is still measured: each has a client of its own, of about a megabyte."""


@dataclass
class Figures:
    """What one kind of trigger cost."""

    requests: int = 0
    cpu_seconds: float = 0.0
    worst_stall_ms: float = 0.0
    """The longest turn of the event loop, by the clock; on a busy machine, what others took is in it."""
    worst_busy_ms: float = 0.0
    """The processor's time of the longest turn: what is the triggers' own of a stall."""
    kilobytes_a_job: float = 0.0
    median_lag: float = 0.0
    """Seconds from a job's end to its event."""
    worst_lag: float = 0.0
    events: int = 0
    successes: int = 0
    """Events that say that the job succeeded, as all did."""
    refusals: int = 0
    """Requests that the cloud refused for coming too fast."""


def serve(pipe: Connection, quota: float | None) -> None:
    """Run the cluster; submit jobs and count requests as the other end of the pipe asks.

    :param quota: requests a second that it answers; the others it refuses.
    """
    from aiohttp import web

    from airflow_provider_ehpc.emulator.server import Emulator

    asked = 0

    with tempfile.TemporaryDirectory() as directory, Emulator(directory, scheduler="timetable") as emulator:

        async def plain(request: web.Request) -> web.Response:
            # HttpSensorTrigger waits for another status than 404 and cannot sign: it has a page of its own.
            nonlocal asked
            asked += 1
            ended = emulator.job(request.match_info["job_id"]).phase.ended
            return web.json_response({}, status=200 if ended else 404)

        async def batch(request: web.Request) -> web.Response:
            nonlocal asked
            asked += 1
            (job_id,) = (await request.json())["jobs"]
            status = "SUCCEEDED" if emulator.job(job_id).phase.ended else "RUNNING"
            return web.json_response({"jobs": [{"jobId": job_id, "status": status}]})

        if quota:
            emulator.fault("quota", rate=quota)
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()

        async def open_plain() -> int:
            application = web.Application()
            application.router.add_get("/jobs/{job_id}", plain)
            application.router.add_post("/v1/describejobs", batch)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return int(runner.addresses[0][1])

        port = asyncio.run_coroutine_threadsafe(open_plain(), loop).result()
        pipe.send((emulator.connection, emulator.cluster_id, f"http://127.0.0.1:{port}"))
        while (reported := pipe.recv()) is not None:
            if isinstance(reported, tuple):
                first = emulator.submit("run=0")
                jobs = [emulator.submit(f"run={end_at - time.time():.3f}") for end_at in reported]
                pipe.send([first, *jobs])
            else:
                requests = emulator.requests
                pipe.send((requests.count() + asked, requests.count(outcome=REFUSED)))


def wait(kind: str, cloud: tuple[Any, ...], job_ids: list[str], interval: float, pipe: Connection) -> None:
    """Wait for jobs in this process and send the figures. The first of them has ended and is not measured."""
    connection, cluster_id, plain_url = cloud
    os.environ["AIRFLOW_CONN_EHPC"] = json.dumps(connection)
    os.environ["AIRFLOW_CONN_PLAIN"] = json.dumps({"conn_type": "http", "host": plain_url})
    os.environ["AIRFLOW_CONN_BATCH"] = json.dumps(
        {"conn_type": "aws", "login": "id", "password": "key", "extra": {"endpoint_url": plain_url}}
    )
    os.environ["AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND"] = str(ceiling(len(job_ids)))
    # What a triggerer would write to task logs: its cost counts, its text does not.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    make: Callable[[str, float], Any]
    if kind == "JobStateTrigger":
        from airflow_provider_ehpc.triggers.job_state import JobStateTrigger

        def make(job_id: str, interval: float) -> Any:
            return JobStateTrigger(
                conn_id="EHPC",
                api="ehpc",
                jobs=[{"job_id": job_id, "cluster_id": cluster_id}],
                started=time.time(),
                poll_interval=interval,
            )
    elif kind == "BatchJobTrigger":
        from airflow.providers.amazon.aws.triggers.batch import BatchJobTrigger

        def make(job_id: str, interval: float) -> Any:
            # A whole number of seconds is all that it takes.
            delay = max(1, round(interval))
            return BatchJobTrigger(
                job_id=job_id, region_name="us-east-1", aws_conn_id="BATCH", waiter_delay=delay
            )
    else:
        from airflow.providers.http.triggers.http import HttpSensorTrigger

        def make(job_id: str, interval: float) -> Any:
            return HttpSensorTrigger(endpoint=f"jobs/{job_id}", http_conn_id="PLAIN", poke_interval=interval)

    # What is loaded once in a process (modules, certificates) is no job's cost, nor is the time that the
    # garbage collector needs to walk through all of it once in a while.
    asyncio.run(_fire(make(job_ids[0], 0.1)))
    gc.collect()
    gc.freeze()
    pipe.send("ready")
    ends: tuple[float, ...] = pipe.recv()
    triggers = [make(job_id, interval) for job_id in job_ids[1:]]
    watch = _LoopWatch()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(watch)) as runner:
        figures = runner.run(_measure(triggers, ends))
    figures.worst_stall_ms, figures.worst_busy_ms = watch.worst_stall * 1000, watch.worst_busy * 1000
    pipe.send(figures)


async def _fire(trigger: Any) -> tuple[float, Any]:
    """Run a trigger to its event; return the time of that, and its payload."""
    (event,) = [(time.time(), event.payload) async for event in trigger.run()]
    await trigger.cleanup()
    return event


class _LoopWatch(selectors.DefaultSelector):
    """Where an event loop sleeps: between two of its sleeps nobody else has their turn.

    It needs no timer in the loop, whose own cost would be as much as that of a thousand waiting triggers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._awake = (math.inf, math.inf)
        self.worst_stall = self.worst_busy = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.worst_stall = max(self.worst_stall, time.perf_counter() - self._awake[0])
        self.worst_busy = max(self.worst_busy, time.thread_time() - self._awake[1])
        events = super().select(timeout)
        self._awake = time.perf_counter(), time.thread_time()
        return events


async def _measure(triggers: list[Any], ends: tuple[float, ...]) -> Figures:
    figures = Figures()

    async def weigh() -> None:
        await asyncio.sleep(max(0.0, ends[0] - time.time() - 2))
        figures.kilobytes_a_job = (_resident() - before) / len(triggers) / 1024

    gc.collect()
    before = _resident()
    cpu = time.process_time()
    helper = asyncio.create_task(weigh())
    waits = []
    for trigger in triggers:
        waits.append(asyncio.create_task(_fire(trigger)))
        # As the triggerer does: it lets others have their turn between two triggers.
        await asyncio.sleep(0)
    events = await asyncio.gather(*waits)
    lags = [at - end for (at, _), end in zip(events, ends, strict=True)]
    figures.cpu_seconds = time.process_time() - cpu
    helper.cancel()
    figures.median_lag, figures.worst_lag = statistics.median(lags), max(lags)
    figures.events = len(events)
    # Ours and amazon's say how it ended; the http provider's fires only where its page does not answer 404.
    figures.successes = sum(
        payload is True or payload.get("outcome") == "reached" or payload.get("status") == "success"
        for _, payload in events
    )
    return figures


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ceiling(count: int) -> float:
    """Return the requests a second that ours may send: the default, or a page for every 50 jobs."""
    return max(20.0, count / 50)


def measure(
    kind: str, count: int, interval: float, lasts: float, over: float, quota: float | None
) -> Figures:
    """Let ``count`` jobs be waited for by one kind of trigger, on a cluster of their own.

    :param over: seconds over which the jobs end, one after the other.
    """
    context = multiprocessing.get_context("spawn")
    to_cloud, cloud_end = context.Pipe()
    server = context.Process(target=serve, args=(cloud_end, quota))
    server.start()
    try:
        cloud = to_cloud.recv()
        # The time that submitting takes is not the jobs': they end together, however many there are.
        ready_in = 30 + count / 200
        end_at = time.time() + ready_in + lasts
        ends = tuple(end_at + over * number / count for number in range(count))
        to_cloud.send(ends)
        job_ids = to_cloud.recv()
        pipe, waiter_end = context.Pipe()
        waiter = context.Process(target=wait, args=(kind, cloud, job_ids, interval, waiter_end))
        waiter.start()
        try:
            pipe.recv()
            time.sleep(max(0.0, end_at - lasts - time.time()))
            to_cloud.send("count")
            before, _ = to_cloud.recv()
            pipe.send(ends)
            figures: Figures = pipe.recv()
        finally:
            waiter.join(10)
        to_cloud.send("count")
        requests, figures.refusals = to_cloud.recv()
        figures.requests = requests - before
        return figures
    finally:
        to_cloud.send(None)
        server.join(10)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting_jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--interval", type=float, default=5.0, help="seconds (default: %(default)s)")
    parser.add_argument("--lasts", type=float, default=30.0, help="seconds that the jobs run on")
    parser.add_argument("--over", type=float, default=0.0, help="seconds over which they end, one by one")
    parser.add_argument(
        "--quota", type=float, help="requests a second that the cloud answers; measures ours only"
    )
    parser.add_argument("--only", choices=KINDS, help="measure one kind, without ratios")
    parser.add_argument("--rounds", type=int, default=1, help="measure so often, in turn")
    parser.add_argument("--plot", type=Path, help="draw the figures of the last --jobs into this SVG file")
    arguments = parser.parse_args()
    each: dict[int, list[Figures]] = {}
    for count in arguments.jobs * arguments.rounds:
        found: dict[str, dict[str, float]] = {}
        for kind in ["JobStateTrigger"] if arguments.quota else [arguments.only] if arguments.only else KINDS:
            if kind == "BatchJobTrigger" and (count > _MOST_BATCH or not _has_amazon()):
                continue
            figures = measure(
                kind, count, arguments.interval, arguments.lasts, arguments.over, arguments.quota
            )
            found[kind] = asdict(figures)
            if kind == next(iter(found)):
                each.setdefault(count, []).append(figures)
        print(
            f"\n{count:,} jobs, every {arguments.interval:g} s, ending after {arguments.lasts:g} s"
            + (f", one by one in {arguments.over:g} s" if arguments.over else "")
            + "; "
            f"ours sends at most {ceiling(count):g} requests a second"
            + (f", of which the cloud answers {arguments.quota:g}" if arguments.quota else "")
        )
        print(f"{'':16}" + "".join(f"{kind:>18}" + " " * 10 * bool(n) for n, kind in enumerate(found)))
        for name, ours in next(iter(found.values())).items():
            row = [f"{name:16}{ours:18.2f}"]
            row += [f"{other[name]:18.2f} {_ratio(other[name], ours)}" for other in list(found.values())[1:]]
            print("".join(row), flush=True)
    print(f"\n{next(iter(found))}, a job among so many, median of {arguments.rounds}:")
    for count, rounds in each.items():
        requests, cpu, stall = (
            statistics.median(getattr(figures, name) for figures in rounds) / count
            for name in ("requests", "cpu_seconds", "worst_stall_ms")
        )
        memory, lag = (
            statistics.median(getattr(figures, name) for figures in rounds)
            for name in ("kilobytes_a_job", "worst_lag")
        )
        print(
            f"{count:8,}: {requests:.3f} requests, {cpu * 1000:.2f} ms of the processor, {memory:.1f} KB, "
            f"{stall * 1000:.0f} µs of the longest stall; the last event {lag:.1f} s after the end"
        )
    if arguments.plot:
        charts = {
            "requests": "Requests",
            "cpu_seconds": "Processor, seconds",
            "worst_stall_ms": "Longest stall of the loop, ms",
            "kilobytes_a_job": "Memory a job, KB",
            "worst_lag": "Last event after the end, s",
        }
        draw(
            arguments.plot,
            [Chart(title, {kind: found[kind][name] for kind in found}) for name, title in charts.items()],
            ours="JobStateTrigger",
        )


def _ratio(other: float, ours: float) -> str:
    return f"({other / ours:6.1f})" if ours else " " * 8


def _has_amazon() -> bool:
    return importlib.util.find_spec("aiobotocore") is not None


if __name__ == "__main__":
    main()

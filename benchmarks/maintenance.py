# SPDX-License-Identifier: Apache-2.0
"""A maintenance page in front of the API while a hundred deferred tasks wait for their jobs.

Run as ``python -m benchmarks.maintenance``: pages of 3 s and of 60 s, on a real clock. All waits have to
survive, with one warning each at most. ``tests/faults/test_maintenance.py`` runs the same with pages of ten
and forty minutes, on a clock that runs faster.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_ehpc.emulator.server import Emulator
from tests.faults.server import Exchange, FaultServer

CONN_ID = "ehpc_maintenance"
PAGE = b"<html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"


@dataclass
class Outcomes:
    """What came of the waits."""

    events: list[dict[str, Any]] = field(default_factory=list)
    warnings: Counter[int] = field(default_factory=Counter)
    """How many warnings each wait logged, by its number."""
    requests: int = 0
    """Requests that got the page."""

    @property
    def by_outcome(self) -> Counter[str]:
        """How often the waits ended in each way."""
        return Counter(str(event["outcome"]) for event in self.events)


class _Warnings(logging.Handler):
    def __init__(self, number: int, counts: Counter[int]) -> None:
        super().__init__(logging.WARNING)
        self._number = number
        self._counts = counts

    def emit(self, record: logging.LogRecord) -> None:
        # A poll behind schedule is due to the machine, not to the page.
        if "behind" not in record.getMessage():
            self._counts[self._number] += 1


def maintain(exchange: Exchange) -> None:
    """Answer with the page."""
    exchange.respond(PAGE, 200, kind="text/html")


async def wait_through(
    emulator: Emulator, server: FaultServer, *, seconds: float, waits: int, interval: float
) -> Outcomes:
    """Let tasks wait for jobs, put the page in front of the API for a time, then let the jobs end.

    :param emulator: its scheduler is ``timetable``.
    :param seconds: how long the page stays, by the clock of the running loop.
    """
    from airflow_provider_ehpc.triggers.job_state import JobStateTrigger

    outcomes = Outcomes()
    jobs = [emulator.submit("run=0") for _ in range(waits)]
    # They have ended, but the API says that they run.
    emulator.fault("state", word="RUNNING")

    async def wait(number: int, job_id: str) -> None:
        trigger = JobStateTrigger(
            conn_id=CONN_ID,
            api="ehpc",
            jobs=[{"job_id": job_id, "cluster_id": emulator.cluster_id}],
            started=time.time(),
            poll_interval=interval,
        )
        logger = logging.Logger(f"wait {number}")
        logger.addHandler(_Warnings(number, outcomes.warnings))
        trigger._log = logger  # type: ignore[assignment]
        try:
            outcomes.events += [json.loads(json.dumps(event.payload)) async for event in trigger.run()]
        finally:
            await trigger.cleanup()

    tasks = [asyncio.create_task(wait(number, job_id)) for number, job_id in enumerate(jobs)]
    # All have seen their jobs run.
    await asyncio.sleep(5 + 2 * interval)
    server.act = maintain
    await asyncio.sleep(seconds)
    server.act = None
    emulator.faults.clear()
    await asyncio.gather(*tasks)
    outcomes.requests = server.struck
    return outcomes


def run(seconds: float, waits: int, interval: float) -> list[str]:
    """Measure one page; return what was not as it should be."""
    with tempfile.TemporaryDirectory() as folder, Emulator(folder, scheduler="timetable") as emulator:
        server = FaultServer(emulator.url)
        server.listen()
        os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps(
            {**emulator.connection, "host": server.url}
        )
        began = time.monotonic()
        outcomes = asyncio.run(
            wait_through(emulator, server, seconds=seconds, waits=waits, interval=interval)
        )
        took = time.monotonic() - began
        server.close()
    most = max(outcomes.warnings.values(), default=0)
    ends = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.by_outcome.items())
    print(
        f"page of {seconds:g} s, {waits} waits: {ends}; {outcomes.warnings.total()} warnings, "
        f"{most} a wait at most; {outcomes.requests} requests got the page; {took:.0f} s"
    )
    wrong = []
    if outcomes.by_outcome != {"reached": waits}:
        wrong.append(f"page of {seconds:g} s: not all waits survived")
    if most > 1:
        wrong.append(f"page of {seconds:g} s: a wait logged {most} warnings")
    return wrong


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maintenance", description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[3.0, 60.0])
    parser.add_argument("--waits", type=int, default=100)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two polls")
    arguments = parser.parse_args()
    wrong = [
        text for seconds in arguments.seconds for text in run(seconds, arguments.waits, arguments.interval)
    ]
    for text in wrong:
        print(f"WRONG: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""A trigger that watches the event loop it runs in: the triggerer's own, with all other triggers in it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

TICK = 0.01
"""Seconds between two looks; a stall shorter than that is seen in part."""


class LoopWatch(BaseTrigger):
    """Writes a line of JSON a second to a file, for ever: the process, and the longest stall in that second.

    A stall is reported twice: by the clock (``stall``, which on a busy machine holds the time that other
    processes took) and by the processor time of the loop's thread (``busy``). ``collecting`` is the longest
    garbage collection, which blocks the loop whatever made the garbage: its length goes with all that the
    process has loaded. All are in seconds.
    """

    def __init__(self, path: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds the trigger."""
        return "benchmarks.loop_watch.LoopWatch", {"path": self.path}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch until cancelled."""
        collecting = 0.0
        began = 0.0

        def collected(phase: str, reported: dict[str, int]) -> None:
            nonlocal collecting, began
            if phase == "start":
                began = time.thread_time()
            else:
                collecting = max(collecting, time.thread_time() - began)

        gc.callbacks.append(collected)
        with open(self.path, "a", buffering=1) as file:  # noqa: ASYNC230 - some bytes a second
            while True:
                second = time.perf_counter() + 1
                stall = busy = collecting = 0.0
                while (before := time.perf_counter()) < second:
                    cpu = time.thread_time()
                    await asyncio.sleep(TICK)
                    stall = max(stall, time.perf_counter() - before - TICK)
                    busy = max(busy, time.thread_time() - cpu)
                note = [os.getpid(), os.getppid(), time.time(), stall, busy, collecting]
                print(json.dumps(note), file=file)
        yield TriggerEvent(None)  # a generator is what Airflow runs


class WatchLoop(BaseOperator):
    """Defers to :class:`LoopWatch`.

    :param path: the file.
    """

    def __init__(self, *, path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path

    def execute(self, context: Any) -> None:
        """Watch from the triggerer, until the run is over."""
        self.defer(trigger=LoopWatch(self.path), method_name="execute_complete")

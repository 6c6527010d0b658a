# SPDX-License-Identifier: Apache-2.0
"""Limit the rate at which triggers write to the task log.

Every record of every trigger of a process goes through one pipe to the triggerer's supervisor. Its one thread
also handles heartbeats, connections and events. A write blocks the event loop while the pipe is full. A
record takes that thread about 0.7 ms, and each byte about 1 µs (measured with Airflow 3.3.2: 1,300 single
lines per second, or 8,000 lines in records of 200). The streams of a process take turns and share half of
that time. They put many lines into a record only when they are behind. No stream writes while the supervisor
is busy with other things, so that the event loop is not blocked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from airflow_provider_ehpc.text import unfold

RECORD_COST = 0.7e-3
BYTE_COST = 1.0e-6
SHARE = 0.5
"""Seconds of the supervisor's time, in each second, that log lines may take."""
BURST = 0.25
"""Seconds of that time that may be used at once after a quiet period."""
FULL = 0.01
"""Seconds after which a full pipe is checked again."""
RECORD_BYTES = 16 * 1024
RECORD_LINES = 200
FEW = 10
"""Up to this many lines get a record each: a person can read them as they come."""


class EmissionBudget:
    """Share the supervisor's time between all streams of one event loop: first come, first served."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, has_room: Callable[[], bool] | None = None
    ) -> None:
        self._clock = clock
        self._has_room = has_room or supervisor_reads
        self._left = BURST
        self._at = clock()
        self._budget_lock = asyncio.Lock()
        self._room_lock = asyncio.Lock()

    async def take(self, size: int) -> None:
        """Wait until a record of ``size`` bytes may be written.

        The lock is fair, so a stream with many lines writes one record before each of the others writes its
        own.
        """
        async with self._budget_lock:
            now = self._clock()
            self._left = min(BURST, self._left + (now - self._at) * SHARE)
            self._at = now
            self._left -= RECORD_COST + size * BYTE_COST
            if self._left < 0:
                await asyncio.sleep(-self._left / SHARE)
            else:
                await asyncio.sleep(0)
            await self.room()

    async def room(self) -> None:
        """Wait until a record can be written without blocking.

        This is for records that are too few to need the budget. It is first come, first served, too: a
        thousand jobs that end together write a thousand records.
        """
        async with self._room_lock:
            while not self._has_room():  # noqa: ASYNC110 - only the kernel knows
                await asyncio.sleep(FULL)


def supervisor_reads() -> bool:
    """Return True if a record can be logged now without blocking, as far as this can be known.

    Airflow gives every process that runs triggers a socket for its log, which the root logger also uses.
    Linux calls a Unix socket writable if at most a quarter of its buffer of 200 KiB is used
    (``unix_writable`` in ``net/unix/af_unix.c``), so that a record has room.
    """
    for handler in logging.getLogger().handlers:
        try:
            file = handler.stream.fileno()  # type: ignore[attr-defined]
            if not stat.S_ISSOCK(os.fstat(file).st_mode):
                continue
            waiting = select.poll()
            waiting.register(file, select.POLLOUT)
            return bool(waiting.poll(0))
        except (AttributeError, OSError, ValueError):
            continue
    return True


_budgets: WeakKeyDictionary[asyncio.AbstractEventLoop, EmissionBudget] = WeakKeyDictionary()


def emission_budget() -> EmissionBudget:
    """Return the budget that the triggers of the running loop share."""
    loop = asyncio.get_running_loop()
    if loop not in _budgets:
        _budgets[loop] = EmissionBudget()
    return _budgets[loop]


def write_record(log: Any, stream: str, record: str, stderr_level: str) -> None:
    """Write a record to the task log: that of a standard error at its own level, others at INFO."""
    level = stderr_level if stream == "stderr" else "info"
    getattr(log, level)("%s", record)


def records(lines: list[str], prefix: str = "", *, together: bool = True) -> Iterator[str]:
    """Yield records: one for each line if there are few, otherwise as many lines as fit in each.

    :param together: False to yield one record for each line in any case.
    """
    if len(lines) <= FEW or not together:
        yield from (unfold(prefix + line) for line in lines)
        return
    record: list[str] = []
    size = 0
    for line in lines:
        text = unfold(prefix + line)
        # Non-ASCII characters take up to 3 bytes here; encoding each line for its exact length would take
        # longer.
        length = len(text) if text.isascii() else len(text) * 3
        if record and (size + length > RECORD_BYTES or len(record) == RECORD_LINES):
            yield "\n".join(record)
            record, size = [], 0
        record.append(text)
        size += length
    yield "\n".join(record)

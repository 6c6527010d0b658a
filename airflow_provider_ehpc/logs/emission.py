"""The rate at which triggers write to the task log.

Every record of every trigger of a process goes through one pipe to the triggerer's supervisor, which handles
it in one thread beside heartbeats, connections and events; the write blocks the event loop while the pipe is
full. A record was measured to cost that thread about 0.7 ms and each of its bytes about 1 µs (Airflow 3.3.2:
1,300 single lines a second, or 8,000 lines in records of 200). The streams of a process share half of that
time, in turn, and put many lines in a record only when they are behind. While the supervisor does other
things nobody writes, so that the loop goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

from airflow_provider_ehpc.text import unfold

RECORD_COST = 0.7e-3
BYTE_COST = 1.0e-6
SHARE = 0.5
"""Seconds of the supervisor's time, in each second, that log lines may take."""
BURST = 0.25
"""Seconds of that time that may be taken at once after a quiet spell."""
FULL = 0.01
"""Seconds after which a pipe that was full is checked again."""
RECORD_BYTES = 16 * 1024
RECORD_LINES = 200
FEW = 10
"""So many lines are written one by one: they were not written faster than a person reads."""


class EmissionBudget:
    """A budget of the supervisor's time, for all streams of one event loop: first come, first served."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, has_room: Callable[[], bool] | None = None
    ) -> None:
        self._clock = clock
        self._has_room = has_room or supervisor_reads
        self._left = BURST
        self._at = clock()
        self._turn = asyncio.Lock()
        self._door = asyncio.Lock()

    async def take(self, size: int) -> None:
        """Wait until a record of ``size`` bytes may be written.

        The lock is fair, so a stream with many lines writes one record before each of the others writes its
        own.
        """
        async with self._turn:
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
        """Wait until a record can be written at once; for those that are too few to need a budget.

        A thousand jobs that end together are a thousand records at once: first come, first served, too.
        """
        async with self._door:
            while not self._has_room():  # noqa: ASYNC110 - only the kernel knows
                await asyncio.sleep(FULL)


def supervisor_reads() -> bool:
    """Return True if a record that is logged now is read at once, as far as this can be known.

    Airflow gives every process that runs triggers a socket to log to, which the root logger has as well.
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


def records(lines: list[str], prefix: str = "", *, together: bool = True) -> Iterator[str]:
    """Put lines into records: one each if they are few, else as many as fit, one below the other.

    :param together: False for one each, however many they are.
    """
    if len(lines) <= FEW or not together:
        yield from (unfold(prefix + line) for line in lines)
        return
    record: list[str] = []
    size = 0
    for line in lines:
        text = unfold(prefix + line)
        # Characters outside ASCII are longer in UTF-8; encoding each line for its length would cost more.
        length = len(text) if text.isascii() else len(text) * 3
        if record and (size + length > RECORD_BYTES or len(record) == RECORD_LINES):
            yield "\n".join(record)
            record, size = [], 0
        record.append(text)
        size += length
    yield "\n".join(record)

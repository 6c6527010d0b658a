# SPDX-License-Identifier: Apache-2.0
"""Save a log's cursor outside of the process that writes the log.

A worker saves it in the task state store, which lives as long as the task instance and its retries. A trigger
cannot use that store (Airflow 3.3 never responds to it). It saves the cursor as an XCom of its task, which a
new try of the task clears. The worker creates that XCom before it defers, because Airflow logs an error if it
does not exist, and copies it when the task resumes. If that worker dies before it copied the XCom, Airflow
clears it before any of our code runs, and the next try begins where the deferral began. Airflow 3.1 and 3.2
have neither store.

If a cursor cannot be saved or read, one warning is logged and the wait continues: at worst, lines are
repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from airflow_provider_ehpc.compat import async_xcom, no_longer_ours, task_state_store, xcom_address
from airflow_provider_ehpc.logs.arrival import ARRIVAL, SPACING
from airflow_provider_ehpc.logs.cursor import SavedCursor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.apis.job import JobRef

STATE_KEY = "ehpc:log_cursor"
XCOM_KEY = "ehpc_log_cursor"
ENDED_KEY = "ended_with_max_tries"
TRIGGER_EVERY = 7.0
"""Seconds between two writes of a trigger, at least. A line takes three more to reach the log, so it is
counted within ten."""
WRITES_PER_SECOND = 5.0
READS_PER_SECOND = 20.0
"""Writes and reads per second for all streams of a triggerer, whose one thread also does everything else. The
streams share them: the more streams there are, the less often each writes."""
PARTING_SAVE = 0.02
"""Seconds for each stream's last write when the triggerer ends; a write takes about half of that."""
SHORTEST_PARTING = 1.0
LONGEST_PARTING = 8.0
"""Seconds for all last writes, at least and at most. Airflow waits for ten."""
SUPERVISOR_TIMEOUT = 20.0
"""Seconds to wait for a response of the triggerer's supervisor. It never responds to unknown requests."""


class _Store:
    def __init__(self, log: Any) -> None:
        self._log = log
        self._warned = False

    def _failed(self, action: str, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            self._log.warning(
                "the log position could not be %s: %s %s. The wait continues; after a crash, lines may be "
                "repeated.",
                action,
                type(error).__name__,
                error,
            )

    def _missing(self, ref: JobRef) -> None:
        self._log.info(
            "log of %s: reading starts at its beginning. This Airflow cannot save the log position: after a "
            "crash or in a retry, lines are repeated.",
            ref,
        )


class WorkerStore(_Store):
    """Save a task's cursor on the worker."""

    def __init__(self, context: Context, log: Any) -> None:
        super().__init__(log)
        self._context = context
        self._state = task_state_store(context)
        self._saved: dict[str, Any] | None = None
        self.outdated = False
        """True if another try has begun, which continues the log from the last saved cursor."""

    def delay(self) -> float:
        """Return the number of seconds within which a saved cursor counts a written line."""
        return ARRIVAL + SPACING

    def load(self, api: str, ref: JobRef, *, log_missing: bool = True) -> SavedCursor | None:
        """Return the cursor of an earlier try for this job; log if Airflow cannot save one.

        :param log_missing: False if the trigger will log that.
        """
        if self._state is None:
            if log_missing:
                self._missing(ref)
            return None
        try:
            saved = self._state.get(STATE_KEY)
            # Clearing an ended task raises max_tries; a retry after a crash in its last moments does not.
            if isinstance(saved, dict) and saved.get(ENDED_KEY) not in (None, self._context["ti"].max_tries):
                return None
            self._saved = saved
            return SavedCursor.read(saved, api, ref)
        except Exception as error:
            self._failed("read", error)
            return None

    def save(self, cursor: SavedCursor) -> None:
        """Save the cursor."""
        self._set(cursor.as_dict())

    def take_over(self) -> None:
        """Save the cursor of the trigger, after the task has resumed from its deferral."""
        if self._state is None or (xcom := async_xcom()) is None:
            return
        try:
            saved = xcom.get_one(key=XCOM_KEY, **xcom_address(self._context["ti"]))
        except Exception as error:
            self._failed("read", error)
            return
        cursor = saved.get("cursor") if isinstance(saved, dict) else None
        if cursor is not None:
            self._set(cursor)

    def defer(self, cursor: SavedCursor | None) -> None:
        """Create the XCom that the trigger reads and updates."""
        if async_xcom() is None or (ti := self._context.get("ti")) is None:
            return
        value = _xcom_value(ti, cursor)
        try:
            ti.xcom_push(key=XCOM_KEY, value=value)
        except Exception as error:
            self._failed("saved", error)

    def forget(self) -> None:
        """Mark the cursor as that of a complete log.

        A retry after a crash in the task's last moments still uses it. If a user clears the task, the whole
        log is written again.
        """
        if self._saved:
            self._set({**self._saved, ENDED_KEY: self._context["ti"].max_tries})

    def _set(self, value: dict[str, Any]) -> None:
        if self._state is not None:
            try:
                self._state.set(STATE_KEY, value)
                self._saved = value
            except Exception as error:
                self.outdated = no_longer_ours(error)
                if not self.outdated:
                    self._failed("saved", error)


class WriteThrottle:
    """Space out the requests to the triggerer's supervisor evenly.

    :param rate: requests per second.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = 1 / rate
        self._clock = clock
        self._next = clock()

    async def take(self) -> None:
        """Wait until a request may be sent."""
        now = self._clock()
        at = max(now, self._next)
        self._next = at + self._step
        await asyncio.sleep(at - now)


class TriggerStore(_Store):
    """Save a deferred task's cursor in the triggerer.

    :param task_instance: the task instance; None in ``dag.test()``, which never restarts a trigger.
    """

    _open: ClassVar[WeakSet[TriggerStore]] = WeakSet()
    """The stores of all streams of this process."""
    _writes: ClassVar[WriteThrottle] = WriteThrottle(WRITES_PER_SECOND)
    _reads: ClassVar[WriteThrottle] = WriteThrottle(READS_PER_SECOND)

    def __init__(self, task_instance: Any, log: Any) -> None:
        super().__init__(log)
        self._xcom = async_xcom() if task_instance is not None else None
        self._ti = task_instance
        self._open.add(self)

    async def load(self, api: str, ref: JobRef) -> SavedCursor | None:
        """Return the cursor that was saved before the triggerer restarted."""
        if self._xcom is None:
            if self._ti is not None:
                self._missing(ref)
            return None
        await self._reads.take()
        try:
            async with asyncio.timeout(SUPERVISOR_TIMEOUT):
                saved = await self._xcom.aget_one(key=XCOM_KEY, **xcom_address(self._ti))
        except Exception as error:
            self._failed("read", error)
            return None
        # Airflow clears XComs when a worker begins a try, but not if a trigger begins it.
        if not isinstance(saved, dict) or saved.get("try_number") != self._ti.try_number:
            return None
        return SavedCursor.read(saved.get("cursor"), api, ref)

    async def turn(self) -> None:
        """Wait until this stream may write: all streams of the process take turns."""
        if self._xcom is not None:
            await self._writes.take()

    async def save(self, cursor: SavedCursor) -> None:
        """Save the cursor."""
        try:
            async with asyncio.timeout(SUPERVISOR_TIMEOUT):
                await self._aset(cursor)
        except Exception as error:
            self._failed("saved", error)

    async def save_in_parting(self, cursor: SavedCursor) -> None:
        """Save the cursor when the trigger is cancelled; errors are ignored.

        A triggerer that ends stops reading responses before it cancels its triggers (Airflow 3.3), but its
        supervisor still handles requests. So send the request, and wait only as long as the supervisor may
        take.
        """
        last = min(LONGEST_PARTING, max(SHORTEST_PARTING, len(self._open) * PARTING_SAVE))
        with contextlib.suppress(Exception):
            async with asyncio.timeout(last):
                await self._aset(cursor)

    def every(self) -> float:
        """Return the seconds between two writes of this stream."""
        return max(TRIGGER_EVERY, len(self._open) / WRITES_PER_SECOND)

    def delay(self) -> float:
        """Return the number of seconds within which a saved cursor counts a written line."""
        return self.every() + ARRIVAL

    def close(self) -> None:
        """Release this stream's share of the writes."""
        self._open.discard(self)

    async def _aset(self, cursor: SavedCursor) -> None:
        if self._xcom is not None:
            await self._xcom.aset(key=XCOM_KEY, value=_xcom_value(self._ti, cursor), **xcom_address(self._ti))


def _xcom_value(ti: Any, cursor: SavedCursor | None) -> dict[str, Any]:
    return {"try_number": ti.try_number, "cursor": cursor.as_dict() if cursor else None}

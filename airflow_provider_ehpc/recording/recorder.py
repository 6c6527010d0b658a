# SPDX-License-Identifier: Apache-2.0
"""Decide when to write a task's record, and write it: a worker writes at once, triggers take turns.

A failed or slow write never fails or delays a wait.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_ehpc.compat import database_xcom, in_a_process_of_airflow, xcom_address
from airflow_provider_ehpc.logs.store import SUPERVISOR_TIMEOUT, WriteThrottle
from airflow_provider_ehpc.recording.record import KEY, TaskRecord

if TYPE_CHECKING:
    from airflow_provider_ehpc.logs.cursor import LogTotals
    from airflow_provider_ehpc.waiting.watch import JobWatch

LOG_EVERY = 60.0
"""The number of seconds between two writes that only record the growth of a log."""
WRITES_PER_SECOND = 3.0
"""The number of writes per second that all triggers of a triggerer share. The supervisor of the triggerer has
one thread for all requests, and a write takes about 10 ms."""

Jobs = Callable[[], Iterable["JobWatch"]]


class _Recorder:
    """Follow the jobs of a task.

    :param jobs: returns the watches of the task's jobs.
    :param head: the values that all jobs share.
    """

    def __init__(self, ti: Any, log: Any, jobs: Jobs | None = None, **head: Any) -> None:
        self._ti = ti
        self._log = log
        self._record = TaskRecord(**head)
        self._try = getattr(ti, "try_number", None)
        self._jobs = jobs
        self._totals: LogTotals | None = None
        self._state: object = None
        self._written = 0.0
        self._failed = False
        self._outcome: str | None = None

    def follow(self, jobs: Jobs, totals: LogTotals | None = None) -> None:
        """Record these jobs, and the growth of their log."""
        self._jobs = jobs
        self._totals = totals

    def polled(self, changed: object) -> None:
        """Process a poll; ``changed`` is true if the state of a job has changed."""
        if changed:
            self._write()

    def cycle(self) -> None:
        """Process the end of a cycle in which a followed log was read."""
        now = time.time()
        (watch,) = self._jobs() if self._jobs else (None,)
        if self._totals:
            self._record.growth.add(now, self._totals.bytes)
        state = watch.status.state if watch and watch.status else None
        if state is not self._state or now - self._written >= LOG_EVERY:
            self._state = state
            self._write()

    @abstractmethod
    def _write(self) -> None: ...

    def _value(self) -> dict[str, Any]:
        self._written = now = time.time()
        if self._jobs and self._outcome is None:
            self._record.saw((watch.ref, watch.status, watch.since) for watch in self._jobs())
        lines = self._totals.lines if self._totals else None
        return {**self._record.as_dict(now, outcome=self._outcome, lines=lines), "try_number": self._try}

    def _resume(self, saved: Any) -> None:
        # Airflow clears XComs if a worker begins a try, but not if a trigger does.
        if isinstance(saved, dict) and saved.get("try_number") == self._try:
            self._record.resume(saved)

    def _not_recorded(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            self._log.info(
                "the page 'HPC jobs' is out of date: the jobs of this task could not be recorded (%s %s). "
                "The wait continues.",
                type(error).__name__,
                error,
            )


class WorkerRecorder(_Recorder):
    """Record the jobs of a task on a worker.

    :param resumed: True if a trigger may have written the record before.
    """

    def __init__(self, ti: Any, log: Any, *, resumed: bool = False, **head: Any) -> None:
        super().__init__(ti, log, **head)
        self._enabled = ti is not None and in_a_process_of_airflow()
        if resumed and self._enabled:
            try:
                self._resume(database_xcom().get_one(key=KEY, **xcom_address(self._ti)))
            except Exception as error:
                self._not_recorded(error)

    def ended(
        self, jobs: Sequence[Mapping[str, Any]], outcome: str, causes: Mapping[str, str] | None = None
    ) -> None:
        """Record the end of the wait.

        :param jobs: the last statuses, as dicts.
        :param causes: the causes of failures, by job ID.
        """
        self._outcome = outcome
        if self._totals:
            self._record.growth.add(time.time(), self._totals.bytes)
        if jobs:
            self._record.ended(jobs, time.time(), causes)
        self._write()

    def _write(self) -> None:
        if not self._enabled:
            return
        try:
            database_xcom().set(key=KEY, value=self._value(), **xcom_address(self._ti))
        except Exception as error:
            self._not_recorded(error)


class TriggererRecorder(_Recorder):
    """Record the jobs of a deferred task in the triggerer.

    A changed record waits for its turn. If it changes again in the meantime, it is still written only once.
    """

    _waiting: ClassVar[dict[TriggererRecorder, None]] = {}
    _throttle: ClassVar[WriteThrottle] = WriteThrottle(WRITES_PER_SECOND)
    _writer: ClassVar[asyncio.Task[None] | None] = None

    def __init__(self, ti: Any, log: Any, jobs: Jobs | None = None, **head: Any) -> None:
        super().__init__(ti, log, jobs, **head)
        xcom = database_xcom() if ti is not None and in_a_process_of_airflow() else None
        # Airflow 3.1 and 3.2 do not have these methods.
        self._xcom = xcom if hasattr(xcom, "aset") and hasattr(xcom, "aget_one") else None
        self._loaded = False

    def close(self) -> None:
        """Stop writing: the worker that resumes the task records the end of the wait."""
        self._xcom = None
        self._waiting.pop(self, None)

    def _write(self) -> None:
        if self._xcom is None:
            return
        self._waiting.setdefault(self)
        writer = TriggererRecorder._writer
        if writer is None or writer.done() or writer.get_loop() is not asyncio.get_running_loop():
            # Otherwise, its log lines would go into the log of the task whose trigger started it.
            TriggererRecorder._writer = asyncio.create_task(self._write_all(), context=contextvars.Context())

    @classmethod
    async def _write_all(cls) -> None:
        while cls._waiting:
            await cls._throttle.take()
            if cls._waiting:
                recorder = next(iter(cls._waiting))
                del cls._waiting[recorder]
                await recorder._write_now()

    async def _write_now(self) -> None:
        if self._xcom is None:
            return
        try:
            async with asyncio.timeout(SUPERVISOR_TIMEOUT):
                saved = None
                if not self._loaded:
                    self._loaded = True
                    saved = await self._xcom.aget_one(key=KEY, **xcom_address(self._ti))
                    self._resume(saved)
                value = self._value()
                # The worker that deferred has usually written the same states.
                known = (
                    isinstance(saved, dict) and saved.get("counts") == value["counts"] and not self._totals
                )
                if self._xcom is not None and not known:
                    await self._xcom.aset(key=KEY, value=value, **xcom_address(self._ti))
        except Exception as error:
            self._not_recorded(error)

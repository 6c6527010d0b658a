# SPDX-License-Identifier: Apache-2.0
"""Follow a job and its log, in the triggerer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.capabilities import Capability, require
from airflow_provider_ehpc.apis.job import JobRef, JobStatus
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.pool import POOL
from airflow_provider_ehpc.logs.cursor import SavedCursor
from airflow_provider_ehpc.logs.emission import emission_budget, records, write_record
from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, GetStatus, LogFollower, Pause, Step
from airflow_provider_ehpc.logs.lines import STDERR_LEVEL, stream_prefix
from airflow_provider_ehpc.logs.saver import CursorSaver
from airflow_provider_ehpc.logs.store import TriggerStore
from airflow_provider_ehpc.metrics import LogMeter
from airflow_provider_ehpc.polling.subscription import PollResult, Subscription
from airflow_provider_ehpc.triggers.base import JobTrigger
from airflow_provider_ehpc.waiting.event import bounded_event
from airflow_provider_ehpc.waiting.watch import JobWatch, Note, Outcome, is_provisional


class SubscriptionView:
    """Let one trigger read a job's results from the shared poller whenever it needs them."""

    def __init__(self, subscription: Subscription, ref: JobRef) -> None:
        self._subscription = subscription
        self._ref = ref
        self._unread: PollResult | None = None
        self._status: JobStatus | None = None

    async def get_status(self) -> JobStatus | ApiError | None:
        """Return the last result; after an error or an unknown job, wait for the next one."""
        if self._unread is None:
            # With a timeout of 0, this still takes a result that is ready.
            await self.pause(0.0 if self._status else None)
        result, self._unread = self._unread, None
        if isinstance(result, ApiError):
            self._status = None
            return result
        if result is not None:
            status = self._status = result[self._ref]
            if status and is_provisional(status):
                # The next poll confirms it.
                self._status = None
            elif status and status.state.terminal:
                # The state is final; the end of the log is still read.
                self._subscription.refs = []
            return status
        return self._status

    async def pause(self, seconds: float | None) -> None:
        """Wait for ``seconds``, or until a result arrives."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                self._unread = await self._subscription.poll()


class JobLogTrigger(JobTrigger):
    """Stream a job's log into the task log and fire once, when the job has ended and its log is read to the
    end.

    The whole wait is one deferral: Airflow truncates a trigger's log at every new deferral.

    :param settle: seconds without a new byte after which an ended job's log counts as complete.
    :param cursor: the position at which an earlier try stopped,
        a :class:`~airflow_provider_ehpc.logs.cursor.SavedCursor` as a dict.
    :param encoding: the encoding of the job's output.
    :param stderr_level: the level of the lines of the standard error.
    """

    def __init__(
        self,
        *,
        settle: float,
        cursor: dict[str, Any] | None = None,
        encoding: str = "utf-8",
        stderr_level: str = STDERR_LEVEL,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settle = settle
        self.cursor = cursor
        self.encoding = encoding
        self.stderr_level = stderr_level
        self._store: TriggerStore | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the arguments that rebuild the trigger."""
        path, kwargs = super().serialize()
        if self.cursor:
            kwargs["cursor"] = self.cursor
        if self.encoding != "utf-8":
            kwargs["encoding"] = self.encoding
        if self.stderr_level != STDERR_LEVEL:
            kwargs["stderr_level"] = self.stderr_level
        return path, {**kwargs, "settle": self.settle}

    async def watch(self) -> dict[str, Any]:
        """Follow the job; return the payload of the event."""
        # Another version of this package may have deferred a task whose API has no log: fail before polling.
        require(self.api, Capability.LOG)
        async with POOL.share(self.conn_id, self.api) as shared:
            return await self._follow(await shared.get())

    async def _follow(self, hook: ApiHook) -> dict[str, Any]:
        (ref,) = self.refs
        store = self._store = TriggerStore(getattr(self, "task_instance", None), self.log)
        start = await store.load(hook.api.name, ref) or SavedCursor.read(self.cursor, hook.api.name, ref)
        watch = JobWatch(
            ref,
            self.conditions,
            self.started,
            seen_before=self.seen or self.takes_over,
            describe=start is None,
        )
        follower = LogFollower(
            hook.api,
            ref,
            watch,
            clock=time.time,
            interval=self.poll_interval,
            settle=self.settle,
            start=start,
            save_delay=store.delay,
            encoding=self.encoding,
        )
        saver = CursorSaver(store)
        meter = LogMeter(hook.api.name, "triggerer", follower.totals, resumed=start is not None)
        async with self.polling() as subscription:
            view = SubscriptionView(subscription, ref)
            recorder = self.recorder(lambda: (watch,))
            recorder.follow(lambda: (watch,), follower.totals)

            async def do(step: Step) -> JobStatus | ApiError | None:
                if isinstance(step, GetStatus):
                    return await view.get_status()
                if isinstance(step, Emit):
                    await self._write(step)
                    saver.wrote()
                    meter.written()
                elif isinstance(step, Note):
                    await self.log_notes(step)
                elif isinstance(step, Checkpoint):
                    await saver.reached(step.cursor)
                elif isinstance(step, Pause):
                    recorder.cycle()
                    await view.pause(step.seconds)
                return None

            try:
                async with saver.running():
                    verdict = await hook.adrive(follower.steps(), do)
            except asyncio.CancelledError:
                await store.save_in_parting(follower.cursor)
                raise
        waiting = () if verdict.outcome is Outcome.REACHED else self.refs
        event = bounded_event(verdict, self.refs, waiting, self.conditions.target_states)
        return {**event, "log": dataclasses.asdict(follower.totals)}

    async def cleanup(self) -> None:
        """Give up this stream's share of the log's bandwidth."""
        await super().cleanup()
        if self._store:
            self._store.close()

    async def _write(self, step: Emit) -> None:
        budget = emission_budget()
        left = records(step.lines, stream_prefix(step.stream))
        for record in left:
            try:
                await budget.take(len(record))
            except asyncio.CancelledError:
                # The cursor counts these lines as written, and they are few.
                for unwritten in (record, *left):
                    write_record(self.log, step.stream, unwritten, self.stderr_level)
                raise
            write_record(self.log, step.stream, record, self.stderr_level)

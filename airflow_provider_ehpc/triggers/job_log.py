"""Following a job and its log, in the triggerer."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

from airflow_provider_ehpc.logs.cursor import SavedCursor
from airflow_provider_ehpc.logs.emission import emission_budget, records, stream_prefix
from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, LogFollower, Pause, Step
from airflow_provider_ehpc.logs.store import TriggerStore
from airflow_provider_ehpc.polling.watch import JobWatch, Note
from airflow_provider_ehpc.triggers.base import JobTrigger


class JobLogTrigger(JobTrigger):
    """Streams a job's log into the task log and fires once, when the job has ended and its log is drained.

    The whole life of the job is one deferral: Airflow truncates a trigger's log at every new one.

    :param settle: seconds without a new byte after which an ended job's log counts as complete.
    :param cursor: where an earlier try stopped,
        a :class:`~airflow_provider_ehpc.logs.cursor.SavedCursor` as a dict.
    """

    def __init__(self, *, settle: float, cursor: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settle = settle
        self.cursor = cursor
        self._store: TriggerStore | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds the trigger."""
        path, kwargs = super().serialize()
        if self.cursor:
            kwargs["cursor"] = self.cursor
        return path, {**kwargs, "settle": self.settle}

    async def watch(self) -> dict[str, Any]:
        """Follow the job."""
        hook = await self.hook()
        (ref,) = self.refs
        store = self._store = TriggerStore(getattr(self, "task_instance", None), self.log)
        start = await store.load(hook.api.name, ref) or SavedCursor.read(self.cursor, hook.api.name, ref)
        follower = LogFollower(
            hook.api,
            ref,
            JobWatch(ref, self.wait_terms, self.started),
            clock=time.time,
            interval=self.poll_interval,
            settle=self.settle,
            first_pause=self.first_pause(),
            start=start,
            checkpoint_every=store.every,
        )
        try:
            verdict = await hook.adrive(follower.steps(), self._do)
        except asyncio.CancelledError:
            await store.save_in_parting(follower.cursor)
            raise
        return {**verdict.as_event(), "log": dataclasses.asdict(follower.totals)}

    async def cleanup(self) -> None:
        """Close the connections, and make way for other streams."""
        if self._store:
            self._store.close()
        await super().cleanup()

    async def _do(self, step: Step) -> None:
        if isinstance(step, Emit):
            await self._write(step)
        elif isinstance(step, Note):
            step.tell(self.log)
        elif isinstance(step, Checkpoint):
            if self._store:
                await self._store.save(step.cursor)
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)

    async def _write(self, step: Emit) -> None:
        budget = emission_budget()
        left = records(step.lines, stream_prefix(step.stream))
        for record in left:
            try:
                await budget.take(len(record))
            except asyncio.CancelledError:
                # The cursor counts these lines as written, and they are few.
                for unwritten in (record, *left):
                    self.log.info("%s", unwritten)
                raise
            self.log.info("%s", record)

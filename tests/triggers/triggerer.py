# SPDX-License-Identifier: Apache-2.0
"""A triggerer in a test: runs event triggers as Airflow's does, stores their events, and can be killed.

Where this Airflow has shared streams, its own manager is used, driven as ``TriggerRunner.run_trigger`` does.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any

from airflow_provider_ehpc.triggers.job_finished import JobFinishedTrigger

try:
    from airflow.triggers.shared_stream import SharedStreamManager
except ImportError:
    SharedStreamManager = None


class Kept:
    """An asset's state store, or Airflow's variables: outlives triggerers. ``silent`` it never answers."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.writes = 0
        self.asked = 0
        """How many times it was read or written, answered or not."""
        self.silent = self.broken = False

    async def aget(self, key: str, default: Any = None) -> Any:
        await self._work()
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        await self._work()
        self.writes += 1
        self.values[key] = json.dumps(value)

    async def _work(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.broken:
            raise RuntimeError("the database is away")
        if self.silent:
            await asyncio.Event().wait()


class Assets:
    """What Airflow 3.3 injects into an event trigger."""

    def __init__(self, *stores: Kept) -> None:
        self._by_name = {f"asset {number}": store for number, store in enumerate(stores)}


class Triggerer:
    """Runs triggers until it is killed; the events it has stored are in ``stored``.

    :param shared: through Airflow's shared streams; else each trigger's ``run()``, as Airflow 3.1 does.
    """

    def __init__(self, kept: Kept, stored: list[dict[str, Any]], *, shared: bool) -> None:
        self.kept = kept
        self.stored = stored
        self.logged = 0
        """How many events the runner has written into its log, which it does before it queues them."""
        self.queues = True
        """Whether it comes to that; else its log holds it up."""
        self.stores = True
        """Whether events are stored; else they stay in the runner's memory."""
        self.confirms = True
        """Whether the runner is reported that they were."""
        self.events = 0
        """The number of stored events; each may report several jobs."""
        self.crashes: list[BaseException] = []
        self._queue: list[tuple[dict[str, Any], int | None, list[dict[str, Any]]]] = []
        self._manager = SharedStreamManager() if shared else None
        self._tasks = [asyncio.create_task(self._supervise())]
        self._confirmed: list[int] = []

    def start(
        self,
        trigger: JobFinishedTrigger,
        kept: Kept | None = None,
        stored: list[dict[str, Any]] | None = None,
    ) -> None:
        """Run a trigger as it comes out of the database.

        :param kept: its asset's state store, where that is another.
        :param stored: where its events go, where not to all the others.
        """
        path, kwargs = trigger.serialize()
        module, _, name = path.rpartition(".")
        interval = kwargs.pop("poll_interval")
        fresh = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))
        fresh.poll_interval = interval  # a test's is shorter than what a user may choose
        if self._manager:
            fresh.asset_state_store = Assets(kept or self.kept)
        fresh.trigger_id = len(self._tasks)
        self._tasks.append(asyncio.create_task(self._run(fresh, self.stored if stored is None else stored)))

    async def kill(self) -> None:
        """End at once, with all that was not stored."""
        self.stores = self.confirms = False
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._manager:
            await self._manager.stop_all()

    async def _run(self, trigger: JobFinishedTrigger, stored: list[dict[str, Any]]) -> None:
        key = trigger.shared_stream_key() if self._manager else None
        if self._manager:
            stream = self._manager.subscribe(trigger_id=trigger.trigger_id, trigger=trigger, key=key)
            events = trigger.filter_shared_stream(stream)
        else:
            events = trigger.run()
        try:
            async for event in events:
                self.logged += 1
                await (asyncio.sleep(0) if self.queues else asyncio.Event().wait())
                seq = None
                if self._manager:
                    seq = self._manager.bind_pending_event(trigger_id=trigger.trigger_id, key=key)
                self._queue.append((json.loads(json.dumps(event.payload)), seq, stored))
        except Exception as error:
            self.crashes.append(error)
        finally:
            if self._manager:
                await self._manager.unsubscribe(trigger.trigger_id, key)
            await trigger.cleanup()

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            while self._queue and self.stores:
                payload, seq, stored = self._queue.pop(0)
                stored += payload["jobs"]
                self.events += 1
                if seq is not None:
                    self._confirmed.append(seq)
            if self._manager and self.confirms and self._confirmed:
                self._manager.confirm_persisted(self._confirmed)
                self._confirmed = []

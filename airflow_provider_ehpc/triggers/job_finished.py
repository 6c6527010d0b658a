# SPDX-License-Identifier: Apache-2.0
"""Start a DAG when a job ends: the trigger of an ``AssetWatcher``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Hashable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.capabilities import Capability, require
from airflow_provider_ehpc.apis.job import JobState

if TYPE_CHECKING:
    from airflow_provider_ehpc.events.watch_loop import Batch, Watcher, WatchLoop

_SHARED = ("conn_id", "api", "cluster_id", "version_id", "poll_interval")
"""The arguments in which watchers must agree to share their polls."""


class JobFinishedTrigger(BaseEventTrigger):
    """Fire for every job that ends: for certain jobs, or for all that match the arguments.

    The event's payload is ``{"jobs": [...]}``, each job's status a dict as ``JobStateSensor`` returns it.
    One event reports all jobs whose ends one poll finds: if a second event came before Airflow's scheduler
    has created a run for the first, a DAG would get it only together with the event after it.

    Each ended job is reported once, even if it ended while no triggerer ran. If a triggerer is killed at the
    moment when Airflow stores an event, its jobs are reported again, with ``may_be_repeated``.

    A watcher starts with its first poll: jobs that ended before are not reported, unless ``job_id`` names
    them. With changed arguments (except ``poll_interval``) it is a new watcher.

    :param conn_id: the connection to the cloud account.
    :param job_id: the job, or a list of jobs; default: every job that matches the other arguments.
    :param name: a pattern of the job's name, such as ``train-*``; case matters.
    :param queue: the queue that the job is in when it ends.
    :param user: the cluster's user that submitted the job.
    :param states: the terminal states to report, such as ``["FAILED"]``; default: all. UNKNOWN
        stands for a job that became unknown to the cloud before its end was seen.
    :param cluster_id: the cluster; default: the connection's.
    :param version_id: the version of a ModelArts v1 job.
    :param api: the API to use; default: that of the connection's type.
    :param poll_interval: seconds between two polls, at least 5, which Airflow's scheduler needs between two
        events. Watchers that differ only in which jobs they report share their polls (Airflow 3.3).
    :raises InvalidArgument: naming the argument that is missing, unknown or contradicts another.
    """

    def __init__(
        self,
        *,
        conn_id: str = "aliyun_ehpc_default",
        job_id: str | Sequence[str] | None = None,
        name: str | None = None,
        queue: str | None = None,
        user: str | None = None,
        states: Sequence[str] | None = None,
        cluster_id: str | None = None,
        version_id: str | None = None,
        api: str | None = None,
        poll_interval: timedelta | float = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]  # typed from 3.4 on
        self.conn_id = arguments.text("conn_id", conn_id)
        self.job_id = _job_ids(job_id)
        self.name = _filter("name", name, self.job_id)
        self.queue = _filter("queue", queue, self.job_id)
        self.user = _filter("user", user, self.job_id)
        self.states = _ends(states)
        self.cluster_id = None if cluster_id is None else _identifier("cluster_id", cluster_id, "cluster")
        self.version_id = None if version_id is None else _identifier("version_id", version_id, "version")
        self.api = _api(api, self.job_id, self.version_id)
        self.poll_interval = arguments.seconds("poll_interval", poll_interval, at_least=5.0)
        self._watcher: Watcher | None = None
        self._watch_loop: WatchLoop | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the arguments that rebuild the trigger, without those that are None."""
        names = (
            "conn_id",
            "job_id",
            "name",
            "queue",
            "user",
            "states",
            "cluster_id",
            "version_id",
            "api",
            "poll_interval",
        )
        kwargs = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    @property
    def identity(self) -> str:
        """Return the watcher's identity: a digest of all its arguments except ``poll_interval``."""
        kwargs = {name: value for name, value in self.serialize()[1].items() if name != "poll_interval"}
        return hashlib.sha256(json.dumps(kwargs, sort_keys=True).encode()).hexdigest()[:16]

    # ------------------------------------------------------------------ Airflow 3.3: shared polls

    def shared_stream_key(self) -> Hashable | None:
        """Return the key that is the same for all watchers that share their polls."""
        return (type(self).__qualname__, *(getattr(self, name) for name in _SHARED))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Any:
        """Return the producer that polls for all watchers with the same key.

        Airflow reports to a producer when it has stored the events of a batch. Until then, they must not
        count as sent.
        """
        return BatchProducer(kwargs)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Yield this watcher's events of each batch."""
        watcher = await self._join(_watch_loop(self.serialize()[1]))
        try:
            async for batch in shared_stream:
                async for event in _events(watcher, batch):
                    yield event
        finally:
            self._leave()

    # ------------------------------------------------------------------ before 3.3: own polls

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll and yield events, if Airflow has no shared streams."""
        from airflow_provider_ehpc.events.watch_loop import WatchLoop

        watch_loop = WatchLoop(*_shared(self.serialize()[1]))
        watcher = await self._join(watch_loop)
        try:
            async for batch in watch_loop.batches():
                async for event in _events(watcher, batch):
                    yield event
                if batch.on_stored:
                    await watcher.store.events_stored()
                    await batch.stored()
        finally:
            self._leave()

    async def cleanup(self) -> None:
        """Leave the watch loop."""
        self._leave()

    async def _join(self, watch_loop: WatchLoop) -> Watcher:
        from airflow_provider_ehpc.events.job_diff import Wanted
        from airflow_provider_ehpc.events.position_store import PositionStore
        from airflow_provider_ehpc.events.watch_loop import Watcher

        wanted = Wanted(
            jobs=frozenset(self.job_id or ()),
            name=self.name,
            queue=self.queue,
            user=self.user,
            states=tuple(JobState(state) for state in self.states or ()),
        )
        store = PositionStore(self.identity, getattr(self, "asset_state_store", None), self.log)
        watcher = self._watcher = Watcher(wanted, store)
        await watcher.load()
        self._watch_loop = watch_loop
        watch_loop.join(watcher)
        return watcher

    def _leave(self) -> None:
        if self._watch_loop and self._watcher:
            self._watch_loop.leave(self._watcher)


class BatchProducer:
    """Produce batches for Airflow's shared stream (a ``SharedStreamProducer``; 3.1 has none)."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self._kwargs = kwargs

    async def open_stream(self) -> AsyncIterator[tuple[Batch, Batch]]:
        """Yield every batch twice: for the watchers and for the acknowledgement."""
        watch_loop = _watch_loop(self._kwargs)
        async for batch in watch_loop.batches():
            yield batch, batch

    async def advance(self, batch: Sequence[Any]) -> None:
        """Save the positions after Airflow has stored the events of batches.

        If a watcher was ended instead, save nothing: Airflow does not report which one, and it must resume at
        its old position. The positions of the others are saved with their next batch.
        """
        for item in batch:
            if item.outcome.is_clean:
                await item.broker_payload.stored()

    def get_advance_lane(self, broker_payload: Any) -> Hashable:
        """Return one lane for all batches, which preserves their order."""
        return None

    async def aclose(self) -> None:
        """Do nothing: the watch loop closes its connections when its iteration ends."""


async def _events(watcher: Watcher, batch: Batch) -> AsyncIterator[TriggerEvent]:
    # A batch that began before the watcher joined has nothing for it.
    if (ends := batch.ends.get(watcher)) and (payload := await watcher.payload(ends)):
        yield TriggerEvent(payload)
        # Only now: if a watcher ends before it has queued its event, Airflow still counts the batch as
        # accepted by it.
        batch.on_stored.append(partial(watcher.stored, ends))


def _shared(kwargs: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(kwargs.get(name) for name in _SHARED)


def _watch_loop(kwargs: dict[str, Any]) -> WatchLoop:
    from airflow_provider_ehpc.events.watch_loop import shared_watch_loop

    conn_id, api, cluster_id, version_id, interval = _shared(kwargs)
    return shared_watch_loop(conn_id, api, cluster_id, version_id, interval)


def _identifier(argument: str, value: Any, what: str) -> str:
    # In a DAG file, 123_4 without quotes is the number 1234.
    return arguments.identifier(argument, arguments.text(argument, value), what=what)


def _job_ids(job_id: str | Sequence[str] | None) -> list[str] | None:
    if job_id is None:
        return None
    if arguments.is_list(job_id) and not job_id:
        raise InvalidArgument("job_id: the list is empty; omit job_id to report every job")
    items = arguments.ordered(job_id) if arguments.is_list(job_id) else [job_id]
    return list(dict.fromkeys(_identifier("job_id", item, "job") for item in items))


def _filter(argument: str, value: str | None, job_ids: list[str] | None) -> str | None:
    if value is None:
        return None
    if job_ids:
        raise InvalidArgument(f"{argument}: cannot be combined with job_id; omit one of the two")
    return arguments.text(argument, value)


def _ends(states: Sequence[str] | None) -> list[str] | None:
    if states is None:
        return None
    from airflow_provider_ehpc.waiting.conditions import parse_states

    if arguments.is_list(states) and not states:
        raise InvalidArgument("states: the list is empty; omit states to report every end")
    parsed = parse_states(states, "states")
    for state in parsed:
        if not state.terminal and state is not JobState.UNKNOWN:
            raise InvalidArgument(f"states: {state} is not a terminal state")
    return [state.value for state in dict.fromkeys(parsed)]


def _api(api: str | None, job_ids: list[str] | None, version_id: str | None) -> str | None:
    api = arguments.api(api)
    if api and not job_ids:
        require(api, Capability.LIST_JOBS, "job_id")
    if version_id is not None and (not job_ids or len(job_ids) > 1):
        raise InvalidArgument("version_id: allowed only if job_id names one job")
    return api

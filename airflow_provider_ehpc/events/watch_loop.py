# SPDX-License-Identifier: Apache-2.0
"""Poll a cluster once for all event watchers that wait for jobs of it to end.

A watch loop belongs to one running event loop, account, API, cluster and interval. It never ends by itself
and never raises: Airflow restarts a failed event trigger every second, forever. An error is logged once in
the triggerer's log, and polling continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from airflow_provider_ehpc.apis.call import (
    ApiError,
    AuthenticationFailed,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import ClusterJob, JobRef, JobState, JobStatus
from airflow_provider_ehpc.compat import AirflowException
from airflow_provider_ehpc.events.job_diff import (
    LIST_OVERLAP,
    ClusterSnapshot,
    Ends,
    Position,
    Wanted,
    after,
    jobs_to_poll,
    started,
)
from airflow_provider_ehpc.events.position_store import PositionStore
from airflow_provider_ehpc.hooks.account import Account
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.pool import POOL, SharedHook
from airflow_provider_ehpc.waiting.watch import GONE_GRACE, is_provisional

GATHER = 1.0
"""Seconds to wait for more watchers after the first new one."""
SAVE_EVERY = 600.0
"""Seconds after which a position is saved again although nothing was reported. This shortens the first list
after a restart. Each write takes about 20 ms of the triggerer's supervisor."""
_LONGEST_RETRY_PAUSE = 300.0
_REMIND = 3600.0
"""Seconds after which a lasting error is logged again."""
_LOCKED = 1800.0
"""Seconds after which a rejected key is tried again, unless the connection gets a new one earlier. Huawei
locks a key for 15 minutes after five rejections."""

log = logging.getLogger(__name__)


class Watcher:
    """One trigger's share of a watch loop: the jobs it wants, its position, and the ends it has to report."""

    def __init__(self, wanted: Wanted, store: PositionStore) -> None:
        self.wanted = wanted
        self.position = Position()
        """The position after the last poll."""
        self.store = store
        self._confirmed = Position()
        """The last position for which Airflow has confirmed that it stored all events."""
        self._saved_at = float("-inf")
        self._pending: list[Ends] = []
        self._doubtful: frozenset[str] = frozenset()

    async def load(self) -> None:
        """Load the position that an earlier triggerer saved."""
        saved = await self.store.load()
        self._doubtful = saved.sent
        self.position = self._confirmed = started(replace(saved, sent=frozenset()), self.wanted)

    async def payload(self, ends: Ends) -> dict[str, Any] | None:
        """Return the payload to send, or None. Before that, save its jobs as possibly sent."""
        if not ends.jobs:
            if not self._pending:
                self._confirmed = ends.position
                if time.monotonic() - self._saved_at >= SAVE_EVERY:
                    await self._save()
            return None
        self._pending.append(ends)
        await self._save()
        repeated = {"may_be_repeated": True}
        return {
            "jobs": [
                {**status.as_dict(), **(repeated if job in self._doubtful else {})}
                for job, status in ends.jobs.items()
            ]
        }

    async def stored(self, ends: Ends) -> None:
        """Save that Airflow has stored the events of a batch and of those before it."""
        while self._pending:
            done = self._pending.pop(0)
            self._doubtful -= done.jobs.keys()
            if done is ends:
                break
        self._confirmed = ends.position
        await self._save()

    async def _save(self) -> None:
        sent = self._doubtful.union(*(ends.jobs for ends in self._pending))
        await self.store.save(replace(self._confirmed, sent=sent))
        self._saved_at = time.monotonic()


@dataclass(eq=False, slots=True)
class Batch:
    """The result of one poll for each of the watchers that took part."""

    ends: Mapping[Watcher, Ends]
    on_stored: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Callbacks for when Airflow has stored the events of this batch."""

    async def stored(self) -> None:
        """Call :attr:`on_stored`."""
        for callback in self.on_stored:
            await callback()


class WatchLoop:
    """Poll for ended jobs for all watchers that have joined.

    :param interval: seconds between two polls.
    """

    def __init__(
        self, conn_id: str, api: str | None, cluster_id: str | None, version_id: str | None, interval: float
    ) -> None:
        self._name = f"connection {conn_id!r}" + (f", cluster {cluster_id}" if cluster_id else "")
        self._cluster_id = cluster_id
        self._version_id = version_id
        self._interval = interval
        self._conn_id = conn_id
        self._api = api
        self._watchers: dict[Watcher, None] = {}
        self._new: set[Watcher] = set()
        self._joined = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._known: dict[str, JobStatus] = {}
        self._missing_since: dict[str, float] = {}
        self._provisional: set[str] = set()
        """Jobs that were last seen in a provisional state, which a second poll must confirm."""
        self._faults = _Faults(self._name)
        self._failed_jobs: set[str] = set()
        self._rejected: tuple[Account, float, AuthenticationFailed] | None = None

    def join(self, watcher: Watcher) -> None:
        """Add a watcher: poll for it at once, and then together with the others.

        The first poll leaves out the others, so that no watcher's events follow each other too soon.
        """
        self._watchers[watcher] = None
        self._new.add(watcher)
        self._joined.set()

    def leave(self, watcher: Watcher) -> None:
        """Remove a watcher."""
        self._watchers.pop(watcher, None)
        self._new.discard(watcher)

    async def batches(self) -> AsyncIterator[Batch]:
        """Poll forever, yielding a batch per poll. A second caller waits until the first one stops."""
        due = time.monotonic()
        async with self._one_at_a_time, POOL.share(self._conn_id, self._api) as shared:
            while True:
                await self._rest(due)
                everyone = time.monotonic() >= due
                watchers = list(self._watchers if everyone else self._new)
                if not watchers:
                    due = time.monotonic() + self._interval
                    continue
                try:
                    batch = await self._poll(shared, watchers)
                except Exception as error:
                    due = time.monotonic() + self._faults.note(error, self._interval)
                else:
                    self._faults.clear()
                    self._new.difference_update(watchers)
                    if everyone:
                        # Random, so that the loops of several clusters do not stay in step.
                        due = time.monotonic() + self._interval * random.uniform(0.95, 1.05)
                    yield batch

    async def _rest(self, until: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic()):
                await self._joined.wait()
        if self._joined.is_set():
            await asyncio.sleep(min(GATHER, self._interval))
            self._joined.clear()

    async def _poll(self, shared: SharedHook, watchers: list[Watcher]) -> Batch:
        began = time.time()
        hook = await self._usable_hook(shared)
        try:
            snapshot = await self._read(hook, watchers, began)
        except AuthenticationFailed as error:
            self._rejected = (hook.account, time.monotonic() + _LOCKED, error)
            raise
        self._known.clear()
        ends = {}
        for watcher in watchers:
            if watcher in self._watchers:
                ends[watcher] = after(watcher.position, watcher.wanted, snapshot)
                watcher.position = ends[watcher].position
        return Batch(ends)

    async def _usable_hook(self, shared: SharedHook) -> ApiHook:
        """Return the hook. If its key was rejected recently, raise that error instead: clouds count
        rejections."""
        if self._rejected:
            account, until, error = self._rejected
            if time.monotonic() < until and not await shared.has_new_key(account):
                raise error.with_traceback(None)
            self._rejected = None
        return await shared.get()

    async def _read(self, hook: ApiHook, watchers: list[Watcher], began: float) -> ClusterSnapshot:
        listed: Mapping[str, ClusterJob] = {}
        if general := [w for w in watchers if not w.wanted.jobs]:
            since = (
                min((began if w.position.since is None else w.position.since) for w in general) - LIST_OVERLAP
            )
            listed = await hook.acluster_jobs(datetime.fromtimestamp(since, UTC), self._cluster_id)
        polled = set[str]().union(*(jobs_to_poll(w.position, w.wanted, listed) for w in watchers))
        found = await self._statuses(hook, polled)
        unfinished = {job: row.status for job, row in listed.items() if not row.ended}
        ended = {job: row.status for job, row in listed.items() if row.ended}
        lost: dict[str, JobStatus] = {}
        for job, status in found.items():
            if status and status.state.terminal:
                ended[job] = status
            elif job in listed:
                if status and status.state is not JobState.UNKNOWN:
                    # An array of which only some sub-jobs have ended.
                    unfinished[job] = ended.pop(job)
            elif self._is_lost(job, status, began):
                lost[job] = status or JobStatus(
                    job, JobState.UNKNOWN, "", self._cluster_id, reason="the cloud no longer knows the job"
                )
        self._missing_since = {job: at for job, at in self._missing_since.items() if job in polled}
        provisional = {job for job, status in ended.items() if is_provisional(status)}
        # The scheduler may run them again. They count as neither ended nor unfinished: the confirmation of a
        # job that ended before the watch began must not be reported as a new end.
        unconfirmed = {job: ended.pop(job) for job in provisional - self._provisional}
        self._provisional = provisional
        return ClusterSnapshot(began, unfinished, ended, lost, unconfirmed)

    def _is_lost(self, job: str, status: JobStatus | None, now: float) -> bool:
        if status and status.state is not JobState.UNKNOWN:
            self._missing_since.pop(job, None)
            return False
        return now - self._missing_since.setdefault(job, now) >= GONE_GRACE

    async def _statuses(self, hook: ApiHook, jobs: set[str]) -> dict[str, JobStatus | None]:
        """Return the statuses of jobs, None for an unknown job.

        Ended jobs are remembered, so that they are not polled again if this poll fails later.
        """
        refs = {}
        for job in sorted(jobs - self._known.keys()):
            try:
                refs[hook.job_ref(job, self._cluster_id, self._version_id)] = job
            except InvalidArgument as error:
                # One watcher's wrong argument must not affect the other watchers.
                self._report(job, error)
        statuses: dict[JobRef, JobStatus | None]
        try:
            statuses = await hook.ajob_statuses(refs)
        except (InvalidRequest, NotFound, UnexpectedResponse) as error:
            if error.transient:
                raise
            # An error about one job, such as one that the scheduler no longer knows, must not affect the
            # others.
            statuses = {}
            for ref, job in refs.items():
                try:
                    statuses[ref] = await _status(hook, ref)
                except UnexpectedResponse as unexpected:
                    if unexpected.transient:
                        raise
                    # This does not mean that the job is unknown.
                    self._report(job, unexpected)
        self._failed_jobs.difference_update(refs[ref] for ref in statuses)
        found = {refs[ref]: status for ref, status in statuses.items()}
        self._known.update(
            (job, s) for job, s in found.items() if s and s.state.terminal and not is_provisional(s)
        )
        return {**found, **{job: self._known[job] for job in jobs & self._known.keys()}}

    def _report(self, job: str, error: Exception) -> None:
        """Log once that a job cannot be polled."""
        if job not in self._failed_jobs:
            log.error("cannot poll for the end of job %r (%s): %s", job, self._name, error)
        self._failed_jobs.add(job)


async def _status(hook: ApiHook, ref: JobRef) -> JobStatus | None:
    try:
        return await hook.ajob_status(ref)
    except (InvalidRequest, NotFound) as error:
        if error.transient:
            raise
        return None


class _Faults:
    """Log an error once, then every hour, and when it is over."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kind: tuple[type[Exception], Any] | None = None
        self._logged_at = 0.0
        self._count = 0

    def note(self, error: Exception, interval: float) -> float:
        """Log that a poll failed; return the seconds until the next one."""
        self._count += 1
        passes = isinstance(error, ApiError) and error.transient
        pause = interval if passes else max(interval, min(60.0 * self._count, _LONGEST_RETRY_PAUSE))
        kind = (type(error), getattr(error, "code", None))
        now = time.monotonic()
        if kind != self._kind or now - self._logged_at >= _REMIND:
            self._kind, self._logged_at = kind, now
            if passes:
                log.warning(
                    "cannot poll for finished jobs (%s): %s Retrying until it works.",
                    self._name,
                    error,
                )
            elif isinstance(error, ApiError | InvalidArgument | AirflowException):
                log.error(
                    "cannot poll for finished jobs (%s) until this is fixed: %s Retrying every %.0f s.",
                    self._name,
                    error,
                    pause,
                )
            else:
                log.error("cannot poll for finished jobs (%s)", self._name, exc_info=error)
        return pause

    def clear(self) -> None:
        """Log that polls succeed again, if they failed before."""
        if self._count:
            log.info(
                "polling for finished jobs (%s) works again, after %d failed polls", self._name, self._count
            )
        self._count, self._kind = 0, None


_watch_loops: WeakValueDictionary[tuple[Hashable, ...], WatchLoop] = WeakValueDictionary()


def shared_watch_loop(
    conn_id: str, api: str | None, cluster_id: str | None, version_id: str | None, interval: float
) -> WatchLoop:
    """Return the watch loop that all watchers with the same arguments share in the running event loop."""
    arguments = (conn_id, api, cluster_id, version_id, interval)
    key = (asyncio.get_running_loop(), *arguments)
    watch_loop = _watch_loops.get(key)
    if watch_loop is None:
        watch_loop = _watch_loops[key] = WatchLoop(*arguments)
    return watch_loop

# SPDX-License-Identifier: Apache-2.0
"""Poll a cluster once for all waits of a process: a thousand waiting triggers cost a few pages per poll
cycle.

Invariants:

* A poller is in the registry only while it accepts subscribers. It is removed before the first ``await`` of
  its end, so that nothing subscribes to a poller that is ending; the next subscriber makes a new one.
* It ends with its last subscriber: its task is cancelled and leaves the shared hook.
* A poller belongs to one running event loop: ``dag.test()`` makes a new loop for every deferral.
* Its task runs in an empty context. In the context of the first trigger, all its log lines would go to that
  trigger's task log.
* The results that a subscriber has not read yet are bounded: a newer result for a job replaces an older one.
* A subscriber gets its results as soon as those of all its own jobs are there: polling ten thousand jobs
  takes seconds. The job whose result comes first in one cycle may come last in the next. So each cycle starts
  earlier by the time between the first and the last result of the previous cycle.
* First polls wait some seconds for each other, but never beyond a deadline.
* Each subscriber wakes at its own deadline, even if a request hangs.
* An error about one job is published only to the subscribers that wait for that job.
* A poller decides nothing: :mod:`airflow_provider_ehpc.waiting.watch` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeAlias

from airflow_provider_ehpc import metrics
from airflow_provider_ehpc.apis.call import (
    ApiError,
    InvalidArgument,
    InvalidRequest,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, PartialResult
from airflow_provider_ehpc.hooks.pool import POOL, SharedHook
from airflow_provider_ehpc.polling.subscription import JobResult, PollCycle, PollSchedule, Subscription

_CYCLE_PAUSE = 1.0
"""Seconds between two cycles, at least, so that subscribers that come one by one share a cycle. A fifth of
the shortest interval if that is less."""
_AT_ONCE = 10
"""Subscribers that get their results before the event loop runs something else."""
_SEARCH = 40
"""Failures in a cycle after which the poller stops searching for the jobs that cause them."""

log = logging.getLogger(__name__)

_Key: TypeAlias = tuple[asyncio.AbstractEventLoop, str, str, frozenset[str | None]]


class JobPoller:
    """Poll the jobs of one account, API and cluster for all subscribers. See the module's invariants.

    :param on_end: removes the poller from the registry.
    :param on_cycle: is called after each cycle with the seconds by which its results were behind schedule.
    """

    def __init__(
        self,
        conn_id: str,
        api: str,
        on_end: Callable[[], None] = lambda: None,
        on_cycle: Callable[[float], None] = lambda lag: None,
    ) -> None:
        self._conn_id = conn_id
        self._api = api
        self._on_end = on_end
        self._on_cycle = on_cycle
        self._loop = asyncio.get_running_loop()
        self._subscriptions: dict[Subscription, None] = {}
        self._wake = asyncio.Event()
        self._asleep_until = -math.inf
        """When the sleeping task wakes by itself. While it is awake, it sees new subscribers anyway."""
        self._pause_until = 0.0
        self._spread = 0.0
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def jobs(self) -> int:
        """The number of jobs that are polled; a job of two subscribers counts twice."""
        return sum(len(s.refs) for s in self._subscriptions)

    def subscribe(self, subscription: Subscription) -> None:
        """Add a subscriber; the first one starts the task."""
        self._subscriptions[subscription] = None
        # Only if it is due earlier: otherwise, each of a thousand new subscribers would cause a check of all.
        if subscription.due < self._asleep_until:
            self._wake.set()
        if self._task is None:
            self._task = self._loop.create_task(
                self._run(), name="ehpc job poller", context=contextvars.Context()
            )

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a subscriber; after the last one, wait until the session is closed."""
        self._subscriptions.pop(subscription, None)
        if self._subscriptions:
            return
        self._on_end()
        if self._task is not None:
            # Do not cancel a task that has ended by itself and is closing its session.
            if not self._ending:
                self._ending = True
                self._task.cancel()
            # Awaiting the task itself would raise its CancelledError in the caller.
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        async with POOL.share(self._conn_id, self._api) as shared:
            try:
                await self._cycles(shared)
            finally:
                self._ending = True
                self._on_end()
                left = RuntimeError("the poller of this cluster has ended")
                for subscription in self._subscriptions:
                    subscription.publish(dict.fromkeys(subscription.refs, left))

    async def _cycles(self, shared: SharedHook) -> None:
        while True:
            now = self._loop.time()
            at = self._next_cycle(now)
            if at is None or at > now:
                self._wake.clear()
                self._asleep_until = math.inf if at is None else at
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(at):
                        await self._wake.wait()
                self._asleep_until = -math.inf
            else:
                await self._poll(shared, now)

    def _next_cycle(self, now: float) -> float | None:
        due = min((s.due for s in self._subscriptions if s.refs), default=None)
        if due is None:
            return None
        at = max(due, self._pause_until)
        if at > now or any(s.due <= now and not s.new for s in self._subscriptions if s.refs):
            return at
        until = min(s.first_poll_until for s in self._subscriptions if s.refs and s.due <= now)
        return max(at, min(until, max(s.earliest for s in self._subscriptions if s.refs and s.new)))

    async def _poll(self, shared: SharedHook, began: float) -> None:
        takers = [s for s in self._subscriptions if s.wants(began)]
        due = min(s.due for s in takers)
        shortest = min(s.interval for s in takers)
        schedule = PollSchedule(began, self._spread, random.uniform(0.9, 1.0))
        cycle = PollCycle(takers)
        first: float | None = None

        async def publish(results: Mapping[JobRef, JobResult]) -> None:
            nonlocal first
            now = self._loop.time()
            first = now if first is None else first
            for number, (subscription, mine) in enumerate(cycle.collect(results), 1):
                subscription.polled(schedule, now, mine)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)

        await self._request(shared, cycle, publish)
        now = self._loop.time()
        self._spread = now - (now if first is None else first)
        self._on_cycle(now - due)
        self._pause_until = now + min(_CYCLE_PAUSE, shortest / 5)

    async def _request(
        self,
        shared: SharedHook,
        cycle: PollCycle,
        publish: Callable[[Mapping[JobRef, JobResult]], Awaitable[None]],
    ) -> None:
        async def publish_part(step: PartialResult) -> None:
            await publish(step.statuses)

        groups = [cycle.missing]
        failures = 0
        while groups:
            group = groups.pop(0)
            try:
                hook = await shared.get()
                await publish(await hook.ajob_statuses(group, publish_part))
            except (InvalidRequest, InvalidArgument, UnexpectedResponse) as error:
                failures += 1
                left = _common(group, cycle.missing)
                passes = isinstance(error, ApiError) and error.transient
                if len(left) > 1 and failures <= _SEARCH and not passes:
                    # One job alone may cause it. The error ends that job's wait, so the search happens only
                    # once.
                    half = len(left) // 2
                    groups += [left[:half], left[half:]]
                else:
                    await publish(dict.fromkeys(left, error))
            except Exception as error:
                # The subscribers decide what the error means; the poller continues.
                await publish(dict.fromkeys(_common(group, cycle.missing), error))


def _common(refs: list[JobRef], others: Iterable[JobRef]) -> list[JobRef]:
    both = set(refs).intersection(others)
    return [ref for ref in refs if ref in both]


_pollers: dict[_Key, JobPoller] = {}


def subscribed(
    conn_id: str,
    api: str,
    refs: Iterable[JobRef],
    *,
    interval: float,
    earliest: float = 0.0,
    first: float = 0.0,
    last: float | None = None,
) -> AbstractAsyncContextManager[Subscription]:
    """Poll jobs together with all other waits of this event loop for jobs of their cluster.

    :param interval: seconds between two polls.
    :param earliest: seconds from now in which the jobs are not polled.
    :param first: seconds from now until the first poll. A poll for others includes the jobs before that, but
        not before ``earliest``.
    :param last: seconds from now until the deadline, at which the jobs are polled for the last time.
    """
    loop = asyncio.get_running_loop()
    now = loop.time()
    subscription = Subscription(
        refs,
        interval=interval,
        earliest=now + min(earliest, first),
        due=now + first,
        last=None if last is None else now + last,
    )
    clusters = frozenset(ref.cluster_id for ref in subscription.refs)
    return _Subscribed((loop, conn_id, api, clusters), subscription)


class _Subscribed:
    """Subscribe and unsubscribe. (A generator would be a third object for each of ten thousand waits.)"""

    __slots__ = ("_key", "_poller", "_subscription")

    def __init__(self, key: _Key, subscription: Subscription) -> None:
        self._key = key
        self._subscription = subscription

    async def __aenter__(self) -> Subscription:
        self._poller = _poller(self._key)
        del self._key
        self._poller.subscribe(self._subscription)
        return self._subscription

    async def __aexit__(self, *error: object) -> None:
        await self._poller.unsubscribe(self._subscription)


def _poller(key: _Key) -> JobPoller:
    if key not in _pollers:
        # A loop that was closed with pending tasks did not remove its pollers.
        for old in [old for old in _pollers if old[0].is_closed()]:
            _pollers.pop(old, None)
        poller = JobPoller(
            key[1],
            key[2],
            lambda: _evict(key, poller),
            partial(_report_cycle, key),
        )
        _pollers[key] = poller
    return _pollers[key]


def _evict(key: _Key, poller: JobPoller) -> None:
    if _pollers.get(key) is poller:
        del _pollers[key]
        _report_jobs(key)


def _report_cycle(key: _Key, lag: float) -> None:
    metrics.poll_lag(key[2], key[1], lag)
    _report_jobs(key)


def _report_jobs(key: _Key) -> None:
    if metrics.enabled():
        # Summed over clusters: an account may have hundreds of them.
        jobs = sum(poller.jobs for other, poller in _pollers.items() if other[:3] == key[:3])
        metrics.jobs_watched(key[2], key[1], jobs)

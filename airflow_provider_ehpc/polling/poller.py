"""Poll a cluster once for all waits of a process: a thousand waiting triggers cost a few pages a turn.

Invariants:

* A poller is in the registry only while it accepts subscribers. What ends it removes it before the first
  ``await``, so that nothing subscribes to a poller that is ending; the next subscriber makes a new one.
* It ends with its last subscriber: its task is cancelled and leaves the shared hook.
* A poller belongs to one running event loop: ``dag.test()`` makes a new loop at every deferral.
* Its task runs in an empty context: in that of the trigger which came first, all its log lines would be
  written into that trigger's task log.
* What a subscriber has not taken yet is bounded: a newer result for a job replaces an older one.
* A subscriber gets its results when those of all its jobs are there, not when everybody's are: polling ten
  thousand jobs takes seconds. The job whose result comes first in one turn may come last in the next, so
  turns follow each other sooner by the time between the first result and the last.
* First polls wait for each other for some seconds, and never beyond a deadline.
* A deadline is the subscriber's own: it wakes then, even if a request hangs.
* An error about one job is reported to the waits for that job, not to the others.
* It decides nothing: :mod:`airflow_provider_ehpc.waiting.watch` does.
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

_SHORTEST_PAUSE = 1.0
"""Seconds between two turns, at most: subscribers that come one by one share one turn. A fifth of the
shortest interval if that is less."""
_AT_ONCE = 10
"""Subscribers that get their results before the event loop runs something else."""
_SEARCH = 40
"""Failures in a turn after which the search for the jobs that cause them stops: all jobs do."""

log = logging.getLogger(__name__)

_Key: TypeAlias = tuple[asyncio.AbstractEventLoop, str, str, frozenset[str | None]]


class JobPoller:
    """Poll jobs of one account, API and cluster for its subscribers. See the module's invariants.

    :param on_end: removes the poller from the registry.
    :param on_turn: is called after each turn with the seconds by which its results were behind schedule.
    """

    def __init__(
        self,
        conn_id: str,
        api: str,
        on_end: Callable[[], None] = lambda: None,
        on_turn: Callable[[float], None] = lambda lag: None,
    ) -> None:
        self._conn_id = conn_id
        self._api = api
        self._on_end = on_end
        self._on_turn = on_turn
        self._loop = asyncio.get_running_loop()
        self._subscriptions: dict[Subscription, None] = {}
        self._sooner = asyncio.Event()
        self._asleep_until = -math.inf
        """When the sleeping task wakes by itself; awake, it sees new subscribers anyway."""
        self._rest_until = 0.0
        self._spread = 0.0
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def jobs(self) -> int:
        """The number of jobs that are waited for; a job of two waits counts twice."""
        return sum(len(s.refs) for s in self._subscriptions)

    def subscribe(self, subscription: Subscription) -> None:
        """Take in a subscriber; the first one starts the task."""
        self._subscriptions[subscription] = None
        # Only if it cannot wait: else, a thousand that come at once would each check all subscriptions.
        if subscription.due < self._asleep_until:
            self._sooner.set()
        if self._task is None:
            self._task = self._loop.create_task(
                self._run(), name="ehpc job poller", context=contextvars.Context()
            )

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Let a subscriber go; return, after the last one, when the session is closed."""
        self._subscriptions.pop(subscription, None)
        if self._subscriptions:
            return
        self._on_end()
        if self._task is not None:
            # One that has ended by itself is not disturbed while it closes its session.
            if not self._ending:
                self._ending = True
                self._task.cancel()
            # Not awaited itself: its cancellation is not that of the caller.
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        async with POOL.share(self._conn_id, self._api) as shared:
            try:
                await self._poll(shared)
            finally:
                self._ending = True
                self._on_end()
                left = RuntimeError("the poller of this cluster has ended")
                for subscription in self._subscriptions:
                    subscription.tell(dict.fromkeys(subscription.refs, left))

    async def _poll(self, shared: SharedHook) -> None:
        while True:
            now = self._loop.time()
            at = self._next_turn(now)
            if at is None or at > now:
                self._sooner.clear()
                self._asleep_until = math.inf if at is None else at
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(at):
                        await self._sooner.wait()
                self._asleep_until = -math.inf
            else:
                await self._turn(shared, now)

    def _next_turn(self, now: float) -> float | None:
        due = min((s.due for s in self._subscriptions if s.refs), default=None)
        if due is None:
            return None
        at = max(due, self._rest_until)
        if at > now or any(s.due <= now and not s.new for s in self._subscriptions if s.refs):
            return at
        until = min(s.first_look_until for s in self._subscriptions if s.refs and s.due <= now)
        return max(at, min(until, max(s.earliest for s in self._subscriptions if s.refs and s.new)))

    async def _turn(self, shared: SharedHook, began: float) -> None:
        takers = [s for s in self._subscriptions if s.wants(began)]
        due = min(s.due for s in takers)
        shortest = min(s.interval for s in takers)
        pace = PollSchedule(began, self._spread, random.uniform(0.9, 1.0))
        turn = PollCycle(takers)
        first: float | None = None

        async def tell(answers: Mapping[JobRef, JobResult]) -> None:
            nonlocal first
            now = self._loop.time()
            first = now if first is None else first
            for number, (subscription, mine) in enumerate(turn.answered(answers), 1):
                subscription.looked(pace, now, mine)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)

        await self._ask(shared, turn, tell)
        now = self._loop.time()
        self._spread = now - (now if first is None else first)
        self._on_turn(now - due)
        self._rest_until = now + min(_SHORTEST_PAUSE, shortest / 5)

    async def _ask(
        self,
        shared: SharedHook,
        turn: PollCycle,
        tell: Callable[[Mapping[JobRef, JobResult]], Awaitable[None]],
    ) -> None:
        async def told(step: PartialResult) -> None:
            await tell(step.statuses)

        groups = [turn.unanswered]
        failures = 0
        while groups:
            group = groups.pop(0)
            try:
                hook = await shared.get()
                await tell(await hook.ajob_statuses(group, told))
            except (InvalidRequest, InvalidArgument, UnexpectedResponse) as error:
                failures += 1
                left = _common(group, turn.unanswered)
                passes = isinstance(error, ApiError) and error.transient
                if len(left) > 1 and failures <= _SEARCH and not passes:
                    # One job alone may cause it. Its wait ends by it, so the search happens only once.
                    half = len(left) // 2
                    groups += [left[:half], left[half:]]
                else:
                    await tell(dict.fromkeys(left, error))
            except Exception as error:
                # The subscribers judge it, and the next turn comes.
                await tell(dict.fromkeys(_common(group, turn.unanswered), error))


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
    """Wait for jobs together with all others of this event loop that wait for jobs of their cluster.

    :param interval: seconds between two polls.
    :param earliest: seconds from now before which no poll is wanted.
    :param first: seconds from now until the first poll; another's may come before, after ``earliest``.
    :param last: seconds from now until the deadline: a last poll is wanted then.
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
    """A subscription while it lasts. (A generator would be a third object for each of ten thousand.)"""

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
        # A loop that was closed with tasks still pending removed nothing.
        for old in [old for old in _pollers if old[0].is_closed()]:
            _pollers.pop(old, None)
        poller = JobPoller(
            key[1],
            key[2],
            lambda: _evict(key, poller),
            partial(_tell_turn, key),
        )
        _pollers[key] = poller
    return _pollers[key]


def _evict(key: _Key, poller: JobPoller) -> None:
    if _pollers.get(key) is poller:
        del _pollers[key]
        _tell_jobs(key)


def _tell_turn(key: _Key, lag: float) -> None:
    metrics.poll_lag(key[2], key[1], lag)
    _tell_jobs(key)


def _tell_jobs(key: _Key) -> None:
    if metrics.enabled():
        # Not by cluster: an account may have hundreds.
        jobs = sum(poller.jobs for other, poller in _pollers.items() if other[:3] == key[:3])
        metrics.jobs_watched(key[2], key[1], jobs)

"""One look at a cluster for all who wait for its jobs: a thousand waiting triggers cost a few pages a turn.

Invariants:

* A poller stands in the registry only while it takes subscribers. Whoever ends it takes it out before the
  first ``await``, so that nobody subscribes to one that is ending; the next subscriber makes a new one.
* The last subscriber's leaving ends it: its task is cancelled and its session closed.
* A poller belongs to one running event loop: ``dag.test()`` makes a new loop at every deferral.
* Its task runs in an empty context: in that of the trigger which came first, all its log lines would be
  written into that trigger's task log.
* What a subscriber has not taken yet is bounded: a newer observation of a job takes the place of an older.
* What goes wrong with one job is told to those who wait for it, not to the others.
* It judges nothing: that is the business of :mod:`airflow_provider_ehpc.polling.watch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from airflow_provider_ehpc import metrics
from airflow_provider_ehpc.apis.call import (
    ApiError,
    AuthenticationFailed,
    InvalidArgument,
    InvalidRequest,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, JobStatus
from airflow_provider_ehpc.hooks import ajob_hook
from airflow_provider_ehpc.polling.connection import HookKeeper, OpenHook

HEARTBEAT = 60.0
"""Seconds after which a subscriber is told also that nothing has changed."""
_SHORTEST_PAUSE = 1.0
"""Seconds between two turns, at most: subscribers who come one by one are gathered into one turn. A fifth of
the shortest interval where that is less."""
_AT_ONCE = 25
"""Subscribers that are told before others in the event loop have their turn."""
_SEARCH = 40
"""Failures in a turn after which no more is looked for the jobs that they are about: it is all of them."""

log = logging.getLogger(__name__)

Look: TypeAlias = Mapping[JobRef, JobStatus | None] | ApiError
"""What a look gave: the jobs' states, None for one that the cloud does not know, or why there is none."""
_Answer: TypeAlias = JobStatus | Exception | None
_Key: TypeAlias = tuple[asyncio.AbstractEventLoop, str, str, frozenset[str | None]]


class Subscription:
    """One waiter's share of a poller. Its jobs may become fewer: set :attr:`refs` anew.

    :param interval: seconds between two looks.
    :param earliest: time of the loop before which no look is wanted.
    :param due: time of the loop of the first look.
    :param last: time of the loop at which a last look is wanted; None for none in particular.
    """

    def __init__(
        self, refs: Iterable[JobRef], *, interval: float, earliest: float, due: float, last: float | None
    ) -> None:
        self.refs = list(refs)
        self.interval = interval
        self.due = due
        self.late = 0.0
        """Seconds from when the last look was due until its answers were there."""
        self._earliest = earliest
        self._last = last
        self._looked = False
        self._told_at = float("-inf")
        self._told: dict[JobRef, _Answer] = {}
        self._news: dict[JobRef, JobStatus | None] = {}
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def look(self) -> Look:
        """Wait for the next look and return what it gave.

        :raises AirflowNotFoundException: where the connection is gone.
        :raises InvalidArgument: where the connection is spoilt, or a job's address is.
        """
        while True:
            if self._news:
                news, self._news = self._news, {}
                return news
            if self._error is not None:
                error, self._error = self._error, None
                if isinstance(error, ApiError):
                    return error
                # It goes to many tasks; each is to see its own way only.
                raise error.with_traceback(None)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def wants(self, now: float) -> bool:
        """Whether to take it along in a turn: it is due, or will be soon.

        "Soon" is half its interval, so that those who wait for jobs of a cluster fall into step, whatever
        their intervals; before its first look it takes any turn after ``earliest``.
        """
        if now >= self.due:
            return True
        return now >= self._earliest and (not self._looked or self.due - now <= self.interval / 2)

    def looked(self, began: float, now: float, pace: float, answers: Mapping[JobRef, _Answer]) -> None:
        """Take in what a turn gave that began at ``began``, and say when the next is due."""
        self._looked = True
        self.late = max(0.0, now - self.due)
        self.due = began + self.interval * pace
        if self._last is not None and self.due > self._last:
            self.due = max(self._last, now + min(self.interval, 0.2))
        mine = {ref: answers[ref] for ref in self.refs if ref in answers}
        final = self._last is not None and now >= self._last
        # Whether a job that is not known is given up is a matter of time, so None is always told.
        quiet = mine == self._told and None not in mine.values() and not final
        if quiet and now - self._told_at < HEARTBEAT:
            return
        self._told, self._told_at = mine, now
        self.tell(mine)

    def tell(self, answers: Mapping[JobRef, _Answer]) -> None:
        """Put answers where :meth:`look` finds them."""
        for ref, answer in answers.items():
            if isinstance(answer, Exception):
                self._error = answer
            else:
                self._news[ref] = answer
        if all(not isinstance(answer, Exception) for answer in answers.values()):
            self._error = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class JobPoller:
    """Looks at jobs of one account, API and cluster for its subscribers. See the module's invariants.

    :param open_hook: reads the connection and makes a hook.
    :param on_end: takes the poller out of the registry.
    :param on_turn: is told, after each turn, how many seconds after it was due its answers were there.
    """

    def __init__(
        self,
        open_hook: OpenHook,
        on_end: Callable[[], None] = lambda: None,
        on_turn: Callable[[float], None] = lambda lag: None,
    ) -> None:
        self._keeper = HookKeeper(open_hook)
        self._on_end = on_end
        self._on_turn = on_turn
        self._loop = asyncio.get_running_loop()
        self._subscriptions: dict[Subscription, None] = {}
        self._sooner = asyncio.Event()
        self._rest_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def jobs(self) -> int:
        """How many jobs are waited for; one for which two wait counts twice."""
        return sum(len(s.refs) for s in self._subscriptions)

    def subscribe(self, subscription: Subscription) -> None:
        """Take in a subscriber; the first one starts the task."""
        self._subscriptions[subscription] = None
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
            # Not awaited itself: its cancellation is not that of whoever leaves.
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while True:
                now = self._loop.time()
                at = max(self._rest_until, min(s.due for s in self._subscriptions))
                if at > now:
                    self._sooner.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(at):
                            await self._sooner.wait()
                else:
                    await self._turn(now)
        finally:
            self._ending = True
            self._on_end()
            left = RuntimeError("the poller of this cluster has ended")
            for subscription in self._subscriptions:
                subscription.tell(dict.fromkeys(subscription.refs, left))
            await self._keeper.aclose()

    async def _turn(self, began: float) -> None:
        takers = [s for s in self._subscriptions if s.wants(began)]
        due = min(s.due for s in takers)
        answers = await self._ask(list(dict.fromkeys(ref for s in takers for ref in s.refs)))
        now = self._loop.time()
        self._on_turn(now - due)
        # One factor for all: they stay in step with each other, and out of step with other pollers. It is
        # never more than 1, so that no look comes later than was asked for.
        pace = random.uniform(0.9, 1.0)
        for number, subscription in enumerate(takers, 1):
            subscription.looked(began, now, pace, answers)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        self._rest_until = now + min([_SHORTEST_PAUSE, *(s.interval / 5 for s in takers)])

    async def _ask(self, refs: list[JobRef]) -> dict[JobRef, _Answer]:
        answers: dict[JobRef, _Answer] = {}
        groups = [refs]
        failures = 0
        while groups:
            group = groups.pop(0)
            try:
                answers.update(await self._statuses(group))
            except (InvalidRequest, InvalidArgument, UnexpectedResponse) as error:
                failures += 1
                if len(group) > 1 and failures <= _SEARCH:
                    # It may be one job's alone. Its waiter ends by it, so it is looked for only once.
                    half = len(group) // 2
                    groups += [group[:half], group[half:]]
                else:
                    answers.update(dict.fromkeys(group, error))
            except Exception as error:
                # Whatever it is, it is the subscribers' to judge, and the next turn comes.
                answers.update(dict.fromkeys(group, error))
        return answers

    async def _statuses(self, refs: list[JobRef]) -> dict[JobRef, JobStatus | None]:
        hook = await self._keeper.get()
        try:
            return await hook.ajob_statuses(refs)
        except AuthenticationFailed:
            if not await self._keeper.has_new_key(hook):
                raise
        return await (await self._keeper.get()).ajob_statuses(refs)


_pollers: dict[_Key, JobPoller] = {}


@contextlib.asynccontextmanager
async def subscribed(
    conn_id: str,
    api: str,
    refs: Iterable[JobRef],
    *,
    interval: float,
    earliest: float = 0.0,
    first: float = 0.0,
    last: float | None = None,
) -> AsyncIterator[Subscription]:
    """Wait for jobs together with all others of this event loop that wait for jobs of their cluster.

    :param interval: seconds between two looks.
    :param earliest: seconds from now before which no look is wanted.
    :param first: seconds from now until the first look; another's may come before, after ``earliest``.
    :param last: seconds from now at which a last look is wanted.
    """
    refs = list(refs)
    loop = asyncio.get_running_loop()
    now = loop.time()
    subscription = Subscription(
        refs,
        interval=interval,
        earliest=now + min(earliest, first),
        due=now + first,
        last=None if last is None else now + last,
    )
    poller = _poller((loop, conn_id, api, frozenset(ref.cluster_id for ref in refs)))
    poller.subscribe(subscription)
    try:
        yield subscription
    finally:
        await poller.unsubscribe(subscription)


def _poller(key: _Key) -> JobPoller:
    if key not in _pollers:
        # A loop that was closed with its tasks still pending took no leave.
        for old in [old for old in _pollers if old[0].is_closed()]:
            _pollers.pop(old, None)
        poller = JobPoller(
            partial(ajob_hook, key[1], key[2]), lambda: _evict(key, poller), partial(_tell_turn, key)
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

# SPDX-License-Identifier: Apache-2.0
"""Give each wait its share of the polls: when its jobs are due, and the results.

Nothing here sends requests: :mod:`airflow_provider_ehpc.polling.poller` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from airflow_provider_ehpc.apis.call import ApiError, ServiceUnavailable
from airflow_provider_ehpc.apis.job import JobRef, JobStatus
from airflow_provider_ehpc.waiting.watch import is_provisional

HEARTBEAT = 60.0
"""Seconds after which a subscriber also gets a result that has not changed."""

_GATHERING = 2.5
"""Seconds for which a first poll waits for others, at most, so that jobs deferred together share one cycle.
Half the interval if that is less."""

_PAST_DEADLINE = 1.0
"""Seconds between two errors after the deadline. If the caller's clock was set back, its wait is not over
yet."""
_LAST_RESULT = 2.0
"""Seconds after its deadline for which a subscriber waits for the result of its last poll. Then it wakes by
itself: neither a request that hangs nor a pause for the rate limit may delay it."""

PollResult: TypeAlias = Mapping[JobRef, JobStatus | None] | ApiError
"""The result of a poll: the jobs' states, None for an unknown job, or the error."""
JobResult: TypeAlias = JobStatus | Exception | None
"""The result of polling one job."""


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """Plan the next poll of each subscriber of a cycle.

    All use the same factor: the subscribers stay in step with each other, and out of step with other pollers.
    The factor is never more than 1, so that no poll is late.

    :param began: loop time at which the cycle began.
    :param spread: seconds between the first and the last result of the previous cycle.
    """

    began: float
    spread: float
    factor: float

    def next_after(self, interval: float) -> float:
        """Return the loop time of the next poll of a subscriber that polls every ``interval`` seconds."""
        return self.began + max(interval / 2, interval * self.factor - self.spread)


class PollCycle:
    """Collect the results of one cycle by subscriber."""

    def __init__(self, subscribers: Iterable[Subscription]) -> None:
        self._subscribers: dict[JobRef, list[Subscription]] = {}
        self._wanted: dict[Subscription, int] = {}
        """The number of results that each subscriber with several jobs needs."""
        self._partial: dict[Subscription, dict[JobRef, JobResult]] = {}
        for subscriber in subscribers:
            if len(subscriber.refs) > 1:
                self._wanted[subscriber] = len(subscriber.refs)
            for ref in subscriber.refs:
                self._subscribers.setdefault(ref, []).append(subscriber)

    @property
    def missing(self) -> list[JobRef]:
        """The jobs without a result so far."""
        return list(self._subscribers)

    def collect(
        self, results: Mapping[JobRef, JobResult]
    ) -> Iterator[tuple[Subscription, dict[JobRef, JobResult]]]:
        """Add results; yield each subscriber whose results are now complete, with these results."""
        for ref, result in results.items():
            for subscriber in self._subscribers.pop(ref, ()):
                if subscriber not in self._wanted:
                    yield subscriber, {ref: result}
                    continue
                mine = self._partial.setdefault(subscriber, {})
                mine[ref] = result
                if len(mine) == self._wanted[subscriber]:
                    yield subscriber, self._partial.pop(subscriber)


class Subscription:
    """One wait's share of a poller. To poll fewer jobs, or none, assign :attr:`refs`.

    :param interval: seconds between two polls.
    :param earliest: loop time before which the jobs are not polled.
    :param due: loop time of the first poll.
    :param last: loop time of the deadline, at which the jobs are polled for the last time; None without one.
    """

    def __init__(
        self,
        refs: Iterable[JobRef],
        *,
        interval: float,
        earliest: float,
        due: float,
        last: float | None,
    ) -> None:
        self.refs = list(dict.fromkeys(refs))
        self.interval = interval
        self.due = due
        self.late = 0.0
        """Seconds by which the last result was behind schedule."""
        self.earliest = earliest
        self._last = last
        self.new = True
        """True until the jobs were polled for the first time."""
        self._published_at = float("-inf")
        self._published: dict[JobRef, JobResult] = {}
        self._unread: dict[JobRef, JobStatus | None] = {}
        self._error: Exception | None = None
        self._outage: ApiError | None = None
        """The last error, if no poll has succeeded since."""
        self._waiter: asyncio.Future[None] | None = None
        self._expired = False
        """True if :meth:`poll` returned because of the deadline."""

    async def poll(self) -> PollResult:
        """Wait for the next poll and return its result; an error if there is none by the deadline.

        :raises AirflowNotFoundException: if the connection is gone.
        :raises InvalidArgument: if the connection is invalid, or the address of a job.
        """
        while True:
            if self._unread:
                unread, self._unread = self._unread, {}
                self._outage = None
                return unread
            if self._error is not None:
                error, self._error = self._error, None
                if isinstance(error, ApiError):
                    self._outage = error
                    return error
                # The same error goes to many tasks, each of which should show only its own traceback.
                raise error.with_traceback(None)
            if await self._wait():
                self._expired = True
                return self._outage or ServiceUnavailable("the API did not respond before the deadline")

    async def _wait(self) -> bool:
        """Wait until something is published; return True if nothing was published by the deadline."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = None
        # Without jobs, no result can be late: the end of a log is being read.
        if self._last is not None and self.refs:
            late = loop.time() + _PAST_DEADLINE if self._expired else 0.0
            timer = loop.call_at(max(self._last + _LAST_RESULT, late), self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        return not self._unread and self._error is None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def first_poll_until(self) -> float:
        """Loop time until which the first poll may wait for other subscribers."""
        latest = self.due + min(_GATHERING, self.interval / 2)
        return latest if self._last is None else min(latest, self._last)

    def wants(self, now: float) -> bool:
        """Return True if a cycle that starts now should include the jobs: they are due now or soon.

        "Soon" is within half the interval, so that all waits for jobs of a cluster fall into step, whatever
        their intervals. Before the first poll, any cycle after ``earliest`` includes them.
        """
        if not self.refs:
            return False
        if now >= self.due:
            return True
        return now >= self.earliest and (self.new or self.due - now <= self.interval / 2)

    def polled(self, schedule: PollSchedule, now: float, mine: dict[JobRef, JobResult]) -> None:
        """Process the results of a cycle and plan the next poll."""
        self.new = False
        self.late = max(0.0, now - self.due)
        self.due = schedule.next_after(self.interval)
        if self._last is not None and self.due > self._last:
            self.due = max(self._last, now + min(self.interval, 0.2))
        final = self._last is not None and now >= self._last
        # An unknown job is published each time, because the grace is a matter of time. So is a state that the
        # next poll confirms.
        again = any(
            result is None or (isinstance(result, JobStatus) and is_provisional(result))
            for result in mine.values()
        )
        quiet = mine == self._published and not again and not final
        if quiet and now - self._published_at < HEARTBEAT:
            return
        self._published, self._published_at = mine, now
        self.publish(mine)

    def publish(self, results: Mapping[JobRef, JobResult]) -> None:
        """Pass results to :meth:`poll`."""
        states = {ref: result for ref, result in results.items() if not isinstance(result, Exception)}
        self._unread = {**self._unread, **states} if self._unread else states
        errors = [result for result in results.values() if isinstance(result, Exception)]
        self._error = errors[-1] if errors else None
        self._wake()

"""One wait's share of a poll: when it wants one, and what the last one returned.

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
"""Seconds after which a subscriber gets a result that has not changed, too."""

_GATHERING = 2.5
"""Seconds for which a first poll waits for others, at most: jobs that are deferred together share one turn.
Half the interval if that is less."""

_PAST_DEADLINE = 1.0
"""Seconds between two such errors. The caller's clock may be behind the loop's if it was set back, and the
wait is then not over for the caller."""
_LAST_ANSWER = 2.0
"""Seconds after its deadline for which a subscriber waits for the answer to its last poll. It wakes then by
itself: a request that hangs, or a pause of the rate limit, must not hold it."""

PollResult: TypeAlias = Mapping[JobRef, JobStatus | None] | ApiError
"""The result of a poll: the jobs' states, None for an unknown job, or the error."""
JobResult: TypeAlias = JobStatus | Exception | None
"""What came of asking for a job."""


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """When the subscribers of a turn want the next one.

    One factor for all: they stay in step with each other, and out of step with other pollers. It is never
    more than 1, so that no poll is late.

    :param began: time of the loop.
    :param spread: seconds that lay between the first answer and the last in the turn before.
    """

    began: float
    spread: float
    factor: float

    def next_after(self, interval: float) -> float:
        """Return the loop time of the next poll of a subscriber that polls every ``interval`` seconds."""
        return self.began + max(interval / 2, interval * self.factor - self.spread)


class PollCycle:
    """Collect the results of one turn by subscriber."""

    def __init__(self, takers: Iterable[Subscription]) -> None:
        self._takers: dict[JobRef, list[Subscription]] = {}
        self._wanted: dict[Subscription, int] = {}
        """The number of results that each subscriber with several jobs waits for."""
        self._told: dict[Subscription, dict[JobRef, JobResult]] = {}
        for taker in takers:
            if len(taker.refs) > 1:
                self._wanted[taker] = len(taker.refs)
            for ref in taker.refs:
                self._takers.setdefault(ref, []).append(taker)

    @property
    def unanswered(self) -> list[JobRef]:
        """The jobs without a result so far."""
        return list(self._takers)

    def answered(
        self, answers: Mapping[JobRef, JobResult]
    ) -> Iterator[tuple[Subscription, dict[JobRef, JobResult]]]:
        """Take in results; yield the subscribers whose results are complete now, with them."""
        for ref, answer in answers.items():
            for taker in self._takers.pop(ref, ()):
                if taker not in self._wanted:
                    yield taker, {ref: answer}
                    continue
                mine = self._told.setdefault(taker, {})
                mine[ref] = answer
                if len(mine) == self._wanted[taker]:
                    yield taker, self._told.pop(taker)


class Subscription:
    """One wait's share of a poller. Its jobs may become fewer, down to none: assign :attr:`refs`.

    :param interval: seconds between two polls.
    :param earliest: loop time before which no poll is wanted.
    :param due: loop time of the first poll.
    :param last: loop time of the deadline, at which a last poll is wanted; None if there is none.
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
        """True until it was polled for the first time."""
        self._told_at = float("-inf")
        self._told: dict[JobRef, JobResult] = {}
        self._news: dict[JobRef, JobStatus | None] = {}
        self._error: Exception | None = None
        self._outage: ApiError | None = None
        """The last error, if no poll has succeeded since."""
        self._waiter: asyncio.Future[None] | None = None
        self._expired = False
        """True if :meth:`look` returned because of the deadline."""

    async def look(self) -> PollResult:
        """Wait for the next poll and return its result; at the deadline, the error of a poll without one.

        :raises AirflowNotFoundException: if the connection is gone.
        :raises InvalidArgument: if the connection is invalid, or the address of a job.
        """
        while True:
            if self._news:
                news, self._news = self._news, {}
                self._outage = None
                return news
            if self._error is not None:
                error, self._error = self._error, None
                if isinstance(error, ApiError):
                    self._outage = error
                    return error
                # It goes to many tasks; each is to see its own traceback only.
                raise error.with_traceback(None)
            if await self._wait():
                self._expired = True
                return self._outage or ServiceUnavailable("the API did not answer before the deadline")

    async def _wait(self) -> bool:
        """Wait until something is reported; return True if nothing was by the deadline."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = None
        # Without jobs it waits for nothing that could be late: the end of a log is read then.
        if self._last is not None and self.refs:
            late = loop.time() + _PAST_DEADLINE if self._expired else 0.0
            timer = loop.call_at(max(self._last + _LAST_ANSWER, late), self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        return not self._news and self._error is None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def first_look_until(self) -> float:
        """Loop time until which its first poll may wait for others."""
        latest = self.due + min(_GATHERING, self.interval / 2)
        return latest if self._last is None else min(latest, self._last)

    def wants(self, now: float) -> bool:
        """Return True to poll for it in a turn: it is due, or will be soon.

        "Soon" is half its interval, so that all waits for jobs of a cluster fall into step, whatever their
        intervals; before its first poll it takes any turn after ``earliest``.
        """
        if not self.refs:
            return False
        if now >= self.due:
            return True
        return now >= self.earliest and (self.new or self.due - now <= self.interval / 2)

    def looked(self, pace: PollSchedule, now: float, mine: dict[JobRef, JobResult]) -> None:
        """Take in the results of a turn and plan the next poll."""
        self.new = False
        self.late = max(0.0, now - self.due)
        self.due = pace.next_after(self.interval)
        if self._last is not None and self.due > self._last:
            self.due = max(self._last, now + min(self.interval, 0.2))
        final = self._last is not None and now >= self._last
        # How long a job may be unknown is a matter of time, and the second of two polls confirms some ends.
        again = any(
            answer is None or (isinstance(answer, JobStatus) and is_provisional(answer))
            for answer in mine.values()
        )
        quiet = mine == self._told and not again and not final
        if quiet and now - self._told_at < HEARTBEAT:
            return
        self._told, self._told_at = mine, now
        self.tell(mine)

    def tell(self, answers: Mapping[JobRef, JobResult]) -> None:
        """Hand over results to :meth:`look`."""
        states = {ref: answer for ref, answer in answers.items() if not isinstance(answer, Exception)}
        self._news = {**self._news, **states} if self._news else states
        errors = [answer for answer in answers.values() if isinstance(answer, Exception)]
        self._error = errors[-1] if errors else None
        self._wake()

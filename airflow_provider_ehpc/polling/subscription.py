"""What a waiter wants of a look that it shares with others, and what it was told.

Nothing here asks anything: :mod:`airflow_provider_ehpc.polling.poller` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobRef, JobStatus

HEARTBEAT = 60.0
"""Seconds after which a subscriber is told also that nothing has changed."""

_GATHERING = 2.5
"""Seconds that a first look waits for others', at most: of many that are deferred together all are to be in
one turn. Half the interval where that is less."""

Look: TypeAlias = Mapping[JobRef, JobStatus | None] | ApiError
"""What a look gave: the jobs' states, None for one that the cloud does not know, or why there is none."""
Answer: TypeAlias = JobStatus | Exception | None
"""What came of asking for a job."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When those who took part in a turn want the next one.

    One factor for all: they stay in step with each other, and out of step with other pollers. It is never
    more than 1, so that no look comes later than was asked for.

    :param began: time of the loop.
    :param spread: seconds that lay between the first answer and the last in the turn before.
    """

    began: float
    spread: float
    factor: float

    def next_after(self, interval: float) -> float:
        """Return the loop time of the next poll of a subscriber that polls every ``interval`` seconds."""
        return self.began + max(interval / 2, interval * self.factor - self.spread)


class Turn:
    """Whose answers have come, in one turn."""

    def __init__(self, takers: Iterable[Subscription]) -> None:
        self._takers: dict[JobRef, list[Subscription]] = {}
        self._wanted: dict[Subscription, int] = {}
        """How many answers those want who wait for several jobs."""
        self._told: dict[Subscription, dict[JobRef, Answer]] = {}
        for taker in takers:
            if len(taker.refs) > 1:
                self._wanted[taker] = len(taker.refs)
            for ref in taker.refs:
                self._takers.setdefault(ref, []).append(taker)

    @property
    def unanswered(self) -> list[JobRef]:
        """The jobs on which nothing has come yet."""
        return list(self._takers)

    def answered(
        self, answers: Mapping[JobRef, Answer]
    ) -> Iterator[tuple[Subscription, dict[JobRef, Answer]]]:
        """Take in answers; go through the subscribers that have all of theirs now, with these."""
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
    """One waiter's share of a poller. Its jobs may become fewer, down to none: set :attr:`refs` anew.

    :param interval: seconds between two looks.
    :param earliest: time of the loop before which no look is wanted.
    :param due: time of the loop of the first look.
    :param last: time of the loop at which a last look is wanted; None for none in particular.
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
        """Seconds from when the last look was due until its answers were there."""
        self.earliest = earliest
        self._last = last
        self.new = True
        """Whether there was no look yet."""
        self._told_at = float("-inf")
        self._told: dict[JobRef, Answer] = {}
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

    @property
    def first_look_until(self) -> float:
        """Time of the loop until which its first look may wait for others'."""
        latest = self.due + min(_GATHERING, self.interval / 2)
        return latest if self._last is None else min(latest, self._last)

    def wants(self, now: float) -> bool:
        """Whether to take it along in a turn: it is due, or will be soon.

        "Soon" is half its interval, so that those who wait for jobs of a cluster fall into step, whatever
        their intervals; before its first look it takes any turn after ``earliest``.
        """
        if not self.refs:
            return False
        if now >= self.due:
            return True
        return now >= self.earliest and (self.new or self.due - now <= self.interval / 2)

    def looked(self, pace: Pace, now: float, mine: dict[JobRef, Answer]) -> None:
        """Take in what a turn gave, and note when the next is due."""
        self.new = False
        self.late = max(0.0, now - self.due)
        self.due = pace.next_after(self.interval)
        if self._last is not None and self.due > self._last:
            self.due = max(self._last, now + min(self.interval, 0.2))
        final = self._last is not None and now >= self._last
        # Whether a job that is not known is given up is a matter of time, so None is always told.
        quiet = mine == self._told and None not in mine.values() and not final
        if quiet and now - self._told_at < HEARTBEAT:
            return
        self._told, self._told_at = mine, now
        self.tell(mine)

    def tell(self, answers: Mapping[JobRef, Answer]) -> None:
        """Put answers where :meth:`look` finds them."""
        states = {ref: answer for ref, answer in answers.items() if not isinstance(answer, Exception)}
        self._news = {**self._news, **states} if self._news else states
        errors = [answer for answer in answers.values() if isinstance(answer, Exception)]
        self._error = errors[-1] if errors else None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

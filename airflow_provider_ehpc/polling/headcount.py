"""One request instead of hundreds while nothing ends: jobs that run are counted, not read.

A cloud that counts its unfinished jobs by the time of their submission is asked for those of a window of time
that has passed. No job comes into it any more, and each that ends leaves it: while the number stays as it
was, all of them are still unfinished. Of ten thousand running jobs, a look is one request, not two hundred.

Invariants:

* A job is covered by a count only when it was read, as running, after the count was taken: what ends between
  the two makes the next count smaller.
* A window grows while jobs are covered only if its old count, taken after the new one, is what it was.
* Where a reading saw a job end, all who wait for it are read next: the count is less by it already.
* A count speaks of ends and of nothing else. So it stands for jobs whose waiters want only that, which were
  seen running, and for no longer than :data:`~airflow_provider_ehpc.polling.subscription.HEARTBEAT`: then
  they are read.
* It is believed as long as it proves true: never where it is less than the jobs it should hold, nor again
  after a reading saw a job end and the next count did not. An end is then told by the reading, up to a
  heartbeat late, and from there on all looks are readings.
* Where something ends at every look, counting is in vain, and is done rarely.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_ehpc.apis.call import (
    InvalidArgument,
    InvalidRequest,
    NotFound,
    NotSupported,
    PermissionDenied,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.polling.subscription import Answer, Subscription

_WORTH_IT = 3.0
"""Requests that reading the running jobs must cost at least: while its window changes, a count costs two."""
_SETTLED = 2.0
"""Seconds after which no job is submitted in the same second as one that was seen, nor in the next, which is
counted as well."""
_PATIENCE = 5
"""Counts in vain, one after another, after which the turns without one are no longer doubled: they are 15."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Window:
    """Times of submission, the first and the last of which are in it."""

    first: datetime
    last: datetime

    def with_(self, at: datetime) -> _Window:
        return self if at in self else _Window(min(self.first, at), max(self.last, at))

    def __contains__(self, at: datetime) -> bool:
        return self.first <= at <= self.last


class Headcount:
    """Knows whose jobs are still unfinished because a count is what it was.

    :param cluster_id: the cluster of all jobs; None where they are in several, which is not counted.
    """

    def __init__(self, cluster_id: str | None) -> None:
        self._cluster_id = cluster_id
        self._believed = cluster_id is not None
        self._running: dict[Subscription, None] = {}
        """Those whose jobs were all running when they were last read."""
        self._hull: _Window | None = None
        """The submissions of those that were found running since the last count that differed."""
        self._last_seen = 0.0
        """Time of the loop at which the last of these was first seen."""
        self._window: _Window | None = None
        self._count = 0
        """How many unfinished jobs there were in the window."""
        self._covered: dict[Subscription, None] = {}
        """Those of which the count speaks."""
        self._all_counted = True
        """Whether it was seen that it is not less than their jobs."""
        self._seen_ended: set[JobRef] = set()
        """Jobs of theirs that a reading has seen ended since: the next count must be less by these."""
        self._in_vain = self._skipped = 0
        self.requests_a_job = 1.0
        """What the last reading cost."""

    async def still_running(
        self, hook: ApiHook, takers: Iterable[Subscription], now: float
    ) -> list[Subscription]:
        """Count, where that is cheaper than reading; return those of ``takers`` that need not be read.

        :param now: time of the loop.
        :raises ApiError: where the cloud cannot be asked at all.
        """
        window = self._hull if now >= self._last_seen + _SETTLED else self._window
        if not self._believed or window is None or self.requests_a_job * len(self._running) < _WORTH_IT:
            return []
        if self._skipped < 2**self._in_vain // 2 - 1:
            self._skipped += 1
            self._uncover()
            return []
        if self._seen_ended:
            # By that reading the next count is less: it says nothing to the others who wait for the job.
            self._covered = {it: None for it in self._covered if self._seen_ended.isdisjoint(it.refs)}
        quiet = [taker for taker in takers if taker in self._covered and now < taker.reading_due]
        if self._covered and not quiet:
            return []
        try:
            await self._count_in(window, hook)
        except NotSupported:
            self._believed = False
        except (InvalidArgument, InvalidRequest, NotFound, PermissionDenied, UnexpectedResponse) as error:
            self._disbelieve(f"cannot be had: {error}")
        return quiet if self._covered else []

    def saw(self, subscription: Subscription, answers: Mapping[JobRef, Answer], now: float) -> None:
        """Take in what a reading told of a subscriber's jobs, after the count of the same turn."""
        if subscription in self._covered:
            self._seen_ended.update(ref for ref, told in answers.items() if _ended(told))
        self.forget(subscription)
        submissions = [at for at in map(_submission, answers.values()) if at is not None]
        if not subscription.countable or len(submissions) < len(answers):
            return
        self._running[subscription] = None
        for at in submissions:
            if self._hull is None or at > self._hull.last:
                self._last_seen = now
            self._hull = self._hull.with_(at) if self._hull else _Window(at, at)
        if self._window is not None and all(at in self._window for at in submissions):
            self._covered[subscription] = None
            self._all_counted = False

    def forget(self, subscription: Subscription) -> None:
        """Let go of a subscriber that leaves."""
        self._running.pop(subscription, None)
        self._covered.pop(subscription, None)

    async def _count_in(self, window: _Window, hook: ApiHook) -> None:
        count = await self._ask(window, hook)
        if self._window is not None:
            again = count if window == self._window else await self._ask(self._window, hook)
            expected = self._count - len(self._seen_ended)
            if self._seen_ended and again > expected:
                return self._disbelieve(f"is {again} where jobs that have ended leave {expected} at most")
            if again != expected:
                self._in_vain, self._skipped = min(self._in_vain + 1, _PATIENCE), 0
                self._uncover()
                self._hull = None
            elif self._covered:
                self._in_vain = 0
        self._window, self._count = window, count
        self._seen_ended.clear()
        if not self._all_counted:
            self._all_counted = True
            jobs = len({ref for subscription in self._covered for ref in subscription.refs})
            if count < jobs:
                self._disbelieve(f"is {count} where {jobs} are known to run")

    async def _ask(self, window: _Window, hook: ApiHook) -> int:
        count = await hook.acount_unfinished(window.first, window.last, self._cluster_id)
        if count is None:
            raise UnexpectedResponse("the cloud told no number")
        return count

    def _uncover(self) -> None:
        self._window = None
        self._covered.clear()
        self._seen_ended.clear()

    def _disbelieve(self, why: str) -> None:
        self._believed = False
        self._uncover()
        log.warning(
            "cluster %s: the number of unfinished jobs %s. The jobs themselves are read at every look",
            self._cluster_id,
            why,
        )


def _ended(told: Answer) -> bool:
    return isinstance(told, JobStatus) and told.state.terminal


def _submission(told: Answer) -> datetime | None:
    """Return when a running job was submitted; None for another, for an array, where more than its end is
    news, and where no time is told, or one without a zone.
    """
    if not isinstance(told, JobStatus) or told.state is not JobState.RUNNING or told.array:
        return None
    at = told.submitted_at
    return at if at is not None and at.tzinfo is not None else None

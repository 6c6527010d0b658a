"""The rate of requests to an account: one limiter for each account in a process, shared by everything in it.

The clouds limit requests by account and do not document the limit, so the limiter learns it: a refusal halves
the rate, responses raise it again gradually (as TCP finds the width of a path), and every request observes a
pause that the cloud asks for. Processes do not coordinate: on a worker, each task has its own limiter; in the
triggerer, all triggers share one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_ehpc.apis.call import ApiError, Throttled
from airflow_provider_ehpc.compat import conf
from airflow_provider_ehpc.hooks.account import Account
from airflow_provider_ehpc.hooks.retry import LONGEST_PAUSE

DEFAULT_CEILING = 20.0
"""Requests a second, unless Airflow's configuration sets another number."""
BURST = 5.0
"""Requests that may follow each other at once after a pause."""
SLOWEST = 0.5
"""Requests a second below which the rate is never lowered."""
LONGEST_WAIT = 5 * LONGEST_PAUSE
"""Seconds that a request may wait to be sent, if the cloud asks for one pause after the other."""
_RECOVERY = 60.0
"""Seconds without a refusal in which the rate rises from nothing to its ceiling."""


@dataclass(slots=True)
class Ticket:
    """A place in the queue: when it comes up, and under which rate it was given."""

    at: float
    era: int
    since: float = float("inf")
    """When it was given out."""


class RateLimiter:
    """Give out turns to send, first come, first served; safe to use from any thread and any event loop.

    :param ceiling: requests a second that are never exceeded.
    :param clock: monotonic seconds.
    """

    def __init__(self, ceiling: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ceiling = ceiling
        self.rate = ceiling
        """Requests a second that the account seems to allow."""
        self.refusals = 0
        """Requests that were throttled."""
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock()
        self._risen = clock()
        self._quiet_until = clock()
        self._era = 0

    def wait(self) -> Ticket:
        """Wait for a turn, blocking the thread."""
        turn = self.book()
        while (pause := self.pause(turn)) > 0:
            time.sleep(pause)
        return turn

    async def await_turn(self) -> Ticket:
        """Wait for a turn, without blocking the event loop."""
        turn = self.book()
        while (pause := self.pause(turn)) > 0:  # noqa: ASYNC110 - the turn is a time, not an event
            await asyncio.sleep(pause)
        return turn

    def book(self) -> Ticket:
        """Return the next free turn."""
        with self._lock:
            now = self._clock()
            return Ticket(self._book(now), self._era, now)

    def pause(self, turn: Ticket) -> float:
        """Return the seconds until a turn comes up; 0 if it has. It may have been put off meanwhile.

        :raises Throttled: if it has been put off for :data:`LONGEST_WAIT`; nothing was sent then.
        """
        with self._lock:
            now = self._clock()
            if turn.era != self._era and turn.at <= now:
                if now - turn.since > LONGEST_WAIT:
                    raise Throttled(f"not sent: the API has refused requests for {now - turn.since:.0f} s")
                # Given out before the cloud refused: those who waited then queue again, first come first.
                turn.at, turn.era = self._book(now), self._era
            return max(0.0, turn.at - now)

    def answered(self) -> None:
        """Take in that a request was not throttled."""
        with self._lock:
            now = self._clock()
            if self.rate < self.ceiling:
                # By time, not by response: a busy account would run into the next refusal at once.
                step = self.ceiling * min(1.0, (now - self._risen) / _RECOVERY)
                self.rate = min(self.ceiling, self.rate + step)
            self._risen = now

    def failed(self, error: ApiError, turn: Ticket) -> None:
        """Take in a failure: a refusal lowers the rate, and a pause that the cloud asked for is observed."""
        if not error.transient:
            return
        with self._lock:
            now = self._clock()
            if isinstance(error, Throttled):
                self.refusals += 1
                # Requests that were on their way together are refused together, but are one lesson.
                if turn.era == self._era:
                    self.rate = max(min(SLOWEST, self.ceiling), self.rate / 2)
                    self._risen = now
                    self._begin_anew(max(self._quiet_until, now + 1 / self.rate))
            # A longer ban is tried once a minute: it may be one operation's alone.
            quiet_until = now + min(error.retry_after or 0.0, LONGEST_PAUSE)
            if quiet_until > max(now, self._quiet_until):
                self._begin_anew(quiet_until)

    def _book(self, now: float) -> float:
        # The generic cell rate algorithm (ITU-T I.371): turns are 1/rate apart, and rest saves up a few.
        step = 1 / self.rate
        self._next = max(self._next, now)
        at = max(now, self._next - (BURST - 1) * step)
        self._next += step
        return at

    def _begin_anew(self, at: float) -> None:
        """Give no turn before ``at``; turns given out already queue again."""
        self._next = at + (BURST - 1) / self.rate
        self._quiet_until = at
        self._era += 1


_limiters: dict[tuple[str, str], RateLimiter] = {}
_making = threading.Lock()


def limiter_of(account: Account) -> RateLimiter:
    """Return the limiter of an account, one for each process; Airflow's configuration sets its ceiling."""
    key = (account.conn_id, account.base_url)
    with _making:
        if key not in _limiters:
            ceiling = conf.getfloat("ehpc", "max_requests_per_second", fallback=DEFAULT_CEILING)
            _limiters[key] = RateLimiter(ceiling if ceiling > 0 else DEFAULT_CEILING)
        return _limiters[key]

# SPDX-License-Identifier: Apache-2.0
"""Limit the rate of requests to an account. All hooks of a process share one limiter for each account.

The clouds limit requests by account and do not document the limit, so the limiter learns it: a throttled
request halves the rate, other responses raise it again gradually (as TCP finds the bandwidth of a path), and
all requests observe a pause that the cloud prescribes. Processes do not coordinate: on a worker, each task
has its own limiter; in the triggerer, all triggers share one.
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
"""Requests per second, unless Airflow's configuration sets ``[ehpc] max_requests_per_second``."""
BURST = 5.0
"""Requests that may be sent at once after a pause."""
SLOWEST = 0.5
"""Requests per second below which the rate is never lowered."""
LONGEST_WAIT = 5 * LONGEST_PAUSE
"""Seconds that a request may wait while the cloud prescribes one pause after another."""
_RECOVERY = 60.0
"""Seconds without throttling in which the rate rises from 0 to its ceiling."""


@dataclass(slots=True)
class Ticket:
    """A place in the queue of requests."""

    at: float
    """The time at which the request may be sent."""
    era: int
    """Tickets of an earlier era queue again."""
    since: float = float("inf")
    """The time at which the ticket was issued."""


class RateLimiter:
    """Issue tickets to send, first come, first served. Safe to use from any thread and any event loop.

    :param ceiling: the highest rate, in requests per second.
    :param clock: monotonic seconds.
    """

    def __init__(self, ceiling: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ceiling = ceiling
        self.rate = ceiling
        """The learned rate, in requests per second."""
        self.refusals = 0
        """The number of throttled requests."""
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock()
        self._risen = clock()
        self._quiet_until = clock()
        self._era = 0

    def wait(self) -> Ticket:
        """Wait until a request may be sent, blocking the thread."""
        ticket = self.book()
        while (pause := self.pause(ticket)) > 0:
            time.sleep(pause)
        return ticket

    async def await_ticket(self) -> Ticket:
        """Wait until a request may be sent, without blocking the event loop."""
        ticket = self.book()
        while (pause := self.pause(ticket)) > 0:  # noqa: ASYNC110 - a ticket is due at a time, not by an event
            await asyncio.sleep(pause)
        return ticket

    def book(self) -> Ticket:
        """Return a ticket for the next free time."""
        with self._lock:
            now = self._clock()
            return Ticket(self._book(now), self._era, now)

    def pause(self, ticket: Ticket) -> float:
        """Return the seconds until a ticket is due; 0 if it is. A pause may have postponed it meanwhile.

        :raises Throttled: if it has been postponed for :data:`LONGEST_WAIT`; nothing was sent.
        """
        with self._lock:
            now = self._clock()
            if ticket.era != self._era and ticket.at <= now:
                if now - ticket.since > LONGEST_WAIT:
                    waited = now - ticket.since
                    raise Throttled(f"not sent: the API has refused requests for {waited:.0f} s")
                # Issued before the cloud throttled: it queues again.
                ticket.at, ticket.era = self._book(now), self._era
            return max(0.0, ticket.at - now)

    def succeeded(self) -> None:
        """Raise the rate again after a request that was not throttled."""
        with self._lock:
            now = self._clock()
            if self.rate < self.ceiling:
                # By time, not by response: a busy account would be throttled again at once.
                step = self.ceiling * min(1.0, (now - self._risen) / _RECOVERY)
                self.rate = min(self.ceiling, self.rate + step)
            self._risen = now

    def failed(self, error: ApiError, ticket: Ticket) -> None:
        """Lower the rate after a throttled request, and begin the pause that the cloud prescribes."""
        if not error.transient:
            return
        with self._lock:
            now = self._clock()
            if isinstance(error, Throttled):
                self.refusals += 1
                # Requests that were under way together are throttled together, but count once.
                if ticket.era == self._era:
                    self.rate = max(min(SLOWEST, self.ceiling), self.rate / 2)
                    self._risen = now
                    self._begin_anew(max(self._quiet_until, now + 1 / self.rate))
            # In a longer pause, one request a minute is sent: the pause may concern one operation only.
            quiet_until = now + min(error.retry_after or 0.0, LONGEST_PAUSE)
            if quiet_until > max(now, self._quiet_until):
                self._begin_anew(quiet_until)

    def _book(self, now: float) -> float:
        # The generic cell rate algorithm (ITU-T I.371): tickets are 1/rate apart; idle time saves up a few.
        step = 1 / self.rate
        self._next = max(self._next, now)
        at = max(now, self._next - (BURST - 1) * step)
        self._next += step
        return at

    def _begin_anew(self, at: float) -> None:
        """Issue no ticket before ``at``; those issued already queue again."""
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

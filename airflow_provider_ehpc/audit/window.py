# SPDX-License-Identifier: Apache-2.0
"""Read all operations of a window, or fail.

The logs of these clouds have pages and a total, but no cursor, no snapshot and no order among rows of the
same second. Rows appear late and change. Invariants:

* A pass over the pages of a stretch of time counts only if it has as many unique IDs as rows, and as many as
  the total that every page reports. For each row that pages repeat, they lose another one; dropping the
  repeated rows would only hide the loss.
* Otherwise, the stretch is read again until the passes together have as many IDs as the total. If that fails,
  it is halved. If a window was not read in one pass, its total is requested again at the end, to detect rows
  that appeared meanwhile.
* Every request extends a second beyond its stretch on both sides, because no cloud documents whether its
  bounds are included. Records outside of the window are dropped at the end, by their own times.
* A record outside of the request's bounds is an error: the server understood the request differently.
* No reader can see rows that appear after the reading, later than the settle time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from airflow_provider_ehpc.apis.call import ApiError, Flow, InvalidArgument, UnexpectedResponse
from airflow_provider_ehpc.apis.operation import OperationPage, OperationRecord, OperationSource, Window

T = TypeVar("T")

AUDIT_SETTLE_TIME = timedelta(minutes=5)
"""Time after its end in which a window may still get rows."""
REQUEST_LIMIT = 1500
"""Requests for one window, at most. A new QingCloud account has 2,000 per hour in total."""

_PAD = 1
_PAGES_A_PASS = 6
"""A stretch with more pages is halved at once: one busy second in it would make the whole pass useless."""
_PASSES = 8
"""Passes over a stretch before it is halved. On average, five collect 160 rows of one second."""
_LAST_PASSES = 25
"""Passes over a stretch that cannot be halved. With 900 rows in random order, they miss one with a
probability of 1 in 100 million."""
_ROUNDS = 3


class WindowIncomplete(ApiError):
    """The window could not be read completely. Its records must not be used."""


@dataclass(frozen=True, slots=True)
class AuditReading:
    """All operations of a window, oldest first, and the number of requests for them."""

    window: Window
    records: tuple[OperationRecord, ...]
    requests: int


def read_window(
    source: OperationSource,
    window: Window,
    *,
    now: datetime,
    settle: timedelta = AUDIT_SETTLE_TIME,
    request_limit: int = REQUEST_LIMIT,
) -> Flow[AuditReading]:
    """Read every operation that began in ``window``.

    :param now: the current time, aware.
    :raises InvalidArgument: if the window is in the future, too long, or not settled yet.
    :raises WindowIncomplete: if the window cannot be read completely.
    """
    window.check(now)
    if now < window.end + settle:
        raise InvalidArgument(
            f"end: operations of the window {window} may still appear until "
            f"{(window.end + settle).isoformat()}; read it then"
        )
    meter = Meter(request_limit)
    found = yield from meter.count(_Reader(source).read(*window.seconds))
    records = sorted(
        (record for record in found if record.time in window), key=lambda record: (record.time, record.uid)
    )
    return AuditReading(window, tuple(records), meter.requests)


class Meter:
    """Count the requests of flows, and end a flow that takes too many."""

    def __init__(self, limit: int | None = None) -> None:
        self.requests = 0
        self._limit = limit

    def count(self, flow: Flow[T]) -> Flow[T]:
        """Run ``flow`` and count its requests."""
        step: partial[Any] = partial(next, flow)
        while True:
            try:
                call = step()
            except StopIteration as end:
                result: T = end.value
                return result
            if self._limit is not None and self.requests >= self._limit:
                raise WindowIncomplete(
                    f"the window is incomplete after {self.requests} requests",
                    hint="Use shorter windows, or raise request_limit if your quota allows it.",
                )
            self.requests += 1
            try:
                answer = yield call
            except ApiError as error:
                step = partial(flow.throw, error)
            else:
                step = partial(flow.send, answer)


class _Reader:
    def __init__(self, source: OperationSource) -> None:
        self._source = source
        self._found: dict[str, OperationRecord] = {}

    def read(self, start: int, end: int) -> Flow[Iterable[OperationRecord]]:
        for _ in range(_ROUNDS):
            self._found.clear()
            if (yield from self._stretch(start, end)):
                return self._found.values()
            if (yield from self._page(start, end, 0)).total == len(self._found):
                return self._found.values()
        raise WindowIncomplete(
            f"operations appear or vanish while the window is read: their number changed in each of "
            f"{_ROUNDS} rounds",
            hint="A longer settle time lets late operations appear before the window is read.",
        )

    def _stretch(self, start: int, end: int) -> Flow[bool]:
        """Collect the operations from ``start`` until before ``end``; return True if one pass was enough."""
        first = yield from self._page(start, end, 0)
        pages = -(-first.total // self._source.page_size)
        # Paging cannot disorder the rows of a single page.
        divisible = pages > 1 and end - start > 1
        if not divisible or pages <= _PAGES_A_PASS:
            passes = _PASSES if divisible else _LAST_PASSES
            taken = yield from self._gather(start, end, first, passes)
            if taken:
                return taken == 1
            if not divisible:
                raise WindowIncomplete(
                    f"of the {first.total} operations between {start} and {end} (epoch seconds), some are "
                    f"missing from every one of {passes} passes over them, or some are named twice",
                    hint="The API's responses contradict each other: contact the cloud's support.",
                )
        middle = (start + end) // 2
        yield from self._stretch(start, middle)
        yield from self._stretch(middle, end)
        return False

    def _gather(self, start: int, end: int, first: OperationPage, passes: int) -> Flow[int]:
        """Read a stretch until one pass is complete, or until the ids of all passes are as many as the rows.

        :return: how many passes it took; 0 for all of them, in vain.
        """
        gathered: dict[str, OperationRecord] = {}
        total = first.total
        for number in range(1, passes + 1):
            if number > 1:
                first = yield from self._page(start, end, 0)
            if first.total != total:
                # Another set of rows: what was gathered may hold some that are gone.
                gathered.clear()
                total = first.total
            complete = yield from self._pass(start, end, first, gathered)
            if complete or (number > 1 and len(gathered) == total):
                _merge(self._found, gathered.values())
                return number
        return 0

    def _pass(
        self, start: int, end: int, first: OperationPage, found: dict[str, OperationRecord]
    ) -> Flow[bool]:
        """Add the rows of all pages to ``found``; return True if they are provably complete."""
        page, number, rows = first, 0, 0
        ids: set[str] = set()
        while True:
            rows += len(page.records)
            ids.update(record.uid for record in page.records)
            _merge(found, page.records)
            number += 1
            if number * self._source.page_size >= first.total:
                return len(ids) == rows == first.total
            page = yield from self._page(start, end, number)
            if page.total != first.total:
                return False

    def _page(self, start: int, end: int, number: int) -> Flow[OperationPage]:
        asked_from, asked_to = start - _PAD, end + _PAD
        page = yield from self._source.page(asked_from, asked_to, number)
        for record in page.records:
            if not asked_from <= record.time.timestamp() < asked_to + 1:
                raise UnexpectedResponse(
                    f"the API returned {record.operation_id}, which began at {record.time.isoformat()}, for "
                    f"a request from {asked_from} to {asked_to} (epoch seconds): it filters by another time "
                    "or not at all, so no window can be read"
                )
        return page


def _newer(one: OperationRecord, other: OperationRecord) -> OperationRecord:
    """Return the newer of two records of an operation: the one that changed later, otherwise ``other``."""
    return one if (one.changed_at or one.time) > (other.changed_at or other.time) else other


def _merge(found: dict[str, OperationRecord], records: Iterable[OperationRecord]) -> None:
    for record in records:
        known = found.get(record.uid)
        found[record.uid] = _newer(known, record) if known else record

"""Read the operations of a window completely, or failing.

The logs of these clouds offer pages and a total, but no cursor, no snapshot and no order among rows of one
second. Rows appear late and change. What holds here in spite of that:

* A pass over the pages of a stretch counts only if its unique ids are as many as its rows and as the total
  that every page reported. Pages alone would lose a row for each one they repeat, and removing the repeated
  ones would only hide the loss.
* A stretch for which that does not hold is read again until the ids of all its passes are as many as the
  total, and halved if they do not become so. A window that was not read in one pass has its total requested
  once more at the end, so that a row which came meanwhile is noticed.
* Every request reaches a second beyond its stretch on both sides, because no cloud documents whether its
  bounds belong to it. What lies beyond the window is dropped at the end, by the records' own times.
* A record from outside of the request's bounds is an error: the server understood another request.
* Rows that come later than the settle time, after the reading, cannot be seen by any reader.
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
"""How long after its end a window may still get rows."""
REQUEST_LIMIT = 1500
"""Requests one window may take. A new QingCloud account has 2,000 an hour, for everything."""

_PAD = 1
_PAGES_A_PASS = 6
"""A longer stretch is halved at once: one busy second in it would make the whole pass worthless."""
_PASSES = 8
"""Passes over a stretch before it is halved. Five on average gather 160 rows of one second."""
_LAST_PASSES = 25
"""Passes over what cannot be halved. Of 900 rows in random order they miss one in a hundred million times."""
_ROUNDS = 3


class WindowIncomplete(ApiError):
    """The window could not be read so that nothing is missing. Nothing of it should be used."""


@dataclass(frozen=True, slots=True)
class AuditReading:
    """All operations of a window, oldest first, and how many requests it took to read them."""

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

    :param now: the time, aware.
    :raises InvalidArgument: for a window in the future, too long, or not settled yet.
    :raises WindowIncomplete: if completeness could not be reached.
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
    """Counts the requests of flows, and ends one that takes too many."""

    def __init__(self, limit: int | None = None) -> None:
        self.requests = 0
        self._limit = limit

    def count(self, flow: Flow[T]) -> Flow[T]:
        """Return a flow that does what ``flow`` does, counted."""
        step: partial[Any] = partial(next, flow)
        while True:
            try:
                call = step()
            except StopIteration as end:
                result: T = end.value
                return result
            if self._limit is not None and self.requests >= self._limit:
                raise WindowIncomplete(
                    f"the window is not read after {self.requests} requests",
                    hint="Take shorter windows, or raise the limit of requests if your quota allows it.",
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
            f"operations appear or vanish while the window is read; in {_ROUNDS} rounds their number never "
            "stayed the same",
            hint="A longer settle time lets late operations appear before the window is read.",
        )

    def _stretch(self, start: int, end: int) -> Flow[bool]:
        """Gather what began from ``start`` until before ``end``; return True if one pass was enough."""
        first = yield from self._page(start, end, 0)
        pages = -(-first.total // self._source.page_size)
        # What stands on one page cannot be put in disorder by paging.
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
                    hint="The cloud's answers contradict one another; its support may know why.",
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
                    f"asked for operations between {asked_from} and {asked_to} (epoch seconds), the cloud "
                    f"named {record.operation_id}, which began at {record.time.isoformat()}: it filters by "
                    "another time or not at all, so no window can be read"
                )
        return page


def _newer(one: OperationRecord, other: OperationRecord) -> OperationRecord:
    """Return the newer of two records of an operation: the later changed, else ``other``."""
    return one if (one.changed_at or one.time) > (other.changed_at or other.time) else other


def _merge(found: dict[str, OperationRecord], records: Iterable[OperationRecord]) -> None:
    for record in records:
        known = found.get(record.uid)
        found[record.uid] = _newer(known, record) if known else record

# SPDX-License-Identifier: Apache-2.0
"""Read lists of jobs page by page, completely and in a bounded number of requests.

None of these clouds filters or sorts jobs by their end, and none has a cursor or a snapshot: each request
divides the list into pages again. If a row leaves the list while its pages are read, all later rows move up,
and the first row of the next page is missed.

A server may also never end its list: it may report a wrong total, or return the same page for every number.
:class:`PageGuard` ends every loop over pages.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypeVar

from airflow_provider_ehpc.apis.call import Flow, UnexpectedResponse
from airflow_provider_ehpc.apis.job import JobStatus

R = TypeVar("R")

ReadPage: TypeAlias = Callable[[int], Flow[tuple[Sequence[R], int | None]]]
"""Requests a page by its number, from 1 on; returns its rows and the total that the cloud reports."""

MOST_PAGES = 2000
"""Maximum number of pages of one list: 100,000 jobs at 50 per page."""
_MORE_PAGES = 10
"""Pages that a list may have beyond twice the number that its first total implies."""
_STALE = 2
"""Consecutive pages without a new key that end a list. A single one can be genuine: while it was requested,
enough jobs to fill a page may have been submitted."""
_PASSES = 3
"""Maximum number of passes over a list whose rows move. The caller's next reading covers a time that begins
before the end of this one, so it finds rows that all passes missed."""
_LAST_ZONE = timedelta(hours=12)
"""The furthest that a time zone is behind UTC."""
_FIRST_ZONE = timedelta(hours=14)
"""The furthest that a time zone is ahead of UTC."""
_ZONE_STEP = 900.0
"""Seconds. Time zones differ by multiples of it."""


class PageGuard:
    """A counter of one list's pages, which decides when the list has ended.

    :param page_size: rows of a full page.
    """

    def __init__(self, page_size: int) -> None:
        self.pages = 0
        self.keys: set[Hashable] = set()
        self.totals: set[int | None] = set()
        self._page_size = page_size
        self._limit = MOST_PAGES
        self._rows = 0
        self._stale = 0

    def ended(self, keys: Iterable[Hashable], rows: int, total: int | None) -> bool:
        """Count a page; return True if no other page follows it.

        :param keys: identify the page's rows; rows may be left out.
        :raises UnexpectedResponse: if the list returns new rows far beyond its first total, or does not end.
        """
        self.pages += 1
        self.totals.add(total)
        self._rows += rows
        before = len(self.keys)
        self.keys.update(keys)
        self._stale = 0 if len(self.keys) > before else self._stale + 1
        if self.pages == 1 and total is not None:
            # Jobs may be submitted while their list is read.
            self._limit = min(MOST_PAGES, 2 * -(-total // self._page_size) + _MORE_PAGES)
        if not rows or self._stale >= _STALE:
            return True
        if total is None or total < self._rows:
            # No total, or a wrong one: it is less than the rows seen so far.
            last = rows < self._page_size
        else:
            last = self.pages * self._page_size >= total
        if last:
            return True
        if self.pages >= self._limit:
            raise UnexpectedResponse(
                f"the list does not end: {len(self.keys)} rows on {self.pages} pages, but the cloud reports "
                f"{'no total' if total is None else f'a total of {total}'}"
            )
        return False


def one_pass(
    read_page: ReadPage[R],
    key: Callable[[R], str],
    page_size: int,
    *,
    enough: Callable[[Sequence[R]], bool] = lambda page: False,
) -> Flow[Mapping[str, R]]:
    """Read the pages of a list once and return their rows by ``key``.

    :param enough: returns True for a page after which no other is needed.
    :raises UnexpectedResponse: if the list does not end.
    """
    found, _ = yield from _pass(read_page, key, page_size, enough)
    return found


def all_pages(read_page: ReadPage[R], key: Callable[[R], str], page_size: int) -> Flow[Mapping[str, R]]:
    """Read all pages and return their rows by ``key``.

    If the rows may have moved, the pages are read again and the results are merged. Nothing has moved if the
    number of unique keys equals the number of rows and the total on every page.

    :raises UnexpectedResponse: if the list does not end.
    """
    found: dict[str, R] = {}
    for _ in range(_PASSES):
        rows, complete = yield from _pass(read_page, key, page_size, lambda page: False)
        found.update(rows)
        if complete:
            break
    return found


def newest_pages(
    read_page: ReadPage[R], key: Callable[[R], str], page_size: int, since: Callable[[R], bool]
) -> Flow[Mapping[str, R]]:
    """Read a list that begins with the newest rows, down to the first page that ends before ``since``.

    New rows push the others down: some are read twice, none is missed.

    :param since: returns True for a row that is new enough.
    :raises UnexpectedResponse: if the list does not end.
    """
    return one_pass(
        read_page, key, page_size, enough=lambda page: len(page) < page_size or not since(page[-1])
    )


def _pass(
    read_page: ReadPage[R], key: Callable[[R], str], page_size: int, enough: Callable[[Sequence[R]], bool]
) -> Flow[tuple[dict[str, R], bool]]:
    """Read the pages once; return their rows, and True if no row moved meanwhile."""
    found: dict[str, R] = {}
    guard = PageGuard(page_size)
    rows = 0
    while True:
        page, total = yield from read_page(guard.pages + 1)
        rows += len(page)
        keyed = {key(row): row for row in page}
        found.update(keyed)
        if guard.ended(keyed, len(page), total) or enough(page):
            return found, guard.pages == 1 or (len(found) == rows and guard.totals == {rows})


def latest_submission(status: JobStatus) -> float | None:
    """Return the latest possible time of a job's submission in epoch seconds; None if not reported."""
    return None if status.submitted_at is None else latest_moment(_reported(status, status.submitted_at))


def earliest_submission(status: JobStatus) -> float | None:
    """Return the earliest possible time of a job's submission in epoch seconds; None if not reported."""
    if status.submitted_at is None:
        return None
    at = _reported(status, status.submitted_at)
    return (at if at.tzinfo else at.replace(tzinfo=UTC) - _FIRST_ZONE).timestamp()


def _reported(status: JobStatus, time: datetime) -> datetime:
    """Return a job's time as the cloud reported it: without the zone if that is only a guess."""
    return time.replace(tzinfo=None) if status.zone_assumed else time


def started_later(status: JobStatus, before: datetime | None) -> bool:
    """Return True if a job's start is later than the one reported before: the job runs again."""
    start = status.started_at
    if start is None or before is None or (start.tzinfo is None) != (before.tzinfo is None):
        return False
    later = (start - before).total_seconds()
    if start.utcoffset() != before.utcoffset():
        # Two operations of an API may report the same start in two zones, and one zone may be a wrong guess.
        later %= _ZONE_STEP
        later = min(later, _ZONE_STEP - later)
    # They may also round differently.
    return later > 1.0


def latest_moment(time: datetime) -> float:
    """Return the latest epoch seconds that a time can mean: without a zone, it may belong to any."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC) + _LAST_ZONE).timestamp()


def submitted_since(status: JobStatus, since: datetime) -> bool:
    """Return True if a job may have been submitted at or after ``since``."""
    at = latest_submission(status)
    return at is None or at >= since.timestamp()

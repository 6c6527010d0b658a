"""Read lists of jobs page by page, completely and in a bounded number of requests.

No cloud here filters or sorts jobs by their end, and none has a cursor or a snapshot: pages are cut anew for
every request. If a row leaves the list while its pages are read, all later rows move up, and the first row of
the next page is missed.

Nor can a server be trusted to end its list: it may report a wrong total or return the same page for every
number. :class:`PageGuard` ends every loop over pages.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypeVar

from airflow_provider_ehpc.apis.call import Flow, UnexpectedResponse
from airflow_provider_ehpc.apis.job import JobStatus

R = TypeVar("R")

AskPage: TypeAlias = Callable[[int], Flow[tuple[Sequence[R], int | None]]]
"""Requests a page by its number, from 1 on; returns its rows and the total that the cloud reports."""

MOST_PAGES = 2000
"""Pages of one list that are read at most: 100,000 jobs at 50 a page."""
_MORE_PAGES = 10
"""Pages that a list may have beyond twice as many as its first total says."""
_STALE = 2
"""Pages in a row without a new key that end a list. One alone can be right: while it was requested, as many
jobs as fill a page were submitted."""
_PASSES = 3
"""Passes over a list whose rows move. The caller's next reading finds what all of them missed: it begins
before the end of this one."""
_FURTHEST_ZONE = timedelta(hours=12)
"""How far behind UTC a clock on Earth can be."""
_FIRST_ZONE = timedelta(hours=14)
"""How far ahead of UTC."""
_ZONE_STEP = 900.0
"""Seconds by which time zones differ, or a multiple of it."""


class PageGuard:
    """Count the pages of one list and decide when it has ended.

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
        """Take in a page; return True if no other page follows it.

        :param keys: what identifies the page's rows; it may leave rows out.
        :raises UnexpectedResponse: if the list shows new rows far beyond the total that it first reported,
            or does not end at all.
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
            # No total, or a wrong one: there are more rows than it says.
            last = rows < self._page_size
        else:
            last = self.pages * self._page_size >= total
        if last:
            return True
        if self.pages >= self._limit:
            raise UnexpectedResponse(
                f"the list does not end: {len(self.keys)} rows on {self.pages} pages, and the cloud reports "
                f"{'no total' if total is None else f'a total of {total}'}"
            )
        return False


def one_pass(
    ask: AskPage[R],
    key: Callable[[R], str],
    page_size: int,
    *,
    enough: Callable[[Sequence[R]], bool] = lambda page: False,
) -> Flow[Mapping[str, R]]:
    """Read the pages of a list once and return their rows by ``key``.

    :param enough: returns True for a page after which no other is needed.
    :raises UnexpectedResponse: if the list does not end.
    """
    found, _ = yield from _pass(ask, key, page_size, enough)
    return found


def all_pages(ask: AskPage[R], key: Callable[[R], str], page_size: int) -> Flow[Mapping[str, R]]:
    """Read all pages and return their rows by ``key``.

    They are read again, and added to what was found, unless the unique keys of one pass are as many as its
    rows and as the total on every page. Then nothing moved.

    :raises UnexpectedResponse: if the list does not end.
    """
    found: dict[str, R] = {}
    for _ in range(_PASSES):
        rows, complete = yield from _pass(ask, key, page_size, lambda page: False)
        found.update(rows)
        if complete:
            break
    return found


def newest_pages(
    ask: AskPage[R], key: Callable[[R], str], page_size: int, since: Callable[[R], bool]
) -> Flow[Mapping[str, R]]:
    """Read a list that begins with the newest rows, down to the first page that ends before ``since``.

    New rows push the others down: some are read twice, none is missed.

    :raises UnexpectedResponse: if the list does not end.
    """
    return one_pass(ask, key, page_size, enough=lambda page: len(page) < page_size or not since(page[-1]))


def _pass(
    ask: AskPage[R], key: Callable[[R], str], page_size: int, enough: Callable[[Sequence[R]], bool]
) -> Flow[tuple[dict[str, R], bool]]:
    """Read the pages once; return their rows, and True if nothing moved meanwhile."""
    found: dict[str, R] = {}
    guard = PageGuard(page_size)
    rows = 0
    while True:
        page, total = yield from ask(guard.pages + 1)
        rows += len(page)
        keyed = {key(row): row for row in page}
        found.update(keyed)
        if guard.ended(keyed, len(page), total) or enough(page):
            return found, guard.pages == 1 or (len(found) == rows and guard.totals == {rows})


def latest_submission(status: JobStatus) -> float | None:
    """Return the latest moment at which a job can have been submitted, in epoch seconds; None if the cloud
    does not report it.
    """
    return None if status.submitted_at is None else latest_moment(_reported(status, status.submitted_at))


def earliest_submission(status: JobStatus) -> float | None:
    """Return the earliest moment at which a job can have been submitted, in epoch seconds; None if the cloud
    does not report it.
    """
    if status.submitted_at is None:
        return None
    at = _reported(status, status.submitted_at)
    return (at if at.tzinfo else at.replace(tzinfo=UTC) - _FIRST_ZONE).timestamp()


def _reported(status: JobStatus, time: datetime) -> datetime:
    """Return a time of a job as the cloud reports it: without a zone that is only a guess."""
    return time.replace(tzinfo=None) if status.zone_assumed else time


def started_later(status: JobStatus, before: datetime | None) -> bool:
    """Return True if a job's start is later than the one that was reported before: it runs again."""
    start = status.started_at
    if start is None or before is None or (start.tzinfo is None) != (before.tzinfo is None):
        return False
    later = (start - before).total_seconds()
    if start.utcoffset() != before.utcoffset():
        # Two operations of an API report one start in two zones, of which one may be a wrong guess.
        later %= _ZONE_STEP
        later = min(later, _ZONE_STEP - later)
    # Their times may be rounded differently, too.
    return later > 1.0


def latest_moment(time: datetime) -> float:
    """Return the latest epoch seconds that a time means: without a zone, it may be any zone's."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC) + _FURTHEST_ZONE).timestamp()


def submitted_since(status: JobStatus, since: datetime) -> bool:
    """Return True if a job may have been submitted at or after ``since``."""
    at = latest_submission(status)
    return at is None or at >= since.timestamp()

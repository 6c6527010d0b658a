"""Reading lists of jobs so that none is lost between two pages, while jobs are submitted and end.

No cloud here filters or sorts jobs by their end, and none has a cursor or a snapshot: pages are cut anew for
every request. A row that leaves the list while its pages are read moves all later rows up, and the first of
the next page is never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypeVar

from airflow_provider_ehpc.apis.call import Flow
from airflow_provider_ehpc.apis.job import JobStatus

R = TypeVar("R")

AskPage: TypeAlias = Callable[[int], Flow[tuple[Sequence[R], int | None]]]
"""Asks for a page by its number from 1 on; gives its rows, and how many rows the cloud says there are."""

_PASSES = 3
"""Passes over a list whose rows move. What all of them missed, the caller's next reading finds: it begins
before the end of this one."""
_FURTHEST_ZONE = timedelta(hours=12)
"""How far behind UTC a clock on Earth can be."""


def all_pages(ask: AskPage[R], key: Callable[[R], str], page_size: int) -> Flow[Mapping[str, R]]:
    """Read all pages and return their rows by ``key``.

    They are read again, and added to what was found, unless the unique keys of one pass are as many as its
    rows and as the total that every page told. Then nothing moved.
    """
    found: dict[str, R] = {}
    for _ in range(_PASSES):
        rows = number = 0
        keys: set[str] = set()
        totals: set[int | None] = set()
        while True:
            number += 1
            page, total = yield from ask(number)
            rows += len(page)
            totals.add(total)
            keys.update(key(row) for row in page)
            found.update((key(row), row) for row in page)
            if not page or (len(page) < page_size if total is None else number * page_size >= total):
                break
        if number == 1 or (len(keys) == rows and totals == {rows}):
            break
    return found


def newest_pages(
    ask: AskPage[R], key: Callable[[R], str], page_size: int, since: Callable[[R], bool]
) -> Flow[Mapping[str, R]]:
    """Read a list that begins with the newest rows, down to the first page that ends before ``since``.

    New rows push the others down: some are read twice, none is missed.
    """
    found: dict[str, R] = {}
    number = 0
    while True:
        number += 1
        page, total = yield from ask(number)
        found.update((key(row), row) for row in page)
        beyond = total is not None and number * page_size >= total
        if len(page) < page_size or beyond or not since(page[-1]):
            return found


def latest_submission(status: JobStatus) -> float | None:
    """Return the latest moment at which a job can have been submitted, in epoch seconds; None where the
    cloud does not tell. A time without a zone may be any zone's.
    """
    at = status.submitted_at
    if at is None:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC) + _FURTHEST_ZONE
    return at.timestamp()


def submitted_since(status: JobStatus, since: datetime) -> bool:
    """Whether a job may have been submitted at or after ``since``."""
    at = latest_submission(status)
    return at is None or at >= since.timestamp()

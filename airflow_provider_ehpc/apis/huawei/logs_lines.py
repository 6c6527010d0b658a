# SPDX-License-Identifier: Apache-2.0
"""Read a log by lines, as AOM stores it: a page has the lines after a base line, which is an opaque number.

Both API versions have this operation, with the same response and opposite words for the direction. The
numbers look like nanoseconds since 1970 (``1609121886518240330``). They are too large for a JSON number that
is read as a float, so they stay text. It is not documented if a page includes the base line itself, or how to
start at the beginning of a log. Comments at the code explain how it deals with both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_ehpc.apis.call import ApiCall, Flow, UnexpectedResponse
from airflow_provider_ehpc.apis.huawei.common import Content
from airflow_provider_ehpc.apis.job import LogPosition
from airflow_provider_ehpc.apis.response import Number, ResponseModel, Text

MOST_LINES = 500
"""Maximum number of lines on a page."""
_FEWEST_LINES = 10
_LINE = 128
"""Assumed number of bytes in a line, to convert a number of bytes to a number of lines."""
_PAGES = 20
"""Maximum number of pages in one reading: lines may be shorter than assumed."""
_EARLIER = 3600 * 1000
"""Milliseconds by which reading starts before the job's creation, because clocks may differ."""


class LogLines(ResponseModel):
    """A page of lines."""

    log_fields = frozenset({"content"})

    start_line: Text = ""
    end_line: Text = ""
    lines: Number = None
    content: Content = ""

    def records(self) -> list[str]:
        """Return the lines one by one, without their line feeds."""
        if not self.content:
            return []
        text = self.content.removesuffix("\n")
        single, double = text.split("\n"), text.split("\n\n")
        # A captured response has "lines": 8 and an empty line after each: its lines already ended with line
        # feeds and were joined by further ones. Only the count distinguishes this from the job's empty lines.
        return double if len(double) == self.lines else single


LinesAfter = Callable[[str, int], ApiCall[Any]]
"""Returns the call for the lines after a base line, oldest first, up to a number of lines."""
NewestLines = Callable[[int], ApiCall[Any]]
"""Returns the call for the newest lines, up to a number of lines."""


@dataclass(frozen=True, slots=True)
class LinesRead:
    """The result of a reading: whole lines, the next position, and True if more lines can be read at once."""

    data: bytes
    next: LogPosition
    more: bool


def read_lines(
    after: LinesAfter, newest: NewestLines, position: LogPosition, created_at: datetime | None, size: int
) -> Flow[LinesRead | None]:
    """Read from ``position`` on, to the end of the log or until there are ``size`` bytes or 20 pages.

    Lines cannot be requested by bytes, so the result may be longer than ``size``.

    :param created_at: creation time of the job; reading from the beginning starts there.
    :return: None if the log has lines but the API returns none from its beginning.
    """
    base = position if isinstance(position, str) else _beginning(created_at)
    wanted = max(_FEWEST_LINES, min(MOST_LINES, size // _LINE))
    data = bytearray()
    more = True
    for _ in range(_PAGES):
        page = yield after(base, wanted)
        lines, base = _lines_after(page, base)
        data += b"".join(f"{line}\n".encode() for line in lines)
        if not lines or len(page.records()) < wanted:
            more = False
            break
        if len(data) >= size:
            break
    if data or isinstance(position, str):
        return LinesRead(bytes(data), base, more)
    # Either there are no lines yet, or the API does not understand the invented base line. Check if there are
    # newest lines.
    latest = yield newest(_FEWEST_LINES)
    if latest.content:
        # The job may have written them between the two calls.
        again = yield after(base, wanted)
        if not _lines_after(again, base)[0]:
            return None
    return LinesRead(b"", position, more=False)


def newest_lines(newest: NewestLines, size: int) -> Flow[LinesRead]:
    """Read the newest lines, at most ``size`` bytes."""
    page = yield newest(max(_FEWEST_LINES, min(MOST_LINES, size // _LINE)))
    lines, end = _lines_after(page, "")
    return LinesRead("".join(f"{line}\n" for line in lines).encode()[-size:], end or 0, more=False)


def _beginning(created_at: datetime | None) -> str:
    if created_at is None:
        return "0"
    return str((round(created_at.timestamp() * 1000) - _EARLIER) * 10**6)


def _lines_after(page: LogLines, base: str) -> tuple[list[str], str]:
    """Return the page's lines after ``base``, oldest first, and the base line of the next page."""
    lines, first, last = page.records(), page.start_line, page.end_line
    if lines and not last:
        raise UnexpectedResponse("the response has lines of a log, but not their end (end_line)")
    if _later(first, last):
        lines.reverse()
        first, last = last, first
    if first and first == base:
        lines = lines[1:]
    # A page that ends at or before the base line has no new lines: the server has the opposite words for the
    # direction. These lines must not be shown again after every poll.
    if not lines or last == base or _later(base, last):
        return [], base
    return lines, last


def _later(one: str, other: str) -> bool:
    if not (_is_number(one) and _is_number(other)):
        return False
    one, other = one.lstrip("0"), other.lstrip("0")
    return (len(one), one) > (len(other), other)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()

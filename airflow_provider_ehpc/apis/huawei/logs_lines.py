"""Reading a log by lines, as AOM keeps it: a page of lines behind a base line, addressed by opaque numbers.

Both API versions have it, with the same answer and with opposite words for the direction. The numbers
look like nanoseconds since 1970 (``1609121886518240330``) and do not fit a JSON number, so they stay text.
Whether the base line itself comes again is not documented, and no page says how to begin at the beginning;
what is done about both is written beside it.
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
"""Lines that one page may hold."""
_FEWEST_LINES = 10
_LINE = 128
"""Bytes a line is taken for when a number of bytes is turned into one of lines."""
_PAGES = 20
"""Pages that one reading takes, at most: lines may be shorter than expected."""
_EARLIER = 3600 * 1000
"""Milliseconds by which reading starts before the job was made, for clocks that disagree."""


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
        # A captured answer holds "lines": 8 with an empty line after each: there, lines that kept their own
        # line feed were joined by another. Only the count tells this from empty lines that the job wrote.
        return double if len(double) == self.lines else single


AskAfter = Callable[[str, int], ApiCall[Any]]
"""Makes the call for the lines behind a base line, oldest first; at most so many."""
AskNewest = Callable[[int], ApiCall[Any]]
"""Makes the call for the newest lines; at most so many."""


@dataclass(frozen=True, slots=True)
class LinesRead:
    """What reading gave: whole lines, where to go on, and whether more lies ready."""

    data: bytes
    next: LogPosition
    more: bool


def read_lines(
    after: AskAfter, newest: AskNewest, position: LogPosition, created_at: datetime | None, size: int
) -> Flow[LinesRead | None]:
    """Read on from ``position`` until ``size`` bytes are there, the log is at its end, or it takes too long.

    Lines cannot be asked for by bytes, so the last page may go over ``size``.

    :param created_at: when the job was made; reading from the beginning starts there.
    :return: None where the log has lines but gives none from its beginning.
    """
    base = position if isinstance(position, str) else _beginning(created_at)
    wanted = max(_FEWEST_LINES, min(MOST_LINES, size // _LINE))
    data = bytearray()
    more = True
    for _ in range(_PAGES):
        page = yield after(base, wanted)
        lines, base = _behind(page, base)
        data += b"".join(f"{line}\n".encode() for line in lines)
        if not lines or len(page.records()) < wanted:
            more = False
            break
        if len(data) >= size:
            break
    if data or isinstance(position, str):
        return LinesRead(bytes(data), base, more)
    # No lines yet, or is the base line that was made up not understood? The newest lines tell.
    latest = yield newest(_FEWEST_LINES)
    if latest.content:
        # They may have arrived between the two calls.
        again = yield after(base, wanted)
        if not _behind(again, base)[0]:
            return None
    return LinesRead(b"", position, more=False)


def newest_lines(newest: AskNewest, size: int) -> Flow[LinesRead]:
    """Read the newest lines, about ``size`` bytes of them."""
    page = yield newest(max(_FEWEST_LINES, min(MOST_LINES, size // _LINE)))
    lines, end = _behind(page, "")
    return LinesRead("".join(f"{line}\n" for line in lines).encode()[-size:], end or 0, more=False)


def _beginning(created_at: datetime | None) -> str:
    if created_at is None:
        return "0"
    return str((round(created_at.timestamp() * 1000) - _EARLIER) * 10**6)


def _behind(page: LogLines, base: str) -> tuple[list[str], str]:
    """Return a page's lines that lie behind ``base``, oldest first, and the base line of the next page."""
    lines, first, last = page.records(), page.start_line, page.end_line
    if lines and not last:
        raise UnexpectedResponse("the answer holds lines of a log but not where they end (end_line)")
    if _later(first, last):
        lines.reverse()
        first, last = last, first
    if first and first == base:
        lines = lines[1:]
    # Lines that end where the last page did, or before it, are none that follow: whoever sends them takes
    # the direction for the other one. They must not be shown again at every look.
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

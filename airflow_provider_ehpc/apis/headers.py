"""Read the response headers that say when: ``Date`` and the two kinds of ``Retry-After``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST = 86_400.0
"""Seconds. Nobody means a longer pause, and a wait must not depend on it."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")


def http_date(text: str) -> datetime | None:
    """Return an HTTP date as an aware time; None if it is unreadable."""
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # The zone -0000 says UTC, too, and gives a time without a zone (RFC 5322 3.3).
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def clock_skew(headers: Mapping[str, str], now: datetime) -> float:
    """Return by how many seconds the clock of the endpoint is ahead of ``now``; 0 if it sends no time."""
    time = http_date(headers.get("date", ""))
    return (time - now).total_seconds() if time else 0.0


def seconds(text: str, unit: float = 1.0) -> float | None:
    """Return the number of seconds that ``text`` names, None if it names none or more than a day.

    :param unit: parts of a second that the number counts: 1000 for milliseconds.
    """
    text = text.strip()
    if not _SECONDS.fullmatch(text):
        return None
    number = float(text) / unit
    return number if number <= _LONGEST else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the cloud asks to wait; None if it does not ask, or asks for nonsense.

    ``x-acs-retry-after`` is in milliseconds (Alibaba Cloud), ``Retry-After`` in seconds or a date (RFC 9110
    10.2.3), which is compared with the date of the same response: clocks differ.
    """
    pause = seconds(headers.get("x-acs-retry-after", ""), 1000)
    if pause is not None:
        return pause
    value = headers.get("retry-after", "")
    if (until := http_date(value)) and (sent := http_date(headers.get("date", ""))):
        value = str(max(0.0, (until - sent).total_seconds()))
    return seconds(value)

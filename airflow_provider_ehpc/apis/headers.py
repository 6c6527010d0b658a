# SPDX-License-Identifier: Apache-2.0
"""Read the response headers about time: ``Date`` and the two kinds of ``Retry-After``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST = 86_400.0
"""Seconds. A longer pause is an error of the server, and must not hold up a wait."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")


def http_date(text: str) -> datetime | None:
    """Return an HTTP date as an aware datetime; None if it is unreadable."""
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # The zone -0000 means UTC, too, but Python returns a datetime without a zone for it (RFC 5322 3.3).
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def clock_skew(headers: Mapping[str, str], now: datetime) -> float:
    """Return how many seconds the endpoint's clock is ahead of ``now``; 0 if the endpoint sends no time."""
    time = http_date(headers.get("date", ""))
    return (time - now).total_seconds() if time else 0.0


def seconds(text: str, unit: float = 1.0) -> float | None:
    """Return the seconds in ``text``; None if it is no number or more than a day.

    :param unit: units per second: 1000 if ``text`` is in milliseconds.
    """
    text = text.strip()
    if not _SECONDS.fullmatch(text):
        return None
    number = float(text) / unit
    return number if number <= _LONGEST else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds after which the cloud wants a retry; None if there is no valid value.

    ``x-acs-retry-after`` is in milliseconds (Alibaba Cloud). ``Retry-After`` is in seconds or a date (RFC
    9110 10.2.3). A date is compared with the date of the same response, because clocks differ.
    """
    pause = seconds(headers.get("x-acs-retry-after", ""), 1000)
    if pause is not None:
        return pause
    value = headers.get("retry-after", "")
    if (until := http_date(value)) and (sent := http_date(headers.get("date", ""))):
        value = str(max(0.0, (until - sent).total_seconds()))
    return seconds(value)

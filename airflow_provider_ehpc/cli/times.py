# SPDX-License-Identifier: Apache-2.0
"""Parse times on the command line, and times at the beginning of log lines."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta, tzinfo

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d{1,9})([smhdw])")
# 2026-03-01T12:00:00.123Z, [2026-03-01 12:00:00,123], 2026/03/01 12:00:00: ISO 8601, and the defaults of the
# log libraries of Python, Java and Go.
_LINE_TIME = re.compile(
    r"\W?(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)? ?(Z|[+-]\d\d:?\d\d)?"
)


def duration(text: str) -> timedelta:
    """Return a duration such as ``90s``, ``10m``, ``2h`` or ``7d``.

    :raises argparse.ArgumentTypeError: for any other text.
    """
    match = _DURATION.fullmatch(text.strip())
    try:
        if match:
            return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        pass
    raise argparse.ArgumentTypeError(f"invalid duration {text!r}: expected a number and s, m, h, d or w")


def seconds(text: str) -> float:
    """Return a duration in seconds, greater than 0. A number without a unit is in seconds.

    :raises argparse.ArgumentTypeError: for any other text.
    """
    found = float(text) if re.fullmatch(r"\d{1,9}(\.\d+)?", text) else duration(text).total_seconds()
    if found <= 0:
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}: expected more than 0 seconds")
    return found


def moment(text: str) -> datetime:
    """Return a time, given in ISO 8601 or as a duration before now.

    A time without a zone is in Airflow's default time zone.

    :raises argparse.ArgumentTypeError: for any other text.
    """
    from airflow.sdk.timezone import coerce_datetime

    try:
        found = datetime.fromisoformat(text.strip())
        return found if found.tzinfo else found.replace(tzinfo=coerce_datetime(found).tzinfo)
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - duration(text)
    except (argparse.ArgumentTypeError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"invalid time {text!r}: expected ISO 8601, such as 2026-03-01T12:00+08:00, or a duration before "
            "now, such as 10m or 7d"
        ) from None


def line_time(line: str, zone: tzinfo) -> datetime | None:
    """Return the time at the beginning of a log line; None if there is none.

    :param zone: the time zone of times without one.
    """
    if (match := _LINE_TIME.match(line)) is None:
        return None
    year, month, day, clock, fraction, offset = match.groups()
    try:
        found = datetime.fromisoformat(f"{year}-{month}-{day}T{clock}.{(fraction or '0'):0<6}{offset or ''}")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=zone)

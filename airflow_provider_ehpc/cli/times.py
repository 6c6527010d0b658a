# SPDX-License-Identifier: Apache-2.0
"""Parse times on the command line, and times at the beginning of log lines."""

from __future__ import annotations

import argparse
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=36_500)
"""Longer durations overflow the times that are computed with them."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"(\d{1,9})([smhdw])")
# 2026-03-01T12:00:00.123Z, [2026-03-01 12:00:00,123], 2026/03/01 12:00:00: ISO 8601, and the defaults of the
# log libraries of Python, Java and Go.
_LINE_TIME = re.compile(
    r"\W?(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)? ?(Z|[+-]\d\d:?\d\d)?"
)


def duration(text: str) -> timedelta:
    """Return a duration such as ``90s``, ``10m``, ``2h`` or ``7d``, of 100 years at most.

    :raises argparse.ArgumentTypeError: for any other text.
    """
    if match := _DURATION.fullmatch(text.strip()):
        with suppress(OverflowError):
            if (found := timedelta(**{_UNITS[match[2]]: int(match[1])})) <= _LONGEST:
                return found
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}: expected 100 years at most")
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
        try:
            found = datetime.fromisoformat(text.strip())
        except ValueError:
            found = datetime.now(UTC) - duration(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=coerce_datetime(found).tzinfo)
        # A time near the year 1 or 9999 is out of range in another zone.
        if found.astimezone(UTC) >= _EPOCH:
            return found
    except (argparse.ArgumentTypeError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(
        f"invalid time {text!r}: expected ISO 8601, such as 2026-03-01T12:00+08:00, or a duration before "
        "now, such as 10m or 7d; 1970 or later"
    )


def past(text: str) -> datetime:
    """Return a time that has passed. See :func:`moment`.

    :raises argparse.ArgumentTypeError: for a time in the future, and for any other text.
    """
    found = moment(text)
    if found > datetime.now(UTC):
        raise argparse.ArgumentTypeError(f"invalid time {text!r}: it is in the future")
    return found


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

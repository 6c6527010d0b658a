# SPDX-License-Identifier: Apache-2.0
"""Convert times that are given as arguments. Only unambiguous times are sent to a cloud."""

from __future__ import annotations

import re
from datetime import datetime

from airflow_provider_ehpc.apis.call import InvalidArgument

_LIMIT = re.compile(r"(?:(\d{1,6})-)?(\d{1,6}):(\d\d):(\d\d)")


def aware(name: str, time: datetime) -> datetime:
    """Check that ``time`` is a datetime with a time zone, and return it as one of the standard library.

    If ``time`` is a ``pendulum.DateTime``, such as Airflow's ``data_interval_start``, the result of
    ``time.astimezone(UTC) + timedelta(...)`` has no time zone (pendulum 3.3).

    :param name: name of the argument in an error.
    :raises InvalidArgument: for any other value.
    """
    if not isinstance(time, datetime):
        given = f"{type(time).__name__} {time!r:.100}"
        raise InvalidArgument(f"{name}: expected a datetime with a time zone, got {given}")
    if time.utcoffset() is None:
        raise InvalidArgument(f"{name}: {time.isoformat()} has no time zone; add one")
    return datetime.fromisoformat(time.isoformat())


def epoch_seconds(name: str, time: datetime | int | None) -> int | None:
    """Return whole seconds since the epoch; None for None.

    :param name: name of the argument in an error.
    :param time: an aware datetime or epoch seconds.
    :raises InvalidArgument: for any other value.
    """
    if time is None:
        return None
    if isinstance(time, int) and not isinstance(time, bool):
        return time
    return int(aware(name, time).timestamp())  # type: ignore[arg-type]


def milliseconds(name: str, time: datetime | None) -> int | None:
    """Return milliseconds since the epoch; None for None.

    :param name: name of the argument in an error.
    :raises InvalidArgument: for any value but an aware datetime.
    """
    return None if time is None else round(aware(name, time).timestamp() * 1000)


def limit_seconds(text: str) -> int | None:
    """Return the seconds of a scheduler's time limit, ``[D-]HH:MM:SS``; None for another text."""
    match = _LIMIT.fullmatch(text.strip())
    if not match:
        return None
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

# SPDX-License-Identifier: Apache-2.0
"""Convert times that are given as arguments. Only unambiguous times are sent to a cloud."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_ehpc.apis.call import InvalidArgument


def aware(name: str, time: datetime) -> datetime:
    """Check that ``time`` is a datetime with a time zone, and return it.

    :param name: name of the argument in an error.
    :raises InvalidArgument: for any other value.
    """
    if not isinstance(time, datetime):
        given = f"{type(time).__name__} {time!r:.100}"
        raise InvalidArgument(f"{name}: expected a datetime with a time zone, got {given}")
    if time.utcoffset() is None:
        raise InvalidArgument(f"{name}: {time.isoformat()} has no time zone; add one")
    return time


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

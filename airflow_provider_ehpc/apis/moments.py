"""Times given as arguments: only a value that names one moment is sent to a cloud."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_ehpc.apis.call import InvalidArgument


def aware(name: str, time: datetime) -> datetime:
    """Return ``time``.

    :param name: the argument, for the error.
    :raises InvalidArgument: for anything but a datetime, and for one without a time zone.
    """
    if not isinstance(time, datetime):
        what = f"{type(time).__name__} {time!r:.100}"
        raise InvalidArgument(f"{name}: give a datetime with a time zone, not {what}")
    if time.utcoffset() is None:
        raise InvalidArgument(f"{name}: {time.isoformat()} has no time zone, so it names no moment; add one")
    return time


def epoch_seconds(name: str, time: datetime | int | None) -> int | None:
    """Return whole seconds since the epoch; None stays None.

    :param time: an aware datetime or epoch seconds.
    :param name: the argument, for the error.
    :raises InvalidArgument: for anything else.
    """
    if time is None:
        return None
    if isinstance(time, int) and not isinstance(time, bool):
        return time
    return int(aware(name, time).timestamp())  # type: ignore[arg-type]


def milliseconds(name: str, time: datetime | None) -> int | None:
    """Return milliseconds since the epoch; None stays None.

    :param name: the argument, for the error.
    :raises InvalidArgument: for anything but an aware datetime.
    """
    return None if time is None else round(aware(name, time).timestamp() * 1000)

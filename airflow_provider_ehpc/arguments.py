# SPDX-License-Identifier: Apache-2.0
"""Check the arguments that tasks and triggers share: IDs, texts, APIs and durations.

Every check raises :class:`~airflow_provider_ehpc.apis.call.InvalidArgument` with the argument's name first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.capabilities import Capability, require

LONGEST_DURATION = timedelta(days=36_500)
"""Longer durations overflow the dates that Airflow computes with them."""
_MISSING = frozenset({"none", "null", "nan"})
"""The text of a missing value in Python, JSON and pandas."""
_SHOWN = 80
"""Characters of a wrong value that an error shows."""


def seconds(argument: str, value: Any, *, at_least: float = 0.0, positive: bool = False) -> float:
    """Return a duration in seconds.

    :param value: a number of seconds or a ``timedelta``.
    :param at_least: the shortest duration allowed, in seconds.
    :param positive: reject 0.
    :raises InvalidArgument: if it is anything else, NaN, infinite or out of range.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    else:
        raise InvalidArgument(f"{argument}: expected seconds or a timedelta, got {shown(value)}")
    if positive and not number > 0:
        raise InvalidArgument(f"{argument}: {shown(value)} is not above 0 seconds")
    if not number >= at_least:
        raise InvalidArgument(f"{argument}: {shown(value)} is below {at_least:g} seconds")
    if number > LONGEST_DURATION.total_seconds():
        raise InvalidArgument(
            f"{argument}: {shown(value)} is longer than {LONGEST_DURATION.days // 365} years"
        )
    return number


_CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]?\d):(?P<seconds>[0-5]?\d)")
_MEMORY = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt])i?b?", re.IGNORECASE)
_MOST_MEBIBYTES = 1024.0**3
_MEBIBYTES = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}


def duration(argument: str, value: Any) -> int:
    """Return a job's time limit in whole seconds, rounded up.

    :param value: seconds (a number or its text), a ``timedelta``, ``HH:MM:SS`` or ``D-HH:MM:SS``.
    :raises InvalidArgument: if it is anything else, or not above 0.
    """
    if isinstance(value, str):
        text = value.strip()
        if clock := _CLOCK.fullmatch(text):
            # As float: more digits than int takes are infinite, and too long.
            days, hours, minutes, rest = (float(part or 0) for part in clock.groups())
            value = days * 86_400 + hours * 3600 + minutes * 60 + rest
        elif re.fullmatch(r"\d+(\.\d+)?", text):
            value = float(text)
        else:
            raise InvalidArgument(
                f"{argument}: expected seconds, a timedelta, HH:MM:SS or D-HH:MM:SS, got {shown(value)}"
            )
    return math.ceil(seconds(argument, value, positive=True))


def count(argument: str, value: Any, *, at_least: int = 1) -> int:
    """Return a whole number, which may be given as text (a rendered template).

    :raises InvalidArgument: if it is anything else, or below ``at_least``.
    """
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgument(f"{argument}: expected a whole number, got {shown(value)}")
    if value < at_least:
        raise InvalidArgument(f"{argument}: {value} is below {at_least}")
    return value


def memory(argument: str, value: Any) -> str:
    """Return an amount of memory as all clouds take it: a whole number of GB or MB, rounded up.

    :param value: a number with a unit, such as ``4GB``, ``1.5 GiB`` or ``512M``; units are powers of 1024.
    :raises InvalidArgument: if it is anything else.
    """
    amount = _MEMORY.fullmatch(value.strip()) if isinstance(value, str) else None
    if amount is None:
        raise InvalidArgument(f"{argument}: expected a number with a unit, such as 4GB, got {shown(value)}")
    size = float(amount["number"]) * _MEBIBYTES[amount["unit"].lower()]
    if not 0 < size < _MOST_MEBIBYTES:
        raise InvalidArgument(
            f"{argument}: {shown(value)} is not an amount of memory above 0 and below 1024 TB"
        )
    mebibytes = math.ceil(size)
    return f"{mebibytes}MB" if mebibytes % 1024 else f"{mebibytes // 1024}GB"


def is_template(value: Any) -> bool:
    """Return True if the value is known only when the task runs: a template, an XComArg, a list of them, or
    what a decorated function returns.
    """
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, list | tuple):
        return any(is_template(item) for item in value)
    return hasattr(value, "resolve") or type(value).__name__ == "SetDuringExecution"


def text(argument: str, value: Any) -> str:
    """Return a text without surrounding blanks.

    :raises InvalidArgument: if it is not a text, empty, or a template that was not rendered.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgument(f"{argument}: expected a non-empty text, got {shown(value)}")
    if is_template(value):
        raise InvalidArgument(f"{argument}: {shown(value)} is a template, but this argument is not templated")
    if "\0" in value:
        raise InvalidArgument(f"{argument}: {shown(value)} contains a NUL character")
    return value.strip()


def word(argument: str, value: Any) -> str:
    """Return a text of one line, such as a name or a path, without surrounding blanks.

    :raises InvalidArgument: if it is not a text, empty, not printable, or the text of a missing value.
    """
    found = text(argument, value)
    if not found.isprintable():
        raise InvalidArgument(f"{argument}: {shown(value)} contains a character that is not printable")
    if is_missing(found):
        raise InvalidArgument(
            f"{argument}: {found!r} is the text of a missing value; check the task or the variable that the "
            "template reads"
        )
    return found


def identifier(argument: str, value: Any, *, what: str = "job") -> str:
    """Return an ID as text without surrounding blanks. An integer (an XCom) is written in digits.

    :param what: the thing that the ID belongs to, for messages.
    :raises InvalidArgument: if it is missing, empty, not an ID, or not printable.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        value = str(value)
    if value is None:
        raise InvalidArgument(
            f"{argument}: None names no {what}; check the task or the variable that the value comes from"
        )
    if not isinstance(value, str):
        raise InvalidArgument(f"{argument}: expected the ID of a {what} as text, got {shown(value)}")
    found: str = value.strip()
    if not found:
        raise InvalidArgument(f"{argument}: an empty text names no {what}")
    if found.casefold() in _MISSING:
        raise InvalidArgument(
            f"{argument}: {found!r} is the text of a missing value; check the task or the variable that the "
            "template reads"
        )
    if is_template(value):
        raise InvalidArgument(f"{argument}: {shown(value)} is a template that was not rendered")
    if found[0] in "[{(":
        raise InvalidArgument(
            f"{argument}: {shown(value)} is a list or a dict as text; pass the output of the task itself "
            "(an XComArg), or set render_template_as_native_obj"
        )
    if " " in found or not found.isprintable():
        raise InvalidArgument(f"{argument}: {shown(value)} contains a blank or a character that no ID has")
    return found


def is_missing(value: Any) -> bool:
    """Return True for None, an empty text, and the text of a missing value (a rendered template)."""
    return value is None or (isinstance(value, str) and value.strip().casefold() in ("", *_MISSING))


def job_ids(value: Any) -> list[str]:
    """Return the IDs of a task's jobs in the order given, each once.

    :param value: an ID or a list of IDs.
    :raises InvalidArgument: if the list is empty or nested, or one of them is not an ID.
    """
    if not is_list(value):
        return [identifier("job_id", value)]
    if not len(value):
        raise InvalidArgument("job_id: an empty list names no job")
    return list(dict.fromkeys(identifier("job_id", item) for item in ordered(value)))


def one_job_id(value: Any) -> str:
    """Return the ID of a task's only job.

    :raises InvalidArgument: if it is a list or not an ID.
    """
    if is_list(value):
        raise InvalidArgument(
            f"job_id: expected one job, got the list {shown(value)}; map the task with .expand(job_id=...)"
        )
    return identifier("job_id", value)


def optional_identifier(argument: str, value: Any, *, what: str) -> str | None:
    """Return an ID as text, None if it is left out or empty. See :func:`identifier`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return identifier(argument, value, what=what)


def api(value: Any, *, needs: Capability | None = None) -> str | None:
    """Return the name of an API, None if it is left out or empty.

    :param needs: a capability that the task needs.
    :raises InvalidArgument: if there is no such API.
    :raises NotSupported: if the API does not support what the task needs.
    """
    from airflow_provider_ehpc.hooks import HOOKS

    if value is None or value == "":
        return None
    if not isinstance(value, str) or value not in HOOKS:
        raise InvalidArgument(f"api: unknown API {shown(value)}; the APIs are {', '.join(HOOKS)}")
    if needs is not None:
        require(value, needs)
    return value


def is_list(value: Any) -> bool:
    """Return True for a list, a tuple, a set or the results of mapped tasks."""
    return isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray | Mapping)


def ordered(value: Collection[Any]) -> list[Any]:
    """Return the items of a list; those of a set in the same order in every process."""
    return sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)


def shown(value: Any) -> str:
    """Return an invalid value as an error message shows it, shortened to fit a line."""
    # The repr of a list of thousands of IDs takes long and does not help.
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) > _SHOWN:
        return f"a {type(value).__name__} of {len(value)}"
    written = repr(value)
    return written if len(written) <= _SHOWN else written[:_SHOWN] + "…"

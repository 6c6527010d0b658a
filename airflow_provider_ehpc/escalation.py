# SPDX-License-Identifier: Apache-2.0
"""Request more memory or time in the next try if a job ran out of it."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.compat import task_state_store

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

ESCALATION_KEY = "ehpc:escalation"
"""The key in the task state store for the escalation of the next try."""
_LARGEST = 16.0
"""The largest request if no limit is set, as a multiple of the argument."""
_UNITS = ("", "k", "m", "g", "t", "p")

log = logging.getLogger(__name__)


def load_escalation(context: Context | None) -> dict[str, Any]:
    """Return what earlier tries saved for this one; empty if there is nothing or it cannot be read.

    ``memory`` and ``wall_time`` are factors, ``limits`` the largest values, and ``runs`` counts the jobs that
    the task submits, this one included.
    """
    store = task_state_store(context) if context else None
    try:
        saved = json.loads(store.get(ESCALATION_KEY) or "{}") if store is not None else {}
    except Exception as error:
        log.warning("cannot read the escalation that an earlier try saved: %s", error)
        return {}
    return saved if isinstance(saved, dict) else {}


def save_escalation(context: Context | None, escalation: Mapping[str, Any]) -> bool:
    """Save the escalation for the next try; return False if it cannot be saved."""
    store = task_state_store(context) if context else None
    if store is None:
        return False
    try:
        store.set(ESCALATION_KEY, json.dumps(escalation))
    except Exception as error:
        log.warning("cannot save the escalation for the next try: %s", error)
        return False
    return True


def escalated(memory: Any, wall_time: Any, saved: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the memory and the wall time that a try requests, given the task's arguments and what
    :func:`load_escalation` returned.

    A value that is not escalated is returned unchanged; one that is, as ``24GB`` and as whole seconds.

    :raises InvalidArgument: for a value that is not an amount.
    """
    limits = saved.get("limits", {})
    values = {"memory": memory, "wall_time": wall_time}
    for argument, value in values.items():
        if value is not None and saved.get(argument, 1.0) > 1.0:
            values[argument] = scaled(argument, value, saved[argument], limits.get(argument))
    return values["memory"], values["wall_time"]


def scaled(argument: str, value: Any, factor: float, limit: Any) -> Any:
    """Return ``factor`` times a value, but no more than the limit, and no less than the value."""
    asked = amount(argument, value)
    most = amount(argument, limit) if limit is not None else asked * _LARGEST
    more = max(asked, min(asked * factor, most))
    if argument == "wall_time":
        return math.ceil(more)
    mebibytes = math.ceil(more / 1024**2)
    return f"{mebibytes}MB" if mebibytes % 1024 else f"{mebibytes // 1024}GB"


def amount(argument: str, value: Any) -> float:
    """Return a memory in bytes, or a wall time in seconds."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    text = str(value).strip()
    if argument == "memory" and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgtp])i?b?", text.casefold())):
        return float(match[1]) * 1024.0 ** _UNITS.index(match[2])
    if argument == "wall_time":
        if match := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d?):(\d\d?)", text):
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            return float(86400 * days + 3600 * hours + 60 * minutes + seconds)
        if re.fullmatch(r"\d+(?:\.\d+)?", text):
            return float(text)
    expected = (
        "a number with a unit, such as 4GB" if argument == "memory" else "seconds, a timedelta or HH:MM:SS"
    )
    raise InvalidArgument(f"{argument}: expected {expected}, got {value!r}")

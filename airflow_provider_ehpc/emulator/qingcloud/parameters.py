"""Reading the parameters of QingCloud HPC's actions, from a query or a body, and refusing them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from airflow_provider_ehpc.apis.qingcloud.signing import TIME_FORMAT
from airflow_provider_ehpc.emulator.gateway import Refused

ZONE = "jinan1a"
CLUSTER_ID = "ehpc-emulator"
_MAX_LIMIT = 100


class Code(IntEnum):
    """Values of ``ret_code``."""

    MALFORMED = 1100
    UNKNOWN_ACTION = 1101
    NOT_AUTHENTICATED = 1200
    EXPIRED = 1300
    DENIED = 1400
    """Also for what the state of a resource forbids."""
    NOT_FOUND = 2100
    OVER_QUOTA = 2500
    INTERNAL = 5000
    BUSY = 5100
    NOT_EMULATED = 9900
    """The emulator's own: the cloud has what is asked for, the emulator does not."""


def refusal(code: Code, message: str) -> Refused:
    """Return the refusal with a ``ret_code``."""
    return Refused(200, str(code.value), message)


def not_emulated(what: str) -> Refused:
    """Return the refusal of something that the cloud has and the emulator does not."""
    return refusal(Code.NOT_EMULATED, f"{what} is not emulated")


def required(told: Mapping[str, Any], name: str) -> str:
    """Return a text that has to be there."""
    value = told.get(name)
    if not isinstance(value, str) or not value:
        raise refusal(Code.MALFORMED, f"parameter [{name}] is required")
    return value


def text(told: Mapping[str, Any], name: str) -> str:
    """Return a text; empty where it is left out."""
    return required(told, name) if told.get(name) not in (None, "") else ""


def whole(told: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Return a whole number; where there is no default, it has to be there."""
    value = told.get(name, default)
    try:
        if isinstance(value, bool):
            raise ValueError
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise refusal(Code.MALFORMED, f"parameter [{name}] is no whole number: {value!r}") from None
    if number < 0:
        raise refusal(Code.MALFORMED, f"parameter [{name}] is below 0")
    return number


def page(query: Mapping[str, str]) -> slice:
    """Return the rows that are wanted: never more than 100, even if more are asked for."""
    offset = whole(query, "offset", 0)
    return slice(offset, offset + min(whole(query, "limit", 10), _MAX_LIMIT))


def newest_first(query: Mapping[str, str]) -> bool:
    """Return what ``reverse`` asks for: 0 ascending, 1 descending. The default is not documented."""
    value = whole(query, "reverse", 1)
    if value not in (0, 1):
        raise refusal(Code.MALFORMED, f"parameter [reverse] is neither 0 nor 1: {value}")
    return value == 1


def moment(query: Mapping[str, str], name: str) -> int | None:
    """Return a time in epoch seconds."""
    value = query.get(name, "")
    try:
        return int(datetime.strptime(value, TIME_FORMAT).replace(tzinfo=UTC).timestamp()) if value else None
    except ValueError:
        raise refusal(
            Code.MALFORMED, f"parameter [{name}] is not of the form YYYY-MM-DDThh:mm:ssZ: {value!r}"
        ) from None


def check_cluster(told: Mapping[str, Any]) -> None:
    """Refuse any other cluster than the one there is."""
    if required(told, "cluster_id") != CLUSTER_ID:
        raise refusal(Code.NOT_FOUND, f"resource [{told['cluster_id']}] is not found")


def utc(at: float | None, *, zone: str = "Z") -> str | None:
    """Write a time in epoch seconds; None where there is none."""
    return None if at is None else datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone

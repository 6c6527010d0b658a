# SPDX-License-Identifier: Apache-2.0
"""Read the parameters of QingCloud HPC's actions from a query or a body, and create its errors."""

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
    """Also if the state of a resource does not allow an action."""
    NOT_FOUND = 2100
    OVER_QUOTA = 2500
    INTERNAL = 5000
    BUSY = 5100
    NOT_EMULATED = 9900
    """Only in the emulator: it does not support the action or parameter."""


def refusal(code: Code, message: str) -> Refused:
    """Return the error with a ``ret_code``."""
    return Refused(200, str(code.value), message)


def not_emulated(feature: str) -> Refused:
    """Return the error for an action or parameter that the emulator does not support."""
    return refusal(Code.NOT_EMULATED, f"{feature} is not emulated")


def required(fields: Mapping[str, Any], name: str) -> str:
    """Read a required string."""
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise refusal(Code.MALFORMED, f"parameter [{name}] is required")
    return value


def text(fields: Mapping[str, Any], name: str) -> str:
    """Read a string; empty if it is missing."""
    return required(fields, name) if fields.get(name) not in (None, "") else ""


def whole(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """Read a whole number. Without a default it is required."""
    value = fields.get(name, default)
    try:
        if isinstance(value, bool):
            raise ValueError
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise refusal(Code.MALFORMED, f"parameter [{name}] is not a whole number: {value!r}") from None
    if number < 0:
        raise refusal(Code.MALFORMED, f"parameter [{name}] is negative")
    return number


def page(query: Mapping[str, str]) -> slice:
    """Return the requested rows, at most 100."""
    offset = whole(query, "offset", 0)
    return slice(offset, offset + min(whole(query, "limit", 10), _MAX_LIMIT))


def newest_first(query: Mapping[str, str]) -> bool:
    """Read ``reverse``: 0 is ascending, 1 descending. The default is not documented."""
    value = whole(query, "reverse", 1)
    if value not in (0, 1):
        raise refusal(Code.MALFORMED, f"parameter [reverse] is not 0 or 1: {value}")
    return value == 1


def moment(query: Mapping[str, str], name: str) -> int | None:
    """Read a time; return epoch seconds, or None if it is missing."""
    value = query.get(name, "")
    try:
        return int(datetime.strptime(value, TIME_FORMAT).replace(tzinfo=UTC).timestamp()) if value else None
    except ValueError:
        raise refusal(
            Code.MALFORMED, f"parameter [{name}] is not in the form YYYY-MM-DDThh:mm:ssZ: {value!r}"
        ) from None


def check_cluster(fields: Mapping[str, Any]) -> None:
    """Reject the ID of any other cluster."""
    if required(fields, "cluster_id") != CLUSTER_ID:
        raise refusal(Code.NOT_FOUND, f"resource [{fields['cluster_id']}] is not found")


def utc(at: float | None, *, zone: str = "Z") -> str | None:
    """Write a time given in epoch seconds; return None for None."""
    return None if at is None else datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S") + zone

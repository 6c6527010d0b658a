# SPDX-License-Identifier: Apache-2.0
"""Read parameters in the form of both E-HPC versions. Anything undocumented is InvalidParams."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.apis.array import array_size
from airflow_provider_ehpc.emulator.gateway import Refused

MAX_LOG_SIZE = 400 * 1024
"""The largest number of bytes that GetJobLog returns. Documented for 2018-04-12 only."""
_MAX_ARRAY = 10_000
"""The default of PBS's max_array_size."""


def invalid(parameter: str) -> Refused:
    """Return the error for an invalid parameter."""
    return Refused(400, "InvalidParams", f"The specified parameter {parameter} is invalid.")


def not_emulated(parameter: str) -> Refused:
    """Return the error for a parameter that the emulator does not support."""
    return Refused(400, "NotEmulated", f"The parameter {parameter} is not emulated.")


def required(parameters: Mapping[str, str], name: str) -> str:
    """Return a required parameter."""
    value = parameters.get(name, "")
    if not value:
        raise invalid(name)
    return value


def whole(text: str, parameter: str) -> int:
    """Read a whole number."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise invalid(parameter)
    return int(text)


def page(parameters: Mapping[str, str], *, default: int = 10, largest: int = 50) -> tuple[int, int]:
    """Read page number and page size."""
    number = whole(parameters.get("PageNumber", "1"), "PageNumber")
    size = whole(parameters.get("PageSize", str(default)), "PageSize")
    if number < 1:
        raise invalid("PageNumber")
    if not 1 <= size <= largest:
        raise invalid("PageSize")
    return number, size


def json_value(text: str, parameter: str) -> Any:
    """Read a parameter in JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise invalid(parameter) from None


def json_object(text: str, parameter: str) -> dict[str, Any]:
    """Read a JSON object."""
    value = json_value(text, parameter)
    if not isinstance(value, dict):
        raise invalid(parameter)
    return value


def numbered(parameters: Mapping[str, str], name: str) -> list[str]:
    """Read a list that is sent as ``JobIds.1``, ``JobIds.2``."""
    items = (re.fullmatch(rf"{name}\.([1-9]\d{{0,8}})", key) for key in parameters)
    found = sorted((int(item[1]), parameters[item[0]]) for item in items if item)
    return [value for _number, value in found]


def array_request(text: str, parameter: str) -> str | None:
    """Read the indexes of an array job, as ``X-Y:Z``; None if there are none."""
    if text and not 0 < array_size(text) <= _MAX_ARRAY:
        raise invalid(parameter)
    return text or None


def variables(text: str, parameter: str) -> dict[str, str]:
    """Read environment variables: a JSON array of objects with Name and Value."""
    items = json_value(text, parameter) if text else []
    try:
        pairs = {item["Name"]: item["Value"] for item in items}
    except (TypeError, KeyError):
        raise invalid(parameter) from None
    if not all(isinstance(part, str) for pair in pairs.items() for part in pair):
        raise invalid(parameter)
    return pairs

# SPDX-License-Identifier: Apache-2.0
"""Read JSON into dataclasses and check the declared type of each field."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read_record(kind: type[T], record: Any) -> T:
    """Return a dataclass built from a JSON object.

    :raises ValueError: if ``record`` is not an object, if a field is unknown, missing or of another type,
        or if a number is not finite.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{kind.__name__}: expected an object, got {type(record).__name__}")
    hints = typing.get_type_hints(kind)
    if unknown := sorted(record.keys() - hints.keys()):
        raise ValueError(f"unknown field {', '.join(unknown)}; the fields are {', '.join(hints)}")
    try:
        return kind(**{name: _value(hints[name], value, name) for name, value in record.items()})
    except TypeError as error:  # a field without a default is missing
        raise ValueError(str(error).replace(f"{kind.__name__}.__init__() ", "")) from None


def read_value(kind: Any, record: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return one field of a JSON object, or ``default`` if it is absent.

    :raises ValueError: if the value has another type.
    """
    return _value(kind, record[name], name) if name in record else default


def _value(kind: Any, value: Any, name: str) -> Any:
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        with contextlib.suppress(_OtherType):
            return _as(option, value, name)
    names = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ValueError(f"{name}: expected {names}, got {value!r:.100}")


class _OtherType(Exception):
    pass


def _as(option: Any, value: Any, name: str) -> Any:
    kind = typing.get_origin(option) or option
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(_value(typing.get_args(option)[0], item, name) for item in value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return read_record(kind, value)
    if issubclass(kind, StrEnum | Path) and isinstance(value, str):
        return kind(value)
    # Only Python counts a boolean as a number.
    if isinstance(value, bool) == (kind is bool):
        if kind is float and isinstance(value, int | float) and abs(value) < math.inf and value == value:
            return value
        if kind is not float and isinstance(value, kind):
            return value
    raise _OtherType

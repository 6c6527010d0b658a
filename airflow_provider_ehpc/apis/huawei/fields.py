"""The kinds of field that only Huawei's answers have."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

T = TypeVar("T")


def _content(value: Any) -> Any:
    if isinstance(value, str) and not _encodable(value):
        # Half of a surrogate pair: what is left of a character that was cut in a server's UTF-16.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "" if value is None else value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _many(value: Any) -> Any:
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _metrics(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


Content = Annotated[str, BeforeValidator(_content)]
"""A piece of a log: a text with its white space; empty where the answer has null or nothing."""
Many = Annotated[list[T], BeforeValidator(_many)]
"""A list, sent as one, as null, or as its only entry (``log_file_list`` is documented as a string)."""
Metrics = Annotated[Any, BeforeValidator(_metrics)]
"""A structure, sent as such or as JSON in a string (``system_metric_list`` comes both ways)."""

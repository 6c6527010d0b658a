"""The kinds of field that only Huawei's responses have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from airflow_provider_ehpc.apis.response import as_text, parse_json


def _content(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def _metrics(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_json(value)
        except ValueError:
            return value
    return value


Content = Annotated[str, BeforeValidator(_content)]
"""A piece of a log: a text with its white space; empty if the response has null or nothing."""
Metrics = Annotated[Any, BeforeValidator(_metrics)]
"""A structure, sent as such or as JSON in a string (``system_metric_list`` comes both ways)."""

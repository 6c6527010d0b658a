# SPDX-License-Identifier: Apache-2.0
"""JSON from other machines."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.response import parse_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'{"a": "run \ud83d"}', {"a": "run \ufffd"}),
        (rb'{"a": "\ud83d\ude00"}', {"a": "\U0001f600"}),
        (rb'{"a": "\ude00\ud83d"}', {"a": "\ufffd\ufffd"}),
        (rb'{"a": "\\ud83d \\u0000"}', {"a": r"\ud83d \u0000"}),
        (rb'{"\ud800\u0000": [{"\u0000": "\uDFFF"}]}', {"\ufffd\ufffd": [{"\ufffd": "\ufffd"}]}),
        (b'{"a": "x\0y"}', {"a": "x\ufffdy"}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": "\xed\xa0\xbd"}', {"a": "\ufffd\ufffd\ufffd"}),
        ('{"a": "\ud83d"}', {"a": "\ufffd"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('\ufeff{"a": 1}', {"a": 1}),
        ('{"a": "中"}'.encode("utf-16"), {"a": "中"}),
        (b'{"a": "two\nlines"}', {"a": "two\nlines"}),
        (b"[NaN, Infinity, -Infinity, 1e999, -1e999]", [None, None, None, "1e999", "-1e999"]),
        (b"[9223372036854775807, -9223372036854775808]", [2**63 - 1, -(2**63)]),
        (b"[9223372036854775808, 1%s]" % (b"0" * 4999), ["9223372036854775808", "1" + "0" * 4999]),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_values_that_cannot_be_saved_are_replaced(text: bytes | str, value: Any) -> None:
    """Such a text crashes the triggerer, or fails a task because PostgreSQL rejects its XCom."""
    assert parse_json(text) == value


def test_nul_in_a_log_stays() -> None:
    """Offsets count the file's bytes. If a NUL became three bytes, all later offsets would be wrong."""
    text = rb'{"log": "a\u0000\ud800", "\u0000": {"log": "\u0000", "id": "\u0000"}}'
    value = {"log": "a\0\ufffd", "\ufffd": {"log": "\0", "id": "\ufffd"}}
    assert parse_json(text, frozenset({"log"})) == value


@pytest.mark.parametrize("text", [b"", b"{", b"<html>", b"{'a': 1}", b"[" * 100_000, b'"' + rb"\"" * 100_000])
def test_text_that_is_not_json(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"line|char"):
        parse_json(text)


def levels(value: Any) -> int:
    """Return the number of nested levels in a value."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(levels, parts), default=0)


@pytest.mark.parametrize("depth", [60, 500, 3000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"]": "}\\"", "b":', "}]")])
def test_only_values_that_are_nested_too_deeply_are_lost(depth: int, opening: str, closing: str) -> None:
    """Such a row must not end the waits for all other jobs of the list."""
    deep = opening * depth + "1" + closing * depth
    value = parse_json(f'[{{"Id": "1", "Variables": {deep}}}, {{"Id": "2", "Text": "{"[" * 200}"}}]')
    assert value[0]["Id"] == "1"
    assert value[1] == {"Id": "2", "Text": "[" * 200}
    assert levels(value) <= 51


def test_hostile_texts_are_parsed_fast() -> None:
    started = time.monotonic()
    for text in ("[" * 10**6, '"' + "\\" * 10**6, '["' * 10**5 + "[" * 2000, "{" * 2000 + '"\\' * 10**5):
        with pytest.raises(ValueError, match=r"line"):
            parse_json(text)
    assert time.monotonic() - started < 5


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4),
)


@given(_JSON, st.booleans())
def test_nothing_else_changes(value: Any, ascii_only: bool) -> None:
    """The audit promises unchanged records."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    if r"\u0000" not in text and "Infinity" not in text:
        assert parse_json(text.encode()) == value

# SPDX-License-Identifier: Apache-2.0
"""Read JSON of any content from another machine.

The result can be saved everywhere: PostgreSQL's JSONB accepts neither NUL nor half a surrogate pair,
Airflow's own protocol (msgpack) accepts no such half and no number of more than 64 bits, and JSON has no NaN.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_REPLACEMENT = "\ufffd"
_UNSAFE = re.compile("[\0\ud800-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")
_UNSAFE_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_DEEPEST = 50
"""Maximum number of nested lists and objects. No documented response has more than ten."""
_INT64 = 19
"""Number of digits of the largest 64-bit number."""


def clean_text(text: str) -> str:
    """Return ``text`` with U+FFFD in place of each NUL and each half of a surrogate pair."""
    # Nearly all texts are ASCII, and this check costs almost nothing.
    return _UNSAFE.sub(_REPLACEMENT, text) if not text.isascii() or "\0" in text else text


def clean(value: Any, logs: frozenset[str] = frozenset(), depth: int = _DEEPEST) -> Any:
    """Return parsed JSON with clean texts and keys, and None in place of values that are nested too deeply.

    :param logs: see :func:`parse_json`.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, dict):
        return {
            clean_text(name): _HALF.sub(_REPLACEMENT, item)
            if name in logs and isinstance(item, str)
            else clean(item, logs, depth - 1)
            for name, item in value.items()
        }
    return [clean(item, logs, depth - 1) for item in value] if isinstance(value, list) else value


def parse_json(text: str | bytes, logs: frozenset[str] = frozenset()) -> Any:
    """Return the value of a JSON text.

    Bytes that are not text and characters that cannot be saved become U+FFFD. A whole number of more than 64
    bits and a fraction that does not fit into a float are returned as text. NaN, Infinity and values that are
    nested too deeply become None. Of two equal keys, the last wins.

    :param logs: names of fields that hold pieces of a log. They may contain NUL: log positions count the
        bytes of a file, and must not change.
    :raises ValueError: if the text is not JSON.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "replace")
    # JSON allows no raw NUL, but some servers send it.
    text = clean_text(text.removeprefix("\ufeff"))
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        value = _DECODER.decode(_without_depths(text))
    # Rebuilding everything takes twice as long as parsing it, so it is done only if needed.
    return clean(value, logs) if _UNSAFE_ESCAPE.search(text) or _too_deep(value, _DEEPEST) else value


def _too_deep(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return not depth or any(_too_deep(item, depth - 1) for item in items if type(item) in (dict, list))


def _without_depths(text: str) -> str:
    """Return a JSON text with ``null`` in place of lists and objects that are nested too deeply."""
    parts: list[str] = []
    depth = start = 0
    for token in _TOKENS.finditer(text):
        word = token[0]
        if word in ("[", "{"):
            depth += 1
            if depth == _DEEPEST + 1:
                parts += (text[start : token.start()], "null")
        elif word in ("]", "}"):
            if depth == _DEEPEST + 1:
                start = token.end()
            depth -= 1
    return "".join((*parts, text[start:])) if depth <= _DEEPEST else "".join(parts)


def _whole_number(digits: str) -> int | str:
    if len(digits) > _INT64 + 1:
        return digits
    number = int(digits)
    return number if -(2**63) <= number < 2**63 else digits


def _fraction(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


_DECODER = json.JSONDecoder(
    parse_int=_whole_number,
    parse_float=_fraction,
    parse_constant=lambda _word: None,
    strict=False,  # some servers send raw line feeds and tabs in texts, which JSON does not allow either
)

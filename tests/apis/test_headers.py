# SPDX-License-Identifier: Apache-2.0
"""Headers about time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.headers import clock_skew, http_date, retry_after

_SENT = "Wed, 21 Oct 2026 07:28:00 GMT"
_NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
_NONSENSE = [
    *("", " ", "soon", "²", "٣", "-5", "1e3", "NaN", "9" * 30, "9" * 5000, "1000000000", "1_0", "5, 7"),
    *("Wed, 21 Oct 99999 07:28:00 GMT", "Wed, 99 Oct 2026 07:28:00 GMT", f"Wed, 21 Oct {'9' * 5000}"),
    *("Wed, 21 Oct 2026 07:28:00 +9999999", "(" * 1000, "Wed, 21 Oct 0001 07:28:00 -0000", "\udcff\0", ","),
]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "3600"}, 3600),
        ({"x-acs-retry-after": "1500"}, 1.5),
        ({"x-acs-retry-after": "500", "retry-after": "20"}, 0.5),
        ({"x-acs-retry-after": "²", "retry-after": "20"}, 20),
        ({"x-acs-retry-after": "9" * 30, "retry-after": "20"}, 20),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:20 GMT", "date": _SENT}, 20),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:20 -0000", "date": _SENT}, 20),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": _SENT}, 0),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:20 GMT", "date": _SENT}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:20 GMT"}, None),
        *(({"retry-after": text, "date": _SENT}, None) for text in _NONSENSE if "0001" not in text),
        *(({"retry-after": _SENT, "date": text}, None) for text in _NONSENSE if "0001" not in text),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """A wait must not pause for 31 years."""
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("date", "skew"),
    [
        (_SENT, 0),
        ("Wed, 21 Oct 2026 07:28:00 -0000", 0),
        ("Wed, 21 Oct 2026 07:38:00 GMT", 600),
        *((text, 0) for text in _NONSENSE if "0001" not in text),
    ],
)
def test_clock_skew(date: str, skew: float) -> None:
    """A date without a zone once raised a TypeError, in place of the error for the signature."""
    assert clock_skew({"date": date}, _NOW) == skew
    assert clock_skew({}, _NOW) == 0


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [-+]?\w+"))
def test_any_text(text: str) -> None:
    headers = {"retry-after": text, "date": text, "x-acs-retry-after": text}
    clock_skew(headers, _NOW)
    assert http_date(text) is None or http_date(text).tzinfo
    seconds = retry_after(headers)
    assert seconds is None or 0 <= seconds <= 86400

# SPDX-License-Identifier: Apache-2.0
"""The judge of the logs after a crash: what it lets pass would never be found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from benchmarks.crashes.check import Findings, judge

STDOUT = "".join(f"out {n} of the run 数据\n" for n in range(1, 11)).encode()
STDERR = b"err 1 of the run \r\nerr 2 of the run no end"
MARK = "--- resumed at byte 7 of stdout; up to one cycle (about 10 s) may be repeated ---"
ANEW = "--- resumed at the beginning of the log; all lines written after it may be repeated ---"
ERRORS = ["stderr | err 1 of the run ", "stderr | err 2 of the run no end"]


def out(first: int, last: int) -> list[str]:
    return [f"out {n} of the run 数据" for n in range(first, last + 1)]


def log(*lines: str, at: float = 0.0) -> list[dict[str, Any]]:
    """A log with a line each second."""
    return [
        {"timestamp": datetime.fromtimestamp(at + n, UTC).isoformat(), "event": line}
        for n, line in enumerate(lines)
    ]


def judged(*tries: list[dict[str, Any]]) -> Findings:
    return judge(tries, STDOUT, STDERR, slack=1.0)


def test_a_log_that_holds_all() -> None:
    found = judged(log("a note", *out(1, 10), *ERRORS))
    assert (found.complaints, found.lines, found.resumed) == ([], 12, 0)


def test_lines_of_the_last_turn_may_come_again_behind_the_mark() -> None:
    found = judged(log(*out(1, 6), at=100), log(MARK, *out(4, 10), *ERRORS, at=200))
    assert found.complaints == []
    assert (found.resumed, found.repeated_marked, found.worst_repeat) == (1, 3, 2.0)


def test_a_reader_that_says_so_may_begin_again() -> None:
    found = judged(log(*out(1, 6), at=100), log(ANEW, *out(1, 10), *ERRORS, at=200))
    assert (found.complaints, found.repeated_anew) == ([], 6)


def test_half_a_line_may_end_a_try_where_it_is_marked() -> None:
    """A wait that times out shows what there is."""
    half = "--- incomplete last line of stdout: out 4 of the run 数"
    found = judged(log(*out(1, 3), half), log(MARK, *out(4, 10), *ERRORS, at=200))
    assert (found.complaints, found.repeated_marked) == ([], 0)


@pytest.mark.parametrize(
    ("tries", "complaint"),
    [
        ([log(*out(1, 6), *out(9, 10), *ERRORS)], "missing: out 7 to 8"),
        ([log(*out(1, 6)), log(MARK, *out(8, 10), *ERRORS, at=200)], "missing: out 7"),
        ([log(*out(1, 6)), log(*out(6, 10), *ERRORS)], "repeated outside: out 6 in try 2, behind no mark"),
        ([log(*out(1, 6), *out(6, 10), *ERRORS)], "repeated outside: out 6 in try 1, behind no mark"),
        (
            [log(*out(1, 10), *["note"] * 10, ERRORS[0]), log(MARK, *out(9, 10), *ERRORS, at=200)],
            "repeated outside: out 9 in try 2, written 12.0 s before the end of its part, but the mark",
        ),
        ([log(MARK, *out(1, 4), *out(3, 10), *ERRORS)], "repeated outside: out 3 in try 1, behind no mark"),
        (
            [log(*out(1, 2), *out(4, 4), *out(3, 3), *out(5, 10), *ERRORS)],
            "disordered: out 4 in try 1, where 3",
        ),
        ([log(*out(1, 10), "out 11 of the run 数", *ERRORS)], "foreign: out 11 in try 1"),
        ([log(*out(1, 9), "out 10 of the run 数", *ERRORS)], "missing: out 10"),
        ([log(*out(1, 3), "out 4 of the run 数", *out(4, 10), *ERRORS)], "foreign: out 4 in try 1"),
        (
            [log(*out(1, 3), "out 4 of the run 数"), log(MARK, *out(4, 10), *ERRORS, at=200)],
            "foreign: out 4 in try 1",
        ),
        ([log(*out(1, 3), "out 4 of the run 据", *ERRORS)], "foreign: out 4 in try 1"),
    ],
)
def test_what_must_not_be(tries: list[list[dict[str, Any]]], complaint: str) -> None:
    assert any(found.startswith(complaint) for found in judged(*tries).complaints)

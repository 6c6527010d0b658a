# SPDX-License-Identifier: Apache-2.0
"""What the check of the logs of two triggerers finds: one that finds nothing would pass whatever is lost."""

from __future__ import annotations

import pytest

from benchmarks.triggerers import Record
from benchmarks.two_triggerers import Check

MARK = "--- resumed at byte 7 of stdout; up to one cycle (about 5 s) may be repeated ---"


def lines(first: int, last: int, *before: str) -> list[Record]:
    """A log of lines, one a second, behind other records."""
    reported = [Record(0.0, text) for text in before]
    return reported + [Record(float(n), f"line {n}") for n in range(first, last + 1)]


@pytest.mark.parametrize(
    "logs",
    [
        [lines(1, 9)],
        [lines(1, 5), lines(6, 9, MARK)],
        [lines(1, 5), lines(4, 9, MARK)],
        [[Record(0.0, "\n".join(f"line {n}" for n in range(1, 9)))], lines(1, 9, MARK)],
        [[], lines(1, 9, MARK)],
        [[Record(0.0, "job 1 is RUNNING"), Record(0.0, "line 1\nline 2")], lines(3, 9, MARK)],
    ],
)
def test_what_is_promised_passes(logs: list[list[Record]]) -> None:
    check = Check()
    check.stream("one", 9, logs)
    assert check.broken == []


@pytest.mark.parametrize(
    ("logs", "complaint"),
    [
        ([lines(1, 8)], "8 of 9 lines"),
        ([lines(1, 5), lines(7, 9, MARK)], "lines before 7 are not there"),
        ([lines(1, 3) + lines(5, 9)], "lines before 5 are not there"),
        ([lines(1, 5) + lines(5, 9)], "lines before 5 are not there"),
        ([lines(1, 5), lines(4, 9)], "2 lines are repeated behind no mark"),
        ([lines(1, 50), lines(1, 90, MARK)], "49 s are repeated, the mark says 5"),
        ([lines(1, 5), lines(6, 7, MARK)], "7 of 9 lines"),
    ],
)
def test_what_is_lost_or_repeated_is_found(logs: list[list[Record]], complaint: str) -> None:
    check = Check()
    check.stream("one", 90 if "49" in complaint else 9, logs)
    assert any(complaint in broken for broken in check.broken)

# SPDX-License-Identifier: Apache-2.0
"""Write logs whose lines contain their number and time, so that the fate of each line can be checked."""

from __future__ import annotations

import re
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.triggerers import Record

_FORM = re.compile(r"(\d{9}) (\d+\.\d{3}) x*")
_TICK = 0.1


def numbered(number: int, at: float, size: int) -> str:
    """Return a line of ``size`` bytes, with its line feed."""
    return f"{number:09d} {at:.3f} ".ljust(size - 1, "x") + "\n"


class Line(NamedTuple):
    """A line as it stands in a task's log. Times are epoch seconds."""

    number: int
    written: float
    """When the job wrote it."""
    logged: float
    """When it was in the task log."""


def lines_of(records: Iterable[Record]) -> list[Line]:
    """Return the job's lines out of a task's log."""
    return [
        Line(int(found[1]), float(found[2]), record.at)
        for record in records
        for text in record.text.split("\n")
        if (found := _FORM.fullmatch(text))
    ]


def complete(lines: Sequence[Line], wanted: int) -> bool:
    """Whether every line is there, once and in order."""
    return [line.number for line in lines] == list(range(1, wanted + 1))


def logged_by(lines: Sequence[Line], moment: float) -> int:
    """Return how many lines were in the task log at a moment."""
    return bisect_left(lines, moment, key=lambda line: line.logged)


class Writer:
    """Writes lines into files at an even pace, from a thread, as jobs would.

    :param rate: lines a second into each file.
    :param size: bytes of a line.
    """

    def __init__(self, paths: Sequence[Path], rate: float, size: int) -> None:
        self.written = 0
        """Lines in each file so far."""
        self.ended_at = 0.0
        self._rate = rate
        self._size = size
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._files = [path.open("a", buffering=1 << 20) for path in paths]

    def run(self, seconds: float) -> None:
        """Write for so many seconds."""
        began = time.time()
        wanted = int(seconds * self._rate)
        while self.written < wanted:
            now = time.time()
            due = min(wanted, int((now - began) * self._rate))
            text = "".join(numbered(n + 1, now, self._size) for n in range(self.written, due))
            for file in self._files:
                file.write(text)
                file.flush()
            self.written = due
            self.ended_at = time.time()
            time.sleep(max(0.0, now + _TICK - time.time()))
        for file in self._files:
            file.close()

    def start(self, seconds: float) -> threading.Thread:
        """Write for so many seconds, meanwhile."""
        thread = threading.Thread(target=self.run, args=(seconds,), daemon=True)
        thread.start()
        return thread

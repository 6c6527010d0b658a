# SPDX-License-Identifier: Apache-2.0
"""Read log files in the units of ModelArts: bytes, lines, and the newest part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_ehpc.emulator.jobs import EmulatedJob

PREVIEW = 5 * 1024 * 1024
"""The largest size of a preview, in bytes."""
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its line end, and its number.

    Numbers look like nanoseconds since 1970, as in the cloud (``1609121886518240330``). They are the time of
    the job's submission plus the offset of the line in the file. So they do not change while the file grows,
    and a page is found without reading the file before it.
    """

    number: int
    data: bytes

    @property
    def text(self) -> str:
        """The line as valid text."""
        return self.data.decode(errors="replace")


class LogFile:
    """The log of one task of a job."""

    def __init__(self, path: Path, job: EmulatedJob) -> None:
        self._path = path
        self._base = int(job.submission.submitted_at * 10**9)
        # AOM collects complete lines. After the end of the job, the last line may lack its line end.
        self._complete = job.phase.ended

    @property
    def exists(self) -> bool:
        """True if the job has started to write."""
        return self._path.is_file()

    def read(self, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start``."""
        with self._path.open("rb") as file:
            return os.pread(file.fileno(), length, start)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._path.stat().st_size

    def after(self, number: int, count: int) -> list[Line]:
        """Return up to ``count`` lines after a number, oldest first."""
        lines: list[Line] = []
        with self._path.open("rb") as file:
            if number >= self._base:
                file.seek(number - self._base)
                file.readline()
            while len(lines) < count:
                start = file.tell()
                data = file.readline()
                if not data or not (data.endswith(b"\n") or self._complete):
                    break
                lines.append(self._line(start, data))
        return lines

    def before(self, number: int | None, count: int) -> list[Line]:
        """Return up to ``count`` lines before a number, or the last lines, oldest first."""
        with self._path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size if number is None else max(0, number - self._base)
            start, data = end, b""
            while start > 0 and data.count(b"\n") <= count:
                size = min(_BLOCK, start)
                start -= size
                data = os.pread(file.fileno(), size, start) + data
        found = []
        for piece in _pieces(data):
            found.append((start, piece))
            start += len(piece)
        if found and not found[-1][1].endswith(b"\n") and not self._complete:
            found.pop()
        return [self._line(*line) for line in found[-count:]]

    def _line(self, start: int, data: bytes) -> Line:
        return Line(self._base + start, data.removesuffix(b"\n"))


def _pieces(data: bytes) -> list[bytes]:
    """Return the lines with their line ends. Unlike with ``splitlines``, only a line feed ends a line."""
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def cut_replaced(data: bytes) -> tuple[str, int]:
    """Return a piece as text with U+FFFD for incomplete characters, and the number of bytes it represents."""
    return data.decode(errors="replace"), len(data)


def cut_dropped(data: bytes) -> tuple[str, int]:
    """Return a piece as text without incomplete characters, and the number of bytes it represents."""
    return data.decode(errors="ignore"), len(data)


def cut_aligned(data: bytes) -> tuple[str, int]:
    """Return a piece up to an incomplete last character as text, and the number of bytes it represents."""
    for cut in range(min(3, len(data)) + 1):
        try:
            return data[: len(data) - cut].decode(), len(data) - cut
        except UnicodeDecodeError:
            continue
    return cut_replaced(data)


CUTS: Mapping[str, Callable[[bytes], tuple[str, int]]] = {
    "replaced": cut_replaced,
    "dropped": cut_dropped,
    "aligned": cut_aligned,
}
"""Ways to handle a character that is only partly in a piece. No page says which one the cloud uses."""

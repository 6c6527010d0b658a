"""A log file as ModelArts tells it: by bytes, by lines, and by its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_ehpc.emulator.jobs import EmulatedJob

PREVIEW = 5 * 1024 * 1024
"""Bytes that a preview holds at most."""
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line, without its end, and its number.

    The numbers look like nanoseconds since 1970, as real ones do (``1609121886518240330``): the time of the
    job's submission, and the line's place in the file added to it. So they are stable while the file
    grows, and a page is found without reading what lies before it.
    """

    number: int
    data: bytes

    @property
    def text(self) -> str:
        """The line as JSON can hold it."""
        return self.data.decode(errors="replace")


class LogFile:
    """The log of one task of a job."""

    def __init__(self, path: Path, job: EmulatedJob) -> None:
        self._path = path
        self._base = int(job.submission.submitted_at * 10**9)
        # AOM collects whole lines; the last one may never get its end.
        self._complete = job.phase.ended

    @property
    def exists(self) -> bool:
        """Whether the job has begun to write."""
        return self._path.is_file()

    def read(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start`` on, or as many as there are."""
        with self._path.open("rb") as file:
            return os.pread(file.fileno(), length, start)

    @property
    def size(self) -> int:
        """The file's length in bytes."""
        return self._path.stat().st_size

    def after(self, number: int, count: int) -> list[Line]:
        """Return the lines that follow on a number, oldest first."""
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
        """Return the lines that lie before a number, or the last ones, oldest first."""
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
    """Return the lines with their ends; unlike ``splitlines``, only a line feed ends one."""
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def cut_replaced(data: bytes) -> tuple[str, int]:
    """Return a piece as text with U+FFFD for what is no whole character, and the bytes it stands for."""
    return data.decode(errors="replace"), len(data)


def cut_dropped(data: bytes) -> tuple[str, int]:
    """Return a piece as text without what is no whole character."""
    return data.decode(errors="ignore"), len(data)


def cut_aligned(data: bytes) -> tuple[str, int]:
    """Return a piece that ends before a character which is not whole."""
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
"""What becomes of a character that a cut goes through: no page says which of them the cloud does."""

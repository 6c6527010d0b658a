"""The position of a log that outlives the process that wrote it.

A cursor names, for each stream, a place before the last piece of it that completed a line, and of how many
bytes behind that place lines were made. The byte behind these is the first that is not yet in a whole line.
That holds for byte offsets and for the opaque positions of ModelArts alike, and reading from there brings the
end of what was written once more, by whose digest a file that was cut or replaced meanwhile is recognised.

It holds no text of the log and nothing of the connection: it lies open in Airflow's database.

It also has the seconds until its writer would save the next one: as much may have been written behind it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_ehpc.apis.job import JobRef, LogPosition
from airflow_provider_ehpc.logs.lines import LineAssembler

RECOGNISED = 64
"""Bytes before the cursor by which the stream is recognised, at most."""


@dataclass(frozen=True, slots=True)
class StreamMark:
    """The position of one stream: ``written`` bytes behind ``position``, the last ones with ``digest``."""

    position: LogPosition
    written: int
    digest: str

    def fits(self, data: bytes | bytearray) -> bool:
        """Return True if ``data``, read from the position, begins with what was written."""
        return _digest(bytes(data[: self.written])) == self.digest

    def describe(self, stream: str) -> str:
        """Return the position in words."""
        if isinstance(self.position, int):
            return f"byte {self.position + self.written:,} of {stream}"
        return f"the last saved line of {stream}"


@dataclass(slots=True)
class LogTotals:
    """The amounts written of a log, by all processes that wrote it."""

    bytes: int = 0
    lines: int = 0
    cut_lines: int = 0
    errors: int = 0

    def __str__(self) -> str:
        text = f"{self.lines:,} lines, {self.bytes:,} bytes"
        if self.cut_lines:
            text += f", {self.cut_lines:,} of the lines cut"
        return text + (f", {self.errors:,} failed readings" if self.errors else "")


@dataclass(frozen=True, slots=True)
class SavedCursor:
    """The position of a job's log. A stream that is not named has no line yet.

    Two that name the same place are equal.
    """

    api: str
    job: Mapping[str, str]
    streams: Mapping[str, StreamMark] = field(default_factory=dict)
    cycle: float | None = field(default=None, compare=False)
    """Seconds after which, at the latest, the next one was to be saved; None if unknown."""
    totals: LogTotals = field(default_factory=LogTotals, compare=False)
    """What was written up to here."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "api": self.api,
            "job": dict(self.job),
            "streams": {name: asdict(mark) for name, mark in self.streams.items()},
            "turn": self.cycle,
            "totals": asdict(self.totals),
        }

    @classmethod
    def read(cls, data: Any, api: str, ref: JobRef) -> SavedCursor | None:
        """Read what :meth:`as_dict` made; None for another job's, and for what cannot be understood."""
        try:
            streams = {str(name): StreamMark(**mark) for name, mark in data["streams"].items()}
            totals = LogTotals(**data.get("totals", {}))
            cursor = cls(data["api"], data["job"], streams, data.get("turn"), totals)
        except (AttributeError, KeyError, TypeError):
            return None
        return cursor if (cursor.api, cursor.job) == (api, ref.as_dict()) else None

    def __str__(self) -> str:
        return (
            ", ".join(mark.describe(name) for name, mark in self.streams.items())
            or "the beginning of the log"
        )


class LogStream:
    """One stream: its lines, and how far they are written.

    :param mark: the position at which an earlier process stopped.
    :param encoding: of the stream's text.
    """

    def __init__(self, mark: StreamMark | None = None, encoding: str = "utf-8") -> None:
        self.assembler = LineAssembler(encoding)
        self.progress_at = -math.inf
        """When the progress of its pending line was shown last, in epoch seconds."""
        self.mark = mark
        self.unverified = mark
        """The mark, as long as it is not known that the stream is still the one that it is of."""
        self.held = bytearray()
        """What was read of it meanwhile."""
        self._recent = b""
        self._read = 0
        self._places: list[tuple[LogPosition, int]] = []
        """Where pieces that completed lines began: their positions, and ``_read`` then."""
        self._nothing = 0

    def feed(self, data: bytes, position: LogPosition, behind: int = 0, written: int = 0) -> list[str]:
        """Take a piece and return the lines that it completes.

        :param position: the position of the reading that it is a part of.
        :param behind: how many bytes behind that position it begins.
        :param written: how many bytes at its beginning need no line any more.
        """
        end = data.rfind(b"\n") + 1
        if end:
            self._places.append((position, self._read - behind))
            out = self._read + end
            # A short piece alone would not be enough to recognise the stream by.
            while len(self._places) > 1 and out - self._places[1][1] >= RECOGNISED:
                del self._places[0]
            place, begun = self._places[0]
            last = self._recent + data[max(0, end - RECOGNISED) : end]
            self.mark = StreamMark(place, out - begun, _digest(last, out - begun))
        self._read += len(data)
        self._recent = (self._recent + data[-RECOGNISED:])[-RECOGNISED:]
        return self.assembler.feed(data[written:])

    def fits(self, mark: StreamMark, data: bytes) -> bool | None:
        """Take in a piece of an unverified stream; return None as long as it is too short to decide.

        Less than was there before is believed the second time: a file system on the network may show an old
        end for a moment.
        """
        self.held += data
        if len(self.held) >= mark.written:
            return mark.fits(self.held)
        self._nothing = 0 if data else self._nothing + 1
        return False if self._nothing >= 2 else None

    def begin_anew(self) -> list[str]:
        """Return the line that gets no end, and be as if nothing had been read."""
        rest = self.assembler.flush()
        self.mark = self.unverified = None
        self._recent = b""
        self._places.clear()
        self.held.clear()
        return rest


def _digest(data: bytes, written: int = RECOGNISED) -> str:
    return hashlib.sha1(data[-min(RECOGNISED, written) :], usedforsecurity=False).hexdigest()

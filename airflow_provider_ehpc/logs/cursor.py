# SPDX-License-Identifier: Apache-2.0
"""Describe the position of a log so that another process can resume there.

For each stream, a cursor has a position before the last piece that completed a line, and the number of bytes
from there that were made into lines. The byte after these is the first that is not yet in a complete line.
This works for byte offsets and for the opaque positions of ModelArts. Reading from the position returns the
end of what was written once more; its digest shows whether the file was truncated or replaced in the
meantime.

A cursor contains no text of the log and nothing of the connection, because Airflow's database shows it
openly.

It also has the seconds until the next cursor would have been saved: lines of that time may be repeated.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_ehpc.apis.job import JobRef, LogPosition
from airflow_provider_ehpc.logs.lines import LineAssembler

DIGEST_BYTES = 64
"""Bytes before the cursor whose digest identifies the stream, at most."""


@dataclass(frozen=True, slots=True)
class StreamMark:
    """The position of one stream: ``written`` bytes after ``position``; ``digest`` is that of the last of
    them."""

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
    """The amounts of a log written by all processes together."""

    bytes: int = 0
    lines: int = 0
    cut_lines: int = 0
    errors: int = 0

    def __str__(self) -> str:
        text = f"{self.lines:,} line{'' if self.lines == 1 else 's'}, {self.bytes:,} bytes"
        if self.cut_lines:
            text += f", {self.cut_lines:,} of the lines shortened"
        return text + (f", {self.errors:,} failed readings" if self.errors else "")


@dataclass(frozen=True, slots=True)
class SavedCursor:
    """The position of a job's log. A stream that is missing has no line yet.

    Two cursors with the same position are equal.
    """

    api: str
    job: Mapping[str, str]
    streams: Mapping[str, StreamMark] = field(default_factory=dict)
    cycle: float | None = field(default=None, compare=False)
    """Seconds until the next cursor was to be saved, at most; None if unknown. Serialized as ``turn``."""
    totals: LogTotals = field(default_factory=LogTotals, compare=False)
    """The amounts written up to this position."""

    def as_dict(self) -> dict[str, Any]:
        """Return the cursor as JSON-ready data."""
        return {
            "api": self.api,
            "job": dict(self.job),
            "streams": {name: asdict(mark) for name, mark in self.streams.items()},
            "turn": self.cycle,
            "totals": asdict(self.totals),
        }

    @classmethod
    def read(cls, data: Any, api: str, ref: JobRef) -> SavedCursor | None:
        """Read the data of :meth:`as_dict`; return None if it is for another job or unreadable."""
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
    """One stream: its lines and its position.

    :param mark: the position at which an earlier process stopped.
    :param encoding: the encoding of the stream's text.
    """

    def __init__(self, mark: StreamMark | None = None, encoding: str = "utf-8") -> None:
        self.assembler = LineAssembler(encoding)
        self.progress_at = -math.inf
        """Epoch seconds at which the progress of the incomplete line was shown last."""
        self.mark = mark
        self.unverified = mark
        """The mark, until it is verified that the stream is still the same; then None."""
        self.held = bytearray()
        """The bytes that were read while the stream was unverified."""
        self._recent = b""
        self._read = 0
        self._places: list[tuple[LogPosition, int]] = []
        """The positions of pieces that completed lines, each with the value of ``_read`` at its beginning."""
        self._empty_readings = 0

    def feed(self, data: bytes, position: LogPosition, offset: int = 0, written: int = 0) -> list[str]:
        """Add a piece; return the lines that it completes.

        :param position: the position of the reading that the piece is part of.
        :param offset: the number of bytes between that position and the piece.
        :param written: the number of bytes at the beginning of the piece that are already written.
        """
        end = data.rfind(b"\n") + 1
        if end:
            self._places.append((position, self._read - offset))
            out = self._read + end
            # A short piece alone would not be enough to identify the stream.
            while len(self._places) > 1 and out - self._places[1][1] >= DIGEST_BYTES:
                del self._places[0]
            place, begun = self._places[0]
            last = self._recent + data[max(0, end - DIGEST_BYTES) : end]
            self.mark = StreamMark(place, out - begun, _digest(last, out - begun))
        self._read += len(data)
        self._recent = (self._recent + data[-DIGEST_BYTES:])[-DIGEST_BYTES:]
        return self.assembler.feed(data[written:])

    def fits(self, mark: StreamMark, data: bytes) -> bool | None:
        """Compare an unverified stream with its mark; return None if there is too little data yet.

        A stream that seems shorter than before counts as different only at the second reading: a network file
        system may show an old end for a moment.
        """
        self.held += data
        if len(self.held) >= mark.written:
            return mark.fits(self.held)
        self._empty_readings = 0 if data else self._empty_readings + 1
        return False if self._empty_readings >= 2 else None

    def begin_anew(self) -> list[str]:
        """Return the incomplete line, and start again as if nothing had been read."""
        rest = self.assembler.flush()
        self.mark = self.unverified = None
        self._recent = b""
        self._places.clear()
        self.held.clear()
        return rest


def _digest(data: bytes, written: int = DIGEST_BYTES) -> str:
    return hashlib.sha1(data[-min(DIGEST_BYTES, written) :], usedforsecurity=False).hexdigest()

# SPDX-License-Identifier: Apache-2.0
"""Continue reading a job's log at the last position, and detect if it is no longer the same log.

If positions are byte offsets, each reading begins up to 64 bytes before the position. These bytes must equal
those that were read before. They differ if the file was truncated or replaced (Slurm truncates the output of
a requeued job), even if it is already longer than the old one, or if the server ignores the offset. This
takes no additional request.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from airflow_provider_ehpc.apis.call import ApiError, Flow, InvalidRequest
from airflow_provider_ehpc.apis.job import JobApi, JobRef, LogBatch, LogChunk, LogCursor, LogPosition

REREAD_BYTES = 64
"""Bytes before the position to read again, at most."""
HEAD_BYTES = 1024
"""Bytes of a stream's beginning to remember, for comparison after a rerun."""
PROBE_AT = 2**30
"""Bytes after the position where a server that honours the offset has nothing to return."""
MOST_REPLACEMENTS = 10
"""Readings in a row in which a stream may be a different one, before reading it stops."""
MOST_STREAMS = 1000
"""Streams of a job to read, at most, so that memory is bounded whatever a response names."""
_REPLACEMENT = "\ufffd".encode()
_VARIABLE = re.compile(r"%\w|[$~^]")
"""In a path: Slurm's ``%j``, a shell's ``$HOME`` and ``~``, PBS's ``^array_index^``."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a reading that belongs to one stream."""

    stream: str
    data: bytes
    """The bytes that were not read before."""
    position: LogPosition
    """The position at which ``data`` begins."""
    changed: str = ""
    """The reason, in words, for which the next reading starts at the beginning; there is no data then."""
    stopped: str = ""
    """The reason, in words, for which the stream is no longer read."""
    unsettled: bool = False
    """The next reading shows whether the stream was truncated."""
    size: int | None = None
    """The stream's length as the API reports it."""


@dataclass(frozen=True, slots=True)
class LogReading:
    """The result of one reading; ``more`` if the next one is likely to return data at once."""

    pieces: tuple[Piece, ...]
    more: bool
    notes: tuple[str, ...] = ()
    error: ApiError | None = None
    """The error of a stream that could not be read although the others could."""


@dataclass(slots=True)
class _Place:
    """The position of a stream, and what is known of the bytes before it."""

    position: LogPosition = 0
    head: bytes = b""
    tail: bytes = b""
    shorter: bool = False
    breaks: int = 0
    honours_offset: bool | None = None
    stopped: bool = False
    past: deque[LogPosition] = field(default_factory=lambda: deque(maxlen=REREAD_BYTES))
    """Opaque positions at which there was data."""

    def overlap(self, size: int, *, text: bool) -> bytes:
        """Return the bytes to read again.

        :param size: the number of bytes that the reading requests.
        :param text: True if the API returns text.
        """
        if not isinstance(self.position, int):
            return b""
        overlap = self.tail[-min(REREAD_BYTES, size // 2) :] if size > 1 else b""
        if text:
            # How an incomplete character is replaced depends on the first byte read.
            if _REPLACEMENT in overlap:
                return b""
            while overlap and overlap[0] & 0xC0 == 0x80:
                overlap = overlap[1:]
        return overlap

    def begin(self) -> None:
        """Move to the beginning."""
        self.position, self.head, self.tail, self.shorter = 0, b"", b"", False

    def move(self, chunk: LogChunk, overlap: int) -> str:
        """Move behind the chunk; return why this is impossible in words, or an empty text."""
        begun, data = self.position, chunk.data[overlap:]
        if isinstance(begun, int) and isinstance(chunk.next, int):
            if not data:
                return ""
            if chunk.next <= begun:
                return "the API returns data but no position behind it"
            exact = chunk.next == begun + len(data)
            if exact and len(self.head) == min(begun, HEAD_BYTES):
                self.head = (self.head + data[:HEAD_BYTES])[:HEAD_BYTES]
            self.tail = (self.tail + data[-REREAD_BYTES:])[-REREAD_BYTES:] if exact else b""
        elif data and (chunk.next in self.past or chunk.next == begun):
            return "the API returns the same lines again"
        elif data:
            self.past.append(begun)
        self.position = chunk.next
        return ""


class LogReader:
    """Read a job's log piece by piece.

    It is not documented how much GetJobLog of 2024-07-30 returns: the reader requests the maximum first, and
    less if the API rejects that.
    """

    def __init__(self, api: JobApi, ref: JobRef) -> None:
        self._api = api
        self._ref = ref
        self._size = api.log_limits.largest
        self._places: dict[str, _Place] = {}
        self.one_file: bool | None = False
        """True if stdout and stderr are one file; only stdout is returned then. None to find out from the
        content: True as long as both begin and continue with the same bytes."""
        self._ahead = b""
        """The bytes by which stderr is longer than stdout, while both count as one file."""
        self.paths_agree = False
        """True if the job's two paths are the same; the content does not matter then."""

    def start(self, stream: str, position: LogPosition) -> None:
        """Start reading a stream at ``position``."""
        self._places[stream] = _Place(position)

    def restart(self, stream: str) -> None:
        """Read a stream again from its beginning."""
        self._places[stream].begin()

    def read(self, *, rerun: bool = False, waiting: bool = False) -> Flow[LogReading]:
        """Continue reading. If this raises, no position has changed.

        :param rerun: the scheduler has run the job again since the last reading: a difference counts at once,
            and the beginning is compared as well.
        :param waiting: the job waits for its rerun: a log that seems shorter may only be out of reach.
        """
        batch, overlaps = yield from self._batch()
        if batch.error and self.one_file is not False and not self.paths_agree:
            # Without both streams, one file cannot be distinguished from two.
            raise batch.error
        chunks = self._wanted(batch)
        split = self._split_streams(chunks, len(overlaps.get("stdout", b"")))
        if self.one_file:
            chunks = [chunk for chunk in chunks if chunk.stream != "stderr"]
        if any(self._is_suspicious(chunk, overlaps.get(chunk.stream, b"")) for chunk in chunks):
            yield from self._probe()
        other_heads: set[str] = set()
        if rerun:
            other_heads = yield from self._other_heads(waiting=waiting)
        pieces = tuple(
            self._piece(
                chunk,
                overlaps.get(chunk.stream, b""),
                other_head=chunk.stream in other_heads,
                rerun=rerun,
                waiting=waiting,
            )
            for chunk in chunks
        )
        if self.one_file and self._ahead:
            pieces += (Piece("stderr", b"", 0, unsettled=True),)
        begun = split or any(piece.changed for piece in pieces)
        more = batch.more and any(piece.data for piece in pieces)
        return LogReading(pieces, begun or more, batch.notes, batch.error)

    def _batch(self) -> Flow[tuple[LogBatch, dict[str, bytes]]]:
        while True:
            text = self._api.log_limits.text
            overlaps = {name: place.overlap(self._size, text=text) for name, place in self._places.items()}
            positions = {
                name: _before(place.position, overlaps[name]) for name, place in self._places.items()
            }
            if self.one_file and "stdout" in positions:
                positions["stderr"] = positions["stdout"]
            try:
                batch = yield from self._api.read_log(self._ref, LogCursor(positions), self._size)
            except InvalidRequest:
                if self._size <= self._api.log_limits.smallest:
                    raise
                self._size = max(self._api.log_limits.smallest, self._size // 4)
            else:
                return batch, overlaps

    def _wanted(self, batch: LogBatch) -> list[LogChunk]:
        """Return the first chunk of each stream that is not stopped."""
        chunks = {chunk.stream: chunk for chunk in reversed(batch.chunks)}
        found = []
        for name in dict.fromkeys(chunk.stream for chunk in batch.chunks):
            known = name in self._places or len(self._places) < MOST_STREAMS
            if known and not self._place(name).stopped:
                found.append(chunks[name])
        return found

    def _place(self, stream: str) -> _Place:
        return self._places.setdefault(stream, _Place())

    def _split_streams(self, chunks: list[LogChunk], overlap: int) -> bool:
        """Find out if both streams are one file; return True if they turn out to be two files.

        :param overlap: the number of bytes of the stdout chunk that were read before.
        """
        if self.paths_agree or self.one_file is False:
            return False
        found = {chunk.stream: chunk.data for chunk in chunks}
        out, err = found.get("stdout", b""), found.get("stderr", b"")
        # stderr is read after stdout. If it is the same file, it is at least as long, and the next reading of
        # stdout contains the rest.
        ahead, self._ahead = self._ahead, err[len(out) :]
        same = err.startswith(out) and out[overlap:].startswith(ahead[: self._size - overlap])
        if self.one_file:
            self.one_file = same
            if not same:
                self._places["stderr"], self._ahead = _Place(), b""
                chunks[:] = [chunk for chunk in chunks if chunk.stream != "stderr"]
            return not same
        if out or err:
            begun = self._place("stdout").position != 0 or self._place("stderr").position != 0
            self.one_file = bool(out) and same and not begun
        return False

    def _is_suspicious(self, chunk: LogChunk, overlap: bytes) -> bool:
        """Return True if the response resembles the file's beginning, or the file seems to end before it."""
        place = self._places[chunk.stream]
        if place.honours_offset is not None or not isinstance(place.position, int) or not chunk.data:
            return False
        if place.position <= len(overlap):
            return False
        known = min(len(place.head), len(chunk.data), REREAD_BYTES)
        as_beginning = known > 0 and place.head[:known] == chunk.data[:known]
        new = len(chunk.data) > len(overlap)
        return as_beginning or (new and chunk.size is not None and chunk.size < place.position)

    def _probe(self) -> Flow[None]:
        """Find out if the API honours the offset: far behind the end, there is nothing to return."""
        places = {n: place for n, place in self._places.items() if isinstance(place.position, int)}
        beyond = {n: place.position + PROBE_AT for n, place in places.items()}  # type: ignore[operator]
        cursor = LogCursor(beyond)
        try:
            batch = yield from self._api.read_log(self._ref, cursor, self._size)
            if batch.error:
                raise batch.error
        except ApiError as error:
            if error.transient:
                raise
            chunks: tuple[LogChunk, ...] = ()
        else:
            chunks = batch.chunks
        given = {chunk.stream: chunk.data for chunk in chunks}
        for name, place in places.items():
            if given.get(name):
                place.honours_offset = False
            elif place.position:
                place.honours_offset = True

    def _other_heads(self, *, waiting: bool) -> Flow[set[str]]:
        """Return the streams whose beginning has changed."""
        known = {name: place.head for name, place in self._places.items() if place.head}
        if not known:
            return set()
        batch = yield from self._api.read_log(self._ref, LogCursor(dict.fromkeys(known, 0)), self._size)
        heads = ((chunk.stream, chunk.data[:HEAD_BYTES]) for chunk in batch.chunks if chunk.stream in known)
        return {
            name
            for name, head in heads
            if not head.startswith(known[name][: self._size])
            and not (waiting and known[name].startswith(head))
        }

    def _piece(
        self, chunk: LogChunk, overlap: bytes, *, other_head: bool, rerun: bool, waiting: bool
    ) -> Piece:
        place = self._places[chunk.stream]
        begun, again = place.position, chunk.data[: len(overlap)]
        shorter = len(again) < len(overlap) and overlap.startswith(again)
        differs = other_head or (again != overlap and not shorter)
        if place.honours_offset is False and begun not in range(len(overlap) + 1):
            return self._stop(chunk, "the API ignores the offset and returns its beginning each time")
        if waiting and shorter and not differs:
            return Piece(chunk.stream, b"", begun)
        if shorter and not (differs or place.shorter or rerun):
            # A network file system may show an old end for a moment.
            place.shorter = True
            return Piece(chunk.stream, b"", begun, unsettled=True)
        if shorter or differs:
            place.breaks += not rerun
            if place.breaks >= MOST_REPLACEMENTS:
                return self._stop(chunk, "each reading returns another log")
            place.begin()
            return Piece(
                chunk.stream, b"", begun, changed="is shorter" if shorter else "has different content"
            )
        if overlap:
            place.shorter, place.breaks = False, 0
        if reason := place.move(chunk, len(overlap)):
            return self._stop(chunk, reason)
        return Piece(chunk.stream, chunk.data[len(overlap) :], begun, size=chunk.size)

    def _stop(self, chunk: LogChunk, reason: str) -> Piece:
        place = self._places[chunk.stream]
        place.stopped = True
        return Piece(chunk.stream, b"", place.position, stopped=reason)


def _before(position: LogPosition, overlap: bytes) -> LogPosition:
    return position - len(overlap) if isinstance(position, int) else position


def same_path(one: str | None, other: str | None) -> bool | None:
    """Return True if two paths of a job name one file, False if they do not, None if that is unknown.

    It is unknown if a path is missing, or if files of the same name are in different folders: a folder may be
    a link, a path may be relative, or its variables (``~``, ``$HOME``, ``%j``) may not be replaced.
    """
    if not one or not other:
        return None
    (first, second) = (path.strip() for path in (one, other))
    if _parts(first) == _parts(second) and first.startswith("/") == second.startswith("/"):
        return True
    names = [_parts(path)[-1:] for path in (first, second)]
    return None if names[0] == names[1] or _VARIABLE.search(f"{names}") else False


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]

"""Two log files read through one window, as GetJobLog of 2018-04-12 opens it.

One offset and one size serve both files, and neither file's length is told. A file that gives fewer bytes
than the window holds ends there, for the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from airflow_provider_ehpc.apis.call import Flow
from airflow_provider_ehpc.apis.job import LogBatch, LogChunk

LARGEST = 400 * 1024
"""Bytes that one window may hold (only the Chinese page reports it: "400 * 1024")."""
SMALLEST = 1024
"""Bytes that a window holds by default."""
_PEEK = 4096
"""Bytes of a file already read that a call may fetch once more for the sake of the other file."""
_LONGEST = 2**50
"""Bytes that no log file has."""

Window: TypeAlias = Callable[[int, int], Flow[Mapping[str, bytes]]]
"""Reads every stream from one offset, at most so many bytes each."""


def read_on(window: Window, offsets: Mapping[str, int], size: int) -> Flow[LogBatch]:
    """Read each stream from its own offset, at most ``size`` bytes of each.

    Streams that stand close together share a window. Where they are further apart the one that is behind
    has most likely ended early (a short stderr beside a long stdout): each is then read by itself, and the
    one behind is only peeked at before it is read in earnest, because the window gives the other's old
    bytes too.
    """
    size = min(size, LARGEST)
    low, high = min(offsets.values()), max(offsets.values())
    if high - low <= _PEEK:
        asked = min(high - low + size, LARGEST)
        pieces = yield from window(low, asked)
        parts = {
            stream: _part(pieces[stream], offset - low, asked, size) for stream, offset in offsets.items()
        }
    else:
        parts = {}
        for stream, offset in offsets.items():
            first = size if offset == high else min(_PEEK, size)
            data = (yield from window(offset, first))[stream]
            if first < size and len(data) >= first:
                data += (yield from window(offset + len(data), size - len(data)))[stream]
            parts[stream] = _part(data, 0, size, size)
    return LogBatch(
        tuple(LogChunk(stream, data, offsets[stream] + len(data)) for stream, (data, _full) in parts.items()),
        more=any(full for _data, full in parts.values()),
    )


def _part(piece: bytes, skip: int, asked: int, size: int) -> tuple[bytes, bool]:
    """Return what is new in a piece, at most ``size`` bytes, and whether more lies ready behind it."""
    new = piece[skip:]
    return new[:size], len(piece) >= asked or len(new) > size


def tail(window: Window, size: int) -> Flow[tuple[LogChunk, ...]]:
    """Read the last ``size`` bytes of each stream.

    A file of 1 GiB costs about 20 calls: its end has to be searched for.
    """
    size = min(size, LARGEST)
    chunks = []
    for stream, data in (yield from window(0, LARGEST)).items():
        start = 0
        if len(data) >= LARGEST:
            start, data = yield from _last_window(window, stream)
        end = start + len(data)
        if start and len(data) < size:
            data = (yield from window(end - size, size))[stream]
        chunks.append(LogChunk(stream, data[-size:], end, size=end))
    return tuple(chunks)


def _last_window(window: Window, stream: str) -> Flow[tuple[int, bytes]]:
    """Return the offset and the bytes of a window that holds the end of a file longer than one."""
    begun, beyond = 0, _LONGEST
    while beyond - begun > LARGEST:
        probe = min(max(LARGEST, 4 * begun), (begun + beyond) // 2)
        if (yield from window(probe, SMALLEST))[stream]:
            begun = probe
        else:
            beyond = probe
    return begun, (yield from window(begun, LARGEST))[stream]

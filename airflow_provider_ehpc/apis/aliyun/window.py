# SPDX-License-Identifier: Apache-2.0
"""Read two log files through one window, as GetJobLog of 2018-04-12 requires.

One offset and one size apply to both files, and neither file's length is reported. If the response has
fewer bytes of a file than the window holds, the file ends there for now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from airflow_provider_ehpc.apis.call import Flow
from airflow_provider_ehpc.apis.job import LogBatch, LogChunk

LARGEST = 400 * 1024
"""Maximum size of a window in bytes (documented only on the Chinese page: "400 * 1024")."""
SMALLEST = 1024
"""Default size of a window in bytes."""
_PEEK = 4096
"""Maximum number of bytes that a call may fetch again from one file in order to read the other."""
_MAX_FILE_SIZE = 2**50
"""Size in bytes that no log file reaches."""

LogWindow: TypeAlias = Callable[[int, int], Flow[Mapping[str, bytes]]]
"""Function that reads all streams from an offset, at most a number of bytes each."""


def read_on(window: LogWindow, offsets: Mapping[str, int], size: int) -> Flow[LogBatch]:
    """Read each stream from its own offset, at most ``size`` bytes of each.

    Streams with offsets close together share a window. If the offsets are further apart, the stream behind
    has most likely ended early (a short stderr beside a long stdout). Each stream then gets its own window.
    For the stream behind, a small window checks for new bytes first, because every window also returns old
    bytes of the other stream.
    """
    size = min(size, LARGEST)
    low, high = min(offsets.values()), max(offsets.values())
    if high - low <= _PEEK:
        requested = min(high - low + size, LARGEST)
        pieces = yield from window(low, requested)
        parts = {
            stream: _part(pieces[stream], offset - low, requested, size) for stream, offset in offsets.items()
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


def _part(piece: bytes, skip: int, requested: int, size: int) -> tuple[bytes, bool]:
    """Return the new bytes of a piece, at most ``size``, and True if the file may have more."""
    new = piece[skip:]
    return new[:size], len(piece) >= requested or len(new) > size


def tail(window: LogWindow, size: int) -> Flow[tuple[LogChunk, ...]]:
    """Read the last ``size`` bytes of each stream.

    For a file of 1 GiB this takes about 20 calls, because its end must be searched for.
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


def _last_window(window: LogWindow, stream: str) -> Flow[tuple[int, bytes]]:
    """Find the window that contains the end of a file longer than one window; return its offset and bytes."""
    begun, beyond = 0, _MAX_FILE_SIZE
    while beyond - begun > LARGEST:
        probe = min(max(LARGEST, 4 * begun), (begun + beyond) // 2)
        if (yield from window(probe, SMALLEST))[stream]:
            begun = probe
        else:
            beyond = probe
    return begun, (yield from window(begun, LARGEST))[stream]

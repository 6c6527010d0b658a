"""The last lines of a log, for the message of a failure."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_ehpc.apis.job import LogChunk

TAIL_SIZE = 4096
"""Bytes that are read of each stream's end."""
LINES = 10
"""Lines that are shown of each stream."""
LONGEST = 400
"""Characters that are shown of a line."""


def last_lines(chunks: Iterable[LogChunk]) -> list[str]:
    """Return the last lines of each stream, under its name; nothing for a stream that is empty."""
    shown: list[str] = []
    for chunk in chunks:
        lines = chunk.data.decode(errors="replace").splitlines()
        if len(lines) > 1 and len(chunk.data) >= TAIL_SIZE:
            lines = lines[1:]  # its beginning lies before the piece that was read
        lines = [line for line in lines if line.strip()][-LINES:]
        if lines:
            shown.append(f"{chunk.stream}:")
            shown += [f"  {line[:LONGEST]}" for line in lines]
    return shown

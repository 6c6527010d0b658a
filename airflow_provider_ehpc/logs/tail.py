"""The last lines of a log, for the message of a failure."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_ehpc.apis.job import LogChunk
from airflow_provider_ehpc.text import unfold

TAIL_SIZE = 4096
"""Bytes that are read of each stream's end."""
TAIL_LINES = 10
"""Lines that are shown of each stream."""
LONGEST_TAIL_LINE = 400
"""Characters that are shown of a line."""


def last_lines(chunks: Iterable[LogChunk], encoding: str = "utf-8") -> list[str]:
    """Return the last lines of each stream, under its name; nothing for a stream that is empty.

    If both streams are in one file, its lines appear once.
    """
    shown: list[str] = []
    seen: set[bytes] = set()
    for chunk in chunks:
        if chunk.data in seen:
            continue
        seen.add(chunk.data)
        lines = chunk.data.decode(encoding, errors="replace").splitlines()
        if len(lines) > 1 and len(chunk.data) >= TAIL_SIZE:
            lines = lines[1:]  # its beginning lies before the piece that was read
        lines = [line for line in lines if line.strip()][-TAIL_LINES:]
        if lines:
            shown.append(unfold(f"{chunk.stream}:"))
            shown += [unfold(f"  {_shortened(line)}") for line in lines]
    return shown


def _shortened(line: str) -> str:
    """Return a line, or the beginning and the end of a long one: errors stand at either."""
    if len(line) <= LONGEST_TAIL_LINE:
        return line
    end = LONGEST_TAIL_LINE // 4
    return f"{line[: LONGEST_TAIL_LINE - end]} … {line[-end:]}"

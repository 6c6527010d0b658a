"""The last lines of a log, for the message of a failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from airflow_provider_ehpc.apis.job import LogChunk
from airflow_provider_ehpc.text import unfold

TAIL_SIZE = 16 * 1024
"""Bytes that are read of each stream's end. Launchers of parallel programs write pages after an error."""
LINES = 10
"""Lines that are shown of each stream."""
LONGEST = 400
"""Characters that are shown of a line."""


def last_lines(chunks: Iterable[LogChunk], encoding: str = "utf-8") -> list[str]:
    """Return the last lines of each stream, under its name; nothing for a stream that is empty.

    If both streams are in one file, its lines appear once.
    """
    shown: list[str] = []
    for stream, lines in _streams(chunks, encoding):
        shown.append(unfold(f"{stream}:"))
        shown += [unfold(f"  {_shortened(line)}") for line in lines[-LINES:]]
    return shown


def tail_lines(chunks: Iterable[LogChunk], encoding: str = "utf-8") -> list[str]:
    """Return all lines of each stream's end, those of the first stream first."""
    return [line for _, lines in _streams(chunks, encoding) for line in lines]


def _streams(chunks: Iterable[LogChunk], encoding: str) -> Iterator[tuple[str, list[str]]]:
    seen: set[bytes] = set()
    for chunk in chunks:
        if chunk.data in seen:
            continue
        seen.add(chunk.data)
        lines = chunk.data.decode(encoding, errors="replace").splitlines()
        if len(lines) > 1 and len(chunk.data) >= TAIL_SIZE:
            lines = lines[1:]  # its beginning lies before the piece that was read
        if lines := [line for line in lines if line.strip()]:
            yield chunk.stream, lines


def _shortened(line: str) -> str:
    """Return a line, or the beginning and the end of a long one: errors stand at either."""
    if len(line) <= LONGEST:
        return line
    end = LONGEST // 4
    return f"{line[: LONGEST - end]} … {line[-end:]}"

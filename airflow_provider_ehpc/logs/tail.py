# SPDX-License-Identifier: Apache-2.0
"""Read the last lines of a log, for the message of a failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from airflow_provider_ehpc.apis.job import LogChunk
from airflow_provider_ehpc.exit_code import ANY_TOKEN, take
from airflow_provider_ehpc.text import unfold

TAIL_SIZE = 16 * 1024
"""Bytes to read from the end of each stream. Launchers of parallel programs write pages after an error."""
TAIL_LINES = 10
"""Lines to show of each stream, at most."""
LONGEST_TAIL_LINE = 400
"""Characters to show of a line, at most."""


def last_lines(chunks: Iterable[LogChunk], encoding: str = "utf-8", token: str | None = None) -> list[str]:
    """Return the last lines of each stream below its name; nothing for an empty stream.

    If both streams are in one file, its lines appear once.

    :param token: the token of the markers of exit codes, which are left out; None for those of any token.
    """
    shown: list[str] = []
    for stream, lines in _streams(chunks, encoding, token):
        shown.append(unfold(f"{stream}:"))
        shown += [unfold(f"  {_shortened(line)}") for line in lines[-TAIL_LINES:]]
    return shown


def tail_lines(chunks: Iterable[LogChunk], encoding: str = "utf-8", token: str | None = None) -> list[str]:
    """Return all lines of each stream's end, those of the first stream first."""
    return [line for _, lines in _streams(chunks, encoding, token) for line in lines]


def _streams(chunks: Iterable[LogChunk], encoding: str, token: str | None) -> Iterator[tuple[str, list[str]]]:
    seen: set[bytes] = set()
    for chunk in chunks:
        if chunk.data in seen:
            continue
        seen.add(chunk.data)
        text = chunk.data.decode(encoding, errors="replace")
        lines = take(text, token or ANY_TOKEN)[0].splitlines()
        if len(lines) > 1 and len(chunk.data) >= TAIL_SIZE:
            lines = lines[1:]  # its beginning was not read
        if lines := [line for line in lines if line.strip()]:
            yield chunk.stream, lines


def _shortened(line: str) -> str:
    """Return a line, shortened in the middle if it is long: errors are at the beginning or the end."""
    if len(line) <= LONGEST_TAIL_LINE:
        return line
    end = LONGEST_TAIL_LINE // 4
    return f"{line[: LONGEST_TAIL_LINE - end]} … {line[-end:]}"

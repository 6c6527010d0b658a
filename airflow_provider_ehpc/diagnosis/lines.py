# SPDX-License-Identifier: Apache-2.0
"""Causes that the last lines of a job's log name.

Most lines that contain the words of a cause do not name the cause of the end: programs recover from errors,
print what they check, and repeat the errors of earlier runs. So a line counts only if it looks like an error
message, and if nothing after it shows that the program continued or that another error ended it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from airflow_provider_ehpc.diagnosis.cause import Cause, Diagnosis
from airflow_provider_ehpc.diagnosis.patterns import CHAINED, SHELL_CODES, WEAK, patterns
from airflow_provider_ehpc.text import unfold

_LONGEST = 200
"""Characters of a line that are shown as evidence, and twice of a line that is searched from each end."""
_ORDINARY = 12
"""Ordinary lines after an error, such as those of a script's last steps. After more, the program did not end
by that error."""
_REACH = 400
"""Lines that are read from the end."""


def scheduler_line(lines: Sequence[str]) -> Diagnosis | None:
    """Return the cause that a scheduler wrote into the log when it ended the job."""
    cancelled: Diagnosis | None = None
    for line in _from_end(lines):
        for cause, pattern in patterns().scheduler:
            match = pattern.search(line)
            if match is None or _quoted(line, match):
                continue
            found = _diagnosis(cause, line[match.start() :] if match.start() > _LONGEST else line)
            # Older versions of Slurm cancel a job that uses too much memory; the line before reports that.
            if cause is not Cause.CANCELLED and not (cancelled and cause is not Cause.OUT_OF_MEMORY):
                return found
            cancelled = cancelled or found
    return cancelled


def last_error(lines: Sequence[str], code: int | None = None) -> Diagnosis | None:
    """Return the cause that the program's last error names; None if it names none.

    :param code: the exit code, which the shell defines for commands that it cannot run.
    """
    known = patterns()
    read = _from_end(lines)
    weak: Diagnosis | None = None
    at = ordinary = 0
    while at < len(read):
        line, above = read[at], read[at + 1] if at + 1 < len(read) else ""
        at += 1
        if known.source.search(above):
            continue  # a line of the program's source, in a traceback
        cause = _cause(line)
        if cause in SHELL_CODES and code != SHELL_CODES[cause] and ordinary and known.shell_line.search(line):
            cause = None
        if cause in WEAK:
            # A launcher that ends all processes after one has crashed uses SIGKILL.
            weak = _diagnosis(cause, line) if weak is None or weak.cause is Cause.KILLED else weak
        elif cause:
            return _diagnosis(cause, line)
        elif (kind := _kind(line)) is _Kind.CONTINUED:
            return weak
        elif kind is _Kind.ERROR:
            # The exception that came first explains the one that ended the program.
            chained = _before_chain(read, at) if known.exception.search(_message(line)) else None
            if chained is None:
                return weak if weak and weak.cause is Cause.CRASHED else None
            at = chained
        elif kind is _Kind.ORDINARY:
            ordinary += 1
            if ordinary > _ORDINARY:
                return weak
    return weak


def _from_end(lines: Sequence[str]) -> list[str]:
    return [_shortened(line.rstrip()) for line in reversed(lines[-_REACH:]) if line.strip()]


def _shortened(line: str) -> str:
    """Return a line without its middle if it is long: an error is at either end."""
    # What a carriage return overwrites is not read either.
    line = line.rpartition("\r")[2] if "\r" in line else line
    return line if len(line) <= 4 * _LONGEST else f"{line[: 2 * _LONGEST]} … {line[-2 * _LONGEST :]}"


def _message(line: str) -> str:
    """Return a line without the time, the level and the rank before its message."""
    match = patterns().prefix.match(line)
    return line[match.end() :] if match else line


def _cause(line: str) -> Cause | None:
    known = patterns()
    if known.quiet.search(line[:100]):
        return None
    text = _message(line)
    for cause, pattern in known.program:
        match = pattern.search(text)
        if match is None or _quoted(text, match):
            continue
        if cause in known.unless and known.unless[cause].search(text):
            return None
        if known.harmless.search(text, 0, match.start()) or known.recovers.search(text, match.end()):
            return None
        return cause
    return None


def _quoted(text: str, match: re.Match[str]) -> bool:
    """Return True if the words are in quotation marks: they are quoted, not reported."""
    before = text[: match.start()]
    if (
        before
        and before[-1] in "\"'`“‘"
        and text[match.end() :].count({"“": "”", "‘": "’"}.get(before[-1], before[-1]))
    ):
        return True
    return before.count('"') % 2 == 1 and '"' in text[match.end() :]


class _Kind(Enum):
    """The kinds of lines that name no cause."""

    ORDINARY = "ordinary"
    ERROR = "error"
    FOLLOWS = "follows"
    """Written after any error, or no message at all."""
    CONTINUED = "continued"
    """The program continued after the lines above."""


def _kind(line: str) -> _Kind:
    known, text = patterns(), _message(line)
    if known.exception.search(text):
        return _Kind.ERROR
    if not text or known.follows.search(text) or known.follows.search(line):
        return _Kind.FOLLOWS
    quiet = known.quiet.search(line[:100]) or line[0] in " \t"
    if not quiet and known.error.search(text):
        return _Kind.ERROR
    if known.continued.search(text):
        return _Kind.CONTINUED
    return _Kind.FOLLOWS if quiet else _Kind.ORDINARY


def _before_chain(read: Sequence[str], at: int) -> int | None:
    """Return the index of the exception that was raised before the one at ``at``; None if there is none."""
    for number in range(at, min(at + 100, len(read))):
        if "Traceback (most recent call last)" in read[number]:
            above = read[number + 1] if number + 1 < len(read) else ""
            return number + 2 if above.strip().endswith(CHAINED) else None
    return None


def _diagnosis(cause: Cause, line: str) -> Diagnosis:
    text = unfold(" ".join(line.split()))
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return Diagnosis(cause, f"its log says {shown!r}")

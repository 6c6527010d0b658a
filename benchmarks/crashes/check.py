# SPDX-License-Identifier: Apache-2.0
"""Whether a task's logs hold every line of its job, and each once but for those behind a mark.

Judged is what Airflow's UI shows, record by record, beside the bytes that the job wrote. A mark is the line
that a reader which goes on where another stopped writes first; a new try begins a part of the log as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

SHOWN = 16 * 1024
"""Bytes of a line that the task log shows."""
_NUMBERED = re.compile(r"(?:stderr \| )?(out|err) (\d+) of the run ")
_CYCLE = re.compile(r"--- resumed at .+; up to one cycle \(about ([\d.]+) s\) may be repeated ---")
_ANEW = re.compile(
    r"--- resumed at .+; all lines written after it may be repeated ---"
    r"|log of .+: reading starts at its beginning\."
)


def shown(raw: bytes, prefix: str = "") -> list[str]:
    """Return what a reader of the log must see of the bytes of a stream."""
    lines = raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    found = []
    for line in lines:
        line = line.removesuffix(b"\r")
        text = line.decode(errors="backslashreplace")
        if len(line) > SHOWN:
            head = line[: SHOWN - SHOWN // 4].decode(errors="ignore")
            end = line[-SHOWN // 4 :].decode(errors="ignore")
            text = f"{head} …[+{len(line) - len(head.encode()) - len(end.encode())} bytes]… {end}"
        found.append(prefix + text)
    return found


@dataclass
class Part:
    """What one reader wrote, from its mark or the beginning of its try on."""

    attempt: int
    cycle: float | None = None
    """Seconds that may be repeated according to the mark; None without a mark."""
    anew: bool = False
    """True if the mark says that more than a cycle may be repeated."""
    end: float = 0.0
    """When its last line was written, in epoch seconds."""
    last: dict[str, int] = field(default_factory=dict)
    """The newest line of each stream."""


@dataclass
class Findings:
    """What was found in the logs of one task."""

    lines: int = 0
    resumed: int = 0
    missing: list[str] = field(default_factory=list)
    repeated_marked: int = 0
    repeated_anew: int = 0
    """Behind a mark that says that reading began again."""
    repeated_outside: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Lines that look like the job's, but are not as it wrote them."""
    worst_repeat: float = 0.0
    """Seconds over which lines that came again had been written before."""

    @property
    def complaints(self) -> list[str]:
        """What must not be."""
        kinds = ("missing", "repeated_outside", "disordered", "foreign")
        return [f"{kind.replace('_', ' ')}: {what}" for kind in kinds for what in getattr(self, kind)]


def judge(
    tries: Iterable[Iterable[Mapping[str, Any]]], stdout: bytes, stderr: bytes, slack: float
) -> Findings:
    """Compare the records of each try, in order, with what the job wrote.

    :param slack: seconds by which the repeated lines may span more than the cycle that the mark names.
    """
    judging = _Judging({"out": shown(stdout), "err": shown(stderr, "stderr | ")}, slack)
    for attempt, records in enumerate(tries, 1):
        judging.part = Part(attempt)
        for record in records:
            for line in str(record.get("event", "")).split("\n"):
                if (cycle := _CYCLE.match(line)) or _ANEW.match(line):
                    judging.part = Part(attempt, float(cycle[1]) if cycle else 0.0, anew=not cycle)
                    judging.findings.resumed += 1
                elif found := _NUMBERED.match(line):
                    judging.take(found[1], int(found[2]), line, _time(record))
    return judging.end()


class _Judging:
    """The lines of a job's log, one after the other.

    :param wanted: the lines of each stream.
    """

    def __init__(self, wanted: Mapping[str, list[str]], slack: float) -> None:
        self.findings = Findings(lines=sum(map(len, wanted.values())))
        self.part = Part(0)
        self._wanted = wanted
        self._slack = slack
        self._reached = dict.fromkeys(wanted, 0)
        self._written: dict[tuple[str, int], tuple[Part, float]] = {}
        """Where each line stands last, and since when."""

    def take(self, name: str, number: int, line: str, at: float) -> None:
        """Judge a line of a stream."""
        part, findings = self.part, self.findings
        where = f"{name} {number} in try {part.attempt}"
        if number > len(self._wanted[name]) or line != self._wanted[name][number - 1]:
            findings.foreign.append(f"{where}: {line[:200]!r}")
            return
        last = part.last.get(name)
        expected = last + 1 if last else min(number, self._reached[name] + 1)
        if number != expected:
            findings.disordered.append(f"{where}, where {expected} was to come")
        if (name, number) in self._written:
            _repeated(findings, part, where, self._written[name, number], self._slack)
        part.last[name] = number
        part.end = at
        self._reached[name] = max(self._reached[name], number)
        self._written[name, number] = part, at

    def end(self) -> Findings:
        """Look for what never came."""
        for name, lines in self._wanted.items():
            gone = [number for number in range(1, len(lines) + 1) if (name, number) not in self._written]
            runs = [f"{name} {first}" + (f" to {end}" if end > first else "") for first, end in _runs(gone)]
            self.findings.missing += runs
        return self.findings


def _repeated(findings: Findings, part: Part, where: str, before: tuple[Part, float], slack: float) -> None:
    """Judge a line that comes again.

    It may be repeated if it was written in the last cycle of its part. The time between the parts does not
    count, because nothing was written then.
    """
    first, at = before
    ago = first.end - at
    if part is first or part.cycle is None:
        findings.repeated_outside.append(f"{where}, behind no mark")
    elif part.anew:
        findings.repeated_anew += 1
    elif ago > part.cycle + slack:
        findings.repeated_outside.append(
            f"{where}, written {ago:.1f} s before the end of its part, but the mark names {part.cycle:g} s"
        )
    else:
        findings.repeated_marked += 1
        findings.worst_repeat = max(findings.worst_repeat, ago)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def _time(record: Mapping[str, Any]) -> float:
    text = record.get("timestamp")
    return datetime.fromisoformat(str(text)).timestamp() if text else 0.0

# SPDX-License-Identifier: Apache-2.0
"""What all streams of a kind came to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from benchmarks.crashes.check import Findings


@dataclass
class Row:
    """What all streams of one kind came to."""

    kills: int = 0
    hits: int = 0
    streams: int = 0
    findings: list[Findings] = field(default_factory=list)


def table(rows: dict[str, Row]) -> str:
    """Return the figures of each kind, a line a kind."""
    heads = (
        "kills",
        "hits",
        "streams",
        "resumed",
        "lines",
        "missing",
        "again in",
        "again out",
        "anew",
        "worst s",
    )
    text = f"{'kind':28}" + "".join(f"{head:>11}" for head in heads)
    for kind, row in sorted(rows.items()):
        found = row.findings
        values = (
            row.kills,
            row.hits,
            row.streams,
            sum(f.resumed for f in found),
            sum(f.lines for f in found),
            sum(len(f.missing) for f in found),
            sum(f.repeated_marked for f in found),
            sum(len(f.repeated_outside) + len(f.disordered) + len(f.foreign) for f in found),
            sum(f.repeated_anew for f in found),
        )
        worst = max((f.worst_repeat for f in found), default=0.0)
        text += f"\n{kind:28}" + "".join(f"{value:11,}" for value in values) + f"{worst:11.1f}"
    return text


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

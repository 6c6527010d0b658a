# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/outcomes.md: compared, or written if UPDATE_OUTCOMES is set."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "outcomes.md"
UPDATE = bool(os.environ.get("UPDATE_OUTCOMES"))


@dataclass(frozen=True)
class Seen:
    """How a task ended that waited for a job."""

    state: str
    exit_code: str = ""
    reason: str = ""
    lines: str = ""
    members: str = ""
    cause: str = ""
    """What the diagnosis names; empty if it names nothing."""

    @classmethod
    def of_failure(cls, message: str) -> Seen:
        """Read the message of a JobFailed."""
        # The diagnosis stands in a line before the rest, if it names a cause.
        diagnosis, _, rest = message.partition("\n") if not message.startswith("job ") else ("", "", message)
        head, _, tail = rest.partition("\n")

        def found(pattern: str) -> str:
            match = re.search(pattern, head)
            return match[1] if match else ""

        return cls(
            found(r" ended (\w+)"),
            found(r"; exit code (-?\d+);"),
            found(r"; reason: (.+?); (?:sub-jobs: |failed: |waited for )"),
            " / ".join(line.strip() for line in tail.splitlines() if line.startswith("  ")),
            found(r"; failed: (.+); waited for "),
            diagnosis.partition(":")[0],
        )


def cells(*texts: str) -> str:
    """Return a row of a table in Markdown."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def section(name: str) -> str:
    """Return the generated part of the document that has that name."""
    return _part(DOCUMENT.read_text(), name)[1]


def write(name: str, rows: Sequence[str]) -> None:
    """Replace the generated part of the document that has that name."""
    before, _, after = _part(DOCUMENT.read_text(), name)
    DOCUMENT.write_text(f"{before}\n" + "\n".join(rows) + f"\n{after}")


def _part(text: str, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}: generated -->\n", f"\n<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    inner, _, after = rest.partition(end)
    return before + begin, inner.strip("\n"), end + after

# SPDX-License-Identifier: Apache-2.0
"""Read the pages of the documentation and their code blocks, with included files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^`]*)$")
_INCLUDE = re.compile(r'^ *-+8<-+ "(?P<file>[^":]+)(?::(?P<section>\w+))?"$')
_NOT_RUN = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$")


def pages() -> list[Path]:
    """Return every page for users: those in the root of the repository and those of the site."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """Hold a code block. ``not_run`` is the reason in a marker before it: ``<!-- not run: … -->``."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page.

    :raises ValueError: if a block does not end, or if a marker has no block after it.
    """
    fence: re.Match[str] | None = None
    body: list[str] = []
    reason: str | None = None
    start = 0
    for number, line in enumerate(included(page.read_text()), 1):
        match = _FENCE.match(line)
        if fence is None:
            if match:
                fence, body, start = match, [], number
            elif marker := _NOT_RUN.match(line):
                reason = marker["reason"]
            elif reason and line.strip():
                raise ValueError(f"{page}: the marker '{reason}' stands before no code block")
        elif match and not match["language"]:
            text = textwrap.dedent("".join(f"{line}\n" for line in body))
            yield Block(page, start, fence["language"].strip(), text, reason)
            fence = reason = None
        else:
            body.append(line)
    if fence is not None:
        raise ValueError(f"{page}:{start}: the code block does not end")


def included(text: str) -> Iterator[str]:
    """Yield the lines of a page and of the files and sections that it includes, as pymdownx.snippets does."""
    for line in text.splitlines():
        match = _INCLUDE.match(line)
        if match is None:
            yield line
            continue
        source = (ROOT / match["file"]).read_text()
        if section := match["section"]:
            _, found, source = source.partition(f"--8<-- [start:{section}]")
            if not found:
                raise ValueError(f"{match['file']} has no section {section}")
            source = source.partition(f"--8<-- [end:{section}]")[0]
            source = "\n".join(source.splitlines()[1:-1])
        yield from included(source)

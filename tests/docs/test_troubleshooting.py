# SPDX-License-Identifier: Apache-2.0
"""Check that the package or Airflow writes every message that the troubleshooting pages quote."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import airflow
import pytest
from packaging.version import Version

import airflow_provider_ehpc

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("troubleshooting.md", "zh/troubleshooting.md")
PACKAGE = Path(airflow_provider_ehpc.__file__).parent
HOLE = "\0"
"""A part of a message that varies: a field of an f-string, a ``%s``, or ``…`` in a page."""
AIRFLOWS = {
    "The conn_id `…` isn't defined": ("sdk/execution_time/context.py", "3.1"),
    "Unknown hook type": ("sdk/definitions/connection.py", "3.1"),
    "Testing connections is disabled in Airflow configuration": (
        "api_fastapi/core_api/routes/public/connections.py",
        "3.1",
    ),
    "The host or port to test differs from the stored connection": (
        "api_fastapi/core_api/routes/public/connections.py",
        "3.3",
    ),
}
"""Airflow's own messages: the module that writes each of them, and the first version that does so."""


def written_in(path: Path) -> Iterator[str]:
    """Yield the texts of a module, without docstrings; parts that vary are :data:`HOLE`."""
    tree = ast.parse(path.read_text())
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else HOLE for p in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield re.sub(r"%[.\d]*[a-z]|\{\w*(![rs])?\}", HOLE, node.value)


@functools.cache
def messages() -> tuple[str, ...]:
    """Return all texts of the package."""
    return tuple(text for path in PACKAGE.rglob("*.py") for text in written_in(path))


def is_written(quoted: str, texts: tuple[str, ...]) -> bool:
    """Return True if one text has all fixed parts of a quoted message, in order, with holes between them."""
    pattern = re.compile(
        f".*{re.escape(HOLE)}.*".join(re.escape(part.strip()) for part in quoted.split("…")), re.DOTALL
    )
    return any(pattern.search(f"{HOLE}{text}{HOLE}") for text in texts)


def quotes(page: str) -> list[str]:
    """Return the messages that a page quotes: headings and longer texts in code style."""
    text = re.sub(r"```.*?```", "", (DOCS / page).read_text(), flags=re.DOTALL)
    headings = re.findall(r"^### (`+)(.+?)\1$", text, re.MULTILINE)
    rest = re.sub(r"^### .*$", "", text, flags=re.MULTILINE)
    inline = (code for code in re.findall(r"`([^`]+)`", rest) if code.count(" ") >= 3)
    commands = ("airflow ", "pip ", "python ", "--")
    return [code for _, code in headings] + [code for code in inline if not code.startswith(commands)]


@pytest.mark.parametrize("page", PAGES)
def test_quoted_messages_are_written(page: str) -> None:
    """Users search the page for a message in a log, and would not find one with other words."""
    quoted = quotes(page)
    assert len(quoted) > 40

    wrong = [q for q in quoted if q not in AIRFLOWS and not is_written(q, messages())]

    assert not wrong


@pytest.mark.parametrize("quoted", AIRFLOWS)
def test_quoted_messages_are_airflows(quoted: str) -> None:
    """Airflow may change its messages."""
    module, since = AIRFLOWS[quoted]
    if Version(airflow.__version__) < Version(since):
        pytest.skip(f"new in Airflow {since}")

    assert is_written(quoted, tuple(written_in(Path(airflow.__file__).parent / module)))
    for page in PAGES:
        assert quoted in quotes(page)


def test_both_languages_have_the_same_messages() -> None:
    """A new entry must be added to both pages."""
    english, chinese = (
        {code for _, code in re.findall(r"^### (`+)(.+?)\1$", (DOCS / page).read_text(), re.MULTILINE)}
        for page in PAGES
    )

    assert english == chinese

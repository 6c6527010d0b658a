# SPDX-License-Identifier: Apache-2.0
"""Check links, and check that each class and each argument is documented."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from airflow.sdk import BaseHook, BaseOperator
from airflow.triggers.base import BaseTrigger

from airflow_provider_ehpc import hooks, operators, sensors, triggers
from tests.docs.pages import DOCS, ROOT, included, pages

GUIDES = DOCS / "guides"
_LINK = re.compile(
    r"\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)|^\[[^\]]+\]: (\S+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE
)


def classes() -> list[type]:
    """Return the operators, sensors, triggers and hooks that users of this package need."""
    found = set()
    for package in (operators, sensors, triggers, hooks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                ours = inspect.isclass(value) and value.__module__ == module.name
                kinds = (BaseOperator, BaseTrigger, BaseHook)
                if ours and not name.startswith("_") and issubclass(value, kinds):
                    found.add(value)
    bases = {base for value in found for base in value.__mro__[1:]}
    return sorted(found - bases, key=lambda value: value.__name__)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and images, except those in code."""
    text = re.sub(
        r"^ *```.*?^ *```", "", "\n".join(included(page.read_text())), flags=re.DOTALL | re.MULTILINE
    )
    text = re.sub(r"`[^`]*`", "", text)
    return [next(filter(None, groups)) for groups in _LINK.findall(text)]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Link targets exist. ``make docs`` checks anchors within the site."""
    for link in links(page):
        url = urlsplit(link)
        if url.scheme:
            assert url.scheme in ("https", "http", "mailto"), link
            assert url.scheme == "mailto" or re.fullmatch(r"[\w.-]+\.\w+(:\d+)?", url.netloc), link
        elif url.path:
            assert (page.parent / unquote(url.path)).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_each_class_has_a_guide(kind: type) -> None:
    """Users look up a class by its name, and have the same questions about each class."""
    (guide,) = (page for page in GUIDES.glob("*.md") if page.read_text().startswith(f"# {kind.__name__}\n"))
    text = guide.read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[:4] == ["When to use it", "When not", "Example", "How it fails"]
    assert headings[4:] in (["Arguments"], ["Methods"])
    assert f"::: {kind.__module__}.{kind.__name__}\n" in text or issubclass(kind, BaseTrigger)
    assert guide.name in (GUIDES / "index.md").read_text()


@pytest.mark.parametrize(
    "kind", [kind for kind in classes() if not issubclass(kind, BaseHook)], ids=lambda kind: kind.__name__
)
def test_docstrings_have_all_arguments(kind: type) -> None:
    """Docstrings describe all arguments, because the guides show them."""
    documented: set[str] = set()
    accepted: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.startswith("airflow_provider_ehpc"):
            documented |= set(re.findall(r":param (\w+):", base.__doc__ or ""))
            if "__init__" in vars(base):
                accepted |= set(inspect.signature(base.__init__).parameters) - {"self", "args", "kwargs"}
    assert documented == accepted


def test_what_make_docs_installs_is_pinned() -> None:
    """The site is built with tested versions."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints/docs.txt").read_text(), re.MULTILINE)
    assert {re.split(r"[<>=]", requirement)[0] for requirement in extra} <= set(pinned)

# SPDX-License-Identifier: Apache-2.0
"""Prepare the package for the documentation site, which reads it without importing it.

Docstrings use Sphinx roles, which become code. The methods of hooks are created at runtime, so they get the
signature and the docstring of the function that builds their call, as in ``hooks/operations.py``.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|mod|data|attr|exc):`~?([^`]+)`")
_LITERAL_BLOCK = re.compile(r"::$", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Change docstrings to Markdown, and show the operations of hooks as methods."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[griffe.Class, ast.Assign]] = []

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            text = _ROLE.sub(_short_name, obj.docstring.value)
            obj.docstring.value = _LITERAL_BLOCK.sub(":", text)

    def on_class_members(self, *, node: ast.AST, cls: griffe.Class, **kwargs: Any) -> None:
        """Collect assignments such as ``get_job, aget_job = operation(ehpc.get_job)``."""
        for statement in getattr(node, "body", ()):
            match statement:
                case ast.Assign(value=ast.Call(func=ast.Name("operation" | "operation_in"))):
                    self._operations.append((cls, statement))

    def on_package(self, **kwargs: Any) -> None:
        """Add the first method of each assignment; the other one only adds ``async``."""
        for hook, statement in self._operations:
            _add_method(hook, statement)


def _short_name(role: re.Match[str]) -> str:
    return f"`{role[1].rsplit('.', 1)[-1]}`"


def _add_method(hook: griffe.Class, statement: ast.Assign) -> None:
    match statement:
        case ast.Assign(
            targets=[ast.Tuple(names)], value=ast.Call(args=[*places, ast.Attribute(ast.Name(module), name)])
        ):
            build = hook.modules_collection[f"{hook.resolve(module)}.{name}"]
        case _:
            raise ValueError(f"{hook.path}: {ast.unparse(statement)} is not as expected")
    build = build.final_target if build.is_alias else build
    method = griffe.Function(
        names[0].id,
        # The hook itself passes the account's project or zone.
        parameters=griffe.Parameters(griffe.Parameter("self"), *list(build.parameters)[len(places) :]),
        returns=build.returns.slice,  # of ApiCall[…]
        docstring=build.docstring,
        lineno=statement.lineno,
        endlineno=statement.end_lineno,
    )
    hook.set_member(method.name, method)

# SPDX-License-Identifier: Apache-2.0
"""Template rendering that leaves IDs as they are."""

from __future__ import annotations

import ast
from typing import Any


class TextTemplates:
    """A mixin for operators: texts stay texts, even with ``render_template_as_native_obj``.

    Jinja's native rendering evaluates every text as Python, so that the ID ``123_4`` becomes 1234, ``1e3``
    becomes 1000.0, and ``None`` becomes None (``jinja2.nativetypes.native_concat``). Here, a template of one
    expression still returns that expression's object, such as a list. A text that is a list or a dict of
    texts becomes that list or dict; any other text stays unchanged.
    """

    def _render(self, template: Any, context: Any, dag: Any = None) -> Any:
        # In Airflow 3.1 to 3.3, every template field is rendered here, mapped or not.
        from jinja2.nativetypes import NativeEnvironment

        if not isinstance(template.environment, NativeEnvironment):
            return super()._render(template, context, dag=dag)  # type: ignore[misc]
        nodes = super()._render(_OneNode(template), context, dag=dag)  # type: ignore[misc]
        if len(nodes) == 1 and not isinstance(nodes[0], str):
            return nodes[0]
        return _evaluated("".join(map(str, nodes)))


class _OneNode:
    """A template that yields its parts as one list, which ``native_concat`` returns unchanged."""

    def __init__(self, template: Any) -> None:
        self._template = template

    def __getattr__(self, name: str) -> Any:
        return getattr(self._template, name)

    def root_render_func(self, context: Any) -> Any:
        yield list(self._template.root_render_func(context))


def _evaluated(text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if _holds_texts(value) else text


def _holds_texts(value: Any) -> bool:
    if isinstance(value, list | set):
        return all(map(_holds_texts, value))
    if isinstance(value, dict):
        return all(map(_holds_texts, (*value, *value.values())))
    return isinstance(value, str)

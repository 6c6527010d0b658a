# SPDX-License-Identifier: Apache-2.0
"""Print rows in the formats of Airflow's own commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.cli.simple_table import AirflowConsole, SimpleTable
from rich.text import Text

_LONG = frozenset({"name", "reason", "resources", "operator", "error"})
"""Columns that get less space on a narrow terminal. If there are several rows, their texts are cut.
Otherwise, they wrap."""
_WIDEST = 10_000


class RowConsole(AirflowConsole):
    """Print tables as Airflow does, but without empty columns, and with one line per row in a pipe."""

    def __init__(self) -> None:
        super().__init__()
        if not self.is_terminal:
            self.width = _WIDEST

    def print_as_table(self, data: Any) -> None:
        """Print rows as a table. All rows have the same columns."""
        if not data:
            super().print_as_table(data)
            return
        rows: Sequence[dict[str, str]] = data
        names = [name for name in rows[0] if any(row[name] for row in rows)]
        table = SimpleTable(show_header=self.show_header)
        for name in names:
            table.add_column(name, no_wrap=name not in _LONG)
        for row in rows:
            texts = [Text.from_markup(row[name]) for name in names]
            if len(rows) > 1:
                for text in texts:
                    text.no_wrap, text.overflow = True, "ellipsis"
            table.add_row(*texts)
        self.print(table)

    def on_broken_pipe(self) -> None:
        """Raise the current ``BrokenPipeError``. Rich would exit with 1."""
        raise

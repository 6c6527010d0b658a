# SPDX-License-Identifier: Apache-2.0
"""Write results to the standard output and everything else to the standard error.

On a terminal, the output has colors, and a progress line below everything else. In a pipe or a file, it has
neither.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_provider_ehpc.apis.job import JobState

_STYLES = {
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "yellow",
}
_ESCAPES = {"dim": "\x1b[2m", "yellow": "\x1b[33m", "red": "\x1b[31m"}
_END = "\x1b[0m"
_ERASE = "\r\x1b[2K"
# Tab, backspace and CR stay within the line. C1 controls, such as U+009B for ESC [, work on some terminals.
_CONTROL = re.compile(r"(\x1b\[[\d;:]*m)|[\x00-\x07\x0a-\x0c\x0e-\x1f\x7f-\x9f]")


class Terminal:
    """Write the output of a command. It has the methods of a logger, and writes log messages as notes."""

    def __init__(self) -> None:
        self.colors = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._err_colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._progress = ""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A job's log can contain any character, in any locale.
                stream.reconfigure(errors="backslashreplace")

    # ------------------------------------------------------------------ results

    def write(self, lines: Sequence[str]) -> None:
        """Write lines to the standard output and flush it, so that the reader of a pipe gets them at once."""
        self.clear()
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()

    def prefixed(self, prefix: str, line: str) -> str:
        """Return a log line with the prefix that names its stream.

        In a pipe, the line is as the job wrote it. On a terminal, it can set colors, and nothing else.
        """
        prefix = _printable(prefix)
        if sys.stdout.isatty():
            line = _colored(line)
        if prefix and self.colors:
            return f"{_ESCAPES['red']}{prefix}{_END}{line}"
        return prefix + line

    def rows(self, rows: Sequence[Mapping[str, Any]], output: str) -> None:
        """Write rows as Airflow's commands do: as a table, plain columns, JSON or YAML.

        :param rows: all with the same columns.
        """
        from airflow_provider_ehpc.cli.table import RowConsole

        self.clear()
        RowConsole().print_as(
            [{name: _cell(value, output) for name, value in row.items()} for row in rows], output
        )
        sys.stdout.flush()

    # ------------------------------------------------------------------ notes

    def info(self, message: str, *args: Any) -> None:
        """Write a note."""
        self._note(message % args if args else message, "dim")

    def warning(self, message: str, *args: Any) -> None:
        """Write a warning."""
        self._note(message % args if args else message, "yellow")

    def error(self, message: str, *args: Any) -> None:
        """Write an error on one line."""
        self._note(" ".join((message % args if args else message).split()), "red")

    def _note(self, text: str, style: str) -> None:
        self.clear()
        text = "\n".join(map(_printable, text.split("\n")))
        sys.stderr.write(f"{_ESCAPES[style]}{text}{_END}\n" if self._err_colors else f"{text}\n")
        sys.stderr.flush()

    # ------------------------------------------------------------------ progress

    def clear(self) -> None:
        """Remove the progress line."""
        if self._progress:
            self._progress = ""
            sys.stderr.write(_ERASE)
            sys.stderr.flush()

    def progress(self, text: str) -> None:
        """Show a text below everything else, if the output is a terminal."""
        if self._live and text != self._progress:
            self._progress = text
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(_ERASE + _printable(text)[:width])
            sys.stderr.flush()

    def pause(self, seconds: float, text: Callable[[float], str]) -> None:
        """Wait, and show the progress.

        :param text: returns the progress text for the number of seconds that are left.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.progress(text(left))
            time.sleep(min(left, 1.0) if self._live else left)


def _cell(value: Any, output: str) -> Any:
    if isinstance(value, datetime):
        value = value.astimezone(UTC).replace(microsecond=0)
        if output == "table":
            value = f"{value:%m-%d %H:%M}" if sys.stdout.isatty() else f"{value:%Y-%m-%d %H:%M:%S}"
        else:
            value = value.isoformat()
    if output not in ("table", "plain"):
        return value
    from rich.markup import escape

    text = "" if value is None else _printable(str(value))
    if output == "plain":
        return text or "-"
    style = _STYLES.get(value) if isinstance(value, JobState) else None
    return f"[{style}]{escape(text)}[/{style}]" if style else escape(text)


def _printable(text: str) -> str:
    """Escape control characters, so that names and reasons cannot control the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _colored(line: str) -> str:
    """Return a log line whose only escape sequences are colors, which end with the line.

    Others change the title or the clipboard, clear the screen, or let the terminal type an answer.
    """
    shown = _CONTROL.sub(lambda found: found[1] or repr(found[0])[1:-1], line)
    return shown + _END if "\x1b" in shown else shown

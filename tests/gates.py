# SPDX-License-Identifier: Apache-2.0
"""Waiting for what a test needs, and holding a job until the test has seen it.

What a test waits for comes late on a slow machine, but not never: only what never comes fails. A job that
must not end before something was seen waits behind a :class:`Gate`; a job that sleeps instead loses the race
on some machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def eventually(true: Callable[[], Any], timeout: float = 60.0, every: float = 0.02) -> None:
    """Wait until ``true()`` is, blocking the thread; look ``every`` so many seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(every)


async def until(true: Callable[[], Any], timeout: float = 60.0, every: float = 0.01) -> None:
    """Wait until ``true()`` is, without blocking the event loop; look ``every`` so many seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(every)


class Gate:
    """Holds jobs of a local cloud until it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def wait(self) -> str:
        """The shell command that waits for it; it gives up after ten minutes."""
        return f"for n in $(seq 12000); do [ -e '{self._path}' ] && break; sleep 0.05; done"

    def open(self) -> None:
        """Let the jobs go on."""
        self._path.touch()

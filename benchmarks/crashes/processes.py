# SPDX-License-Identifier: Apache-2.0
"""Signals to processes that may be gone."""

from __future__ import annotations

import os


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return send(pid, 0)


def send(pid: int, number: int) -> bool:
    """Send a signal; return whether there was a process to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True

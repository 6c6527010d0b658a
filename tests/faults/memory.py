# SPDX-License-Identifier: Apache-2.0
"""How much memory a piece of a test takes at most."""

from __future__ import annotations

from pathlib import Path
from typing import Self

_SELF = Path("/proc/self")


class Peak:
    """Measures by how many bytes this process grows, at most, while it is entered (Linux)."""

    growth = 0

    def __enter__(self) -> Self:
        # Linux: "5" sets the peak back to what is resident now (proc_pid_clear_refs(5)).
        (_SELF / "clear_refs").write_text("5")
        self._before = _peak()
        return self

    def __exit__(self, *error: object) -> None:
        self.growth = _peak() - self._before


def _peak() -> int:
    status = (_SELF / "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

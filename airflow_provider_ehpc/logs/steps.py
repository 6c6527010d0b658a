# SPDX-License-Identifier: Apache-2.0
"""Define the steps of a log follower: everything that a driver has to do for it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from airflow_provider_ehpc.apis.call import ApiCall
from airflow_provider_ehpc.logs.cursor import SavedCursor
from airflow_provider_ehpc.waiting.verdict import Note, Verdict


@dataclass(frozen=True, slots=True)
class GetStatus:
    """Send back the job's status, None for an unknown job, or the :class:`ApiError` of the poll.

    The status may be older than this step if no newer one was received.
    """


@dataclass(frozen=True, slots=True)
class Emit:
    """Write complete lines of one stream, in order."""

    stream: str
    lines: list[str]
    behind: bool = False
    """True if the follower is behind the job, so that the lines should share records."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Save the cursor, which counts only written lines, or a later one. Another process resumes there if this
    one ends."""

    cursor: SavedCursor


Step: TypeAlias = ApiCall[Any] | GetStatus | Emit | Note | Checkpoint | Pause
Steps: TypeAlias = Generator[Step, Any, Verdict]

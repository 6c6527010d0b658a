# SPDX-License-Identifier: Apache-2.0
"""Decide when a log follower makes checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable

from airflow_provider_ehpc.logs.cursor import SavedCursor

_SLACK = 1.1
"""Factor by which a checkpoint may be late: the pauses between cycles are not exact."""


class CheckpointPolicy:
    """Decide how often checkpoints are made. This one makes them at every opportunity."""

    def every(self) -> float:
        """Return the seconds between two checkpoints."""
        return 0.0

    def free(self) -> bool:
        """Return True if an optional checkpoint can be made now."""
        return True


class CheckpointSchedule:
    """Remember the last checkpoint and the age of the lines that it does not count."""

    def __init__(self, policy: CheckpointPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._cursor: SavedCursor | None = None
        self._at = -math.inf
        self._every = 0.0
        """Seconds after which the next checkpoint should come."""
        self._uncounted_since: float | None = None
        """When the first line was written that no checkpoint counts yet; None if there is none."""

    def resume(self, cursor: SavedCursor) -> None:
        """Continue after the last checkpoint of an earlier process."""
        if cursor.streams and cursor.cycle is not None:
            self._every = min(self._policy.every(), cursor.cycle)
            self._at, self._cursor = self._clock(), cursor

    def wrote(self) -> None:
        """Process that lines were written."""
        if self._uncounted_since is None:
            self._uncounted_since = self._clock()

    def reached(self, cursor: SavedCursor) -> bool:
        """Process a checkpoint; return False if nothing has changed since the last one."""
        self._uncounted_since = None
        if cursor == self._cursor:
            return False
        # The first lines are counted at once: until then, all of them would be repeated.
        self._at = self._clock() if cursor.streams else -math.inf
        self._every, self._cursor = self._policy.every(), cursor
        return True

    def overdue(self, ahead: float = 0.0) -> bool:
        """Return True if a line that no checkpoint counts is too old, or will be in ``ahead`` seconds."""
        if self._uncounted_since is None or self._cursor is None:
            return False
        promised = self._cursor.cycle or 0.0
        return self._clock() + ahead > self._uncounted_since + promised * _SLACK

    def due(self, ahead: float) -> bool:
        """Return True if a checkpoint should come before a pause of ``ahead`` seconds."""
        optional = self._clock() - self._at >= self._every
        return self.overdue(ahead) or (optional and self._policy.free())

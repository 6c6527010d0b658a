# SPDX-License-Identifier: Apache-2.0
"""Detect that a scheduler runs a job again: after a requeue, a preemption, or the loss of a node."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.apis.listing import started_later

WAITING = frozenset({JobState.PENDING, JobState.QUEUED})


class RerunWatch:
    """Detect reruns of one job in the statuses that the cloud reports."""

    def __init__(self) -> None:
        self.has_run = False
        """True if the job was seen in a state in which it may have written a log."""
        self.waiting = True
        """True if the job waits for its first run or for a rerun."""
        self._last: JobState | None = None
        self._started: datetime | None = None
        self._restarts: int | None = None

    def saw(self, status: JobStatus) -> str:
        """Process a status; return in words what shows that the job was rerun, or an empty text."""
        requeued, why = self._requeued(status), self._rerun(status)
        return why or requeued

    def _requeued(self, status: JobStatus) -> str:
        before = self._restarts
        if status.restarts is not None:
            self._restarts = status.restarts
        if before is None or status.restarts is None or status.restarts <= before:
            return ""
        return f"the scheduler requeued it (restart {status.restarts})"

    def _rerun(self, status: JobStatus) -> str:
        state, last = status.state, self._last
        if state is JobState.UNKNOWN:
            # This does not show a rerun, but there may be a log.
            self.has_run, self.waiting = True, False
            return ""
        self._last = state
        self.waiting = state in WAITING
        if self.waiting:
            self._started = None  # Slurm reports the expected start of a waiting job
            return f"it was {last}, and is {state} again" if last and last not in WAITING else ""
        self.has_run = True
        before, self._started = self._started, status.started_at
        if last and last.terminal and not state.terminal:
            return f"it was {last}, and is {state} again"
        # The members of an array start one after the other.
        if status.array or before is None or status.started_at is None:
            return ""
        if started_later(status, before):
            return f"it started at {before:%H:%M:%S}, and again at {status.started_at:%H:%M:%S}"
        return ""

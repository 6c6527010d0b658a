# SPDX-License-Identifier: Apache-2.0
"""Build the record of a task's jobs. Pure: no Airflow, no I/O, no clock.

The record holds addresses, states, times and resources. It holds no line of a log, no command, no environment
and no secret. Its size is bounded, however many jobs the task has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus

KEY = "ehpc_jobs"
"""The key of the XCom that holds the record."""
MOST_JOBS = 100
"""The maximum number of jobs in a record. The number of jobs in each state includes those beyond it."""
MOST_CHANGES = 20
"""The maximum number of state changes in a record. Only the record of a single job has them."""
MOST_POINTS = 60
"""The maximum number of points that describe the growth of a log."""
POINTS_EVERY = 10.0
"""The initial number of seconds between two such points."""
_LONGEST_TEXT = 200
_TEXTS = ("name", "raw_state", "queue", "reason")
_OTHERS = (
    "exit_code",
    "restarts",
    "array",
    "resources",
    "submitted_at",
    "started_at",
    "ended_at",
    "zones_mixed",
    "outcome_assumed",
)
_BEGINNINGS = {
    JobState.PENDING: "submitted_at",
    JobState.QUEUED: "submitted_at",
    JobState.RUNNING: "started_at",
    JobState.SUCCEEDED: "ended_at",
    JobState.FAILED: "ended_at",
    JobState.CANCELLED: "ended_at",
}
"""The time at which a state began, if the cloud reports it."""


class LogGrowth:
    """Store the size of a log over time, in at most :data:`MOST_POINTS` points."""

    def __init__(self) -> None:
        self.points: list[list[int]] = []
        """Pairs of epoch seconds and bytes."""
        self._every = POINTS_EVERY

    def resume(self, points: Sequence[Sequence[int]]) -> None:
        """Continue with the points of an earlier process."""
        self.points = [[int(at), int(size)] for at, size in points][:MOST_POINTS] + self.points
        if len(self.points) > 1:
            self._every = max(POINTS_EVERY, (self.points[-1][0] - self.points[0][0]) / MOST_POINTS)
        self._thin()

    def add(self, at: float, size: int) -> None:
        """Add a point if the last one is old enough; otherwise replace the last one."""
        point = [int(at), size]
        if len(self.points) > 1 and self.points[-1][0] - self.points[-2][0] < self._every:
            self.points[-1] = point
        else:
            self.points.append(point)
            self._thin()

    def _thin(self) -> None:
        while len(self.points) > MOST_POINTS:
            self.points = [*self.points[:-1:2], self.points[-1]]
            self._every *= 2


class TaskRecord:
    """Collect the record of a task's jobs.

    :param head: the values that all jobs share: the connection, the API, the address of the console.
    """

    def __init__(self, **head: Any) -> None:
        self._head = {name: value for name, value in head.items() if value}
        self._rows: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, int] = {}
        self._changes: list[list[str]] = []
        self.growth = LogGrowth()

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Continue the record of an earlier process of the same try."""
        known = ("jobs", "counts", "changes", "log", "outcome", "updated")
        self._head = {**{name: saved[name] for name in saved if name not in known}, **self._head}
        rows = {row["job_id"]: row for row in saved.get("jobs", ())}
        for job_id, row in self._rows.items():
            _keep_since(row, rows.get(job_id))
        self._rows = self._rows or rows
        self._counts = self._counts or dict(saved.get("counts") or {})
        self._changes = _joined(saved.get("changes") or [], self._changes)
        self.growth.resume((saved.get("log") or {}).get("points") or [])

    def saw(self, jobs: Iterable[tuple[JobRef, JobStatus | None, float]]) -> None:
        """Record the jobs, each with its last status and the time at which its state was first seen.

        :param jobs: tuples of an address, a status (None if the job was not seen yet) and epoch seconds.
        """
        jobs = list(jobs)
        states = Counter(status.state.value if status else "" for _, status, _ in jobs)
        if len(jobs) > MOST_JOBS:
            # Users look for failed jobs first.
            jobs.sort(key=lambda job: not (job[1] and job[1].state is JobState.FAILED))
        rows = (
            _row({**ref.as_dict(), **(status.as_dict() if status else {}), "job_id": ref.job_id}, since)
            for ref, status, since in jobs[:MOST_JOBS]
        )
        self._set(rows, states)

    def ended(
        self, jobs: Sequence[Mapping[str, Any]], now: float, causes: Mapping[str, str] | None = None
    ) -> None:
        """Record the last statuses, as dicts, at the end of the wait.

        :param causes: the causes of failures, by job ID.
        """
        states = Counter(str(job.get("state", "")) for job in jobs)
        first = (
            sorted(jobs, key=lambda job: job.get("state") != JobState.FAILED)
            if len(jobs) > MOST_JOBS
            else jobs
        )
        rows = [_row(job, now) for job in first[:MOST_JOBS]]
        for row in rows:
            if cause := (causes or {}).get(row["job_id"]):
                row["cause"] = cause
        self._set(rows, states)

    def as_dict(self, now: float, *, outcome: str | None = None, lines: int | None = None) -> dict[str, Any]:
        """Return the record.

        :param outcome: the outcome of the wait.
        :param lines: the number of lines in the log.
        """
        record = {
            **self._head,
            "updated": int(now),
            "jobs": list(self._rows.values()),
            "counts": self._counts,
        }
        if len(self._rows) == 1:
            record["changes"] = self._changes
        if self.growth.points:
            record["log"] = {"bytes": self.growth.points[-1][1], "points": self.growth.points}
            if lines is not None:
                record["log"]["lines"] = lines
        if outcome:
            record["outcome"] = outcome
        return record

    def _set(self, rows: Iterable[dict[str, Any]], states: Mapping[str, int]) -> None:
        earlier, self._rows = self._rows, {}
        for row in rows:
            _keep_since(row, earlier.get(row["job_id"]))
            self._rows[row["job_id"]] = row
        self._counts = dict(states)
        if len(self._rows) == 1:
            (row,) = self._rows.values()
            if row.get("state"):
                self._changes = _joined(self._changes, [[row["state"], row["since"]]])


def _row(job: Mapping[str, Any], since: float) -> dict[str, Any]:
    """Return the row of a job in the record, given its status as a dict."""
    row: dict[str, Any] = {
        name: job[name] for name in ("job_id", "cluster_id", "version_id", "state") if job.get(name)
    }
    row |= {name: str(job[name])[:_LONGEST_TEXT] for name in _TEXTS if job.get(name)}
    row |= {name: job[name] for name in _OTHERS if job.get(name) is not None}
    if "resources" in row:
        # Their values are texts of the cloud, too.
        row["resources"] = {name: str(value)[:_LONGEST_TEXT] for name, value in row["resources"].items()}
    if nodes := job.get("nodes"):
        row["nodes"] = len(nodes)
    began = job.get(_BEGINNINGS.get(JobState(job.get("state") or JobState.UNKNOWN), ""))
    # If the scheduler ran the job again, its current state did not begin at the reported time.
    if began and not (job.get("restarts") and not job.get("ended_at")):
        row["since"] = began
    else:
        row["since"] = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        row["since_seen"] = True
    return row


def _keep_since(row: dict[str, Any], earlier: Mapping[str, Any] | None) -> None:
    """If an earlier poll saw the same state, use the time of that poll as the beginning of the state."""
    if earlier and row.get("since_seen") and earlier.get("state") == row.get("state"):
        row["since"] = earlier["since"]


def _joined(earlier: list[list[str]], later: list[list[str]]) -> list[list[str]]:
    changes = [list(change) for change in earlier]
    for state, since in later:
        if not changes or changes[-1][0] != state:
            changes.append([state, since])
    return changes[-MOST_CHANGES:]

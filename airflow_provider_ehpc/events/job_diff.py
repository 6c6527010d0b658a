# SPDX-License-Identifier: Apache-2.0
"""Find the jobs that ended since a watcher's last poll. Pure: no I/O, no clock.

No cloud lists the jobs that ended since a given time. A poll detects an end in one of two ways:

* a job that was unfinished in an earlier snapshot has ended, or
* a job was submitted since the earlier snapshot and has already ended.

A :class:`Position` holds what both need. Nothing else has to outlive a triggerer. It is bounded: it grows
with the jobs that wait or run now and with those that were submitted and ended recently, not with time.

* Every list reaches back :data:`LIST_OVERLAP` behind the previous one. So rows that appear late, rows that
  move between two pages and clocks that disagree do no harm. IDs that were already reported are left out.
* An ID is dropped by the same rule by which a row counts as new, so no row is new twice.
* A job that is listed as unfinished shortly after its end was reported is not followed again: lists lag
  behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from airflow_provider_ehpc.apis.job import ClusterJob, JobState, JobStatus
from airflow_provider_ehpc.apis.listing import earliest_submission, latest_submission

LIST_OVERLAP = 900.0
"""Seconds by which a list reaches back behind the previous one."""
MOST_AT_ONCE = 1000
"""Jobs that one batch reports, at most, in an event of about 1 MB; the others wait for the next batch."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The jobs whose end a watcher reports.

    :param jobs: certain jobs; if empty, every job that matches the other fields.
    :param name: a pattern such as ``train-*``; case matters.
    :param states: the terminal states to report; all if empty.
    """

    jobs: frozenset[str] = frozenset()
    name: str | None = None
    queue: str | None = None
    user: str | None = None
    states: tuple[JobState, ...] = ()

    def follows(self, status: JobStatus) -> bool:
        """Return True if the end of the job may be wanted. Its queue may still change."""
        return self._named_so(status) and self.user in (None, status.user or self.user)

    def may_fit(self, status: JobStatus) -> bool:
        """Return True if the list's row of an ended job does not rule it out."""
        return self.follows(status) and self.queue in (None, status.queue or self.queue)

    def fits(self, status: JobStatus) -> bool:
        """Return True if this end is wanted."""
        return (
            (self.name is None or fnmatchcase(status.name or "", self.name))
            and self.user in (None, status.user)
            and self.queue in (None, status.queue)
            and (not self.states or status.state in self.states)
        )

    def _named_so(self, status: JobStatus) -> bool:
        return self.name is None or status.name is None or fnmatchcase(status.name, self.name)


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a watcher. Plain data: only IDs of jobs and times."""

    since: float | None = None
    """Epoch seconds at which the last snapshot began; None before the first."""
    open: frozenset[str] = frozenset()
    """The wanted jobs that had not ended then."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """Ended jobs that must not be reported (again), and the time by which each is dropped."""
    sent: frozenset[str] = frozenset()
    """Jobs whose end was passed to Airflow, which has not yet confirmed that it stored the event."""

    def as_dict(self) -> dict[str, Any]:
        """Return the position as JSON-ready data; :meth:`read` reads it."""
        return {
            "since": self.since,
            "open": sorted(self.open),
            "seen": dict(sorted(self.seen.items())),
            "sent": sorted(self.sent),
        }

    @classmethod
    def read(cls, data: Any) -> Position:
        """Return the position that :meth:`as_dict` wrote.

        :raises ValueError: if ``data`` is not a position.
        """
        try:
            return cls(
                since=None if data["since"] is None else float(data["since"]),
                open=frozenset(map(str, data["open"])),
                seen={str(job): float(at) for job, at in data["seen"].items()},
                sent=frozenset(map(str, data["sent"])),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not the position of a watcher: {data!r:.200}") from error

    @property
    def edge(self) -> float:
        """Return the epoch seconds of the earliest submission that the next list covers."""
        return (self.since or 0.0) - LIST_OVERLAP


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """A cluster's jobs as one poll found them."""

    began: float
    unfinished: Mapping[str, JobStatus] = field(default_factory=dict)
    ended: Mapping[str, JobStatus] = field(default_factory=dict)
    lost: Mapping[str, JobStatus] = field(default_factory=dict)
    """Jobs that were unfinished and have been unknown to the cloud for long: their end was missed."""
    unconfirmed: Mapping[str, JobStatus] = field(default_factory=dict)
    """Jobs in a provisional state: the next poll confirms the end."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The jobs that a watcher reports after a poll, and its position then."""

    jobs: Mapping[str, JobStatus]
    position: Position


def started(position: Position, wanted: Wanted) -> Position:
    """Return a watcher's position before its first poll: the jobs that it names count as unfinished."""
    if wanted.jobs and position.since is None:
        return replace(position, open=wanted.jobs)
    return position


def _was_seen(seen: Mapping[str, float], job: str, status: JobStatus) -> bool:
    """Return True if the end of this job was seen. The end of an earlier job with the same ID does not count:
    that job ended before this one was submitted.
    """
    if job not in seen:
        return False
    submitted = earliest_submission(status)
    return submitted is None or submitted <= seen[job]


def is_new(position: Position, wanted: Wanted, job: str, status: JobStatus) -> bool:
    """Return True if the end of a job has not been reported yet."""
    if job in position.open:
        return True
    if wanted.jobs or position.since is None or not wanted.follows(status):
        return False
    if _was_seen(position.seen, job, status):
        return False
    submitted = latest_submission(status)
    return submitted is not None and submitted >= position.edge


def jobs_to_poll(position: Position, wanted: Wanted, listed: Mapping[str, ClusterJob]) -> set[str]:
    """Return the jobs to poll one by one, because the list lacks them or does not report how they ended."""
    ended = {
        job
        for job, row in listed.items()
        if row.ended
        and not row.whole
        and is_new(position, wanted, job, row.status)
        and wanted.may_fit(row.status)
    }
    return ended | (position.open - listed.keys())


def after(position: Position, wanted: Wanted, snapshot: ClusterSnapshot) -> Ends:
    """Return the ends that a snapshot shows to a watcher; the first one only shows which jobs exist."""
    ended = dict(snapshot.ended) if wanted.jobs else {**snapshot.lost, **snapshot.ended}
    since = max(snapshot.began, position.since or 0.0)
    if position.since is None and not wanted.jobs:
        new: dict[str, JobStatus] = {}
        past: Iterable[str] = [job for job, status in ended.items() if wanted.follows(status)]
    else:
        new = {job: status for job, status in ended.items() if is_new(position, wanted, job, status)}
        past = new
    # A row stays new as long as its submission is after the edge; its ID is remembered for that long.
    seen = dict(position.seen)
    seen.update((job, max(since, latest_submission(ended[job]) or 0.0)) for job in past)
    seen = {job: at for job, at in seen.items() if at >= since - LIST_OVERLAP}
    open_now = position.open - new.keys()
    if not wanted.jobs:
        open_now |= {
            job
            for job, status in snapshot.unfinished.items()
            if not _was_seen(seen, job, status) and wanted.follows(status)
        }
        if position.since is not None:
            # By the next snapshot, its submission may be too long ago to be new.
            open_now |= {
                job for job, status in snapshot.unconfirmed.items() if is_new(position, wanted, job, status)
            }
    reported = {job: status for job, status in new.items() if wanted.fits(status)}
    for job in list(reported)[MOST_AT_ONCE:]:
        del reported[job]
        seen.pop(job, None)
        open_now |= {job}
    return Ends(reported, Position(since, frozenset(open_now), seen))

"""Find the jobs that ended since a watcher's last poll. Pure: no I/O, no clock.

No cloud lists the jobs that ended since a moment. An end is seen in one of two ways:

* a job that was unfinished at an earlier reading is not so any more, or
* a job was submitted since the earlier reading, and has ended already.

A :class:`Position` holds what both need, and is all that has to outlive a triggerer. It is bounded: it grows
with the jobs that wait or run now, and with those that ended and were submitted lately, not with time.

* Every reading begins :data:`OVERLAP` before the one before it. So rows that are shown late, rows that moved
  between two pages and clocks that disagree cost nothing; the IDs that were reported already are left out.
* An id is forgotten by the same measure by which a row counts as new, so no row is new twice.
* A job that is listed as unfinished shortly after its end was reported is not followed again: lists lag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from airflow_provider_ehpc.apis.job import ClusterJob, JobState, JobStatus
from airflow_provider_ehpc.apis.listing import earliest_submission, latest_submission

OVERLAP = 900.0
"""Seconds by which a reading reaches back behind the one before it."""
MOST_AT_ONCE = 1000
"""Jobs that a turn reports at most; the others wait for the next. They travel in one event of about 1 MB."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The jobs whose end a watcher reports.

    :param jobs: certain jobs; if empty, any that fits the rest.
    :param name: a pattern such as ``train-*``; case matters.
    :param states: the terminal states that are wanted; all if empty.
    """

    jobs: frozenset[str] = frozenset()
    name: str | None = None
    queue: str | None = None
    user: str | None = None
    states: tuple[JobState, ...] = ()

    def follows(self, status: JobStatus) -> bool:
        """Return True if the job may be wanted when it ends. Its queue may be another by then."""
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
    """The position of a watcher. Plain data: only jobs' IDs and times."""

    since: float | None = None
    """Epoch seconds at which the last reading began; None before the first."""
    open: frozenset[str] = frozenset()
    """The jobs that are wanted and had not ended then."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """Ended jobs that are not to be reported (again), and the time by which each is forgotten."""
    sent: frozenset[str] = frozenset()
    """Jobs whose end was handed to Airflow, and of which it was not known yet that it had stored it."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data; :meth:`read` is the way back."""
        return {
            "since": self.since,
            "open": sorted(self.open),
            "seen": dict(sorted(self.seen.items())),
            "sent": sorted(self.sent),
        }

    @classmethod
    def read(cls, data: Any) -> Position:
        """Rebuild what :meth:`as_dict` described.

        :raises ValueError: if it is something else.
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
        """Return the epoch seconds of the earliest submission that the next reading covers."""
        return (self.since or 0.0) - OVERLAP


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """A cluster's jobs as a turn found them."""

    began: float
    unfinished: Mapping[str, JobStatus] = field(default_factory=dict)
    ended: Mapping[str, JobStatus] = field(default_factory=dict)
    lost: Mapping[str, JobStatus] = field(default_factory=dict)
    """Jobs that were unfinished and of which the cloud has known nothing for long: their end was missed."""
    unconfirmed: Mapping[str, JobStatus] = field(default_factory=dict)
    """Jobs in a terminal state after which the scheduler may run them again: the next reading confirms it."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The jobs that a watcher reports after a turn, and its position then."""

    jobs: Mapping[str, JobStatus]
    position: Position


def started(position: Position, wanted: Wanted) -> Position:
    """Return a watcher's position before its first turn: one that names jobs waits for them from there on."""
    if wanted.jobs and position.since is None:
        return replace(position, open=wanted.jobs)
    return position


def _was_seen(seen: Mapping[str, float], job: str, status: JobStatus) -> bool:
    """Return True if the end of this job was seen, and not that of an earlier one with the same ID: that one
    had ended before this one was submitted.
    """
    if job not in seen:
        return False
    submitted = earliest_submission(status)
    return submitted is None or submitted <= seen[job]


def is_new(position: Position, wanted: Wanted, job: str, status: JobStatus) -> bool:
    """Return True if the end of a job was not reported yet."""
    if job in position.open:
        return True
    if wanted.jobs or position.since is None or not wanted.follows(status):
        return False
    if _was_seen(position.seen, job, status):
        return False
    submitted = latest_submission(status)
    return submitted is not None and submitted >= position.edge


def questions(position: Position, wanted: Wanted, listed: Mapping[str, ClusterJob]) -> set[str]:
    """Return the jobs that have to be polled one by one: the list lacks them, or how they ended."""
    ended = {
        job
        for job, row in listed.items()
        if row.ended
        and not row.whole
        and is_new(position, wanted, job, row.status)
        and wanted.may_fit(row.status)
    }
    return ended | (position.open - listed.keys())


def after(position: Position, wanted: Wanted, reading: ClusterSnapshot) -> Ends:
    """Return the ends that a reading shows a watcher; the first one only shows what exists."""
    ended = dict(reading.ended) if wanted.jobs else {**reading.lost, **reading.ended}
    since = max(reading.began, position.since or 0.0)
    if position.since is None and not wanted.jobs:
        news: dict[str, JobStatus] = {}
        past: Iterable[str] = [job for job, status in ended.items() if wanted.follows(status)]
    else:
        news = {job: status for job, status in ended.items() if is_new(position, wanted, job, status)}
        past = news
    # A row stays new for as long as its submission lies behind the edge; until then its id is remembered.
    seen = dict(position.seen)
    seen.update((job, max(since, latest_submission(ended[job]) or 0.0)) for job in past)
    seen = {job: at for job, at in seen.items() if at >= since - OVERLAP}
    open_now = position.open - news.keys()
    if not wanted.jobs:
        open_now |= {
            job
            for job, status in reading.unfinished.items()
            if not _was_seen(seen, job, status) and wanted.follows(status)
        }
        if position.since is not None:
            # By the next reading, its submission may be too long ago to be new.
            open_now |= {
                job for job, status in reading.unconfirmed.items() if is_new(position, wanted, job, status)
            }
    reported = {job: status for job, status in news.items() if wanted.fits(status)}
    for job in list(reported)[MOST_AT_ONCE:]:
        del reported[job]
        seen.pop(job, None)
        open_now |= {job}
    return Ends(reported, Position(since, frozenset(open_now), seen))

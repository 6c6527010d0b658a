# SPDX-License-Identifier: Apache-2.0
"""Decide from what was observed of a job whether a wait is over. Pure: no I/O, no clock.

A :class:`JobWatch` receives what the cloud reported about a job and when. The sensor, the log operator and
their triggers all use it, so every mode ends in the same way and logs the same.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.listing import latest_moment, started_later
from airflow_provider_ehpc.apis.schedulers.words import may_rerun
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.final_status import ASSUMED_OUTCOMES, final_status
from airflow_provider_ehpc.waiting.verdict import Note, Outcome, Verdict
from airflow_provider_ehpc.waiting.wording import change, counts, description, failure, lasted

__all__ = [
    "ASSUMED_OUTCOMES",
    "GONE_GRACE",
    "OUTAGE_GRACE",
    "JobSetWatch",
    "JobWatch",
    "Lateness",
    "Note",
    "Outcome",
    "Patience",
    "Verdict",
    "is_provisional",
]

OUTAGE_GRACE = 1800.0
"""Seconds of nothing but transient errors after which a wait ends. The outage does not affect the job, which
usually continues."""
GONE_GRACE = 300.0
"""Seconds for which a job is still polled after it became unknown to the cloud. A scheduler that restarts
does not know its jobs for a while."""
SIGN_OF_LIFE = 600.0
"""Seconds without a change after which a line reports that the wait continues."""
LATE_POLL = 10.0
"""Seconds by which a poll may be late before this is logged."""
OLD_RECORD = 86400.0
"""Seconds. If a job ended that long before the wait began, a warning is logged: schedulers reuse IDs."""


def is_provisional(status: JobStatus) -> bool:
    """Return True for a terminal state after which the scheduler may run the job again, such as Slurm's
    PREEMPTED and NODE_FAIL. It counts only if a second poll confirms it.
    """
    return status.state.terminal and (status.may_rerun or may_rerun(status.raw_state))


class JobWatch:
    """Follow one job to its end, for one wait.

    :param started: epoch seconds at which the wait began; ``not_found_grace`` counts from there.
    :param seen_before: an earlier process of the same wait may have seen the job.
    :param describe: report the job's name, queue and resources when they become known.
    """

    def __init__(
        self,
        ref: JobRef,
        conditions: WaitConditions,
        started: float,
        *,
        seen_before: bool = False,
        describe: bool = False,
    ) -> None:
        self.ref = ref
        self.conditions = conditions
        self.status: JobStatus | None = None
        self.cancelled_by_us = conditions.cancelled_by_us
        """True if this task cancelled the job: it then counts as CANCELLED, however it ends."""
        self._captures = conditions.exit_token is not None
        """The exit code may still be found in the job's output."""
        self._started = started
        self._seen_before = seen_before
        self.since = started
        """Epoch seconds at which the job's state was first seen."""
        self._reported = started
        self._unknown_words: frozenset[str] = frozenset()
        self._restarts: int | None = None
        """The last count of requeues that was reported."""
        self._missing_since: float | None = None
        self._describe = describe
        self._description: list[str] = []

    @property
    def settled(self) -> bool:
        """Return True if the job was seen and its last status needs no confirmation by another poll."""
        return self.status is not None and self._missing_since is None and not is_provisional(self.status)

    def saw(self, status: JobStatus | None, now: float) -> tuple[Verdict | None, list[Note]]:
        """Process the result of a poll, None for an unknown job; return the end of the wait, if any, and the
        lines to log.
        """
        if status is None:
            return self._saw_nothing(now)
        status, assumption = self._final(status)
        before, self.status = self.status, status
        notes = self._known_again(before, now)
        requeues = self._requeues(status)
        if before is None or before.state is not status.state:
            notes += self._header(status)
            text = change(before, status, now - self.since, final=not self._awaits_code(status))
            text = f"{self.ref} {text}{requeues}{assumption.text}"
            notes.append(Note(text, warning=assumption.warning))
            self.since = self._reported = now
            notes += self._age(status, before)
        elif requeues:
            notes.append(Note(f"{self.ref} is {status.state} again{requeues}"))
            self.since = self._reported = now
        if status.state is JobState.UNKNOWN and status.raw_state not in self._unknown_words:
            self._unknown_words |= {status.raw_state}
            hint = "It does not count as terminal; the wait continues until its timeout."
            text = f"{self.ref}: the cloud reports the undocumented state {status.raw_state!r}. {hint}"
            notes.append(Note(text, warning=True))
        if is_provisional(status) and not self.cancelled_by_us:
            if before is None or not before.state.terminal or started_later(status, before.started_at):
                text = f"the scheduler may run it again after {status.raw_state}; polling once more"
                return None, [*notes, Note(f"{self.ref}: {text}")]
            self.status = status = dataclasses.replace(status, may_rerun=False)
        return self._ended(status), notes

    def captured(self, ended: JobStatus) -> tuple[Verdict, list[Note]]:
        """Process the status of the ended job, with exit codes from its output if there are any; return the
        end of the wait.
        """
        self._captures = False
        before, (status, assumption) = self.status, self._final(ended)
        self.status = status
        more = "" if status.exit_code is None else f"; its output ends with exit code {status.exit_code}"
        if status.array:
            more += f"; sub-jobs: {counts(status.array)}"
        more += assumption.text
        text = f"{self.ref} ended {status.state}{more}"
        notes = [Note(text, warning=assumption.warning)] if more and status != before else []
        return self._ended(status) or self._failed(status), notes

    def _final(self, status: JobStatus) -> tuple[JobStatus, Note]:
        return final_status(
            status, self.conditions, cancelled_by_us=self.cancelled_by_us, captures=self._captures
        )

    def _awaits_code(self, status: JobStatus) -> bool:
        """Return True if only the job's output can show how it ended."""
        return self._captures and status.outcome_assumed and status.exit_code is None

    def _ended(self, status: JobStatus) -> Verdict | None:
        if self._awaits_code(status):
            return Verdict(Outcome.REACHED, f"{self.ref} has ended", (status.as_dict(),))
        if status.state in self.conditions.target_states:
            return Verdict(Outcome.REACHED, f"{self.ref} is {status.state}", (status.as_dict(),))
        if status.state.terminal:
            return self._failed(status)
        return None

    def _failed(self, status: JobStatus) -> Verdict:
        text = failure(status, self.conditions, cancelled_by_us=self.cancelled_by_us)
        return self._verdict(Outcome.FAILED, f"{self.ref} {text}")

    def sign_of_life(self, now: float, more: str = "") -> list[Note]:
        """Return a line that reports the state, if nothing was logged for :data:`SIGN_OF_LIFE` seconds."""
        if self.status is None or now - self._reported < SIGN_OF_LIFE:
            return []
        self._reported = now
        since = lasted(now - self.since)
        return [Note(f"{self.ref} is still {self.status.state} after about {since}{more}")]

    def expired(self, now: float, error: ApiError | None = None) -> Verdict | None:
        """Return the end of the wait if its deadline has passed.

        :param error: the last error, if no request has succeeded since.
        """
        if self.conditions.deadline is None or now < self.conditions.deadline:
            return None
        if self._missing_since is not None and (self.status or self._seen_before):
            state = "is unknown to the cloud"
        elif self.status:
            state = f"has been {self.status.state} for about {lasted(now - self.since)}"
        else:
            state = "was never seen"
        text = f"{self.ref} {state}; timed out after {lasted(now - self._started)}; the job was not stopped."
        if error is None:
            return self._verdict(Outcome.TIMED_OUT, text)
        verdict = self._verdict(Outcome.TIMED_OUT, f"{text} The last error: {error}")
        return dataclasses.replace(verdict, error=error.as_dict())

    def _saw_nothing(self, now: float) -> tuple[Verdict | None, list[Note]]:
        first = self._missing_since is None
        since = self._missing_since = now if self._missing_since is None else self._missing_since
        if self.status is None and not self._seen_before:
            grace = self.conditions.not_found_grace
            if now - self._started < grace:
                text = f"{self.ref} is not known yet; polling again for up to {grace:g} s"
                return None, [Note(text)] if first else []
            text = f"{self.ref} does not exist or no longer exists: check job_id, cluster_id and the region"
            return self._verdict(Outcome.NOT_FOUND, text), []
        last = f"it was last seen {self.status.state}" if self.status else "it may have been seen before"
        if now - since < GONE_GRACE:
            text = f"{self.ref} is unknown to the cloud; {last}. Polling it for up to {GONE_GRACE:g} s more"
            return None, [Note(text, warning=True)] if first else []
        if self.status and self.status.state.terminal:
            # It did not run again.
            return self._ended(self.status), []
        text = (
            f"{self.ref} is no longer known to the cloud; {last}. Schedulers forget ended jobs after a "
            "while: its outcome is unknown"
        )
        return self._verdict(Outcome.NOT_FOUND, text), []

    def _known_again(self, before: JobStatus | None, now: float) -> list[Note]:
        since, self._missing_since = self._missing_since, None
        if since is None or (before is None and not self._seen_before):
            return []
        return [Note(f"{self.ref} is known to the cloud again, after {lasted(now - since)}")]

    def _age(self, status: JobStatus, before: JobStatus | None) -> list[Note]:
        """Warn if the job ended long before the wait began: it may be an earlier job with the same ID."""
        ended = status.ended_at or status.modified_at or status.started_at or status.submitted_at
        if before is not None or not status.state.terminal or ended is None:
            return []
        age = self._started - latest_moment(ended)
        if age < OLD_RECORD:
            return []
        what = "ended" if status.ended_at else "last changed"
        submitted = f" (submitted {status.submitted_at:%Y-%m-%d})" if status.submitted_at else ""
        hint = "Schedulers reuse IDs: check that it is the job you mean"
        text = f"{self.ref} {what} {lasted(age)} before this wait began{submitted}. {hint}"
        return [Note(text, warning=True)]

    def _header(self, status: JobStatus) -> list[Note]:
        """Return the lines that describe the job, as far as they have changed since the last ones."""
        lines = description(status) if self._describe else []
        new = [line for line in lines if line and line not in self._description]
        self._description = lines
        return [Note(f"{self.ref}: {line}", header=True) for line in new]

    def _requeues(self, status: JobStatus) -> str:
        """Return the requeues since the last poll in words; a job may run twice between two polls."""
        if status.restarts is None:
            return ""
        before, self._restarts = self._restarts, status.restarts
        new = status.restarts - (before or 0)
        if new <= 0:
            return ""
        times = "once" if new == 1 else f"{new} times"
        return f"; it was requeued {times} " + ("so far" if before is None else "since the last poll")

    def _verdict(self, outcome: Outcome, message: str) -> Verdict:
        known = (self.status.as_dict(),) if self.status else ()
        return Verdict(outcome, message, known, job_id=self.ref.job_id)


class Patience:
    """Tolerate transient errors for :data:`OUTAGE_GRACE` seconds; end the wait at any other error."""

    def __init__(self) -> None:
        self.error: ApiError | None = None
        """The last error of the current outage; None if there is no outage."""
        self._since = 0.0

    def failed(self, error: ApiError, now: float) -> tuple[Verdict | None, list[Note]]:
        """Process the error of a poll."""
        first, self.error = self.error is None, error
        self._since = now if first else self._since
        if error.transient and now - self._since < OUTAGE_GRACE:
            text = f"{error} The wait continues; the job is not affected."
            return None, [Note(text, warning=True)] if first else []
        outage = "" if first else f" The API has failed for {lasted(now - self._since)}."
        return Verdict(Outcome.ERROR, f"{error}{outage}", error=error.as_dict()), []

    def answered(self, now: float) -> list[Note]:
        """Process that the API returned a result."""
        if self.error is None:
            return []
        self.error = None
        return [Note(f"the API responds again, after {lasted(now - self._since)}")]


class Lateness:
    """Report when polls fall behind schedule, and when they are on time again.

    :param interval: seconds between two polls, as requested.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._late = False

    def polled(self, late: float) -> list[Note]:
        """Process that a poll was ``late`` seconds behind schedule."""
        if not self._late and late > max(self._interval, LATE_POLL):
            self._late = True
            text = (
                f"status updates are {late:.0f} s behind: polling the jobs on this connection takes more "
                "requests than the API allows (see docs/scale.md)"
            )
            return [Note(text, warning=True)]
        if self._late and late < self._interval / 2:
            self._late = False
            return [Note("status updates are on time again")]
        return []


class JobSetWatch:
    """Wait for one or many jobs, until all are in a target state or one can no longer reach it."""

    def __init__(
        self,
        refs: Iterable[JobRef],
        conditions: WaitConditions,
        started: float,
        *,
        seen_before: bool = False,
        describe: bool = False,
    ) -> None:
        self.started = started
        refs = list(refs)
        # A line for each of a thousand jobs would hide all others.
        describe = describe and len(refs) == 1
        self._watches = {
            ref: JobWatch(ref, conditions, started, seen_before=seen_before, describe=describe)
            for ref in refs
        }
        self._reached: dict[JobRef, dict[str, Any]] = {}
        self._patience = Patience()

    @property
    def watches(self) -> Collection[JobWatch]:
        """The watches of all jobs."""
        return self._watches.values()

    @property
    def waiting(self) -> list[JobRef]:
        """The jobs that are not in a target state yet."""
        return [ref for ref in self._watches if ref not in self._reached]

    @property
    def settled(self) -> bool:
        """Return True if another process can continue the wait knowing only its start time: the API responds,
        and each job was seen in a state that needs no confirmation.
        """
        return self._patience.error is None and all(self._watches[ref].settled for ref in self.waiting)

    def cancelled_by_us(self, refs: Iterable[JobRef]) -> None:
        """Record that this task cancelled jobs: they count as CANCELLED, however they end."""
        for ref in refs:
            self._watches[ref].cancelled_by_us = True

    def saw(
        self, statuses: Mapping[JobRef, JobStatus | None], now: float
    ) -> tuple[Verdict | None, list[Note]]:
        """Process the result of a poll."""
        notes = self._patience.answered(now)
        failed: Verdict | None = None
        for ref, status in statuses.items():
            watch = self._watches[ref]
            verdict, news = watch.saw(status, now)
            notes += news
            if verdict is None:
                notes += watch.sign_of_life(now)
            elif verdict.outcome is Outcome.REACHED:
                self._reached[ref] = verdict.jobs[0]
            else:
                failed = failed or verdict
        many = len(self._watches) > 1
        if many and notes:
            states = Counter(w.status.state.value if w.status else "unseen" for w in self._watches.values())
            notes.append(Note(f"{len(self._watches)} jobs: {counts(states)}"))
        if failed is None and not self.waiting:
            message = f"{len(self._watches)} jobs have reached a target state" if many else ""
            return Verdict(Outcome.REACHED, message, self._known()), notes
        return self._over(failed, now), notes

    def poll_failed(self, error: ApiError, now: float) -> tuple[Verdict | None, list[Note]]:
        """Process the error of a poll."""
        verdict, notes = self._patience.failed(error, now)
        verdict = self._over(verdict, now)
        return verdict, [] if verdict else notes

    def _over(self, verdict: Verdict | None, now: float) -> Verdict | None:
        ends = (self._watches[ref].expired(now, self._patience.error) for ref in self.waiting)
        verdict = verdict or next((end for end in ends if end is not None), None)
        return dataclasses.replace(verdict, jobs=self._known()) if verdict else None

    def _known(self) -> tuple[dict[str, Any], ...]:
        return tuple(
            self._reached.get(ref) or watch.status.as_dict()
            for ref, watch in self._watches.items()
            if watch.status
        )

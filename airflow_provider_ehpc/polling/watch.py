"""What a waiter makes of what it sees: pure judgement over a row of observations.

A :class:`JobWatch` is told what the cloud said of a job and when, and answers whether the wait is over. The
sensor, the log operator and their triggers all judge by it, so every mode ends alike and says the same.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.polling.terms import WaitTerms
from airflow_provider_ehpc.text import unfold

OUTAGE_GRACE = 1800.0
"""Seconds that an API may answer nothing but passing errors before the wait is given up: a fault of the API
says nothing of the job, which most often runs on."""
SIGN_OF_LIFE = 600.0
"""Seconds after which a wait without any news says that it is still waiting."""

LATE = 10.0
"""Seconds by which a look may come late without a word."""


_NONE: frozenset[str] = frozenset()


class Outcome(StrEnum):
    """How a wait ended."""

    REACHED = "reached"
    """Every job is in one of the wanted states."""
    FAILED = "failed"
    """A job has ended in another state; it can never reach a wanted one."""
    NOT_FOUND = "not_found"
    TIMED_OUT = "timed_out"
    ERROR = "error"
    """The cloud could not be asked, for a reason that waiting does not cure, or for too long."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to tell the user, in the task log."""

    text: str
    warning: bool = False

    def tell(self, log: Any) -> None:
        """Write it to a task's log."""
        (log.warning if self.warning else log.info)("%s", unfold(self.text))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a wait. Plain data: it travels in a trigger's event, so there is no log text in it."""

    outcome: Outcome
    message: str = ""
    jobs: tuple[dict[str, Any], ...] = ()
    """What was last known of each job, in the order asked for."""
    job_id: str | None = None
    """The job that decided, where one did."""
    error: dict[str, Any] | None = None
    news: tuple[Note, ...] = ()
    """What the worker that ends the task is to tell. A trigger's own way to the log is narrow: where a
    thousand jobs end together, its event would else come seconds later, behind a thousand lines."""

    def as_event(self) -> dict[str, Any]:
        """Return the verdict as the payload of a trigger's event, without the empty fields: a thousand may
        end at once.
        """
        told = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        told |= {
            "outcome": self.outcome.value,
            "jobs": list(self.jobs),
            "news": [[note.text, note.warning] for note in self.news],
        }
        return {name: value for name, value in told.items() if value}

    @classmethod
    def from_event(cls, event: Mapping[str, Any] | None) -> Verdict:
        """Read a trigger's event.

        :raises ValueError: where it is not one of ours.
        """
        if not event or "outcome" not in event:
            raise ValueError(f"the trigger sent no verdict but {event!r}")
        fields = {f.name: event[f.name] for f in dataclasses.fields(cls) if f.name in event}
        news = tuple(Note(text, warning) for text, warning in event.get("news") or ())
        jobs = tuple(event.get("jobs") or ())
        return cls(**{**fields, "outcome": Outcome(event["outcome"]), "jobs": jobs, "news": news})


class JobWatch:
    """The way of one job to its end, as one waiter sees it.

    :param started: epoch seconds at which the wait began, for the grace of a job not known yet.
    """

    def __init__(self, ref: JobRef, terms: WaitTerms, started: float) -> None:
        self.ref = ref
        self.terms = terms
        self.status: JobStatus | None = None
        self._started = started
        self._since = started
        self._told = started
        self._unknown_words = _NONE
        self._missing = False

    def saw(self, status: JobStatus | None, now: float) -> tuple[Verdict | None, list[Note]]:
        """Take in what the cloud said, None for "no such job"; return the end, if it is one, and the news."""
        if status is None:
            return self._saw_nothing(now)
        notes: list[Note] = []
        self._missing = False
        status, assumption = self._settle_outcome(status)
        before, self.status = self.status, status
        if before is None or before.state is not status.state or before.raw_state != status.raw_state:
            notes.append(Note(self._change(before, status, now) + assumption, warning=bool(assumption)))
            self._since = self._told = now
            if status.state is JobState.UNKNOWN and status.raw_state not in self._unknown_words:
                self._unknown_words |= {status.raw_state}
                notes.append(
                    Note(
                        f"{self.ref}: the cloud calls its state {status.raw_state!r}, a word that is not "
                        "documented. It does not count as an end; the wait goes on until its timeout.",
                        warning=True,
                    )
                )
        if status.state in self.terms.target_states:
            return Verdict(Outcome.REACHED, f"{self.ref} is {status.state}", (status.as_dict(),)), notes
        if status.state.terminal:
            return self._verdict(Outcome.FAILED, self._failure(status)), notes
        return None, notes

    def sign_of_life(self, now: float, more: str = "") -> list[Note]:
        """Return a line that says the wait goes on, where none was written for long."""
        if self.status is None or now - self._told < SIGN_OF_LIFE:
            return []
        self._told = now
        return [Note(f"{self.ref} is still {self.status.state}, for {_lasted(now - self._since)}{more}")]

    def expired(self, now: float) -> Verdict | None:
        """Return the end of a wait whose deadline has passed."""
        if self.terms.deadline is None or now < self.terms.deadline:
            return None
        state = (
            f"is {self.status.state} for {_lasted(now - self._since)}" if self.status else "was never seen"
        )
        return self._verdict(
            Outcome.TIMED_OUT,
            f"{self.ref} {state}; the wait of {_lasted(now - self._started)} is over by its timeout. "
            "The job was left as it is.",
        )

    def _saw_nothing(self, now: float) -> tuple[Verdict | None, list[Note]]:
        waited = now - self._started
        if self.status is None and waited < self.terms.not_found_grace:
            if self._missing:
                return None, []
            self._missing = True
            grace = self.terms.not_found_grace
            return None, [Note(f"{self.ref} is not known yet; asking again for up to {grace:g} s")]
        if self.status is None:
            text = f"{self.ref} does not exist, or no longer: check job_id, cluster_id and the region"
        else:
            text = (
                f"{self.ref} is no longer known to the cloud; it was last seen {self.status.state}. "
                "Schedulers forget ended jobs after a while: how this one ended cannot be told"
            )
        return self._verdict(Outcome.NOT_FOUND, text), []

    def _settle_outcome(self, status: JobStatus) -> tuple[JobStatus, str]:
        """Decide an end without an outcome by the exit code where one is known, else by the policy.

        Return what is to be said of it as well: nothing where nothing was assumed.
        """
        # Of an array that is over without a word on its outcome, a sub-job may have told that it failed.
        if not status.outcome_assumed or status.state is not JobState.SUCCEEDED:
            return status, ""
        if status.exit_code is not None:
            told = JobState.FAILED if status.exit_code else JobState.SUCCEEDED
            return dataclasses.replace(status, state=told, outcome_assumed=False), ""
        fail = self.terms.finished_without_exit_code == "fail"
        assumed = JobState.FAILED if fail else JobState.SUCCEEDED
        assumption = (
            ". The cloud says only that it is over, not with which exit code: by finished_without_exit_code="
            f"{self.terms.finished_without_exit_code!r} it counts as {assumed}."
        )
        reason = status.reason or ("no exit code is told, and the policy is to fail" if fail else None)
        return dataclasses.replace(status, state=assumed, reason=reason), assumption

    def _change(self, before: JobStatus | None, status: JobStatus, now: float) -> str:
        text = f"{self.ref} is {status.state}"
        if status.raw_state.casefold() != status.state.casefold():
            text += f" ({status.raw_state!r})"
        if before is not None:
            text += f", after {_lasted(now - self._since)} {before.state}"
        if status.state is JobState.RUNNING and status.nodes:
            text += f", on {_some(status.nodes)}"
        if status.array:
            text += f"; sub-jobs: {_counts(status.array)}"
        return text

    def _failure(self, status: JobStatus) -> str:
        parts = [f"{self.ref} ended {status.state} (the cloud says {status.raw_state!r})"]
        if status.exit_code is not None:
            parts.append(f"exit code {status.exit_code}")
        if status.reason:
            parts.append(f"reason: {status.reason}")
        if status.array:
            parts.append(f"sub-jobs: {_counts(status.array)}")
        wanted = ", ".join(self.terms.target_states)
        return "; ".join(parts) + f"; waited for {wanted}"

    def _verdict(self, outcome: Outcome, message: str) -> Verdict:
        known = (self.status.as_dict(),) if self.status else ()
        return Verdict(outcome, message, known, job_id=self.ref.job_id)


class Patience:
    """How long an API that fails is asked again: passing errors are borne, lasting ones end the wait."""

    def __init__(self) -> None:
        self._since: float | None = None

    def failed(self, error: ApiError, now: float) -> tuple[Verdict | None, list[Note]]:
        """Take in that the cloud could not be asked."""
        first = self._since is None
        self._since = self._since if self._since is not None else now
        if error.transient and now - self._since < OUTAGE_GRACE:
            text = f"{error} The wait goes on; this says nothing of the job."
            return None, [Note(text, warning=True)] if first else []
        return Verdict(Outcome.ERROR, str(error), error=error.as_dict()), []

    def answered(self, now: float) -> list[Note]:
        """Take in that the cloud answered."""
        if self._since is None:
            return []
        since, self._since = self._since, None
        return [Note(f"the API answers again, after {_lasted(now - since)}")]


class Lateness:
    """Says when looks begin to come late, and when they come in time again.

    :param interval: seconds between two looks, as they were asked for.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._late = False

    def looked(self, late: float) -> list[Note]:
        """Take in that a look came ``late`` seconds after it was wanted."""
        if not self._late and late > max(self._interval, LATE):
            self._late = True
            text = (
                f"news come {late:.0f} s late: all jobs that are waited for over this connection need more "
                "requests than the cloud takes (see docs/scale.md). The wait goes on"
            )
            return [Note(text, warning=True)]
        if self._late and late < self._interval / 2:
            self._late = False
            return [Note("news come in time again")]
        return []


class JobSetWatch:
    """A wait for one or many jobs: over when all are where they should be, or one never will be."""

    def __init__(self, refs: Iterable[JobRef], terms: WaitTerms, started: float) -> None:
        self.started = started
        self._watches = {ref: JobWatch(ref, terms, started) for ref in refs}
        self._reached: dict[JobRef, dict[str, Any]] = {}
        self._patience = Patience()

    @property
    def waiting(self) -> list[JobRef]:
        """The jobs that are not where they should be yet."""
        return [ref for ref in self._watches if ref not in self._reached]

    def saw(
        self, statuses: Mapping[JobRef, JobStatus | None], now: float
    ) -> tuple[Verdict | None, list[Note]]:
        """Take in what the cloud said of the jobs that are waited for."""
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
        if len(self._watches) > 1 and notes:
            states = Counter(w.status.state.value if w.status else "unseen" for w in self._watches.values())
            notes.append(Note(f"{len(self._watches)} jobs: {_counts(states)}"))
        if failed is None and not self.waiting:
            message = f"{len(self._watches)} jobs are there" if len(self._watches) > 1 else ""
            return Verdict(Outcome.REACHED, message, self._known()), notes
        return self._over(failed, now), notes

    def failed_to_look(self, error: ApiError, now: float) -> tuple[Verdict | None, list[Note]]:
        """Take in that the cloud could not be asked."""
        verdict, notes = self._patience.failed(error, now)
        return self._over(verdict, now), notes

    def _over(self, verdict: Verdict | None, now: float) -> Verdict | None:
        ends = (self._watches[ref].expired(now) for ref in self.waiting)
        verdict = verdict or next((end for end in ends if end is not None), None)
        return dataclasses.replace(verdict, jobs=self._known()) if verdict else None

    def _known(self) -> tuple[dict[str, Any], ...]:
        return tuple(
            self._reached.get(ref) or watch.status.as_dict()
            for ref, watch in self._watches.items()
            if watch.status
        )


def _lasted(seconds: float) -> str:
    return str(timedelta(seconds=round(max(0.0, seconds))))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more nodes" if len(names) > 4 else "")

# SPDX-License-Identifier: Apache-2.0
"""Describe the end of a wait and the lines to log about it. Plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_provider_ehpc.text import unfold


class Outcome(StrEnum):
    """The outcome of a wait."""

    REACHED = "reached"
    """Every job is in a target state."""
    FAILED = "failed"
    """A job ended in another state and cannot reach a target state."""
    NOT_FOUND = "not_found"
    TIMED_OUT = "timed_out"
    ERROR = "error"
    """Polling failed for too long, or with an error that is not transient."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the task log."""

    text: str
    warning: bool = False
    header: bool = False
    """True if the line describes the job, and belongs above its log even if the job has ended."""

    def log(self, log: Any) -> None:
        """Write the line to a task's log."""
        (log.warning if self.warning else log.info)("%s", unfold(self.text))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a wait. Plain data: it travels in a trigger's event, so it holds no text of a job's log."""

    outcome: Outcome
    message: str = ""
    jobs: tuple[dict[str, Any], ...] = ()
    """The last status of each job, in the order of the request."""
    job_id: str | None = None
    """The job that ended the wait, if one did."""
    error: dict[str, Any] | None = None
    news: tuple[Note, ...] = ()
    """Lines that the worker logs instead of the trigger. A trigger's channel to the log is slow: if a
    thousand jobs end together, the event would wait for seconds behind a thousand lines."""

    def as_event(self) -> dict[str, Any]:
        """Return the verdict as the payload of a trigger's event, without empty fields."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields |= {
            "outcome": self.outcome.value,
            "jobs": list(self.jobs),
            "news": [[note.text, note.warning] for note in self.news],
        }
        return {name: value for name, value in fields.items() if value}

    @classmethod
    def from_event(cls, event: Mapping[str, Any] | None) -> Verdict:
        """Read a trigger's event.

        :raises ValueError: if it is not the event of a wait.
        """
        if not event or "outcome" not in event:
            raise ValueError(f"the trigger sent {event!r} instead of a verdict")
        fields = {f.name: event[f.name] for f in dataclasses.fields(cls) if f.name in event}
        news = tuple(Note(text, warning) for text, warning in event.get("news") or ())
        jobs = tuple(event.get("jobs") or ())
        return cls(**{**fields, "outcome": Outcome(event["outcome"]), "jobs": jobs, "news": news})

"""How a wait ended, and what to log of it. Plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_provider_ehpc.text import unfold


class Outcome(StrEnum):
    """How a wait ended."""

    REACHED = "reached"
    """Every job is in one of the wanted states."""
    FAILED = "failed"
    """A job has ended in another state; it can never reach a wanted one."""
    NOT_FOUND = "not_found"
    TIMED_OUT = "timed_out"
    ERROR = "error"
    """The cloud could not be polled, for a reason that waiting does not cure, or for too long."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the task log."""

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

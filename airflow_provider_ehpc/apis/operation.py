"""An operation that somebody did to a cluster, whichever cloud recorded it, and where records are read.

Plain dataclasses, so that a DAG file which names a window imports neither pydantic models nor a client.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from airflow_provider_ehpc.apis.call import Flow, InvalidArgument
from airflow_provider_ehpc.apis.moments import aware


class OperationStatus(StrEnum):
    """How far an operation is. The cloud's own word is kept beside it, in ``OperationRecord.raw_status``."""

    IN_PROGRESS = "IN_PROGRESS"
    """Begun and not yet ended: the record will change."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    """The cloud said a word that its documentation does not explain."""

    @property
    def final(self) -> bool:
        """Whether the record says how the operation ended."""
        return self in (OperationStatus.SUCCEEDED, OperationStatus.FAILED)


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """One operation as its cloud recorded it: who did what to what, when, and how it ended."""

    cloud: str
    """``qingcloud`` or ``aliyun``."""
    zone: str
    """Zone or region."""
    uid: str
    """What tells the record from every other one of its zone, also after it has changed."""
    operation_id: str
    time: datetime
    """When the operation began; aware."""
    action: str
    status: OperationStatus
    raw_status: str
    operator: str = ""
    """The account that did it."""
    description: str = ""
    resources: tuple[str, ...] = ()
    changed_at: datetime | None = None
    """When the status last changed, where the cloud tells it."""
    error: str = ""
    node: str = ""
    """The machine of the cloud that carried the operation out."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    """The record as it arrived."""

    @property
    def key(self) -> tuple[str, str]:
        """What two records of one operation share; the one that changed later replaces the other."""
        return self.zone, self.uid

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready data, without the empty fields."""
        told = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        told |= {
            "time": self.time.isoformat(),
            "changed_at": self.changed_at.isoformat() if self.changed_at else None,
            "status": self.status.value,
            "resources": list(self.resources),
            "raw": dict(self.raw),
        }
        return {name: value for name, value in told.items() if value not in (None, "", [], {})}


def stamp(time: datetime) -> str:
    """Return a moment as a part of a file name: ``20260101T000000Z``."""
    fraction = f".{time.microsecond:06}" if time.microsecond else ""
    return f"{time.astimezone(UTC):%Y%m%dT%H%M%S}{fraction}Z"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, ``start`` included and ``end`` not. Windows that meet neither overlap nor gap.

    :raises InvalidArgument: for a time without a zone, and for a window that is empty or goes backwards.
    """

    LONGEST = timedelta(days=32)

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, aware(name, getattr(self, name)).astimezone(UTC))
        if self.start == self.end:
            # Airflow: [scheduler] create_cron_data_intervals is False by default, and a cron text is then a
            # CronTriggerTimetable, whose data interval has no length.
            raise InvalidArgument(
                f"start, end: the window is empty, both are {self.start.isoformat()}. A DAG whose schedule "
                "is a cron text has data intervals of no length; give it CronDataIntervalTimetable(...) or "
                "CronTriggerTimetable(..., interval=...)"
            )
        if self.end < self.start:
            raise InvalidArgument(f"start, end: the window {self} ends before it begins")

    def __contains__(self, time: datetime) -> bool:
        return self.start <= time < self.end

    def __str__(self) -> str:
        return f"{self.start.isoformat()}/{self.end.isoformat()}"

    @property
    def name(self) -> str:
        """The window as a part of a file name: ``20260101T000000Z_20260102T000000Z``."""
        return f"{stamp(self.start)}_{stamp(self.end)}"

    @property
    def seconds(self) -> tuple[int, int]:
        """The whole seconds since the epoch, begin and end, that cover the window."""
        return math.floor(self.start.timestamp()), math.ceil(self.end.timestamp())

    def check(self, now: datetime) -> None:
        """Refuse a window that cannot have been meant.

        :raises InvalidArgument: for an end in the future, and for a window longer than ``LONGEST``.
        """
        if self.end > now:
            raise InvalidArgument(
                f"end: the window {self} ends in the future, now it is {now.astimezone(UTC).isoformat()}"
            )
        if self.end - self.start > self.LONGEST:
            raise InvalidArgument(
                f"start, end: the window {self} is longer than {self.LONGEST.days} days; take several"
            )


@dataclass(frozen=True, slots=True)
class OperationPage:
    """A page of an operation log, and how many records the question has in all."""

    records: tuple[OperationRecord, ...]
    total: int


class OperationSource(Protocol):
    """An operation log that can be asked for a stretch of time."""

    scope: str
    """Whose log it is, fit for a file name: ``qingcloud-jinan1a``."""
    page_size: int

    def page(self, start: int, end: int, number: int) -> Flow[OperationPage]:
        """Ask for one page of what began between two epoch seconds, oldest first.

        Whether the two seconds themselves are part of it is not known of any cloud.

        :param number: of the page, from 0.
        """

    def find(self, uid: str, operation_id: str, time: datetime) -> Flow[OperationRecord | None]:
        """Ask for one operation again; None where the cloud does not know it any more."""

# SPDX-License-Identifier: Apache-2.0
"""Records of operations on clusters, in the form that all clouds share, and the interface that reads them.

Plain dataclasses, so that a DAG file that uses a window imports neither pydantic models nor a client.
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
    """The progress of an operation. ``OperationRecord.raw_status`` holds the cloud's own word."""

    IN_PROGRESS = "IN_PROGRESS"
    """Started and not yet ended: the record will change."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    """The cloud sent a word that its documentation does not explain."""

    @property
    def final(self) -> bool:
        """True if the operation has ended."""
        return self in (OperationStatus.SUCCEEDED, OperationStatus.FAILED)


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """An operation as the cloud recorded it: operator, action, resources, time and outcome."""

    cloud: str
    """``qingcloud`` or ``aliyun``."""
    zone: str
    """Zone or region."""
    uid: str
    """An ID that is unique in the zone and does not change with the record."""
    operation_id: str
    time: datetime
    """The start of the operation; aware."""
    action: str
    status: OperationStatus
    raw_status: str
    operator: str = ""
    """The account that performed the operation."""
    description: str = ""
    resources: tuple[str, ...] = ()
    changed_at: datetime | None = None
    """The last change of the status, if the cloud reports it."""
    error: str = ""
    node: str = ""
    """The cloud's machine that carried out the operation."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    """The record as the cloud sent it."""

    @property
    def key(self) -> tuple[str, str]:
        """The key that all records of one operation share. The one that changed last replaces the others."""
        return self.zone, self.uid

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready data, without the empty fields."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields |= {
            "time": self.time.isoformat(),
            "changed_at": self.changed_at.isoformat() if self.changed_at else None,
            "status": self.status.value,
            "resources": list(self.resources),
            "raw": dict(self.raw),
        }
        return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def stamp(time: datetime) -> str:
    """Return a time as part of a file name: ``20260101T000000Z``."""
    fraction = f".{time.microsecond:06}" if time.microsecond else ""
    return f"{time.astimezone(UTC):%Y%m%dT%H%M%S}{fraction}Z"


@dataclass(frozen=True, slots=True)
class Window:
    """A period from ``start`` (included) to ``end`` (excluded). Consecutive windows neither overlap nor gap.

    :raises InvalidArgument: if a time has no zone, or if the window is empty or ends before it starts.
    """

    LONGEST = timedelta(days=32)

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, aware(name, getattr(self, name)).astimezone(UTC))
        if self.start == self.end:
            # Airflow: [scheduler] create_cron_data_intervals is False by default. A cron expression is then a
            # CronTriggerTimetable, whose data interval has no length.
            raise InvalidArgument(
                f"start, end: the window is empty, both are {self.start.isoformat()}. A DAG with a cron "
                "expression as its schedule has data intervals of no length; use "
                "CronDataIntervalTimetable(...) or CronTriggerTimetable(..., interval=...)"
            )
        if self.end < self.start:
            raise InvalidArgument(f"start, end: the window {self} ends before it begins")

    def __contains__(self, time: datetime) -> bool:
        return self.start <= time < self.end

    def __str__(self) -> str:
        return f"{self.start.isoformat()}/{self.end.isoformat()}"

    @property
    def name(self) -> str:
        """The window as part of a file name: ``20260101T000000Z_20260102T000000Z``."""
        return f"{stamp(self.start)}_{stamp(self.end)}"

    @property
    def seconds(self) -> tuple[int, int]:
        """Start and end of the window in whole epoch seconds, rounded outwards."""
        return math.floor(self.start.timestamp()), math.ceil(self.end.timestamp())

    def check(self, now: datetime) -> None:
        """Check that the window is plausible.

        :raises InvalidArgument: if the end is in the future, or if the window is longer than ``LONGEST``.
        """
        if self.end > now:
            raise InvalidArgument(
                f"end: the window {self} ends in the future, now it is {now.astimezone(UTC).isoformat()}"
            )
        if self.end - self.start > self.LONGEST:
            raise InvalidArgument(
                f"start, end: the window {self} is longer than {self.LONGEST.days} days; use several windows"
            )


@dataclass(frozen=True, slots=True)
class OperationPage:
    """A page of an operation log, with the total number of records on all pages."""

    records: tuple[OperationRecord, ...]
    total: int


class OperationSource(Protocol):
    """An operation log that can be read by time."""

    scope: str
    """A name of the log that can be part of a file name: ``qingcloud-jinan1a``."""
    page_size: int

    def page(self, start: int, end: int, number: int) -> Flow[OperationPage]:
        """Request a page of the operations that started between two epoch seconds, oldest first.

        No cloud documents if the two seconds themselves are included.

        :param number: number of the page, from 0 on.
        """

    def find(self, uid: str, operation_id: str, time: datetime) -> Flow[OperationRecord | None]:
        """Request one operation again; returns None if the cloud no longer knows it."""

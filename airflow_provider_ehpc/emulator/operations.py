"""One operation that was done to a cluster, as the operation log of its cloud holds it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

_ACCEPTING = 0.2
"""Seconds for which an operation that takes longer is pending before it is being worked on."""
_END_OF_TIME = 253_370_764_800
"""9999-01-01, which every zone can still write."""


class EmulatedStatus(StrEnum):
    """How far an operation is."""

    PENDING = "pending"
    WORKING = "working"
    SUCCESSFUL = "successful"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the operation can never change again."""
        return self in (EmulatedStatus.SUCCESSFUL, EmulatedStatus.FAILED)


@dataclass(frozen=True, slots=True)
class EmulatedOperation:
    """One operation. Times are epoch seconds."""

    began_at: float
    action: str
    cloud: str = "qingcloud"
    id: str = ""
    """As the cloud writes it; drawn where it is left out."""
    status: EmulatedStatus = EmulatedStatus.SUCCESSFUL
    changed_at: float = 0.0
    """When the status came about; with the beginning where it is left out."""
    actor: str = ""
    """Who did it, as the cloud names its users."""
    resources: tuple[str, ...] = ()
    """The cluster first."""
    job_ids: tuple[str, ...] = ()
    description: str = ""
    error: str = ""
    request: str = ""
    """What was asked for, as JSON."""
    visible_at: float = 0.0
    """When the log shows it; a row that is late begins before."""
    ends_at: float | None = None
    """When it ends by itself, where that is known beforehand."""
    ends: EmulatedStatus = EmulatedStatus.SUCCESSFUL
    """How it ends then."""

    def __post_init__(self) -> None:
        for name in ("began_at", "changed_at", "visible_at", "ends_at"):
            if not 0 <= (getattr(self, name) or 0) < _END_OF_TIME:
                raise ValueError(
                    f"{name}: {getattr(self, name)} is no time in epoch seconds up to the year 9998"
                )
        # What comes out of JSON: lists, and the words of the statuses.
        for name, kind in (
            ("status", EmulatedStatus),
            ("ends", EmulatedStatus),
            ("resources", tuple),
            ("job_ids", tuple),
        ):
            object.__setattr__(self, name, kind(getattr(self, name)))
        if not self.changed_at:
            object.__setattr__(self, "changed_at", self.began_at)

    @property
    def second(self) -> int:
        """When it began, as exactly as any cloud tells."""
        return int(self.began_at)

    def seen_at(self, now: float) -> EmulatedOperation:
        """Return the operation as it is at a moment."""
        if self.ends_at is None or self.status.ended:
            return self
        if now >= self.ends_at:
            return dataclasses.replace(self, status=self.ends, changed_at=self.ends_at, ends_at=None)
        return self.worked_on(now)

    def worked_on(self, now: float) -> EmulatedOperation:
        """Return an operation that has not ended as it is at a moment: accepted, or being worked on."""
        if self.status is not EmulatedStatus.PENDING or now < self.began_at + _ACCEPTING:
            return self
        return dataclasses.replace(self, status=EmulatedStatus.WORKING, changed_at=self.began_at + _ACCEPTING)

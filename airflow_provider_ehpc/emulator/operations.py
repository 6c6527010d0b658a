# SPDX-License-Identifier: Apache-2.0
"""Define an entry of the operation logs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

_ACCEPTING = 0.2
"""Seconds after which a pending operation is in progress, unless it has ended."""
_END_OF_TIME = 253_370_764_800
"""9999-01-01, which can be written in every time zone."""


class EmulatedStatus(StrEnum):
    """The status of an operation."""

    PENDING = "pending"
    WORKING = "working"
    SUCCESSFUL = "successful"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """True if the operation can never change again."""
        return self in (EmulatedStatus.SUCCESSFUL, EmulatedStatus.FAILED)


@dataclass(frozen=True, slots=True)
class EmulatedOperation:
    """One operation. Times are epoch seconds."""

    began_at: float
    action: str
    cloud: str = "qingcloud"
    id: str = ""
    """As the cloud writes it. If empty, the operation log draws one."""
    status: EmulatedStatus = EmulatedStatus.SUCCESSFUL
    changed_at: float = 0.0
    """When the status last changed; by default :attr:`began_at`."""
    actor: str = ""
    """The user, as the cloud names its users."""
    resources: tuple[str, ...] = ()
    """IDs of resources, beginning with the cluster."""
    job_ids: tuple[str, ...] = ()
    description: str = ""
    error: str = ""
    request: str = ""
    """The parameters, as JSON."""
    visible_at: float = 0.0
    """When the log begins to show it. A late entry begins earlier."""
    ends_at: float | None = None
    """When it ends by itself; None if it does not."""
    ends: EmulatedStatus = EmulatedStatus.SUCCESSFUL
    """The status it has then."""

    def __post_init__(self) -> None:
        for name in ("began_at", "changed_at", "visible_at", "ends_at"):
            if not 0 <= (getattr(self, name) or 0) < _END_OF_TIME:
                raise ValueError(
                    f"{name}: {getattr(self, name)} is out of range; use epoch seconds up to the year 9998"
                )
        # JSON has lists for tuples, and strings for statuses.
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
        """When it began, in whole seconds, as all clouds report it."""
        return int(self.began_at)

    def seen_at(self, now: float) -> EmulatedOperation:
        """Return the operation with its status at a time."""
        if self.ends_at is None or self.status.ended:
            return self
        if now >= self.ends_at:
            return dataclasses.replace(self, status=self.ends, changed_at=self.ends_at, ends_at=None)
        return self.in_progress_at(now)

    def in_progress_at(self, now: float) -> EmulatedOperation:
        """Return an unfinished operation with its status at a time: pending or in progress."""
        if self.status is not EmulatedStatus.PENDING or now < self.began_at + _ACCEPTING:
            return self
        return dataclasses.replace(self, status=EmulatedStatus.WORKING, changed_at=self.began_at + _ACCEPTING)

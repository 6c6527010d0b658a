"""What was done to the clusters: one log for all clouds, in the order of time, kept in the store.

Each cloud's API tells of its own operations, in its own words. A row changes after it was written, because
what it tells of goes on; it may be visible only some time after it began; rows of one second have no order.
"""

from __future__ import annotations

import bisect
import dataclasses
import random
import string
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from airflow_provider_ehpc.emulator.faults import FaultKind, Faults

if TYPE_CHECKING:
    from airflow_provider_ehpc.emulator.store import Store

CLOUDS = ("aliyun", "qingcloud")
_ACCEPTING = 0.2
"""Seconds for which an operation that takes longer is pending before it is being worked on."""
_LETTERS = string.ascii_lowercase + string.digits


class OperationStatus(StrEnum):
    """How far an operation is."""

    PENDING = "pending"
    WORKING = "working"
    SUCCESSFUL = "successful"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the operation can never change again."""
        return self in (OperationStatus.SUCCESSFUL, OperationStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. Times are epoch seconds."""

    began_at: float
    action: str
    cloud: str = "qingcloud"
    id: str = ""
    """As the cloud writes it; drawn where it is left out."""
    status: OperationStatus = OperationStatus.SUCCESSFUL
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
    ends: OperationStatus = OperationStatus.SUCCESSFUL
    """How it ends then."""

    def __post_init__(self) -> None:
        if self.cloud not in CLOUDS:
            raise ValueError(f"there is no cloud {self.cloud!r}; there are {', '.join(CLOUDS)}")
        # What comes out of JSON: lists, and the words of the statuses.
        for name, kind in (
            ("status", OperationStatus),
            ("ends", OperationStatus),
            ("resources", tuple),
            ("job_ids", tuple),
        ):
            object.__setattr__(self, name, kind(getattr(self, name)))
        if not self.id:
            object.__setattr__(self, "id", new_id(self.cloud))
        if not self.changed_at:
            object.__setattr__(self, "changed_at", self.began_at)

    @property
    def second(self) -> int:
        """When it began, as exactly as any cloud tells."""
        return int(self.began_at)

    def seen_at(self, now: float) -> Operation:
        """Return the operation as it is at a moment."""
        if self.ends_at is None or self.status.ended:
            return self
        if now >= self.ends_at:
            return dataclasses.replace(self, status=self.ends, changed_at=self.ends_at, ends_at=None)
        return self.worked_on(now)

    def worked_on(self, now: float) -> Operation:
        """Return an operation that has not ended as it is at a moment: accepted, or being worked on."""
        if self.status is not OperationStatus.PENDING or now < self.began_at + _ACCEPTING:
            return self
        return dataclasses.replace(
            self, status=OperationStatus.WORKING, changed_at=self.began_at + _ACCEPTING
        )


def new_id(cloud: str) -> str:
    """Draw an id: ``j-8ajjp28fps8`` of QingCloud, a request's id of Alibaba Cloud."""
    if cloud == "qingcloud":
        return "j-" + "".join(random.choices(_LETTERS, k=11))
    return str(uuid.uuid4()).upper()


class OperationLog:
    """The operations of all clouds. Belongs to the thread of the event loop."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self.advance: Callable[[], None] = _nothing
        """Brings the operations up to date that wait for something; called before each reading."""
        self._store = store
        self._faults = faults
        self._rows: dict[str, dict[str, Operation]] = {cloud: {} for cloud in CLOUDS}
        self._order: dict[str, list[tuple[int, int, str]]] = {cloud: [] for cloud in CLOUDS}
        self._take(store.operations())

    def add(self, operations: Iterable[Operation]) -> list[Operation]:
        """Keep operations and return them."""
        added = list(operations)
        self._store.save_operations(added)
        self._take(added)
        return added

    def change(self, operation: Operation) -> Operation:
        """Keep what has become of an operation, and return it."""
        self._store.save_operations([operation])
        self._rows[operation.cloud][operation.id] = operation
        return operation

    def end(
        self,
        operation: Operation,
        status: OperationStatus,
        *,
        at: float | None = None,
        error: str = "",
        job_ids: Sequence[str] = (),
    ) -> Operation:
        """Keep how an operation ended."""
        return self.change(
            dataclasses.replace(
                operation,
                status=status,
                changed_at=time.time() if at is None else at,
                error=error,
                job_ids=tuple(job_ids) or operation.job_ids,
            )
        )

    def unfinished(self, cloud: str) -> list[Operation]:
        """Return a cloud's operations that have not ended and do not end by themselves."""
        return [row for row in self._rows[cloud].values() if not row.status.ended and row.ends_at is None]

    def read(
        self,
        cloud: str,
        *,
        began_from: int | None = None,
        began_to: int | None = None,
        newest_first: bool = False,
    ) -> list[Operation]:
        """Return what the log shows now of the operations that began in a stretch of seconds, both included.

        Rows of one second come in the order in which they were added, unless a fault shuffles them.
        """
        self.advance()
        order = self._order[cloud]
        low = 0 if began_from is None else bisect.bisect_left(order, (began_from, 0, ""))
        high = len(order) if began_to is None else bisect.bisect_left(order, (began_to + 1, 0, ""))
        now = time.time()
        delay = fault.seconds if (fault := self._faults.standing(FaultKind.LATE_ROWS)) else 0.0
        rows = [
            row.seen_at(now)
            for _, _, key in order[low:high]
            if now >= (row := self._rows[cloud][key]).visible_at and now >= row.began_at + delay
        ]
        if self._faults.standing(FaultKind.TIES):
            random.shuffle(rows)
            rows.sort(key=lambda row: row.second)
        return rows[::-1] if newest_first else rows

    def suffer(self, cloud: str) -> None:
        """Let happen what faults let happen while a client reads a log."""
        now = time.time()
        for fault in self._faults.strike(FaultKind.ARRIVAL):
            self.add(
                Operation(now - fault.seconds, "HpcClusterStartCluster", cloud) for _ in range(fault.rows)
            )
        for fault in self._faults.strike(FaultKind.CHANGE):
            for row in self.unfinished(cloud)[: fault.rows]:
                self.end(row, OperationStatus(fault.word or OperationStatus.SUCCESSFUL))

    def _take(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            rows, order = self._rows[operation.cloud], self._order[operation.cloud]
            if operation.id not in rows:
                order.append((operation.second, len(order), operation.id))
            rows[operation.id] = operation
        for order in self._order.values():
            order.sort()


def _nothing() -> None:
    pass

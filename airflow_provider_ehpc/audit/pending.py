"""Operations that had not ended when their window was read, and what became of them.

A window's manifest names them. The run of the next window reads each again and writes those that have
ended beside its own records; a reader of the files uses, of each (zone, uid), the record that changed
last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_ehpc.apis.call import Flow
from airflow_provider_ehpc.apis.operation import OperationRecord, OperationSource
from airflow_provider_ehpc.audit.window import Meter

CARRIED_FOR = timedelta(days=7)
"""After this, an operation that never ended is not read any more: each costs a request in every window."""


@dataclass(frozen=True, slots=True)
class PendingOperation:
    """What it takes to ask for an operation again."""

    uid: str
    operation_id: str
    time: datetime

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON-ready data; :meth:`from_dict` is the way back."""
        return {"uid": self.uid, "operation_id": self.operation_id, "time": self.time.isoformat()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PendingOperation:
        """Read what :meth:`as_dict` wrote."""
        return cls(data["uid"], data["operation_id"], datetime.fromisoformat(data["time"]))


@dataclass(frozen=True, slots=True)
class Completion:
    """What became of carried operations: those that have ended, those that have not, those given up."""

    ended: tuple[OperationRecord, ...] = ()
    pending: tuple[PendingOperation, ...] = ()
    lost: tuple[PendingOperation, ...] = ()
    """Unknown to the cloud by now, or older than :data:`CARRIED_FOR`."""
    requests: int = 0


def pending_of(records: Iterable[OperationRecord]) -> tuple[PendingOperation, ...]:
    """Return those of a window's operations that have not ended."""
    return tuple(
        PendingOperation(record.uid, record.operation_id, record.time)
        for record in records
        if not record.status.final
    )


def complete(
    source: OperationSource, carried: Iterable[PendingOperation], *, now: datetime
) -> Flow[Completion]:
    """Ask for each carried operation again.

    :param now: the time, aware.
    """
    meter = Meter()
    ended, pending, lost = [], [], []
    for operation in carried:
        record = yield from meter.count(source.find(operation.uid, operation.operation_id, operation.time))
        if record and record.status.final:
            ended.append(record)
        elif record and now - operation.time < CARRIED_FOR:
            pending.append(operation)
        else:
            lost.append(operation)
    return Completion(tuple(ended), tuple(pending), tuple(lost), meter.requests)

# SPDX-License-Identifier: Apache-2.0
"""Follow operations that had not ended when their window was read.

A window's manifest names them. The run of the next window reads each again and writes those that have ended
beside its own records. A reader of the files uses the record of each (zone, uid) that changed last.
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
"""An operation that has not ended by then is not read any more: each takes a request in every window."""


@dataclass(frozen=True, slots=True)
class PendingOperation:
    """The fields that are needed to read an operation again."""

    uid: str
    operation_id: str
    time: datetime

    def as_dict(self) -> dict[str, str]:
        """Return the operation as JSON-ready data; :meth:`from_dict` reads it."""
        return {"uid": self.uid, "operation_id": self.operation_id, "time": self.time.isoformat()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PendingOperation:
        """Read what :meth:`as_dict` wrote."""
        return cls(data["uid"], data["operation_id"], datetime.fromisoformat(data["time"]))


@dataclass(frozen=True, slots=True)
class Completion:
    """The outcome of carried operations: those that have ended, those that have not, and those given up."""

    ended: tuple[OperationRecord, ...] = ()
    pending: tuple[PendingOperation, ...] = ()
    lost: tuple[PendingOperation, ...] = ()
    """Operations that are now unknown to the cloud, or older than :data:`CARRIED_FOR`."""
    requests: int = 0


def pending_of(records: Iterable[OperationRecord]) -> tuple[PendingOperation, ...]:
    """Return the operations of a window that have not ended."""
    return tuple(
        PendingOperation(record.uid, record.operation_id, record.time)
        for record in records
        if not record.status.final
    )


def complete(
    source: OperationSource, carried: Iterable[PendingOperation], *, now: datetime
) -> Flow[Completion]:
    """Read each carried operation again.

    :param now: the current time, aware.
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

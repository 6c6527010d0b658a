# SPDX-License-Identifier: Apache-2.0
"""Log the operations on the clusters of all clouds, in order of time, and save them in the store.

The API of each cloud shows its own operations in its own form. An entry changes while its operation is in
progress, and may become visible some time after the operation began. Entries of one second have no order.
"""

from __future__ import annotations

import bisect
import dataclasses
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.operations import EmulatedOperation, EmulatedStatus
from airflow_provider_ehpc.emulator.store import Store


class OperationLog:
    """The operations of all clouds. Use it only in the thread of the event loop.

    :param new_ids: for each cloud that has an operation log, a function that draws an ID.
    """

    def __init__(self, store: Store, faults: Faults, new_ids: Mapping[str, Callable[[], str]]) -> None:
        self.advance: Callable[[], None] = _nothing
        """Updates operations that wait for jobs; called before the log is read."""
        self.clouds = tuple(new_ids)
        self._store = store
        self._faults = faults
        self._new_ids = new_ids
        self._rows: dict[str, dict[str, EmulatedOperation]] = {cloud: {} for cloud in new_ids}
        self._order: dict[str, list[tuple[int, int, str]]] = {cloud: [] for cloud in new_ids}
        self._take(store.operations())

    def add(self, operations: Iterable[EmulatedOperation]) -> list[EmulatedOperation]:
        """Save operations and return them, each with an ID.

        :raises ValueError: if a cloud has no operation log; then none is saved.
        """
        added = [self._with_id(operation) for operation in operations]
        self._store.save_operations(added)
        self._take(added)
        return added

    def change(self, operation: EmulatedOperation) -> EmulatedOperation:
        """Save a changed operation and return it."""
        self._store.save_operations([operation])
        self._rows[operation.cloud][operation.id] = operation
        return operation

    def end(
        self,
        operation: EmulatedOperation,
        status: EmulatedStatus,
        *,
        at: float | None = None,
        error: str = "",
        job_ids: Sequence[str] = (),
    ) -> EmulatedOperation:
        """Save the end of an operation and return it."""
        return self.change(
            dataclasses.replace(
                operation,
                status=status,
                changed_at=time.time() if at is None else at,
                error=error,
                job_ids=tuple(job_ids) or operation.job_ids,
            )
        )

    def unfinished(self, cloud: str) -> list[EmulatedOperation]:
        """Return the operations of a cloud that have not ended and do not end by themselves."""
        return [row for row in self._rows[cloud].values() if not row.status.ended and row.ends_at is None]

    def read(
        self,
        cloud: str,
        *,
        began_from: int | None = None,
        began_to: int | None = None,
        newest_first: bool = False,
    ) -> list[EmulatedOperation]:
        """Return the visible operations of a cloud that began between two seconds, both included.

        Entries of one second are in the order in which they were added, unless a fault shuffles them.
        """
        self.advance()
        order = self._order[cloud]
        low = 0 if began_from is None else bisect.bisect_left(order, (began_from, 0, ""))
        high = len(order) if began_to is None else bisect.bisect_left(order, (began_to + 1, 0, ""))
        now = time.time()
        delay = fault.seconds if (fault := self._faults.active(FaultKind.LATE_ROWS)) else 0.0
        rows = [
            row.seen_at(now)
            for _, _, key in order[low:high]
            if now >= (row := self._rows[cloud][key]).visible_at and now >= row.began_at + delay
        ]
        if self._faults.active(FaultKind.TIES):
            random.shuffle(rows)
            rows.sort(key=lambda row: row.second)
        return rows[::-1] if newest_first else rows

    def apply_faults(self, cloud: str) -> None:
        """Change the log of a cloud as faults demand while a client reads it."""
        now = time.time()
        for fault in self._faults.take_for_log(FaultKind.ARRIVAL):
            self.add(
                EmulatedOperation(now - fault.seconds, "HpcClusterStartCluster", cloud)
                for _ in range(fault.rows)
            )
        for fault in self._faults.take_for_log(FaultKind.CHANGE):
            for row in self.unfinished(cloud)[: fault.rows]:
                self.end(row, EmulatedStatus(fault.word or EmulatedStatus.SUCCESSFUL))

    def _with_id(self, operation: EmulatedOperation) -> EmulatedOperation:
        if operation.cloud not in self._new_ids:
            raise ValueError(
                f"cloud: {operation.cloud!r} has no operation log; choose {' or '.join(self.clouds)}"
            )
        if operation.id:
            return operation
        return dataclasses.replace(operation, id=self._new_ids[operation.cloud]())

    def _take(self, operations: Iterable[EmulatedOperation]) -> None:
        for operation in operations:
            rows, order = self._rows[operation.cloud], self._order[operation.cloud]
            if operation.id not in rows:
                order.append((operation.second, len(order), operation.id))
            rows[operation.id] = operation
        for order in self._order.values():
            order.sort()


def _nothing() -> None:
    pass

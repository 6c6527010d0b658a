# SPDX-License-Identifier: Apache-2.0
"""Operations that outlive their window."""

from __future__ import annotations

import random
from datetime import timedelta

from airflow_provider_ehpc.apis.operation import OperationStatus
from airflow_provider_ehpc.audit.pending import PendingOperation, complete, pending_of
from tests.audit.simulated import DAY, START, LogServer, LogSource, drive, operation


def test_only_what_has_not_ended_is_pending() -> None:
    """An unknown word may be one of an end or not: it is asked for again."""
    records = [
        operation(1, 0),
        operation(2, 1, status=OperationStatus.IN_PROGRESS),
        operation(3, 2, status=OperationStatus.FAILED),
        operation(4, 3, status=OperationStatus.UNKNOWN),
    ]
    assert [p.uid for p in pending_of(records)] == ["j-000002", "j-000004"]


def test_a_pending_operation_survives_being_written_down() -> None:
    (pending,) = pending_of([operation(2, 1, status=OperationStatus.IN_PROGRESS)])
    assert PendingOperation.from_dict(pending.as_dict()) == pending


def test_carried_operations_end_wait_on_or_are_given_up() -> None:
    """One that the cloud forgot, or that never ends, must not cost a request for ever."""
    eternal = operation(3, -8 * 86400, status=OperationStatus.IN_PROGRESS)
    server = LogServer(
        [operation(1, 0), operation(2, 0, status=OperationStatus.IN_PROGRESS), eternal], random.Random(0)
    )
    carried = [
        PendingOperation(f"j-{n:06}", f"j-{n:06}", START if n != 3 else eternal.time) for n in (1, 2, 3, 4)
    ]
    done = drive(complete(LogSource(server), carried, now=DAY.end + timedelta(minutes=5)))
    assert [record.uid for record in done.ended] == ["j-000001"]
    assert [pending.uid for pending in done.pending] == ["j-000002"]
    assert [pending.uid for pending in done.lost] == ["j-000003", "j-000004"]
    assert done.requests == 4

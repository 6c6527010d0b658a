# SPDX-License-Identifier: Apache-2.0
"""An operation log as these clouds keep theirs, at its worst, without HTTP.

Pages by offset over rows sorted by the second; rows of one second come in another order with every request;
bounds belong to the question or not; rows appear late and change while they are read.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_ehpc.apis.operation import (
    OperationPage,
    OperationRecord,
    OperationStatus,
    Window,
)
from tests.apis.driver import run_flow

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = Window(START, START + timedelta(days=1))


def operation(number: int, second: int, **changes: Any) -> OperationRecord:
    """Return an operation that began ``second`` seconds after :data:`START`."""
    time = START + timedelta(seconds=second)
    record = OperationRecord(
        cloud="qingcloud",
        zone="jinan1a",
        uid=f"j-{number:06}",
        operation_id=f"j-{number:06}",
        time=time,
        action="HpcQueueRemoveEhpcQueueNodes",
        status=OperationStatus.SUCCEEDED,
        raw_status="successful",
        operator="usr-GxkSGFDs",
        resources=("ehpc-czkekzfz", "cln-w1xufnk9"),
        changed_at=time + timedelta(seconds=7),
    )
    return replace(record, **changes) if changes else record


def drive(flow: Generator[Any, Any, Any]) -> Any:
    """Run a flow to its end, as a hook does."""
    return run_flow(flow, lambda call: call())


@dataclass
class LogServer:
    """The rows, and how badly they are served. Every request takes ``pace`` seconds."""

    rows: Iterable[OperationRecord]
    random: random.Random
    unstable: bool = True
    inclusive: tuple[bool, bool] = (True, False)
    pace: float = 0.5
    arrivals: list[tuple[float, OperationRecord]] = field(default_factory=list)
    """Rows that appear so many seconds after the first request."""
    changes: list[tuple[float, OperationRecord]] = field(default_factory=list)
    departures: list[tuple[float, OperationRecord]] = field(default_factory=list)
    """Rows that the cloud's retention takes away so many seconds after the first request."""
    page_size: int = 100
    clock: float = 0.0

    def __post_init__(self) -> None:
        self._rows = sorted(self.rows, key=lambda row: row.time)
        self._seconds = [_second(row) for row in self._rows]
        for events in (self.arrivals, self.changes, self.departures):
            events.sort(key=lambda event: -event[0])

    def visible(self, window: Window) -> dict[str, OperationRecord]:
        """What an all-knowing reader would find at this moment."""
        return {row.uid: row for row in self._rows if row.time in window}

    def page(self, start: int, end: int, number: int) -> OperationPage:
        self.clock += self.pace
        while self.arrivals and self.arrivals[-1][0] <= self.clock:
            row = self.arrivals.pop()[1]
            at = bisect.bisect_right(self._seconds, _second(row))
            self._rows.insert(at, row)
            self._seconds.insert(at, _second(row))
        while self.changes and self.changes[-1][0] <= self.clock:
            row = self.changes.pop()[1]
            self._rows[self._at(row)] = row
        while self.departures and self.departures[-1][0] <= self.clock:
            at = self._at(self.departures.pop()[1])
            del self._rows[at], self._seconds[at]
        first, last = self._span(
            start if self.inclusive[0] else start + 1, end + 1 if self.inclusive[1] else end
        )
        low = first + number * self.page_size
        high = min(low + self.page_size, last)
        return OperationPage(tuple(self._served(low, high)), last - first)

    def _at(self, row: OperationRecord) -> int:
        first, last = self._span(_second(row), _second(row) + 1)
        return next(at for at in range(first, last) if self._rows[at].uid == row.uid)

    def _span(self, begin: int, end: int) -> tuple[int, int]:
        return bisect.bisect_left(self._seconds, begin), bisect.bisect_left(self._seconds, end)

    def _served(self, low: int, high: int) -> Iterable[OperationRecord]:
        at = low
        while at < high:
            first, last = self._span(self._seconds[at], self._seconds[at] + 1)
            ties = self._rows[first:last]
            if self.unstable and len(ties) > 1:
                self.random.shuffle(ties)
            stop = min(last, high)
            yield from ties[at - first : stop - first]
            at = stop


class LogSource:
    """Asks a :class:`LogServer`."""

    scope = "qingcloud-jinan1a"

    def __init__(self, server: LogServer) -> None:
        self._server = server
        self.page_size = server.page_size

    def page(self, start: int, end: int, number: int) -> Generator[Any, Any, OperationPage]:
        page: OperationPage = yield lambda: self._server.page(start, end, number)
        return page

    def find(
        self, uid: str, operation_id: str, time: datetime
    ) -> Generator[Any, Any, OperationRecord | None]:
        window = Window(time, time + timedelta(seconds=1))
        row: OperationRecord | None = yield lambda: self._server.visible(window).get(uid)
        return row


def _second(row: OperationRecord) -> int:
    return int(row.time.timestamp())

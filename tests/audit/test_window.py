# SPDX-License-Identifier: Apache-2.0
"""Read a window: nothing lost, nothing doubled, or a failure; against a server that does its worst."""

from __future__ import annotations

import functools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument, ServiceUnavailable, UnexpectedResponse
from airflow_provider_ehpc.apis.operation import OperationPage, OperationRecord, OperationStatus, Window
from airflow_provider_ehpc.audit.window import AuditReading, Meter, WindowIncomplete, read_window
from tests.audit.simulated import DAY, START, LogServer, LogSource, drive, operation

NOW = DAY.end + timedelta(minutes=5)


def _read(server: LogServer, window: Window = DAY, **options: Any) -> AuditReading:
    reading = drive(read_window(LogSource(server), window, now=NOW, **options))
    assert isinstance(reading, AuditReading)
    return reading


@functools.cache
def _day(seed: int, count: int = 10_000, busy: int = 160) -> list[OperationRecord]:
    """A day of operations, 160 of them in one second, a few on and beyond both edges of the day."""
    chance = random.Random(seed)
    busy_second = chance.randrange(86400)
    seconds = [chance.randrange(-3600, 90000) for _ in range(count - busy - 6)] + [busy_second] * busy
    seconds += [-1, 0, 1, 86399, 86400, 86401]
    return [operation(number, second) for number, second in enumerate(seconds)]


@pytest.mark.parametrize("block", range(8))
def test_no_operation_is_lost_or_doubled(block: int) -> None:
    """200 readings of 10,000 operations: ties in ever new order, all kinds of bounds, rows that change."""
    rows = _day(block)
    for seed in range(block * 25, block * 25 + 25):
        chance = random.Random(seed)
        changes = [
            (chance.uniform(0, 90), replace(row, status=OperationStatus.FAILED, raw_status="failed"))
            for row in chance.sample(rows, 30)
        ]
        bounds = chance.choice([(a, b) for a in (True, False) for b in (True, False)])
        server = LogServer(rows, chance, inclusive=bounds, changes=changes)
        reading = _read(server)
        expected = server.visible(DAY)
        assert len(reading.records) == len(expected)
        assert {record.uid for record in reading.records} == expected.keys()
        assert [record.time for record in reading.records] == sorted(r.time for r in reading.records)
        assert reading.requests < 250


@pytest.mark.parametrize(("count", "busy", "seconds"), [(3000, 160, 25), (450, 0, 2.5), (450, 250, 10)])
def test_rows_that_come_and_go_while_the_window_is_read_are_noticed(
    count: int, busy: int, seconds: float
) -> None:
    """A settle time too short or a window at the end of retention must show, not cost operations."""
    for seed in range(60):
        rows = _day(seed % 4, count, busy)
        chance = random.Random(seed)
        events = (1, 3, 20)[seed // 2 % 3]
        times = [chance.uniform(0, seconds) for _ in range(events)]
        server = LogServer(rows, chance)
        # Each kind by itself: one row that comes while another goes leaves the total as it was.
        if seed % 2:
            late = [operation(90_000 + n, chance.randrange(86400)) for n in range(events)]
            server.arrivals = sorted(zip(times, late, strict=True), key=lambda event: -event[0])
        else:
            gone = chance.sample(rows, events)
            server.departures = sorted(zip(times, gone, strict=True), key=lambda event: -event[0])
        try:
            reading = _read(server)
        except WindowIncomplete:
            assert events > 1
            continue
        assert {record.uid for record in reading.records} == server.visible(DAY).keys()


def test_a_row_that_comes_behind_the_last_page_is_not_missed() -> None:
    """Two full pages look complete; only the total that the second one reports has grown."""
    rows = [operation(n, n) for n in range(200)]
    server = LogServer(rows, random.Random(0), arrivals=[(0.7, operation(200, 80_000))])
    assert len(_read(server).records) == 201


def test_rows_later_than_the_window_but_within_the_settle_time_are_found() -> None:
    """The reader refuses to read before they can all be there."""
    chance, rows = random.Random(0), _day(1, count=500)
    with pytest.raises(InvalidArgument, match="may still appear until 2026-03-02T00:05:00"):
        drive(read_window(LogSource(LogServer(rows, chance)), DAY, now=DAY.end + timedelta(minutes=4)))
    assert drive(
        read_window(
            LogSource(LogServer(rows, chance)), DAY, now=DAY.end + timedelta(minutes=4), settle=timedelta(0)
        )
    ).records


def test_windows_that_meet_share_no_operation_and_lose_none() -> None:
    """An hourly audit and a daily one must agree."""
    chance, rows = random.Random(0), _day(7, count=2000)
    hours = [Window(START + timedelta(hours=h), START + timedelta(hours=h + 1)) for h in range(24)]
    hourly = [record.uid for hour in hours for record in _read(LogServer(rows, chance), hour).records]
    assert sorted(hourly) == sorted(record.uid for record in _read(LogServer(rows, chance)).records)


def test_a_window_may_begin_and_end_within_a_second() -> None:
    """A manual run's data interval has microseconds."""
    chance = random.Random(0)
    rows = [operation(n, n) for n in range(10)]
    window = Window(START + timedelta(seconds=2.5), START + timedelta(seconds=5.5))
    assert [r.uid for r in _read(LogServer(rows, chance), window).records] == [
        "j-000003",
        "j-000004",
        "j-000005",
    ]


def test_the_record_that_changed_last_wins() -> None:
    """A repeated page must not put an operation back to pending."""
    chance = random.Random(3)
    rows = [
        operation(n, 100, status=OperationStatus.IN_PROGRESS, raw_status="pending", changed_at=None)
        for n in range(160)
    ]
    server = LogServer(rows, chance, changes=[(1.2, operation(5, 100))])
    record = next(record for record in _read(server).records if record.uid == "j-000005")
    assert record.status is OperationStatus.SUCCEEDED


def test_a_server_that_filters_by_another_time_is_found_out() -> None:
    """Silence would mean an audit of the wrong hours."""

    class Ignores(LogServer):
        def page(self, start: int, end: int, number: int) -> OperationPage:
            return super().page(start - 7200, end + 7200, number)

    chance, rows = random.Random(0), _day(2, count=300)
    with pytest.raises(UnexpectedResponse, match="no window can be read"):
        _read(Ignores(rows, chance))


@pytest.mark.parametrize("lie", [1, -1])
def test_a_total_that_is_never_right_is_a_failure_after_a_few_requests(lie: int) -> None:
    """A contradiction on one page cannot be halved away: no flood of requests, no file."""

    class Lies(LogServer):
        def page(self, start: int, end: int, number: int) -> OperationPage:
            page = super().page(start, end, number)
            return OperationPage(page.records, page.total + lie)

    with pytest.raises(WindowIncomplete, match=r"of the (49|51) operations"):
        _read(Lies([operation(n, n) for n in range(50)], random.Random(0)), request_limit=100)


def test_the_limit_of_requests_ends_a_reading() -> None:
    """An audit must not use up the quota that the account's sensors live on."""
    chance, rows = random.Random(0), _day(4)
    with pytest.raises(WindowIncomplete, match="incomplete after 40 requests"):
        _read(LogServer(rows, chance), request_limit=40)


def test_a_quiet_window_takes_one_request() -> None:
    chance = random.Random(0)
    assert _read(LogServer([], chance)) == AuditReading(DAY, (), 1)


def test_counting_passes_errors_on_to_the_flow() -> None:
    """A flow that handles NotFound must still get it."""

    def flow() -> Any:
        try:
            yield _fails
        except ServiceUnavailable:
            return "handled"

    def _fails() -> None:
        raise ServiceUnavailable("busy")

    meter = Meter()
    assert drive(meter.count(flow())) == "handled"
    assert meter.requests == 1


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("start", "end", "reported"),
    [
        ("2026-03-01T00:00:00", "2026-03-02T00:00:00+00:00", "start: .* has no time zone"),
        ("2026-03-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00", "CronDataIntervalTimetable"),
        ("2026-03-01T08:00:00+08:00", "2026-03-01T00:00:00+00:00", "empty"),
        ("2026-03-02T00:00:00+00:00", "2026-03-01T00:00:00+00:00", "ends before it begins"),
    ],
)
def test_a_window_that_is_none_is_refused_by_name(start: str, end: str, reported: str) -> None:
    """Airflow's cron schedules give empty intervals: an audit of nothing would look like a clean one."""
    with pytest.raises(InvalidArgument, match=reported):
        Window(_time(start), _time(end))


def test_a_window_in_the_future_or_without_end_is_refused() -> None:
    """A mistyped year must not be waited for, nor ten years be read."""
    with pytest.raises(InvalidArgument, match="in the future"):
        drive(read_window(LogSource(LogServer([], random.Random(0))), DAY, now=START))
    with pytest.raises(InvalidArgument, match="longer than 32 days"):
        Window(datetime(2016, 3, 1, tzinfo=UTC), DAY.end).check(NOW)

# SPDX-License-Identifier: Apache-2.0
"""Reading a list's pages while its rows move: a row that stays on the list must not be missed."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobState, JobStatus, in_zone
from airflow_provider_ehpc.apis.listing import (
    all_pages,
    earliest_submission,
    latest_submission,
    newest_pages,
    started_later,
    submitted_since,
)
from airflow_provider_ehpc.apis.schedulers.ids import whole_array_id

SIZE = 5
BEIJING = timezone(timedelta(hours=8))
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class List:
    """A list whose rows are changed by ``move`` before each page."""

    def __init__(self, rows: list[str], move: Callable[[list[str]], None] = lambda rows: None) -> None:
        self.rows = rows
        self.move = move
        self.has_total = True
        self.pages = 0

    def read_page(self, number: int) -> Generator[Any, Any, tuple[list[str], int | None]]:
        if self.pages:
            self.move(self.rows)
        self.pages += 1
        page = self.rows[(number - 1) * SIZE : number * SIZE]
        return page, len(self.rows) if self.has_total else None
        yield

    def read(self) -> list[str]:
        return list(result(all_pages(self.read_page, str, SIZE)))

    def read_newest(self, since: str) -> list[str]:
        return list(result(newest_pages(self.read_page, str, SIZE, lambda row: row >= since)))


def result(flow: Generator[Any, Any, Any]) -> Any:
    with pytest.raises(StopIteration) as end:
        next(flow)
    return end.value.value


def rows(count: int) -> list[str]:
    return [f"{number:04}" for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE, 3 * SIZE + 2])
@pytest.mark.parametrize("has_total", [True, False])
def test_a_list_that_does_not_change_is_read_once(count: int, has_total: bool) -> None:
    jobs = List(rows(count))
    jobs.has_total = has_total
    assert jobs.read() == rows(count)
    if has_total:
        assert jobs.pages == max(1, -(-count // SIZE))


@pytest.mark.parametrize("seed", range(30))
def test_rows_that_stay_on_the_list_are_found_while_others_leave_it(seed: int) -> None:
    """If a row leaves the list, the first row of the next page moves to a page that was already read."""
    chance = random.Random(seed)
    leaving = chance.sample(rows(23), 2)

    def move(now: list[str]) -> None:
        if leaving and chance.random() < 0.4:
            now.remove(leaving.pop())

    jobs = List(rows(23), move)
    found = jobs.read()
    assert set(jobs.rows) <= set(found)


def test_reading_a_list_that_always_changes_ends() -> None:
    """The next reading, which begins before the end of this one, finds the missing rows."""
    jobs = List(rows(40), lambda now: now.append(now.pop(0)))
    assert len(jobs.read()) > 30
    assert jobs.pages == 3 * 8


def test_the_newest_rows_are_read_back_to_the_given_time() -> None:
    jobs = List(rows(50)[::-1])
    assert jobs.read_newest("0038") == rows(50)[:34:-1]
    assert jobs.pages == 3


def test_new_rows_while_the_newest_are_read_hide_no_others() -> None:
    jobs = List(rows(50)[::-1], lambda now: now.insert(0, f"{len(now):04}"))
    assert set(rows(50)[38:]) <= set(jobs.read_newest("0038"))


def submitted(at: datetime | None) -> JobStatus:
    return JobStatus("1", JobState.RUNNING, "", submitted_at=at)


def test_a_time_without_a_zone_may_be_any_zones() -> None:
    """As UTC, a time in the Americas would seem older than it is, and its job would count as known."""
    moment = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert submitted_since(submitted(moment), moment)
    assert not submitted_since(submitted(moment - timedelta(seconds=1)), moment)
    naive = moment.replace(tzinfo=None)
    assert submitted_since(submitted(naive - timedelta(hours=12)), moment)
    assert not submitted_since(submitted(naive - timedelta(hours=12, seconds=1)), moment)
    assert submitted_since(submitted(None), moment)
    assert latest_submission(submitted(None)) is None


def test_a_guessed_zone_is_ignored() -> None:
    """Otherwise an event watcher would lose the jobs of a cluster with clocks in another zone."""
    naive = datetime(2026, 5, 1, 12)  # noqa: DTZ001
    local = in_zone(submitted(naive), BEIJING, assumed=True)
    assert latest_submission(local) == latest_submission(submitted(naive))
    assert earliest_submission(local) == earliest_submission(submitted(naive))
    known = in_zone(submitted(naive), BEIJING, assumed=False)
    assert latest_submission(known) == earliest_submission(known) == naive.replace(tzinfo=BEIJING).timestamp()


@pytest.mark.parametrize(
    ("before", "start", "later"),
    [
        (NOON, NOON + timedelta(seconds=2), True),
        (NOON, NOON + timedelta(seconds=1), False),
        (NOON, NOON - timedelta(hours=1), False),
        (NOON, NOON + timedelta(hours=8), True),
        # The same start from two operations, one of them with a wrongly guessed zone.
        (NOON, NOON.replace(tzinfo=BEIJING), False),
        (NOON.replace(tzinfo=BEIJING), NOON, False),
        (NOON.replace(tzinfo=BEIJING), NOON + timedelta(seconds=100), True),
        (NOON, None, False),
        (None, NOON, False),
        (NOON.replace(tzinfo=None), NOON + timedelta(hours=1), False),
    ],
)
def test_a_later_start(before: datetime | None, start: datetime | None, later: bool) -> None:
    assert started_later(JobStatus("1", JobState.RUNNING, "", started_at=start), before) is later


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("5[2].manager", "5[].manager"),
        ("5[].manager", "5[].manager"),
        ("12_3", "12"),
        ("12_[1-5]", "12"),
        ("12", "12"),
        ("1.manager", "1.manager"),
    ],
)
def test_the_parts_of_an_array_have_the_id_of_the_whole(part: str, whole: str) -> None:
    assert whole_array_id(part) == whole

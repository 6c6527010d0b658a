# SPDX-License-Identifier: Apache-2.0
"""Which ends a watcher is reported, over random lives of a cluster and in the corners by themselves."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun.states import scheduler_state
from airflow_provider_ehpc.apis.job import ClusterJob, JobState, JobStatus
from airflow_provider_ehpc.events import job_diff
from airflow_provider_ehpc.events.job_diff import (
    LIST_OVERLAP,
    ClusterSnapshot,
    Position,
    Wanted,
    after,
    jobs_to_poll,
    started,
)
from airflow_provider_ehpc.events.watch_loop import Watcher, WatchLoop, shared_watch_loop
from airflow_provider_ehpc.triggers.job_finished import JobFinishedTrigger
from airflow_provider_ehpc.waiting.watch import GONE_GRACE

ANY = Wanted()
NOW = 1_800_000_000.0


def job(
    job_id: str,
    state: JobState = JobState.SUCCEEDED,
    submitted: float | None = NOW,
    zone: timedelta | None = timedelta(0),
    **more: Any,
) -> JobStatus:
    at = None if submitted is None else datetime.fromtimestamp(submitted, UTC)
    if at is not None and zone is None:
        at = at.replace(tzinfo=None)
    elif at is not None and zone:
        at = (at + zone).replace(tzinfo=None)
    return JobStatus(job_id, state, state.value, submitted_at=at, **more)


def by_id(*jobs: JobStatus) -> dict[str, JobStatus]:
    return {status.job_id: status for status in jobs}


def running(job_id: str, **more: Any) -> JobStatus:
    return job(job_id, JobState.RUNNING, **more)


def begun(
    wanted: Wanted = ANY, *unfinished: JobStatus, ended: dict[str, JobStatus] | None = None
) -> Position:
    """The position after a first look."""
    ends = after(Position(), wanted, ClusterSnapshot(NOW, by_id(*unfinished), ended or {}))
    assert not ends.jobs
    return ends.position


def test_a_job_that_was_running_and_has_ended_is_reported_once() -> None:
    position = begun(ANY, running("1"))
    ends = after(position, ANY, ClusterSnapshot(NOW + 60, ended=by_id(job("1"))))
    assert list(ends.jobs) == ["1"]
    assert not after(ends.position, ANY, ClusterSnapshot(NOW + 120, ended=by_id(job("1")))).jobs


def test_what_ended_before_the_watch_began_is_not_reported() -> None:
    """A new watcher would else start a run for each job of the last quarter of an hour."""
    old = job("1", submitted=NOW - 10)
    position = begun(ended=by_id(old))
    assert not after(position, ANY, ClusterSnapshot(NOW + 60, ended=by_id(old))).jobs


def test_a_job_that_came_and_went_between_two_polls_is_reported() -> None:
    position = begun()
    ends = after(position, ANY, ClusterSnapshot(NOW + 60, ended=by_id(job("1", submitted=NOW + 30))))
    assert list(ends.jobs) == ["1"]


def test_a_row_that_is_shown_late_is_reported() -> None:
    """It was submitted and ended before the last look, which did not show it."""
    position = begun()
    ends = after(position, ANY, ClusterSnapshot(NOW + 600, ended=by_id(job("1", submitted=NOW - 200))))
    assert list(ends.jobs) == ["1"]


def test_a_job_that_was_lost_between_two_pages_is_still_followed() -> None:
    """It runs, but the list does not show it this once; asked for, it turns out to go on."""
    position = begun(ANY, running("1"))
    assert jobs_to_poll(position, ANY, {}) == {"1"}
    second = after(position, ANY, ClusterSnapshot(NOW + 60))
    assert not second.jobs
    assert list(after(second.position, ANY, ClusterSnapshot(NOW + 120, ended=by_id(job("1")))).jobs) == ["1"]


def test_a_clock_that_is_set_back_reports_nothing_again() -> None:
    position = begun(ANY, running("1"))
    ends = after(position, ANY, ClusterSnapshot(NOW + 3 * LIST_OVERLAP, ended=by_id(job("1"))))
    back = after(ends.position, ANY, ClusterSnapshot(NOW - LIST_OVERLAP, ended=by_id(job("1"))))
    assert list(ends.jobs) == ["1"]
    assert not back.jobs
    assert not after(back.position, ANY, ClusterSnapshot(NOW, ended=by_id(job("1")))).jobs


def test_a_list_that_lags_behind_does_not_end_a_job_twice() -> None:
    """The job was asked for and had ended; the list still shows it as running, then as ended."""
    position = begun(ANY, running("1"))
    first = after(position, ANY, ClusterSnapshot(NOW + 60, ended=by_id(job("1"))))
    second = after(first.position, ANY, ClusterSnapshot(NOW + 120, by_id(running("1"))))
    assert "1" not in second.position.open
    assert not after(second.position, ANY, ClusterSnapshot(NOW + 180, ended=by_id(job("1")))).jobs


def test_a_job_that_is_run_again_ends_again() -> None:
    position = begun(ANY, running("1"))
    first = after(position, ANY, ClusterSnapshot(NOW + 60, ended=by_id(job("1"))))
    later = NOW + 61 + LIST_OVERLAP
    quiet = after(first.position, ANY, ClusterSnapshot(later, ended=by_id(job("1"))))
    again = after(quiet.position, ANY, ClusterSnapshot(later + 60, by_id(running("1"))))
    assert list(after(again.position, ANY, ClusterSnapshot(later + 120, ended=by_id(job("1")))).jobs) == ["1"]


@pytest.mark.parametrize("hours", [-12, 0, 8, 14])
def test_a_cloud_that_does_not_report_its_zone_loses_and_repeats_nothing(hours: int) -> None:
    """QingCloud's and the older E-HPC's times have no zone; China's clocks are eight hours ahead."""
    zone = timedelta(hours=hours) or None
    position = begun(ended=by_id(job("old", submitted=NOW - 100, zone=zone)))
    reported = []
    for minute in range(1, 60 * 40, 7):
        rows = [job("old", submitted=NOW - 100, zone=zone), job("new", submitted=NOW + 30, zone=zone)]
        ends = after(position, ANY, ClusterSnapshot(NOW + minute * 60, ended=by_id(*rows)))
        reported += list(ends.jobs)
        position = ends.position
    assert reported == ["new"]
    assert not position.seen, "an id that is kept for ever"


def test_a_job_that_the_cloud_forgot_is_reported_as_unknown() -> None:
    position = begun(ANY, running("1"))
    lost = {"1": job("1", JobState.UNKNOWN)}
    assert list(after(position, ANY, ClusterSnapshot(NOW + 60, lost=lost)).jobs) == ["1"]
    assert not after(position, Wanted(states=(JobState.FAILED,)), ClusterSnapshot(NOW + 60, lost=lost)).jobs


def test_named_jobs_are_reported_also_where_they_have_ended_before() -> None:
    """Who names a job wants its end, whenever that was; and no other's."""
    wanted = Wanted(jobs=frozenset({"1", "2"}))
    position = started(Position(), wanted)
    assert jobs_to_poll(position, wanted, {}) == {"1", "2"}
    ends = after(position, wanted, ClusterSnapshot(NOW, ended=by_id(job("1", submitted=0.0), job("3"))))
    assert list(ends.jobs) == ["1"]
    assert ends.position.open == {"2"}
    kept = started(Position.read(json.loads(json.dumps(ends.position.as_dict()))), wanted)
    assert list(after(kept, wanted, ClusterSnapshot(NOW + 9999, ended=by_id(job("1"), job("2")))).jobs) == [
        "2"
    ]


@pytest.mark.parametrize(
    ("wanted", "reported"),
    [
        (Wanted(name="train-*"), ["a"]),
        (Wanted(name="Train-*"), []),
        (Wanted(queue="gpu"), ["a", "b"]),
        (Wanted(user="eve"), ["b"]),
        (Wanted(queue="gpu", user="ann"), ["a"]),
        (Wanted(states=(JobState.FAILED,)), ["b"]),
        (Wanted(states=(JobState.CANCELLED, JobState.SUCCEEDED)), ["a", "c"]),
    ],
)
def test_only_what_is_wanted_is_reported(wanted: Wanted, reported: list[str]) -> None:
    jobs = [
        job("a", name="train-1", queue="gpu", user="ann"),
        job("b", JobState.FAILED, name="other", queue="gpu", user="eve"),
        job("c", name="other", queue="cpu", user="ann"),
    ]
    unfinished = [dataclasses.replace(j, state=JobState.RUNNING, queue="cpu") for j in jobs]
    ends = after(begun(wanted, *unfinished), wanted, ClusterSnapshot(NOW + 60, ended=by_id(*jobs)))
    assert list(ends.jobs) == reported


def test_thousands_of_ends_come_in_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a weekend without a triggerer, one event with all of them would be many megabytes."""
    monkeypatch.setattr(job_diff, "MOST_AT_ONCE", 2)
    position = begun(ANY, *(running(str(n)) for n in range(5)))
    reported = []
    for turn in range(3):
        ends = after(
            position, ANY, ClusterSnapshot(NOW + 60 + turn, ended=by_id(*(job(str(n)) for n in range(5))))
        )
        assert len(ends.jobs) <= 2
        reported += list(ends.jobs)
        position = ends.position
    assert sorted(reported) == list("01234")


def test_only_news_are_asked_for() -> None:
    """Each question is a request."""
    wanted = Wanted(name="t*")
    position = begun(wanted, running("1", name="t1"), running("2", name="t2"))
    rows = {
        "2": ClusterJob(job("2", name="t2"), ended=True, whole=False),
        "3": ClusterJob(job("3", name="t3", submitted=NOW + 1), ended=True, whole=False),
        "4": ClusterJob(job("4", name="x", submitted=NOW + 1), ended=True, whole=False),
        "5": ClusterJob(job("5", name="t5", submitted=NOW + 1), ended=True),
        "6": ClusterJob(job("6", name="t6", submitted=NOW - 9999), ended=True, whole=False),
    }
    assert jobs_to_poll(position, wanted, rows) == {"1", "2", "3"}


def test_what_is_kept_holds_no_more_than_ids_and_times() -> None:
    position = begun(ANY, running("1", name="secret-name", user="ann"))
    assert json.dumps(position.as_dict()) == json.dumps({"since": NOW, "open": ["1"], "seen": {}, "sent": []})
    assert Position.read(position.as_dict()) == position


@pytest.mark.parametrize("reported", [7, {}, {"since": 1, "open": 2, "seen": {}, "sent": []}, {"since": "x"}])
def test_something_else_is_no_position(reported: object) -> None:
    with pytest.raises(ValueError, match=r"position|float"):
        Position.read(reported)


@pytest.mark.parametrize("seed", range(12))
def test_every_job_is_reported_exactly_once(seed: int) -> None:
    """Over jobs of any length, looks at any distance, lists that lag, and restarts that lose what was not
    kept: each end of a job after the first look is reported, and reported once a position.
    """
    chance = random.Random(seed)
    jobs = []
    for number in range(150):
        submitted = NOW + chance.uniform(-4000, 20_000)
        ended = submitted + chance.choice([1, 30, 600, 8000]) * chance.uniform(0.1, 1)
        # How long lists go on without the job, and show it as running after its end.
        jobs.append((str(number), submitted, ended, chance.uniform(0, 300), chance.uniform(0, 100)))
    now, position, reported = NOW, Position(), list[str]()
    kept, count_when_saved = position, 0
    while now < NOW + 40_000:
        unfinished, ended_rows = {}, {}
        for job_id, submitted, ended, late, lag in jobs:
            if submitted + late > now:
                continue
            state = JobState.RUNNING if now < ended + lag else JobState.SUCCEEDED
            status = job(job_id, state, submitted)
            if state is JobState.RUNNING:
                unfinished[job_id] = status
            elif position.since is None or submitted >= position.edge:
                ended_rows[job_id] = status
        rows = {j: ClusterJob(s, ended=False) for j, s in unfinished.items()}
        rows |= {j: ClusterJob(s, ended=True) for j, s in ended_rows.items()}
        for job_id in jobs_to_poll(position, ANY, rows):
            # A poll of the job shows its end before the list does.
            _, submitted, ended, _, _ = jobs[int(job_id)]
            if now >= ended:
                ended_rows[job_id] = job(job_id, submitted=submitted)
        ends = after(position, ANY, ClusterSnapshot(now, unfinished, ended_rows))
        reported += list(ends.jobs)
        position = ends.position
        if ends.jobs or kept.since is None:
            kept, count_when_saved = position, len(reported)
        if chance.random() < 0.05 and len(reported) == count_when_saved:
            position = Position.read(json.loads(json.dumps(kept.as_dict())))
            now += chance.uniform(0, 3000)
        now += chance.uniform(1, 120)
    due = [j for j, submitted, ended, late, _ in jobs if ended > NOW + 60 and submitted + late < NOW + 39_000]
    assert len(reported) == len(set(reported)), "reported twice"
    assert set(due) <= set(reported), "never reported"


def test_an_id_that_is_used_again_is_another_job() -> None:
    """The cloud counts from 1 again after a reinstallation."""
    position = begun(ANY, running("1"))
    first = after(position, ANY, ClusterSnapshot(NOW + 60, ended=by_id(job("1"))))
    assert list(first.jobs) == ["1"]
    second = running("1", submitted=NOW + 100)
    seen_running = after(first.position, ANY, ClusterSnapshot(NOW + 120, by_id(second)))
    assert "1" in seen_running.position.open
    ended = by_id(job("1", submitted=NOW + 100))
    assert list(after(seen_running.position, ANY, ClusterSnapshot(NOW + 180, ended=ended)).jobs) == ["1"]
    # Also if it came and went between two polls.
    quick = after(first.position, ANY, ClusterSnapshot(NOW + 120, ended=ended))
    assert list(quick.jobs) == ["1"]
    assert not after(quick.position, ANY, ClusterSnapshot(NOW + 180, ended=ended)).jobs


def test_a_job_that_vanished_is_polled_for_as_long_as_in_a_wait() -> None:
    shared = WatchLoop("c", "ehpc", "cluster-1", None, 60.0)
    assert not shared._is_lost("1", None, NOW)
    assert not shared._is_lost("1", None, NOW + GONE_GRACE - 1)
    assert not shared._is_lost("1", running("1"), NOW + GONE_GRACE)
    assert not shared._is_lost("1", None, NOW + GONE_GRACE + 10)
    assert shared._is_lost("1", None, NOW + 2 * GONE_GRACE + 10)


async def test_two_clusters_have_feeds_of_their_own() -> None:
    """Watchers of one that got the other's turns would report its jobs, or none."""
    one = shared_watch_loop("c", "ehpc", "cluster-1", None, 60.0)
    other = shared_watch_loop("c", "ehpc", "cluster-2", None, 60.0)
    assert one is not other
    assert shared_watch_loop("c", "ehpc", "cluster-1", None, 60.0) is one
    for arguments in [("d", "ehpc", "cluster-1", None, 60.0), ("c", None, "cluster-1", None, 60.0)]:
        assert shared_watch_loop(*arguments) is not one
    keys = {JobFinishedTrigger(cluster_id=cluster).shared_stream_key() for cluster in (None, "a", "b")}
    assert len(keys) == 3, "and so have they in Airflow's shared streams"


def test_lost_jobs_can_be_waited_for() -> None:
    assert JobFinishedTrigger(states=["unknown"]).states == ["UNKNOWN"]
    unknown = Wanted(states=(JobState.UNKNOWN,))
    position = begun(unknown, running("1"), running("2"))
    reading = ClusterSnapshot(NOW + 60, ended=by_id(job("2")), lost={"1": job("1", JobState.UNKNOWN)})
    assert list(after(position, unknown, reading).jobs) == ["1"]


class _Hook:
    """A cluster whose one job is in the states given, one a turn."""

    def __init__(self, *words: str, submitted: float | None = None) -> None:
        self.words = list(words)
        self.submitted = submitted

    async def acluster_jobs(self, since: datetime, cluster_id: str | None) -> dict[str, ClusterJob]:
        word = self.words.pop(0)
        status = job("1", scheduler_state(word), submitted=self.submitted or time.time())
        status = dataclasses.replace(status, raw_state=word)
        return {"1": ClusterJob(status, status.state.terminal)}

    async def ajob_statuses(self, refs: Any) -> dict[Any, Any]:
        return dict.fromkeys(refs)


async def test_an_end_is_confirmed_however_long_the_interval() -> None:
    """Its submission is too long ago then to be new."""
    feed = WatchLoop("c", "ehpc", "cluster-1", None, 7200.0)
    watcher = Watcher(ANY, None)  # type: ignore[arg-type]
    watcher.position = Position(since=time.time() - 7200)
    feed.join(watcher)
    hook = _Hook("NODE_FAIL", "NODE_FAIL", submitted=time.time() - 3600)
    reported = []
    for turn in range(2):
        reading = await feed._read(hook, [watcher], time.time() + 7200 * turn)  # type: ignore[arg-type]
        ends = after(watcher.position, watcher.wanted, reading)
        watcher.position = ends.position
        reported += [turn] * len(ends.jobs)
    assert reported == [1]


@pytest.mark.parametrize(
    ("words", "turn"),
    [
        (["Running", "NODE_FAIL", "Pending", "Running", "Completed"], 4),
        (["Running", "PREEMPTED", "PREEMPTED"], 2),
        (["Running", "Failed"], 1),
        (["NODE_FAIL", "Running", "Completed"], 2),
    ],
)
async def test_an_end_that_may_not_be_final_is_reported_when_it_is_confirmed(
    words: list[str], turn: int
) -> None:
    feed = WatchLoop("c", "ehpc", "cluster-1", None, 60.0)
    watcher = Watcher(ANY, None)  # type: ignore[arg-type]
    feed.join(watcher)
    hook = _Hook(*words)
    reported = []
    for number in range(len(words)):
        reading = await feed._read(hook, [watcher], time.time())  # type: ignore[arg-type]
        ends = after(watcher.position, watcher.wanted, reading)
        watcher.position = ends.position
        reported += [number] * len(ends.jobs)
    assert reported == [turn]

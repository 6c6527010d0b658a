"""Counting in the place of reading: what it saves, and that no end is missed whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from airflow_provider_ehpc.apis.call import (
    ApiError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.polling import poller
from airflow_provider_ehpc.polling.subscription import HEARTBEAT, Look
from tests.polling.cloud import Cloud, after, end_all, ended, ref, run, until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
INTERVAL = 5.0
wait = partial(until, interval=INTERVAL, ends_only=True)


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """A cloud of which a page tells of ten jobs and takes a twentieth of a second."""
    cloud.page, cloud.lasts = 10, 0.05
    return cloud


def submit(cloud: Cloud, count: int) -> None:
    cloud.submitted.update({ref(n): NOON + timedelta(seconds=n) for n in range(count)})


def is_in(number: int, state: JobState) -> Callable[[Look], bool]:
    def test(look: Look) -> bool:
        status = None if isinstance(look, ApiError) else look[ref(number)]
        return isinstance(status, JobStatus) and status.state is state

    return test


def reads(cloud: Cloud, since: float = 0.0) -> list[tuple[float, int]]:
    """When jobs were read, and how many."""
    return [(at - 1000, len(refs)) for at, refs in cloud.looks if at - 1000 >= since]


def test_while_nothing_ends_a_look_is_one_count(cloud: Cloud) -> None:
    cloud.page = 50
    submit(cloud, 1000)

    async def main() -> list[float]:
        waits = [wait(n, ended(n)) for n in range(1000)]
        return (await asyncio.gather(*waits, after(50, partial(end_all, cloud, 1000))))[:-1]

    over = run(main())
    assert all(50 <= at <= 50 + INTERVAL + 1 for at in over)
    # The first tells which jobs run; the second is covered by the count before it; the third sees the end.
    assert [count for _, count in reads(cloud)] == [1000, 1000, 1000]
    assert len(cloud.counts) >= 8


def test_a_job_that_ends_among_many_is_told_in_time(cloud: Cloud) -> None:
    submit(cloud, 300)

    async def main() -> list[float]:
        async def one(n: int) -> float:
            return await wait(n, ended(n)) - (20 + n)

        ends = [after(20 + n, partial(cloud.states.update, {ref(n): JobState.SUCCEEDED})) for n in range(300)]
        return (await asyncio.gather(*map(one, range(300)), *ends))[:300]

    assert all(0 <= late <= INTERVAL + 1 for late in run(main()))


def test_running_jobs_are_read_once_a_minute(cloud: Cloud) -> None:
    """A count says nothing of a job that is stopped for a while."""
    submit(cloud, 100)

    async def main() -> float:
        suspended = wait(7, is_in(7, JobState.SUSPENDED))
        others = asyncio.gather(*(wait(n) for n in range(100) if n != 7))
        stop = after(30, partial(cloud.states.update, {ref(7): JobState.SUSPENDED}))
        at, _ = await asyncio.gather(suspended, stop)
        others.cancel()
        await asyncio.gather(others, return_exceptions=True)
        return at

    assert 30 < run(main()) <= 30 + HEARTBEAT + INTERVAL


@pytest.mark.parametrize("ends_only", [True, False])
def test_what_is_waited_for_besides_an_end_is_read(cloud: Cloud, ends_only: bool) -> None:
    """One who waits for a job to be suspended, and one whose job is still in its queue."""
    submit(cloud, 100)
    before, then = (
        (JobState.QUEUED, JobState.RUNNING) if ends_only else (JobState.RUNNING, JobState.SUSPENDED)
    )
    cloud.states[ref(7)] = before

    async def main() -> float:
        changed = until(7, is_in(7, then), interval=INTERVAL, ends_only=ends_only)
        others = asyncio.gather(*(wait(n) for n in range(100) if n != 7))
        at, _ = await asyncio.gather(changed, after(40, partial(cloud.states.update, {ref(7): then})))
        others.cancel()
        await asyncio.gather(others, return_exceptions=True)
        return at

    assert 40 < run(main()) <= 40 + INTERVAL + 1
    assert [count for at, count in reads(cloud, 15)] == [1] * len(reads(cloud, 15)), "the others were read"
    assert cloud.counts


def test_a_newcomer_is_read_and_the_others_are_not(cloud: Cloud) -> None:
    """A window that grows needs the jobs in it read only where they are new."""
    submit(cloud, 103)

    async def main() -> list[float]:
        async def late(n: int) -> float:
            await asyncio.sleep(25)
            return await wait(n, ended(n))

        waits = [wait(n, ended(n)) for n in range(100)] + [late(n) for n in range(100, 103)]
        return (await asyncio.gather(*waits, after(58, partial(end_all, cloud, 103))))[:-1]

    over = run(main())
    assert all(58 <= at <= 58 + INTERVAL + 1 for at in over)
    assert [count for _, count in reads(cloud)] == [100, 100, 3, 3, 103]


def test_a_last_look_is_a_reading(cloud: Cloud) -> None:
    submit(cloud, 100)

    async def main() -> None:
        timed_out: list[Look] = []
        patient = asyncio.gather(*(wait(n) for n in range(100)))
        at = await wait(100, lambda look: len(timed_out) > 1, last=33.0, seen=timed_out)
        assert 33.0 <= at < 34.0
        patient.cancel()
        await asyncio.gather(patient, return_exceptions=True)

    submit(cloud, 101)
    run(main())


def test_a_count_that_stays_when_jobs_end_is_believed_once(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """Their end is told by the reading, which comes once a minute; from there on all are read."""
    submit(cloud, 100)
    cloud.counted = lambda count: 100

    async def main() -> tuple[float, float]:
        others = asyncio.gather(*(wait(n) for n in range(2, 100)))
        first, second, *_ = await asyncio.gather(
            wait(0, ended(0)),
            wait(1, ended(1)),
            after(20, partial(cloud.states.update, {ref(0): JobState.FAILED})),
            after(100, partial(cloud.states.update, {ref(1): JobState.FAILED})),
        )
        others.cancel()
        await asyncio.gather(others, return_exceptions=True)
        return first, second

    with caplog.at_level(logging.WARNING, logger="airflow_provider_ehpc"):
        first, second = run(main())
    assert first <= 20 + HEARTBEAT + INTERVAL
    assert second <= 100 + INTERVAL + 1
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "ehpc-hz-1" in warning
    assert "is 100 where jobs that have ended leave 99 at most" in warning


def test_a_count_of_fewer_than_there_are_is_not_believed(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit that means another time than was thought, or a total that is the page's."""
    submit(cloud, 100)
    cloud.counted = lambda count: 1

    async def main() -> list[float]:
        waits = [wait(n, ended(n)) for n in range(100)]
        return (await asyncio.gather(*waits, after(40, partial(end_all, cloud, 100))))[:-1]

    with caplog.at_level(logging.WARNING, logger="airflow_provider_ehpc"):
        assert max(run(main())) <= 40 + INTERVAL + 1
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "is 1 where 100 are known to run" in warning
    assert len(cloud.counts) == 2


@pytest.mark.parametrize("kind", [PermissionDenied, InvalidRequest, NotFound, UnexpectedResponse, None])
def test_where_jobs_cannot_be_counted_they_are_read(cloud: Cloud, kind: type[ApiError] | None) -> None:
    submit(cloud, 100)

    def refuse(count: int) -> int | None:
        if kind is None:
            return None
        raise kind("no")

    cloud.counted = refuse

    async def main() -> list[float]:
        waits = [wait(n, ended(n)) for n in range(100)]
        return (await asyncio.gather(*waits, after(40, partial(end_all, cloud, 100))))[:-1]

    assert max(run(main())) <= 40 + INTERVAL + 1
    assert len(cloud.counts) == 1
    assert len(reads(cloud)) >= 7


def test_an_api_that_does_not_count_is_not_asked_twice(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        waits = [wait(n, ended(n)) for n in range(100)]
        await asyncio.gather(*waits, after(40, partial(end_all, cloud, 100)))

    run(main())
    assert not cloud.counts
    assert not caplog.records


def test_a_passing_error_is_told_and_a_reading_follows(cloud: Cloud) -> None:
    """Who was told of an outage is told of its end at the next look."""
    submit(cloud, 100)
    cloud.counted = lambda count: count if not down() else unavailable()

    def down() -> bool:
        return 30 <= asyncio.get_running_loop().time() - 1000 <= 37

    def unavailable() -> int:
        raise ServiceUnavailable("down")

    looks: list[tuple[float, Look]] = []

    async def main() -> None:
        class Seen(list[Look]):
            def append(self, look: Look) -> None:
                looks.append((asyncio.get_running_loop().time() - 1000, look))

        waits = [wait(n, ended(n)) for n in range(1, 100)]
        mine = wait(0, ended(0), seen=Seen())
        await asyncio.gather(mine, *waits, after(55, partial(end_all, cloud, 100)))

    run(main())
    errors = [at for at, look in looks if isinstance(look, ApiError)]
    assert errors
    assert all(30 <= at <= 38 for at in errors)
    again = min(at for at, look in looks if at > errors[-1])
    assert again <= errors[-1] + INTERVAL + 1


def test_where_something_ends_at_every_look_counts_are_rare(cloud: Cloud) -> None:
    submit(cloud, 400)

    async def main() -> None:
        ends = [after(10 + n, partial(cloud.states.update, {ref(n): JobState.SUCCEEDED})) for n in range(400)]
        await asyncio.gather(*(wait(n, ended(n)) for n in range(400)), *ends)

    run(main())
    assert len(cloud.counts) < len(reads(cloud)) / 3


def test_jobs_that_are_looked_at_once_a_minute_are_read(cloud: Cloud) -> None:
    """A count would be one request more at each look."""
    submit(cloud, 100)

    async def main() -> None:
        waits = [wait(n, ended(n), interval=60.0) for n in range(100)]
        await asyncio.gather(*waits, after(500, partial(end_all, cloud, 100)))

    run(main())
    assert not cloud.counts


def test_what_is_read_anyway_is_not_counted(cloud: Cloud) -> None:
    """Once a minute all are read; a count beside that would tell nothing."""
    submit(cloud, 100)

    async def main() -> None:
        waits = [wait(n, ended(n)) for n in range(100)]
        await asyncio.gather(*waits, after(150, partial(end_all, cloud, 100)))

    run(main())
    readings = [at for at, _ in reads(cloud, 20)]
    assert len(readings) == 3
    assert not [at for at in cloud.counts for read in readings[:2] if read - 1 < at < read + 1]


def test_a_window_narrows_when_the_first_has_ended(cloud: Cloud) -> None:
    """Jobs of others in a part of it in which none of ours is left would make every count differ."""
    submit(cloud, 100)
    cloud.submitted[ref(0)] = NOON - timedelta(hours=1)
    strangers = [ref(f"other{n}") for n in range(30)]
    cloud.submitted.update(dict.fromkeys(strangers, NOON - timedelta(minutes=30)))

    async def main() -> None:
        theirs = (
            after(40 + n, partial(cloud.states.update, {job: JobState.SUCCEEDED}))
            for n, job in enumerate(strangers)
        )
        first = after(20, partial(cloud.states.update, {ref(0): JobState.SUCCEEDED}))
        end = after(80, partial(end_all, cloud, 100))
        await asyncio.gather(*(wait(n, ended(n)) for n in range(100)), *theirs, first, end)

    run(main())
    assert len([at for at, _ in reads(cloud, 40) if at < 75]) <= 1


def test_a_few_are_read(cloud: Cloud) -> None:
    """Two pages cost as much as the two counts of a window that changes."""
    submit(cloud, 20)

    async def main() -> None:
        await asyncio.gather(*(wait(n, ended(n)) for n in range(20)), after(40, partial(end_all, cloud, 20)))

    run(main())
    assert not cloud.counts


def test_those_who_leave_are_forgotten(cloud: Cloud) -> None:
    submit(cloud, 100)

    async def main() -> None:
        left = asyncio.gather(*(wait(n, ended(n)) for n in range(1, 100)))
        stays = asyncio.create_task(wait(0, ended(0)))
        await asyncio.sleep(20)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        (kept,) = poller._pollers.values()
        assert len(kept._headcount._running) == len(kept._headcount._covered) == 1
        end_all(cloud, 1)
        await stays

    run(main())


@pytest.mark.parametrize("phase", range(10))
def test_an_end_that_takes_long_to_find_is_not_late(cloud: Cloud, phase: int) -> None:
    """Reading all of them takes two seconds, and four where all have ended; so counts come sooner by that."""
    cloud.lasts = 0.2
    submit(cloud, 100)

    def end_slowly() -> None:
        end_all(cloud, 100)
        cloud.lasts = 0.4

    async def main() -> list[float]:
        end = after(40 + phase / 2, end_slowly)
        return (await asyncio.gather(*(wait(n, ended(n)) for n in range(100)), end))[:-1]

    assert max(run(main())) <= 40 + phase / 2 + INTERVAL + 1
    assert cloud.counts


def test_a_second_that_is_not_over_is_not_counted(cloud: Cloud) -> None:
    """A job that is submitted in it makes up for one that ends."""
    cloud.submitted.update({ref(n): NOON + timedelta(seconds=7) for n in range(100)})

    async def main() -> float:
        others = asyncio.gather(*(wait(n, interval=1.0) for n in range(1, 100)))
        at, _ = await asyncio.gather(wait(0, ended(0), interval=1.0), after(8.6, swap))
        others.cancel()
        await asyncio.gather(others, return_exceptions=True)
        return at

    def swap() -> None:
        cloud.states[ref(0)] = JobState.SUCCEEDED
        cloud.submitted[ref("other")] = NOON + timedelta(seconds=8)

    assert run(main()) <= 8.6 + 2


def test_what_one_is_told_of_a_job_goes_for_all_who_wait_for_it(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends after a count and is read for one of two: the next count is less, and by this job alone."""
    submit(cloud, 100)
    ends: list[float] = []

    def end(refs: list[JobRef]) -> None:
        now = asyncio.get_running_loop().time() - 1000
        if now > 60 and ref(99) in refs and not ends:
            cloud.states[ref(99)] = JobState.SUCCEEDED
            ends.append(now)

    cloud.error = end

    async def main() -> float:
        others = asyncio.gather(*(wait(n) for n in range(99)))
        first = asyncio.create_task(wait(99, ended(99)))
        await asyncio.sleep(30)
        second = await wait(99, ended(99))
        assert await first < second
        await asyncio.sleep(20)
        others.cancel()
        await asyncio.gather(others, return_exceptions=True)
        return second

    with caplog.at_level(logging.WARNING, logger="airflow_provider_ehpc"):
        second = run(main())
    assert second <= ends[0] + INTERVAL + 1
    assert not caplog.records
    assert [count for at, count in reads(cloud, ends[0])] == [1]
    assert cloud.counts[-1] > second + 10


@pytest.mark.parametrize("seed", range(60))
def test_no_end_is_missed_whatever_happens_meanwhile(
    cloud: Cloud, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs come, start, end and are let go at any moment, ours and others' of the same cluster, for some of
    them two wait, and each request takes its time. No count that is right is taken for wrong.
    """
    dice = random.Random(seed)
    cloud.page, cloud.lasts = 5, dice.choice([0.05, 0.2])
    busy = dice.choice([1.0, 0.1])
    """A quiet cluster is one where counts are often what they were."""
    ends: dict[JobRef, float] = {}
    late: list[float] = []

    def now() -> float:
        return asyncio.get_running_loop().time() - 1000

    async def life(job: JobRef) -> None:
        await asyncio.sleep(dice.uniform(0, 60) * dice.choice([0, 0, 1]))
        cloud.submitted[job] = NOON + timedelta(seconds=int(now()))
        if dice.random() < 0.2:
            cloud.states[job] = JobState.QUEUED
            await asyncio.sleep(dice.uniform(0, 40))
            cloud.states.pop(job)
        await asyncio.sleep(dice.uniform(5, 60) if dice.random() < busy else 150)
        cloud.states[job] = dice.choice([JobState.SUCCEEDED, JobState.FAILED])
        ends[job] = now()

    async def watched(number: int) -> None:
        job = ref(number)
        living = asyncio.create_task(life(job))
        while job not in cloud.submitted:
            await asyncio.sleep(0.5)
        await asyncio.gather(*(waits(number) for _ in range(dice.choice([1, 1, 1, 2]))))
        await living

    async def waits(number: int) -> None:
        await asyncio.sleep(dice.choice([0.0, 0.0, 20.0]))
        patience = dice.uniform(20, 60) if dice.random() < 0.1 else None
        began = now()
        try:
            async with asyncio.timeout(patience):
                at = await wait(number, ended(number), earliest=0.0, first=dice.uniform(0, 5))
        except TimeoutError:
            pass
        else:
            late.append(at - max(ends[ref(number)], began))

    async def main() -> None:
        await asyncio.gather(*map(watched, range(60)), *(life(ref(f"other{n}")) for n in range(40)))

    with caplog.at_level(logging.WARNING, logger="airflow_provider_ehpc"):
        run(main())
    assert not caplog.records
    assert len(late) >= 40
    # A first look may wait half an interval for others'; the rest is what reading sixty jobs takes.
    assert max(late) <= INTERVAL * 1.5 + 1 + 2 * 12 * cloud.lasts

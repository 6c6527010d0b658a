# SPDX-License-Identifier: Apache-2.0
"""One look for all who wait: by a clock that costs no time, and with triggers on the emulator over HTTP."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import (
    ApiError,
    AuthenticationFailed,
    InvalidArgument,
    InvalidRequest,
    NotReached,
    ServiceUnavailable,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.compat import AirflowNotFoundException
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import pool
from airflow_provider_ehpc.polling import poller
from airflow_provider_ehpc.polling.poller import subscribed
from airflow_provider_ehpc.polling.subscription import PollResult
from airflow_provider_ehpc.triggers.job_state import JobStateTrigger
from airflow_provider_ehpc.waiting import watch
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import Outcome
from tests.conftest import Connect
from tests.polling.cloud import CLUSTER, Cloud, Hook, Loop, after, end_all, ended, ref, run, until

# Turns


def test_a_thousand_waiting_jobs_cost_one_list_per_cycle(cloud: Cloud) -> None:
    """Each by itself, they would ask two hundred times a second."""

    async def main() -> list[float]:
        waits = [until(n, ended(n), first=5 + n % 50 / 10) for n in range(1000)]
        over = await asyncio.gather(*waits, after(30, partial(end_all, cloud, 1000)))
        return over[:-1]

    over = run(main())
    assert len(cloud.looks) <= 7
    assert all(30 <= at <= 35 for at in over)


def test_jobs_that_come_one_by_one_fall_into_step(cloud: Cloud) -> None:
    """A thousand deferrals take the triggerer 13 s; one look each for ever would be none saved."""

    async def late(n: int) -> float:
        await asyncio.sleep(n / 10)
        return await until(n, ended(n), first=5 + n % 5)

    async def main() -> None:
        await asyncio.gather(*(late(n) for n in range(100)), after(60, partial(end_all, cloud, 100)))

    run(main())
    assert len([at for at in cloud.times if 30 <= at < 60]) <= 7


def test_first_poll_wait_for_those_that_come(cloud: Cloud) -> None:
    """A turn for the first of a thousand would cost as many pages as one for all."""

    async def late(n: int) -> float:
        await asyncio.sleep(n / 50)
        return await until(n, ended(n), first=5.0)

    async def main() -> None:
        await asyncio.gather(*(late(n) for n in range(100)), after(10, partial(end_all, cloud, 100)))

    run(main())
    assert cloud.times[0] == pytest.approx(5 + 99 / 50)
    assert len(cloud.looks[0][1]) == 100


def test_first_poll_do_not_wait_beyond_a_deadline_nor_for_long(cloud: Cloud) -> None:
    async def late() -> None:
        for n in range(100):
            waits.append(asyncio.create_task(until(n + 2, ended(n + 2), first=5.0)))
            await asyncio.sleep(0.1)

    waits: list[asyncio.Task[float]] = []

    async def main() -> None:
        deadline = until(0, lambda look: True, first=5.0, last=6.0)
        patient = until(1, lambda look: True, first=5.0)
        at, other, *_ = await asyncio.gather(
            deadline, patient, late(), after(12, partial(end_all, cloud, 200))
        )
        assert at == 1000 + 6.0 - 1000
        assert other <= 7.5
        await asyncio.gather(*waits)

    run(main())


def test_the_first_poll_is_not_before_its_time(cloud: Cloud) -> None:
    """The worker has just looked at the job; others of its cluster may be due."""

    async def main() -> float:
        first = asyncio.create_task(until(1, ended(1)))
        await asyncio.sleep(11.5)
        cloud.states[ref(2)] = JobState.SUCCEEDED
        reported = await until(2, ended(2), first=6.0)
        first.cancel()
        return reported

    assert run(main()) >= 16.5
    assert all(
        at >= 16.5
        for (at, refs) in zip(cloud.times, [r for _, r in cloud.looks], strict=True)
        if ref(2) in refs
    )


def test_each_job_has_its_own_interval(cloud: Cloud) -> None:
    """An hour-long job looked at every minute is not looked at every second for its neighbour's sake."""

    async def main() -> None:
        await asyncio.gather(
            until(1, ended(1), interval=2.0),
            until(2, ended(2), interval=60.0),
            after(300, partial(end_all, cloud, 3)),
        )

    run(main())
    asked = Counter(ref.job_id for _, refs in cloud.looks for ref in refs)
    assert 140 <= asked["1"] <= 155
    assert 5 <= asked["2"] <= 12


def test_a_slow_cloud_is_not_asked_twice_at_once(cloud: Cloud) -> None:
    cloud.lasts = 12.0

    async def main() -> None:
        await asyncio.gather(until(1, ended(1)), after(60, partial(end_all, cloud, 2)))

    run(main())
    assert all(later - earlier >= 12 for earlier, later in zip(cloud.times, cloud.times[1:], strict=False))


def test_who_has_its_answer_does_not_wait_for_the_others(cloud: Cloud) -> None:
    """Two hundred pages take seconds."""
    cloud.page, cloud.lasts = 50, 0.1

    async def main() -> list[float]:
        waits = [until(n, ended(n), first=5.0) for n in range(1000)]
        return (await asyncio.gather(*waits, after(29, partial(end_all, cloud, 1000))))[:-1]

    assert len(set(run(main()))) == 20, "each page is reported when it is there"


@pytest.mark.parametrize("phase", [n / 2 + 0.15 for n in range(10)])
def test_the_last_answer_of_a_cycle_is_not_late(cloud: Cloud, phase: float) -> None:
    """The job that is reported first while it runs is reported last when it has ended, because unfinished
    jobs are requested first. It is still reported within an interval."""
    cloud.page, cloud.lasts = 50, 0.1

    async def main() -> float:
        one = after(30 + phase, partial(end_all, cloud, 1))
        waits = [until(n, ended(n), first=5.0) for n in range(1000)]
        return (await asyncio.gather(*waits, one, after(60, partial(end_all, cloud, 1000))))[0]

    assert run(main()) - (30 + phase) <= 5.2


def test_what_was_reported_before_an_error_stands(cloud: Cloud) -> None:
    """The others are reported of the error, and looked for as before."""
    cloud.page = 10
    cloud.error = lambda refs: InvalidRequest("no such id") if ref("bad") in refs else None
    end_all(cloud, 25)

    async def main() -> list[float | BaseException]:
        waits = [until(n, ended(n)) for n in range(25)]
        return await asyncio.gather(*waits, until("bad"), return_exceptions=True)

    assert not [reported for reported in run(main()) if isinstance(reported, BaseException)]
    assert Counter(ref.job_id for _, refs in cloud.looks for ref in refs)["0"] == 1


def test_who_waits_for_many_is_reported_of_all_at_once(cloud: Cloud) -> None:
    """One line for each page would fill the log of a task that waits for a thousand jobs."""
    cloud.page, cloud.lasts = 50, 0.1
    looks: list[int] = []

    async def main() -> None:
        async with subscribed("c", "ehpc", [ref(n) for n in range(500)], interval=5.0) as subscription:
            while len(looks) < 2:
                reported = await subscription.poll()
                assert not isinstance(reported, ApiError)
                looks.append(len(reported))
                end_all(cloud, 500)

    run(main())
    assert looks == [500, 500]


def test_a_last_look_is_taken_at_the_deadline(cloud: Cloud) -> None:
    """The job may have ended just before it."""

    async def main() -> float:
        _, over = await asyncio.gather(
            after(99, partial(end_all, cloud, 2)), until(1, ended(1), interval=60.0, last=100.0)
        )
        return over

    assert run(main()) == pytest.approx(100, abs=0.5)


def test_the_same_job_is_asked_for_once(cloud: Cloud) -> None:
    async def main() -> None:
        await asyncio.gather(*(until(1, ended(1)) for _ in range(5)), after(20, partial(end_all, cloud, 2)))

    run(main())
    assert all(refs == [ref(1)] for _, refs in cloud.looks)


def test_jobs_that_are_there_are_not_asked_for_again(cloud: Cloud) -> None:
    async def main() -> None:
        async with subscribed("c", "ehpc", [ref(1), ref(2)], interval=5.0) as subscription:
            await subscription.poll()
            subscription.refs = [ref(2)]
            await subscription.poll()

    run(main())
    assert [len(refs) for _, refs in cloud.looks] == [2, 1]


def test_who_has_seen_the_end_asks_no_more(cloud: Cloud) -> None:
    """Reading the end of its log takes a trigger a while yet."""

    async def main() -> None:
        end_all(cloud, 3)
        async with subscribed("c", "ehpc", [ref(1)], interval=5.0) as subscription:
            await subscription.poll()
            subscription.refs = []
            await asyncio.sleep(60)
            await until(2, ended(2))

    run(main())
    assert [refs for _, refs in cloud.looks] == [[ref(1)], [ref(2)]]
    assert cloud.opened == 1, "the poller went on meanwhile"


# Life


def test_every_cluster_has_its_own(cloud: Cloud) -> None:
    """One that is slow or gone must not hold up another."""

    async def main() -> None:
        cloud.error = lambda refs: ServiceUnavailable("x") if refs[0].cluster_id == "bad" else None
        end_all(cloud, 2)
        bad: list[PollResult] = []
        await asyncio.gather(until(1, cluster="bad", seen=bad), until(1, ended(1)))
        assert isinstance(bad[-1], ServiceUnavailable)

    run(main())
    assert [{ref.cluster_id for ref in refs} for _, refs in cloud.looks] == [{"bad"}, {CLUSTER}]
    assert cloud.opened == 1, "but all share the account's hook"


def test_it_ends_with_its_last_subscriber_and_begins_anew(cloud: Cloud) -> None:
    async def main() -> None:
        end_all(cloud, 2)
        await until(1, ended(1))
        looks = len(cloud.looks)
        assert not poller._pollers
        await asyncio.sleep(100)
        assert len(cloud.looks) == looks
        await until(1, ended(1))

    run(main())
    assert cloud.opened == 2


def test_who_comes_while_the_last_one_leaves_gets_a_new_one(cloud: Cloud) -> None:
    """Subscribed to one that is ending, it would wait for ever."""

    async def main() -> None:
        end_all(cloud, 3)
        leaving = asyncio.create_task(until(1, ended(1), earliest=0.0, first=0.0))
        while poller._pollers or not cloud.looks:
            await asyncio.sleep(0)
        assert not leaving.done()
        await until(2, ended(2))
        await leaving

    run(main())


def test_an_ending_poller_takes_nobody(cloud: Cloud) -> None:
    """Until its task has closed the session, a new subscriber would join it and wait for ever."""

    async def main() -> None:
        end_all(cloud, 3)
        wait = subscribed("c", "ehpc", [ref(1)], interval=5.0)
        await wait.__aenter__()
        leaving = asyncio.create_task(wait.__aexit__(None, None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert not leaving.done()
        assert not poller._pollers
        async with asyncio.timeout(30):
            await until(2, ended(2))
        await leaving

    run(main())


def test_every_loop_has_its_own(cloud: Cloud) -> None:
    """``dag.test()`` runs every deferral in a loop of its own."""
    end_all(cloud, 2)
    for _ in range(3):
        run(until(1, ended(1)))
    assert cloud.opened == 3


def test_a_loop_that_was_closed_in_the_middle_leaves_nothing_behind(cloud: Cloud) -> None:
    """Its tasks were never cancelled, so nobody took their leave."""
    closed = Loop()
    closed.close()
    poller._pollers[closed, "c", "ehpc", frozenset({CLUSTER})] = None  # type: ignore[assignment]
    end_all(cloud, 2)
    run(until(1, ended(1)))
    assert not poller._pollers


def test_its_log_is_nobodys_task_log(cloud: Cloud) -> None:
    """It runs for all; in the context of the trigger that came first, it would write into that one's log."""
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose")

    async def main() -> None:
        whose.set("the first trigger")
        end_all(cloud, 2)
        await until(1, ended(1))

    run(main())
    assert all(whose not in context for context in cloud.contexts)


def test_a_cancelled_subscriber_leaves_the_others(cloud: Cloud) -> None:
    async def main() -> float:
        leaving = asyncio.create_task(until(1, ended(1)))
        staying = asyncio.create_task(until(2, ended(2)))
        await asyncio.sleep(12)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        end_all(cloud, 3)
        return await staying

    assert run(main()) < 20
    assert ref(1) not in cloud.looks[-1][1]


def test_a_poller_that_breaks_reports_its_subscribers(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise they would wait for ever."""
    monkeypatch.setattr(poller.random, "uniform", lambda low, high: 1 / 0)

    async def main() -> None:
        async with subscribed("c", "ehpc", [ref(1)], interval=5.0) as subscription:
            with pytest.raises(RuntimeError, match="has ended"):
                await subscription.poll()
            # Who comes next, while this one is still there, must not join it.
            assert not poller._pollers

    run(main())


# Trouble


def test_a_passing_error_is_reported_and_the_next_poll_comes(cloud: Cloud) -> None:
    def error(refs: list[JobRef]) -> Exception | None:
        return ServiceUnavailable("away") if len(cloud.looks) == 2 else None

    cloud.error = error
    seen: list[PollResult] = []

    async def main() -> None:
        await asyncio.gather(until(1, ended(1), seen=seen), after(20, partial(end_all, cloud, 2)))

    run(main())
    assert isinstance(seen[1], ServiceUnavailable)
    assert not isinstance(seen[2], ApiError), (
        "that the API responds again is news, though the job is as it was"
    )


@pytest.mark.parametrize("kind", [InvalidRequest, InvalidArgument])
def test_one_jobs_error_is_not_the_others(cloud: Cloud, kind: type[Exception]) -> None:
    """One id with a slip of the pen among a hundred must not end the waits for the others."""
    cloud.error = lambda refs: kind("no such id") if ref("bad") in refs else None
    end_all(cloud, 100)

    async def main() -> list[float | BaseException]:
        waits = [until(n, ended(n)) for n in range(100)]
        return await asyncio.gather(until("bad"), *waits, return_exceptions=True)

    first, *others = run(main())
    assert isinstance(first, InvalidArgument) == (kind is InvalidArgument)
    assert len(others) == 100
    assert not [other for other in others if isinstance(other, BaseException)]
    assert len(cloud.looks) < 20


def test_an_error_that_is_everyones_is_not_searched_for_in_each(cloud: Cloud) -> None:
    """Two thousand requests to an endpoint that answers nonsense help nobody."""
    cloud.error = lambda refs: InvalidRequest("nonsense")

    async def main() -> None:
        await asyncio.gather(*(until(n) for n in range(1000)))

    run(main())
    assert len(cloud.looks) < 100


def test_a_connection_that_is_gone_is_reported_to_all(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(conn_id: str, api: str) -> None:
        raise AirflowNotFoundException("The conn_id `c` isn't defined")

    monkeypatch.setattr(pool, "ajob_hook", gone)

    async def main() -> list[Any]:
        return await asyncio.gather(*(until(n) for n in range(3)), return_exceptions=True)

    assert [type(reported) for reported in run(main())] == [AirflowNotFoundException] * 3


def test_a_refused_key_is_not_sent_again(cloud: Cloud) -> None:
    """Failed signatures can lock a key."""
    cloud.error = lambda refs: AuthenticationFailed("no")
    run(until(1))
    assert len(cloud.looks) == 1


def test_a_connection_is_read_anew_now_and_then(cloud: Cloud) -> None:
    async def main() -> None:
        await asyncio.gather(until(1, ended(1)), after(1000, partial(end_all, cloud, 2)))

    run(main())
    assert (cloud.opened, cloud.refreshed) == (1, 3)


def test_news_are_reported_at_once_and_nothing_new_once_a_minute(cloud: Cloud) -> None:
    """To wake a thousand triggers for nothing costs the triggerer more than to ask for their jobs."""
    seen: list[PollResult] = []

    async def main() -> None:
        await asyncio.gather(until(1, ended(1), seen=seen), after(600, partial(end_all, cloud, 2)))

    run(main())
    assert 10 <= len(seen) <= 12


def test_a_job_that_is_not_known_is_reported_every_time(cloud: Cloud) -> None:
    """How long that is borne is judged by the time, in polling.watch."""
    cloud.states[ref(1)] = None
    seen: list[PollResult] = []

    async def main() -> None:
        await asyncio.gather(until(1, ended(1), seen=seen), after(50, partial(end_all, cloud, 2)))

    run(main())
    assert len(seen) == len(cloud.looks)


def test_how_late_a_look_came_is_known(cloud: Cloud) -> None:
    """Where a turn takes longer than the interval, the news of a job are as old as that."""
    cloud.lasts = 12.0
    late: list[float] = []

    async def main() -> None:
        async with subscribed("c", "ehpc", [ref(1)], interval=5.0, first=5.0) as subscription:
            while len(late) < 2:
                cloud.states[ref(1)] = [JobState.QUEUED, JobState.RUNNING][len(late)]
                await subscription.poll()
                late.append(subscription.late)

    run(main())
    # The second was due 5 s after the first began, and began when that was over and a second had passed.
    assert late == pytest.approx([12.0, 12.0 + 12.0 + 1.0 - 5.0])


# Triggers, on the emulator


async def fired(
    emulator: Emulator, connection: str, jobs: list[str], interval: float, terms: WaitConditions | None = None
) -> list[dict[str, Any]]:
    """Wait for each job by a trigger of its own; return the payloads of their events."""

    async def fire(job_id: str) -> dict[str, Any]:
        trigger = JobStateTrigger(
            conn_id=connection,
            api="ehpc",
            jobs=[{"job_id": job_id, "cluster_id": emulator.cluster_id}],
            started=time.time(),
            poll_interval=interval,
            terms=terms.as_dict() if terms else None,
        )
        (event,) = [event async for event in trigger.run()]
        payload: dict[str, Any] = event.payload
        return payload

    return await asyncio.gather(*map(fire, jobs))


async def test_many_triggers_ask_together(
    ehpc_emulator: Emulator, connect: Connect, quick_triggers: None
) -> None:
    """Thirty jobs of one cluster cost a page, not thirty requests, and each trigger gets its own."""
    connection = connect(ehpc_emulator.connection)
    job_ids = [ehpc_emulator.submit("sleep 1" if n % 3 else "sleep 0.8; exit 3") for n in range(16)]

    terms = WaitConditions(deadline=time.time() + 30)
    events = await fired(ehpc_emulator, connection, job_ids, 0.2, terms)
    assert [event["jobs"][0]["job_id"] for event in events] == job_ids
    outcomes = [Outcome.REACHED.value if n % 3 else Outcome.FAILED.value for n in range(16)]
    assert [event["outcome"] for event in events] == outcomes
    assert sum(sum(kinds.values()) for kinds in ehpc_emulator.requests.counts.values()) < 60


async def test_a_quota_makes_waits_late_and_breaks_none(
    tmp_path: Path,
    connect: Connect,
    quick_triggers: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three hundred jobs need six pages a turn; the cloud answers four requests a second and refuses more."""
    monkeypatch.setattr(watch, "LATE_POLL", 0.5)
    notes: list[str] = []
    monkeypatch.setattr(watch.Note, "log", lambda self, log: notes.append(self.text))
    with Emulator(tmp_path, scheduler="timetable") as emulator:
        connection = connect(emulator.connection)
        jobs = [emulator.submit("run=6") for _ in range(300)]
        emulator.fault("quota", rate=4)

        events = await fired(emulator, connection, jobs, 0.5)
        assert {event["outcome"] for event in events} == {"reached"}
        assert [event["jobs"][0]["job_id"] for event in events] == jobs
        assert emulator.requests.count(outcome="Throttling.User")
    notes += [text for event in events for text, _ in event["news"]]
    assert len([note for note in notes if "s behind" in note]) >= 300
    assert not [note for note in notes if "says nothing of the job" in note]


# Deadlines


@pytest.mark.parametrize("stuck", ["a request", "the connection"])
def test_a_deadline_is_kept_while_a_request_hangs(
    cloud: Cloud, stuck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job's slow response, or a pause of the rate limit, must not hold the task."""
    cloud.lasts = 3600.0

    async def slow(conn_id: str, api: str) -> None:
        await asyncio.sleep(3600)

    if stuck == "the connection":
        monkeypatch.setattr(pool, "ajob_hook", slow)
    seen: list[PollResult] = []
    over = run(until(1, seen=seen, last=100.0))
    assert over == pytest.approx(100, abs=3)
    assert isinstance(seen[-1], ServiceUnavailable)
    assert "did not respond before the deadline" in str(seen[-1])


def test_the_last_error_is_what_a_deadline_reports(cloud: Cloud) -> None:
    def error(refs: list[JobRef]) -> Exception | None:
        cloud.lasts = 3600.0
        return NotReached("connection refused")

    cloud.error = error
    seen: list[PollResult] = []
    both = lambda look: isinstance(look, ApiError) and len(seen) == 2  # noqa: E731
    over = run(until(1, both, seen=seen, last=100.0))
    assert over == pytest.approx(100, abs=3)
    assert [str(look) for look in seen] == ["connection refused."] * 2


def test_a_neighbours_slow_response_does_not_move_a_deadline(cloud: Cloud) -> None:
    """Their turns are common, and this one lasts for minutes."""
    cloud.lasts = 300.0

    async def main() -> float:
        neighbour = asyncio.create_task(until(2, ended(2)))
        over = await until(1, lambda look: True, last=60.0)
        neighbour.cancel()
        return over

    assert run(main()) == pytest.approx(60, abs=3)


def test_who_reads_the_end_of_a_log_has_no_deadline_here(cloud: Cloud) -> None:
    """It would be woken again and again, without a pause."""

    async def main() -> None:
        end_all(cloud, 2)
        async with subscribed("c", "ehpc", [ref(1)], interval=5.0, last=10.0) as subscription:
            await subscription.poll()
            subscription.refs = []
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100):
                    await subscription.poll()

    run(main())


def test_an_answer_that_comes_just_behind_the_deadline_counts(cloud: Cloud) -> None:
    cloud.lasts = 1.5

    async def main() -> float:
        _, over = await asyncio.gather(
            after(99, partial(end_all, cloud, 2)), until(1, ended(1), interval=60.0, last=100.0)
        )
        return over

    assert run(main()) == pytest.approx(101.5, abs=0.1)


def test_a_state_that_needs_a_second_poll_is_reported_at_each(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Hook,
        "answers",
        lambda self, refs: {ref: JobStatus(ref.job_id, JobState.FAILED, "NODE_FAIL") for ref in refs},
    )
    seen: list[PollResult] = []
    assert run(until(1, lambda look: len(seen) == 2, seen=seen)) < 20


def test_a_transient_error_is_not_searched_for_in_single_jobs(cloud: Cloud) -> None:
    """A maintenance page in front of a thousand waits would cost forty requests a turn."""

    class Maintenance(UnexpectedResponse):
        transient = True

    cloud.error = lambda refs: Maintenance("HTML")

    async def main() -> None:
        await asyncio.gather(*(until(n) for n in range(100)))

    run(main())
    assert len(cloud.looks) == 1

# SPDX-License-Identifier: Apache-2.0
"""What a wait bears, it bears in every mode, and its deadline holds within a poll."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Generator
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiCall, ApiError, ServiceUnavailable, Together
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.compat import AirflowException, AirflowSensorTimeout
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.polling.subscription import Subscription
from airflow_provider_ehpc.sensors import job_state
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.triggers.base import JobTrigger
from airflow_provider_ehpc.triggers.job_log import JobLogTrigger, SubscriptionView
from airflow_provider_ehpc.triggers.job_state import JobStateTrigger
from airflow_provider_ehpc.waiting import watch
from tests.conftest import Pauses, TaskLog


class TaskInstance:
    """As much of a task instance as ``reschedule`` mode needs."""

    task_id = "wait"

    def __init__(self, first: dt.datetime | None = None) -> None:
        self._first = first

    def get_first_reschedule_date(self, context: Any) -> dt.datetime | None:
        return self._first


def poke(sensor: JobStateSensor, first: dt.datetime | None = None) -> Any:
    return sensor.execute({"ti": TaskInstance(first)})  # type: ignore[typeddict-item]


@pytest.fixture
def rescheduled(conn_id: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make sensors that are rescheduled, quickly."""
    monkeypatch.setattr(job_state, "SHORTEST_RESCHEDULE", 0.05)

    def make(job_id: str, **arguments: Any) -> JobStateSensor:
        return JobStateSensor(
            task_id="wait", conn_id=conn_id, job_id=job_id, poke_interval=0.05, mode="reschedule", **arguments
        )

    return make


def assert_rescheduled(sensor: JobStateSensor, first: dt.datetime | None = None) -> None:
    with pytest.raises(AirflowException) as caught:
        poke(sensor, first)
    # Its place differs between the versions of Airflow.
    assert type(caught.value).__name__ == "AirflowRescheduleException"


def test_a_rescheduled_task_comes_back_after_ten_seconds_at_the_earliest(conn_id: str) -> None:
    """Sooner, the scheduler can take the end of one process for that of the next (apache/airflow#71580)."""
    for mode, interval in [("reschedule", 10.0), ("poke", 1.0)]:
        sensor = JobStateSensor(task_id="w", conn_id=conn_id, job_id="1", poke_interval=1, mode=mode)
        assert sensor.poke_interval == interval


def test_an_outage_is_waited_out_in_one_process(
    ehpc_emulator: Emulator, rescheduled: Any, pauses: Pauses, task_log: TaskLog
) -> None:
    """The process of the next poke would not know when the outage began, and bear it for ever."""
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.fault("error", operation="GetJob", status=503, times=12)
    assert_rescheduled(rescheduled(job_id))
    assert len([line for line in task_log.warnings if "The wait continues" in line]) == 1
    assert any(line.startswith("the API responds again, after") for line in task_log.lines)


def test_an_outage_ends_a_rescheduled_wait_at_its_deadline(
    ehpc_emulator: Emulator, rescheduled: Any, pauses: Pauses
) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.fault("error", operation="GetJob", status=503, times=10_000)
    with pytest.raises(
        AirflowSensorTimeout, match=r"was never seen; timed out .* The last error: GetJob of job"
    ):
        poke(rescheduled(job_id, timeout=0.5))


def statuses(monkeypatch: pytest.MonkeyPatch, sensor: JobStateSensor, *words: str | None) -> None:
    """Let the cloud report these states, one a poll."""
    left = list(words)

    def report(refs: list[JobRef], deadline: float | None = None) -> dict[JobRef, JobStatus | None]:
        word = left.pop(0)
        state = JobState.__members__.get(word or "", JobState.FAILED)
        return {ref: JobStatus(ref.job_id, state, word) if word else None for ref in refs}

    monkeypatch.setattr(sensor.hook, "job_statuses", report)


def test_the_second_poll_is_not_another_process(
    ehpc_emulator: Emulator, rescheduled: Any, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    """A first poll in each process would never be confirmed."""
    sensor = rescheduled("1")
    statuses(monkeypatch, sensor, "NODE_FAIL", "NODE_FAIL")
    with pytest.raises(JobFailed, match="NODE_FAIL"):
        poke(sensor)
    sensor = rescheduled("1")
    statuses(monkeypatch, sensor, "NODE_FAIL", "QUEUED")
    assert_rescheduled(sensor)
    assert any("runs again after NODE_FAIL" in line for line in task_log.lines)


def test_a_job_that_an_earlier_process_saw_may_be_unknown_for_a_while(
    ehpc_emulator: Emulator, rescheduled: Any, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    sensor = rescheduled("1")
    statuses(monkeypatch, sensor, None, None, "RUNNING")
    assert_rescheduled(sensor, hour_ago)
    assert "is unknown to the cloud" in task_log.warnings[0]
    assert any("is known to the cloud again" in line for line in task_log.lines)


# A deadline within a poll


def endless(calls: list[ApiCall[Any]], together: bool) -> Generator[Any, Any, None]:
    give_up = time.time() + 10

    def flow() -> Generator[Any, Any, None]:
        while time.time() < give_up:
            yield calls[0]

    if together:
        yield Together((flow(),))
    else:
        yield from flow()


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_flow_ends_at_its_deadline(conn_id: str, ehpc_emulator: Emulator, together: bool, way: str) -> None:
    hook = job_hook(conn_id, "ehpc")
    ref = hook.job_ref(ehpc_emulator.submit("sleep 60"))
    calls = [next(hook.api.job_status(ref))]
    deadline = time.time() + 0.5

    async def adrive() -> None:
        try:
            await hook.adrive(endless(calls, together), deadline=deadline)
        finally:
            await hook.aclose()

    with pytest.raises(ServiceUnavailable, match="the deadline of the wait passed"):
        hook.drive(endless(calls, together), deadline=deadline) if way == "sync" else asyncio.run(adrive())
    assert time.time() - deadline < 3
    hook.close()
    assert ehpc_emulator.requests.count("GetJob") >= 1


# Triggers


def trigger(kind: type[JobTrigger], conn_id: str, job_id: str, started: float) -> JobTrigger:
    more = {"settle": 0.1} if kind is JobLogTrigger else {}
    return kind(
        conn_id=conn_id,
        api="ehpc",
        jobs=[{"job_id": job_id, "cluster_id": "ehpc-hz-emulator"}],
        started=started,
        poll_interval=0.1,
        **more,
    )


@pytest.mark.parametrize("kind", [JobStateTrigger, JobLogTrigger])
async def test_a_triggerer_that_takes_over_polls_on_for_an_unknown_job(
    ehpc_emulator: Emulator, conn_id: str, kind: type[JobTrigger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before it may have seen the job, an hour ago."""
    monkeypatch.setattr(watch, "GONE_GRACE", 1.0)
    began = time.time()
    (event,) = [event async for event in trigger(kind, conn_id, "99", began - 3600).run()]
    assert event.payload["outcome"] == "not_found"
    assert "is no longer known to the cloud" in event.payload["message"]
    assert time.time() - began > 1


async def test_a_clock_that_was_set_back_keeps_no_event_loop_busy() -> None:
    """The deadline has passed for the loop, and not yet for who waits."""
    now = asyncio.get_running_loop().time()
    subscription = Subscription([JobRef("1", "c")], interval=10.0, earliest=0.0, due=now, last=now - 10)
    looks = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.5):
            while True:
                assert isinstance(await subscription.poll(), ApiError)
                looks += 1
    assert looks == 2


async def test_the_view_of_a_log_is_no_second_poll() -> None:
    """It is asked far more often than the job is."""
    ref = JobRef("1", "c")
    subscription = Subscription([ref], interval=10.0, earliest=0.0, due=0.0, last=None)
    view = SubscriptionView(subscription, ref)

    async def get_status() -> Any:
        async with asyncio.timeout(0.1):
            return await view.get_status()

    for _ in range(2):
        preempted = JobStatus("1", JobState.CANCELLED, "PREEMPTED", "c")
        subscription.publish({ref: preempted})
        assert await get_status() is preempted
        assert subscription.refs == [ref]
        with pytest.raises(TimeoutError):
            await get_status()
    failed = JobStatus("1", JobState.FAILED, "FAILED", "c")
    subscription.publish({ref: failed})
    assert await get_status() is failed
    assert await get_status() is failed
    assert subscription.refs == []

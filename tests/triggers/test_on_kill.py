# SPDX-License-Identifier: Apache-2.0
"""Which jobs a killed trigger stops (with real triggerers: tests/live/test_on_kill.py)."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.triggers import base
from airflow_provider_ehpc.triggers.job_state import JobStateTrigger
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from tests.conftest import TaskLog
from tests.gates import until

TI = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=1)


def trigger(
    conn_id: str, cloud: Emulator, *job_ids: str, terms: WaitConditions | None = None
) -> JobStateTrigger:
    one = JobStateTrigger(
        conn_id=conn_id,
        api="ehpc",
        jobs=[{"job_id": job_id, "cluster_id": cloud.cluster_id} for job_id in job_ids],
        started=time.time(),
        poll_interval=0.05,
        terms=(terms or WaitConditions()).as_dict(),
        stop_job_on_kill=True,
    )
    one.task_instance = TI
    return one


def report(
    monkeypatch: pytest.MonkeyPatch, state: str | Exception | None, *, job_id: str | None = None
) -> None:
    """Let Airflow report the state of the task and its job, which only a real triggerer can request."""

    async def task_state(task_instance: Any) -> str | None:
        assert task_instance is TI
        if isinstance(state, Exception):
            raise state
        return state

    async def task_xcom(task_instance: Any, key: str) -> str | None:
        assert (task_instance, key) == (TI, "job_id")
        return job_id

    monkeypatch.setattr(base, "task_state", task_state)
    monkeypatch.setattr(base, "task_xcom", task_xcom)


@pytest.mark.parametrize("state", [None, "failed", "success", "skipped", "scheduled", "removed"])
async def test_a_task_that_a_user_ended_stops_its_job(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    report(monkeypatch, state)
    job_id = ehpc_emulator.submit("sleep 60")
    one = trigger(conn_id, ehpc_emulator, job_id)
    await one.on_kill()
    await one.cleanup()
    assert ehpc_emulator.requests.count("StopJobs") == 1


async def test_a_task_that_is_still_deferred_stops_none(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    report(monkeypatch, "deferred")
    await trigger(conn_id, ehpc_emulator, ehpc_emulator.submit("sleep 60")).on_kill()
    assert ehpc_emulator.requests.count() == 0
    assert any("another triggerer has taken it over" in line for line in task_log.lines)


async def test_a_cleared_task_that_is_deferred_again_stops_the_old_job(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try can submit its job and defer before this triggerer notices that the task was cleared."""
    old, new = ehpc_emulator.submit("sleep 60"), ehpc_emulator.submit("sleep 60")
    report(monkeypatch, "deferred", job_id=new)
    one, other = (trigger(conn_id, ehpc_emulator, job_id) for job_id in (old, new))
    await one.on_kill()
    await other.on_kill()
    for each in (one, other):
        await each.cleanup()
    assert ehpc_emulator.wait_for(old).phase == "CANCELLED"
    assert not ehpc_emulator.job(new).phase.ended


async def test_a_task_whose_state_is_unknown_stops_none_and_says_so(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    """To kill a healthy job is worse than to leave one that nobody waits for."""
    report(monkeypatch, LookupError("the database is away"))
    await trigger(conn_id, ehpc_emulator, ehpc_emulator.submit("sleep 60")).on_kill()
    assert ehpc_emulator.requests.count() == 0
    assert "(LookupError the database is away). Stop them" in task_log.warnings[0]


async def test_an_airflow_that_never_answers_does_not_hold_it_up(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    async def silent(task_instance: Any) -> str | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(base, "task_state", silent)
    monkeypatch.setattr(base, "STATE_TIMEOUT", 0.1)
    async with asyncio.timeout(10):
        await trigger(conn_id, ehpc_emulator, ehpc_emulator.submit("sleep 60")).on_kill()
    assert ehpc_emulator.requests.count() == 0
    assert "TimeoutError" in task_log.warnings[0]


async def test_outside_of_a_triggerer_no_state_is_known(ehpc_emulator: Emulator, conn_id: str) -> None:
    await trigger(conn_id, ehpc_emulator, ehpc_emulator.submit("sleep 60")).on_kill()
    assert ehpc_emulator.requests.count() == 0


async def test_a_second_cancellation_does_not_leave_jobs_running(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3.3.2 cancels a trigger again each second, until it has ended."""
    report(monkeypatch, "failed")
    job_ids = [ehpc_emulator.submit("sleep 60") for _ in range(3)]
    ehpc_emulator.fault("latency", operation="StopJobs", seconds=0.4, times=100)
    one = trigger(conn_id, ehpc_emulator, *job_ids)
    stopping = asyncio.create_task(one.on_kill())
    for _ in range(5):
        await asyncio.sleep(0.1)
        stopping.cancel()
        assert not stopping.done()
    async with asyncio.timeout(20):
        await asyncio.wait([stopping])
    assert ehpc_emulator.requests.count("StopJobs", "ok") == 3
    await one.cleanup()


async def test_it_ends_before_airflow_ends_it(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    report(monkeypatch, "failed")
    monkeypatch.setattr(base, "STOP_TIMEOUT", 0.2)
    ehpc_emulator.fault("latency", seconds=20)
    one = trigger(conn_id, ehpc_emulator, ehpc_emulator.submit("sleep 60"))
    async with asyncio.timeout(10):
        await one.on_kill()
    await one.cleanup()
    assert task_log.warnings == ["not all jobs of this task were stopped within 0.2 s"]


def test_the_time_is_less_than_airflow_s() -> None:
    from airflow.providers.common.compat.sdk import conf

    limit = conf.getint("triggerer", "on_kill_timeout", fallback=30)
    assert limit > base.STATE_TIMEOUT + base.STOP_TIMEOUT


@pytest.mark.parametrize("calls", [True, False], ids=["3.3", "3.1"])
@pytest.mark.parametrize("state", ["failed", "deferred"])
async def test_before_airflow_3_3_the_cancellation_stops_the_job(
    ehpc_emulator: Emulator,
    conn_id: str,
    monkeypatch: pytest.MonkeyPatch,
    quick_triggers: None,
    state: str,
    calls: bool,
) -> None:
    """It is all that a trigger sees there of a task that a user ended."""
    report(monkeypatch, state)
    monkeypatch.setattr(base, "calls_on_kill", lambda: calls)
    job_id = ehpc_emulator.submit("sleep 60")
    one = trigger(conn_id, ehpc_emulator, job_id)

    async def wait() -> None:
        async for event in one.run():
            raise AssertionError(json.dumps(event.payload))

    waiting = asyncio.create_task(wait())
    await until(lambda: ehpc_emulator.requests.count("GetJob", "ok"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await one.cleanup()
    assert ehpc_emulator.requests.count("StopJobs", "ok") == (state == "failed" and not calls)


async def test_jobs_in_a_target_state_are_spared(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch, quick_triggers: None
) -> None:
    report(monkeypatch, "failed")
    monkeypatch.setattr(base, "calls_on_kill", lambda: True)
    reached = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(reached, "RUNNING")
    terms = WaitConditions((JobState.RUNNING,))
    one = trigger(conn_id, ehpc_emulator, reached, "77.manager", terms=terms)

    async def wait() -> None:
        async for event in one.run():
            raise AssertionError(json.dumps(event.payload))

    waiting = asyncio.create_task(wait())
    await until(lambda: [ref.job_id for ref in one.waiting] == ["77.manager"])
    waiting.cancel()
    await asyncio.wait([waiting])
    await one.on_kill()
    await one.cleanup()
    assert ehpc_emulator.requests.count("StopJobs") == 1
    assert ehpc_emulator.job(reached).phase == "RUNNING"

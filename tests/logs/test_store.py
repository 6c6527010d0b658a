# SPDX-License-Identifier: Apache-2.0
"""Keeping the cursor: Airflow's stores may be missing, silent or broken, and the wait goes on."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.logs import store
from airflow_provider_ehpc.logs.cursor import SavedCursor, StreamMark
from airflow_provider_ehpc.logs.store import STATE_KEY, XCOM_KEY, TriggerStore, WorkerStore, WriteThrottle
from tests.conftest import TaskLog
from tests.logs.stores import TI, States, XComs

REF = JobRef("7", "c1")
CURSOR = SavedCursor(
    "ehpc", REF.as_dict(), {"stdout": StreamMark(100, 64, "ab"), "task-0": StreamMark("@9", 1, "cd")}
)


@pytest.fixture
def log() -> TaskLog:
    return TaskLog()


@pytest.fixture
def logger(log: TaskLog) -> logging.Logger:
    logger = logging.Logger("task")
    logger.addHandler(log)
    return logger


@pytest.fixture
def xcoms(monkeypatch: pytest.MonkeyPatch) -> XComs:
    made = XComs()
    monkeypatch.setattr(store, "async_xcom", lambda: made)
    return made


def worker(logger: logging.Logger, **context: Any) -> WorkerStore:
    return WorkerStore({"ti": TI, **context}, logger)  # type: ignore[arg-type]


def test_a_retry_finds_what_the_try_before_kept(logger: logging.Logger, log: TaskLog) -> None:
    states = States()
    worker(logger, task_state_store=states).save(CURSOR)
    assert worker(logger, task_state_store=states).load("ehpc", REF) == CURSOR
    assert worker(logger, task_state_store=states).load("ehpc", JobRef("8", "c1")) is None
    assert log.lines == []


def test_who_clears_a_task_that_is_done_sees_the_whole_log_again(logger: logging.Logger) -> None:
    """Clearing keeps the state store in Airflow 3.3."""
    states = States()
    kept = worker(logger, task_state_store=states)
    kept.save(CURSOR)
    kept.forget()
    cleared = SimpleNamespace(**{**vars(TI), "max_tries": TI.max_tries + 2})
    assert worker(logger, task_state_store=states, ti=cleared).load("ehpc", REF) is None


def test_a_crash_in_the_last_moments_does_not_bring_the_whole_log_again(logger: logging.Logger) -> None:
    """The log is written, and the process dies before it could say that the task has succeeded."""
    states = States()
    kept = worker(logger, task_state_store=states)
    kept.save(CURSOR)
    kept.forget()
    again = worker(logger, task_state_store=states)
    assert again.load("ehpc", REF) == CURSOR
    again.save(CURSOR)
    assert worker(logger, task_state_store=states).load("ehpc", REF) == CURSOR


def test_a_task_that_was_cleared_meanwhile_is_noticed(logger: logging.Logger, log: TaskLog) -> None:
    states = States()
    kept = worker(logger, task_state_store=states)
    kept.save(CURSOR)
    assert not kept.outdated
    states.cleared = True
    kept.save(CURSOR)
    assert kept.outdated
    assert log.lines == []


def test_a_broken_store_is_reported_once_and_fails_nothing(logger: logging.Logger, log: TaskLog) -> None:
    states = States()
    states.broken = True
    kept = worker(logger, task_state_store=states)
    assert kept.load("ehpc", REF) is None
    for _ in range(3):
        kept.save(CURSOR)
    kept.forget()
    assert not kept.outdated
    (warning,) = log.warnings
    assert "could not be read: RuntimeError the database is away. The wait continues" in warning


def test_an_airflow_without_a_store_is_reported(logger: logging.Logger, log: TaskLog) -> None:
    kept = worker(logger)
    assert kept.load("ehpc", REF) is None
    kept.save(CURSOR)
    kept.take_over()
    kept.forget()
    (line,) = log.lines
    assert line.startswith("log of job 7 in cluster c1: reading starts at its beginning")
    assert "after a crash or in a retry, lines are repeated" in line


async def test_a_restarted_triggerer_finds_the_place(
    xcoms: XComs, logger: logging.Logger, log: TaskLog
) -> None:
    await TriggerStore(TI, logger).save(CURSOR)
    assert await TriggerStore(TI, logger).load("ehpc", REF) == CURSOR
    assert log.lines == []


@pytest.mark.parametrize(
    ("ti", "ref"), [(SimpleNamespace(**{**vars(TI), "try_number": 3}), REF), (TI, JobRef("8", "c1"))]
)
async def test_the_place_of_another_try_or_job_is_not_taken(
    xcoms: XComs, logger: logging.Logger, ti: Any, ref: JobRef
) -> None:
    """Its lines would be missing from this try's log."""
    await TriggerStore(TI, logger).save(CURSOR)
    assert await TriggerStore(ti, logger).load("ehpc", ref) is None


async def test_a_supervisor_that_never_answers_does_not_hold_the_wait(
    xcoms: XComs, logger: logging.Logger, log: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow leaves a request that it does not know unanswered for ever."""
    monkeypatch.setattr(store, "SUPERVISOR_TIMEOUT", 0.01)
    xcoms.silent = True
    kept = TriggerStore(TI, logger)
    assert await kept.load("ehpc", REF) is None
    await kept.save(CURSOR)
    assert len(log.warnings) == 1


async def test_a_trigger_that_is_cancelled_while_it_keeps_the_place_ends(
    xcoms: XComs, logger: logging.Logger
) -> None:
    """Swallowing the cancellation would disable ``on_kill``."""
    xcoms.silent = True
    saving = asyncio.create_task(TriggerStore(TI, logger).save(CURSOR))
    await asyncio.sleep(0)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving


async def test_the_last_place_is_kept_though_nobody_answers(
    xcoms: XComs, logger: logging.Logger, log: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer that ends no longer reads answers, but its supervisor still does what it is asked for."""
    monkeypatch.setattr(store, "SHORTEST_PARTING", 0.01)
    xcoms.unanswered = True
    await TriggerStore(TI, logger).save_in_parting(CURSOR)
    xcoms.unanswered = False
    assert await TriggerStore(TI, logger).load("ehpc", REF) == CURSOR
    assert log.lines == []


async def test_a_store_that_is_broken_in_parting_is_no_news(
    xcoms: XComs, logger: logging.Logger, log: TaskLog
) -> None:
    """The task may be gone from the database; an error would take the place of the cancellation."""
    xcoms.fault = RuntimeError("the database is away")
    await TriggerStore(TI, logger).save_in_parting(CURSOR)
    assert log.lines == []


def test_many_streams_share_the_writings(logger: logging.Logger) -> None:
    """One thread of the triggerer writes for all of them."""
    stores = [TriggerStore(TI, logger) for _ in range(1000)]
    assert len(stores) / stores[0].every() == store.WRITES_PER_SECOND
    for kept in stores[1:]:
        kept.close()
    assert stores[0].every() == store.TRIGGER_EVERY


async def test_turns_come_evenly_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty streams that begin together would hold the triggerer's supervisor up for a second."""
    now = 100.0
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(store.asyncio, "sleep", sleep)
    turns = WriteThrottle(5.0, lambda: now)
    for _ in range(4):
        await turns.take()
    assert pauses == pytest.approx([0, 0.2, 0.4, 0.6])
    now += 1000
    await turns.take()
    assert pauses[4:] == [0]


async def test_dag_test_has_no_task_instance_in_its_trigger(
    xcoms: XComs, logger: logging.Logger, log: TaskLog
) -> None:
    kept = TriggerStore(None, logger)
    assert await kept.load("ehpc", REF) is None
    await kept.save(CURSOR)
    assert xcoms.values == {}
    assert log.records == []


def test_an_xcom_is_there_before_the_trigger_reads_it(
    xcoms: XComs, logger: logging.Logger, log: TaskLog
) -> None:
    """Airflow's client logs an ERROR for an XCom that does not exist, in every new deferred task."""
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(**vars(TI), xcom_push=lambda key, value: pushed.update({key: value}))
    worker(logger, ti=ti).defer(None)
    assert pushed == {XCOM_KEY: {"try_number": 2, "cursor": None}}
    worker(logger, ti=ti).defer(CURSOR)
    assert pushed == {XCOM_KEY: {"try_number": 2, "cursor": CURSOR.as_dict()}}


async def test_an_xcom_without_a_cursor_is_none(xcoms: XComs, logger: logging.Logger, log: TaskLog) -> None:
    xcoms.values[XCOM_KEY] = {"try_number": 2, "cursor": None}
    assert await TriggerStore(TI, logger).load("ehpc", REF) is None
    states = States()
    worker(logger, task_state_store=states, ti=TI).take_over()
    assert STATE_KEY not in states
    assert log.warnings == []


def test_an_xcom_that_cannot_be_made_fails_nothing(
    xcoms: XComs, logger: logging.Logger, log: TaskLog
) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("the database is away")

    worker(logger, ti=SimpleNamespace(**vars(TI), xcom_push=refuse)).defer(CURSOR)
    assert len(log.warnings) == 1


def test_without_xcoms_in_triggers_none_is_made(
    monkeypatch: pytest.MonkeyPatch, logger: logging.Logger, log: TaskLog
) -> None:
    """Airflow 3.1 and 3.2; and a task that runs outside of Airflow."""
    monkeypatch.setattr(store, "async_xcom", lambda: None)
    worker(logger, ti=SimpleNamespace()).defer(CURSOR)
    WorkerStore({}, logger).defer(CURSOR)  # type: ignore[typeddict-item]
    assert log.warnings == []


async def test_the_worker_takes_over_where_the_trigger_stopped(xcoms: XComs, logger: logging.Logger) -> None:
    """A new try clears the XComs; only what the worker copied is there for it."""
    await TriggerStore(TI, logger).save(CURSOR)
    states = States()
    worker(logger, task_state_store=states, ti=TI).take_over()
    assert worker(logger, task_state_store=states).load("ehpc", REF) == CURSOR


@pytest.mark.parametrize("value", [None, "text", {"something": "else"}])
def test_an_xcom_that_is_not_ours_is_left_alone(
    xcoms: XComs, logger: logging.Logger, log: TaskLog, value: Any
) -> None:
    """A user's task may push what it likes."""
    xcoms.values[XCOM_KEY] = value
    states = States()
    worker(logger, task_state_store=states, ti=TI).take_over()
    assert STATE_KEY not in states
    assert log.warnings == []


def test_an_xcom_that_cannot_be_read_does_not_fail_the_task(
    xcoms: XComs, logger: logging.Logger, log: TaskLog
) -> None:
    xcoms.fault = RuntimeError("the database is away")
    worker(logger, task_state_store=States(), ti=TI).take_over()
    assert len(log.warnings) == 1

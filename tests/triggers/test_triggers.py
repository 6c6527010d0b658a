# SPDX-License-Identifier: Apache-2.0
"""The triggers, run as a triggerer runs them, against the emulator over HTTP."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.logs import emission, saver, store
from airflow_provider_ehpc.logs.store import XCOM_KEY
from airflow_provider_ehpc.triggers import base, job_log
from airflow_provider_ehpc.triggers.base import JobTrigger
from airflow_provider_ehpc.triggers.job_log import JobLogTrigger
from airflow_provider_ehpc.triggers.job_state import JobStateTrigger
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import Outcome, Verdict
from tests.conftest import Connect, Hide, Pauses, TaskLog
from tests.gates import Gate, until
from tests.logs.stores import TI, XComs

Make = Callable[..., Any]


@pytest.fixture
def make(ehpc_emulator: Emulator, conn_id: str) -> Make:
    """Make a trigger that looks all the time."""

    def build(kind: type[JobTrigger], *job_ids: str, terms: WaitConditions | None = None, **more: Any) -> Any:
        arguments: dict[str, Any] = {
            "conn_id": conn_id,
            "api": "ehpc",
            "jobs": [{"job_id": job_id, "cluster_id": ehpc_emulator.cluster_id} for job_id in job_ids],
            "started": time.time(),
            "poll_interval": 0.05,
            "terms": (terms or WaitConditions(deadline=time.time() + 30)).as_dict(),
        }
        if kind is JobLogTrigger:
            arguments["settle"] = 0.1
        return kind(**{**arguments, **more})

    return build


async def fire(trigger: JobTrigger) -> dict[str, Any]:
    """Run a trigger as the triggerer does, and return its only event."""
    try:
        events = [event async for event in trigger.run()]
    finally:
        await trigger.cleanup()
    (event,) = events
    return json.loads(json.dumps(event.payload))


KINDS = pytest.mark.parametrize("kind", [JobStateTrigger, JobLogTrigger])


@KINDS
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"stop_job_on_kill": True},
        {"terms": WaitConditions((JobState.FAILED,), "fail", 5.0, 1e9), "poll_interval": 7.5},
    ],
)
def test_a_trigger_survives_its_way_through_the_database(
    make: Make, kind: type[JobTrigger], more: dict[str, Any]
) -> None:
    trigger = make(kind, "1.manager", **more)
    path, kwargs = trigger.serialize()
    module, _, name = path.rpartition(".")
    rebuilt = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))
    assert rebuilt.serialize() == trigger.serialize()
    for name in ("conn_id", "api", "started", "poll_interval", "conditions", "stop_job_on_kill"):
        assert getattr(rebuilt, name) == getattr(trigger, name)
    assert rebuilt.refs == trigger.refs


@KINDS
def test_defaults_are_left_out(make: Make, kind: type[JobTrigger]) -> None:
    """A triggerer of the version before does not know an argument that came with this one."""
    _, kwargs = make(kind, "1.manager", terms=WaitConditions()).serialize()
    assert set(kwargs) == {"conn_id", "api", "jobs", "started", "poll_interval"} | (
        {"settle"} if kind is JobLogTrigger else set()
    )


@KINDS
def test_no_secret_is_in_the_payload(ehpc_emulator: Emulator, make: Make, kind: type[JobTrigger]) -> None:
    connection = ehpc_emulator.connection
    trigger = make(kind, "1.manager", stop_job_on_kill=True)
    written = json.dumps(trigger.serialize()) + repr(trigger)
    assert connection["password"] not in written
    assert connection["login"] not in written


@KINDS
async def test_it_fires_when_the_job_has_ended(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, kind: type[JobTrigger]
) -> None:
    job_id = ehpc_emulator.submit("sleep 0.3")
    verdict = Verdict.from_event(await fire(make(kind, job_id)))
    assert verdict.outcome is Outcome.REACHED
    assert verdict.jobs[0]["job_id"] == job_id


async def test_the_news_of_the_end_travel_with_the_event(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, task_log: TaskLog
) -> None:
    """A thousand triggers that end together would else wait for a thousand lines before they fire."""
    verdict = Verdict.from_event(await fire(make(JobStateTrigger, ehpc_emulator.submit("sleep 0.3"))))
    assert [note.warning for note in verdict.news if "is SUCCEEDED" in note.text] == [False]
    assert not [line for line in task_log.lines if "SUCCEEDED" in line]


async def test_more_news_than_an_event_should_hold_are_written_by_the_trigger(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, task_log: TaskLog
) -> None:
    jobs = [ehpc_emulator.submit("true") for _ in range(12)]
    for job_id in jobs:
        ehpc_emulator.wait_for(job_id)
    verdict = Verdict.from_event(await fire(make(JobStateTrigger, *jobs)))
    assert verdict.news == ()
    assert len([line for line in task_log.lines if "is SUCCEEDED" in line]) == 12


async def test_a_log_shows_an_event_in_few_words(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, connect: Connect
) -> None:
    """Airflow writes it there, a thousand times where a thousand jobs end."""
    jobs = [ehpc_emulator.submit(command) for command in ("true", "true", "true", "exit 3", "exit 3")]
    for job_id in jobs:
        ehpc_emulator.wait_for(job_id)

    async def shown(trigger: JobTrigger) -> str:
        (event,) = [event async for event in trigger.run()]
        await trigger.cleanup()
        return repr(event)

    assert await shown(make(JobStateTrigger, jobs[0])) == f"reached: {jobs[0]} SUCCEEDED"
    ended = WaitConditions((JobState.SUCCEEDED, JobState.FAILED))
    reported = await shown(make(JobStateTrigger, *jobs, terms=ended))
    assert reported == "reached: " + ", ".join(f"{job_id} SUCCEEDED" for job_id in jobs[:3]) + " and 2 more"
    connect({**ehpc_emulator.connection, "password": ""})
    reported = await shown(make(JobStateTrigger, jobs[0]))
    assert reported == "error: connection 'ehpc_test' has no secret: set its password"


@KINDS
async def test_it_fires_when_the_job_has_failed(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, kind: type[JobTrigger]
) -> None:
    job_id = ehpc_emulator.submit("sleep 0.2; exit 3")
    verdict = Verdict.from_event(await fire(make(kind, job_id)))
    assert verdict.outcome is Outcome.FAILED
    assert f"job {job_id} in cluster {ehpc_emulator.cluster_id} ended FAILED" in verdict.message


@KINDS
async def test_it_fires_when_the_time_is_over(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, kind: type[JobTrigger]
) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    trigger = make(kind, job_id, terms=WaitConditions(deadline=time.time() + 0.5))
    assert Verdict.from_event(await fire(trigger)).outcome is Outcome.TIMED_OUT


@KINDS
async def test_the_deadline_is_not_moved_by_a_restart(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, kind: type[JobTrigger]
) -> None:
    """A triggerer that restarts every hour would otherwise wait for ever."""
    job_id = ehpc_emulator.submit("sleep 60")
    first = make(kind, job_id, started=1000.0, terms=WaitConditions(deadline=1010.0))
    rebuilt = type(first)(**first.serialize()[1])
    verdict = Verdict.from_event(await fire(rebuilt))
    assert verdict.outcome is Outcome.TIMED_OUT


@KINDS
async def test_it_fires_when_there_is_no_such_job(
    make: Make, quick_triggers: None, kind: type[JobTrigger]
) -> None:
    trigger = make(kind, "99.manager", terms=WaitConditions(not_found_grace=0.2))
    assert Verdict.from_event(await fire(trigger)).outcome is Outcome.NOT_FOUND


@KINDS
async def test_a_job_that_becomes_known_late_is_waited_for(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, hide_once: Hide, kind: type[JobTrigger]
) -> None:
    job_id = ehpc_emulator.submit("true")
    hide_once(job_id)
    trigger = make(kind, job_id, terms=WaitConditions(not_found_grace=60))
    assert Verdict.from_event(await fire(trigger)).outcome is Outcome.REACHED


@KINDS
async def test_a_lost_right_is_an_event_not_a_crash(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, kind: type[JobTrigger]
) -> None:
    """A trigger that raises ends the task without words of ours."""
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.deny("GetJob", "ListJobs")
    verdict = Verdict.from_event(await fire(make(kind, job_id)))
    assert verdict.outcome is Outcome.ERROR
    assert verdict.error is not None
    assert verdict.error["kind"] == "PermissionDenied"


@KINDS
async def test_an_api_that_is_away_for_a_while_is_waited_for(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    pauses: Pauses,
    kind: type[JobTrigger],
    task_log: TaskLog,
) -> None:
    job_id = ehpc_emulator.submit("sleep 0.3")
    ehpc_emulator.fault("error", operation="GetJob", status=503, times=12)
    verdict = Verdict.from_event(await fire(make(kind, job_id)))
    assert verdict.outcome is Outcome.REACHED
    assert len([line for line in task_log.warnings if "the job is not affected" in line]) == 1


async def test_one_trigger_waits_for_many_jobs(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None
) -> None:
    job_ids = [ehpc_emulator.submit(f"sleep 0.{n}") for n in range(1, 7)]
    verdict = Verdict.from_event(await fire(make(JobStateTrigger, *job_ids)))
    assert verdict.outcome is Outcome.REACHED
    assert [job["job_id"] for job in verdict.jobs] == job_ids


async def test_the_log_is_streamed_and_is_not_in_the_event(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, task_log: TaskLog
) -> None:
    """The event is stored in the database; a log there would make it grow without end (F14)."""
    job_id = ehpc_emulator.submit(
        "for n in $(seq 5); do echo out 数据 $n; echo err $n >&2; sleep 0.1; done; printf end"
    )
    event = await fire(make(JobLogTrigger, job_id))
    reported = task_log.lines
    assert [line for line in reported if line.startswith("out") or line == "end"] == [
        *(f"out 数据 {n}" for n in range(1, 6)),
        "end",
    ]
    assert [line for line in reported if line.startswith("stderr | ")] == [
        f"stderr | err {n}" for n in range(1, 6)
    ]
    assert "数据" not in json.dumps(event, ensure_ascii=False)
    assert event["log"] == {"bytes": 5 * (13 + 6) + 3, "lines": 11, "cut_lines": 0, "errors": 0}


@pytest.mark.parametrize("level", ["warning", "info", "error"])
async def test_errors_have_their_level(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, task_log: TaskLog, level: str
) -> None:
    trigger = make(JobLogTrigger, ehpc_emulator.submit("seq 20; seq 21 40 >&2"), stderr_level=level)
    # An older triggerer may not know the argument.
    assert ("stderr_level" in trigger.serialize()[1]) == (level != "warning")
    rebuilt = JobLogTrigger(**trigger.serialize()[1])
    await fire(rebuilt)
    levels = {
        r.levelname: r.getMessage().split("\n") for r in task_log.records if "stderr |" in r.getMessage()
    }
    assert levels == {level.upper(): [f"stderr | {n}" for n in range(21, 41)]}
    assert {r.levelname for r in task_log.records if r.getMessage()[0].isdigit()} == {"INFO"}


async def test_many_streams_at_once_are_whole_each(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, task_log: TaskLog
) -> None:
    """They share one way to the log, one hook and one poller (at scale: benchmarks.log_throughput)."""
    jobs = [
        ehpc_emulator.submit(f"for n in $(seq 5); do seq -f '{job} %g' 300; sleep 0.1; done")
        for job in range(20)
    ]
    await asyncio.gather(*(fire(make(JobLogTrigger, job_id)) for job_id in jobs))
    lines = [line for record in task_log.lines for line in record.split("\n") if line[0].isdigit()]
    for job in range(20):
        mine = [line for line in lines if line.startswith(f"{job} ")]
        assert mine == [f"{job} {n}" for n in range(1, 301)] * 5


async def test_a_flood_of_lines_comes_grouped_and_whole(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, task_log: TaskLog
) -> None:
    job_id = ehpc_emulator.submit("seq 1 20000")
    ehpc_emulator.wait_for(job_id)
    event = await fire(make(JobLogTrigger, job_id))
    records = [line for line in task_log.lines if line[0].isdigit()]
    assert "\n".join(records).split("\n") == [str(n) for n in range(1, 20001)]
    assert len(records) < 200
    assert event["log"]["lines"] == 20000


async def test_a_trigger_goes_on_where_the_one_before_was_killed(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    task_log: TaskLog,
    monkeypatch: pytest.MonkeyPatch,
    gate: Gate,
) -> None:
    """Its triggerer died; another one starts it from the database."""
    xcoms = XComs()
    monkeypatch.setattr(store, "async_xcom", lambda: xcoms)
    job_id = ehpc_emulator.submit(f"seq 100; {gate.wait}; echo end")
    first = make(JobLogTrigger, job_id)
    first.task_instance = TI
    running = asyncio.create_task(fire(first))
    await until(lambda: xcoms.values.get(XCOM_KEY, {}).get("cursor", {}).get("streams"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.open()
    second = JobLogTrigger(**first.serialize()[1])
    second.task_instance = TI
    event = await fire(second)
    lines = [line for record in task_log.lines for line in record.split("\n")]
    assert [line for line in lines if line.isdigit()] == [str(n) for n in range(1, 101)]
    (mark,) = (line for line in lines if line.startswith("--- resumed"))
    # Seven seconds between two saves, and 0.05 in these tests until a line is in the log.
    assert re.match(r"--- resumed at byte 292 of stdout; up to one cycle \(about 7\.\d+ s\)", mark)
    assert event["log"] == {"bytes": 296, "lines": 101, "cut_lines": 0, "errors": 0}


async def test_lines_are_counted_while_the_next_reading_waits(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    task_log: TaskLog,
    monkeypatch: pytest.MonkeyPatch,
    gate: Gate,
) -> None:
    """An account that is throttled pauses for a minute; a triggerer that is killed then repeated two."""
    xcoms = XComs()
    monkeypatch.setattr(store, "async_xcom", lambda: xcoms)
    monkeypatch.setattr(store, "TRIGGER_EVERY", 1.0)

    def written(*arguments: Any) -> None:
        emission.write_record(*arguments)
        if "200" in lines_of(task_log):
            ehpc_emulator.fault("latency", operation="GetJobLog", seconds=12)

    def saved() -> int:
        streams = xcoms.values.get(XCOM_KEY, {}).get("cursor", {}).get("streams")
        return sum(streams["stdout"][part] for part in ("position", "written")) if streams else 0

    monkeypatch.setattr(job_log, "write_record", written)
    job_id = ehpc_emulator.submit(f"seq 100; {gate.wait}; seq 101 200; sleep 1; seq 201 300; sleep 60")
    trigger = make(JobLogTrigger, job_id)
    trigger.task_instance = TI
    running = asyncio.create_task(fire(trigger))
    await until(lambda: saved() == 292)
    gate.open()
    await until(lambda: saved() == 692)
    assert "201" not in lines_of(task_log), "the reading still waits"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_event_waits_until_the_last_line_is_in_the_log(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    task_log: TaskLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the end of a log without LF is written so late; a triggerer that is killed would lose it."""
    monkeypatch.setattr(saver, "ARRIVAL", 1.5)
    wrote_at = 0.0

    def written(*arguments: Any) -> None:
        nonlocal wrote_at
        emission.write_record(*arguments)
        wrote_at = time.monotonic()

    monkeypatch.setattr(job_log, "write_record", written)
    await fire(make(JobLogTrigger, ehpc_emulator.submit("printf end")))
    assert "end" in task_log.lines
    # A slow machine makes it later, not earlier.
    assert time.monotonic() - wrote_at >= 1.4


def lines_of(task_log: TaskLog) -> list[str]:
    return [line for record in task_log.lines for line in record.split("\n")]


@pytest.mark.parametrize("answered", [True, False])
async def test_a_trigger_that_is_cancelled_keeps_its_place(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    task_log: TaskLog,
    monkeypatch: pytest.MonkeyPatch,
    gate: Gate,
    answered: bool,
) -> None:
    """A triggerer that is replaced by a new version must not repeat lines, though it reads no answers."""
    monkeypatch.setattr(store, "SHORTEST_PARTING", 0.1)
    xcoms = XComs()
    monkeypatch.setattr(store, "async_xcom", lambda: xcoms)
    job_id = ehpc_emulator.submit(f"seq 100; sleep 0.5; seq 101 200; {gate.wait}; seq 201 300")
    first = make(JobLogTrigger, job_id)
    first.task_instance = TI
    running = asyncio.create_task(fire(first))
    await until(lambda: "200" in lines_of(task_log))
    xcoms.unanswered = not answered
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    xcoms.unanswered = False
    gate.open()
    second = JobLogTrigger(**first.serialize()[1])
    second.task_instance = TI
    event = await fire(second)
    assert [line for line in lines_of(task_log) if line.isdigit()] == [str(n) for n in range(1, 301)]
    assert event["log"]["lines"] == 300


async def test_a_trigger_that_is_cancelled_amid_a_backlog_keeps_its_place(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    task_log: TaskLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cursor is behind lines that waited for their turn to be written."""
    xcoms = XComs()
    monkeypatch.setattr(store, "async_xcom", lambda: xcoms)
    job_id = ehpc_emulator.submit("seq 20000")
    ehpc_emulator.wait_for(job_id)
    first = make(JobLogTrigger, job_id)
    first.task_instance = TI
    running = asyncio.create_task(fire(first))
    await until(lambda: "7000" in lines_of(task_log), every=0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "15000" not in lines_of(task_log)
    second = JobLogTrigger(**first.serialize()[1])
    second.task_instance = TI
    await fire(second)
    assert [line for line in lines_of(task_log) if line.isdigit()] == [str(n) for n in range(1, 20_001)]


@KINDS
@pytest.mark.parametrize("asked", [True, False])
async def test_a_kill_stops_the_job_only_where_that_was_asked_for(
    ehpc_emulator: Emulator, make: Make, kind: type[JobTrigger], asked: bool
) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    trigger = make(kind, job_id, **({"stop_job_on_kill": True} if asked else {}))
    await trigger.on_kill()
    await trigger.cleanup()
    assert ehpc_emulator.requests.count("StopJobs") == asked
    if asked:
        assert (await asyncio.to_thread(ehpc_emulator.wait_for, job_id)).phase == "CANCELLED"


async def test_a_kill_stops_the_others_where_one_cannot_be_stopped(
    ehpc_emulator: Emulator, make: Make, pauses: Pauses, task_log: TaskLog
) -> None:
    over = ehpc_emulator.submit("true")
    ehpc_emulator.wait_for(over)
    going = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(going, "RUNNING")
    trigger = make(JobStateTrigger, over, going, stop_job_on_kill=True)
    await trigger.on_kill()
    await trigger.cleanup()
    assert (await asyncio.to_thread(ehpc_emulator.wait_for, going)).phase == "CANCELLED"
    assert len(task_log.warnings) == 1
    assert f"could not stop job {over} in cluster {ehpc_emulator.cluster_id}" in task_log.warnings[0]


@KINDS
async def test_a_cancelled_trigger_ends_as_cancelled(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, kind: type[JobTrigger]
) -> None:
    """Swallowing the cancellation would disable ``on_kill`` (F11)."""
    trigger = make(kind, ehpc_emulator.submit("sleep 60"))
    waiting = asyncio.create_task(fire(trigger))
    await until(lambda: ehpc_emulator.requests.count("GetJob", "ok"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@KINDS
async def test_the_connections_are_closed(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    kind: type[JobTrigger],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten thousand triggers that leave a socket each use up the process's files."""
    from airflow_provider_ehpc.hooks import client

    sessions = []

    def kept(options: Any, original: Any = client.new_async_session) -> Any:
        sessions.append(original(options))
        return sessions[-1]

    monkeypatch.setattr(client, "new_async_session", kept)
    trigger = make(kind, ehpc_emulator.submit("true"))
    await fire(trigger)
    assert {session.closed for session in sessions} == {True}
    await trigger.cleanup()


async def test_cleanup_of_a_trigger_that_never_ran(make: Make) -> None:
    await make(JobStateTrigger, "1").cleanup()


@KINDS
async def test_a_slow_cloud_does_not_stop_the_loop(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, kind: type[JobTrigger]
) -> None:
    """A triggerer runs a thousand others in the same loop: they go on while one waits for an answer."""
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.wait_for(job_id)
    ehpc_emulator.fault("latency", seconds=0.5)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    await fire(make(kind, job_id))
    ticking.cancel()
    # A loop that was held up for the answer would have ticked next to nothing.
    assert ticks >= 10


@KINDS
async def test_a_connection_is_read_once(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    kind: type[JobTrigger],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look-up costs the triggerer's supervisor 20 ms: at every poll, nothing else would get done."""
    from airflow_provider_ehpc.hooks import base as hooks_base

    read = []

    async def counted(conn_id: str, original: Any = hooks_base.aread_connection) -> Any:
        read.append(conn_id)
        return await original(conn_id)

    monkeypatch.setattr(hooks_base, "aread_connection", counted)
    jobs = [ehpc_emulator.submit("sleep 0.3") for _ in range(5)]
    await asyncio.gather(*(fire(make(kind, job_id)) for job_id in jobs))
    assert ehpc_emulator.requests.count() > 5
    assert len(read) == 1


async def test_a_key_that_is_replaced_while_a_log_is_followed(
    ehpc_emulator: Emulator,
    make: Make,
    quick_triggers: None,
    pauses: Pauses,
    connect: Connect,
    task_log: TaskLog,
    gate: Gate,
) -> None:
    """Keys are replaced every few months; a job may run for weeks."""
    job_id = ehpc_emulator.submit(f"echo begun; {gate.wait}; echo end")
    connect(ehpc_emulator.connection_of(ehpc_emulator.issue_token(seconds=5)))
    following = asyncio.create_task(fire(make(JobLogTrigger, job_id)))
    await until(lambda: "begun" in task_log.lines)
    connect(ehpc_emulator.connection)
    await until(lambda: ehpc_emulator.requests.count(outcome="InvalidSecurityToken.Expired"))
    gate.open()
    event = await following
    assert event["outcome"] == "reached"
    assert "end" in task_log.lines
    assert task_log.warnings == [line for line in task_log.warnings if "exit code" in line]


async def test_requests_for_states_do_not_grow_with_the_logs(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None
) -> None:
    """Five hundred logs in a triggerer would otherwise ask five hundred times a turn, beside the reading."""
    jobs = [ehpc_emulator.submit("sleep 1.5") for _ in range(20)]
    await asyncio.gather(*(fire(make(JobLogTrigger, job_id)) for job_id in jobs))
    states = ehpc_emulator.requests.count("GetJob") + ehpc_emulator.requests.count("ListJobs")
    assert states < ehpc_emulator.requests.count("GetJobLog") / 3


async def test_a_log_is_read_to_its_end_as_soon_as_the_job_has_ended(
    ehpc_emulator: Emulator, make: Make, quick_triggers: None, task_log: TaskLog
) -> None:
    """A result of the poller ends the pause between two readings."""
    job_id = ehpc_emulator.submit("sleep 0.5; echo end")
    other = make(JobStateTrigger, job_id)
    patient = asyncio.create_task(fire(make(JobLogTrigger, job_id, poll_interval=60.0)))
    await fire(other)
    verdict = Verdict.from_event(await asyncio.wait_for(patient, 20))
    assert verdict.outcome is Outcome.REACHED
    assert "end" in task_log.lines


def test_first_poll_come_late_and_apart(make: Make) -> None:
    """The worker has just looked, and a thousand that begin together do not ask together."""
    triggers = [make(JobStateTrigger, "1", poll_interval=30) for _ in range(100)]
    pauses = [pause for trigger in triggers for pause in trigger.first_pauses()]
    assert min(pauses) >= 4.9
    assert max(pauses) <= base.FIRST_POLL + 10
    assert max(pauses) - min(pauses) > 5


def test_who_takes_a_wait_over_looks_at_once(make: Make) -> None:
    """The deferral is long ago, and so is the worker's look."""
    triggers = [make(JobLogTrigger, "1", poll_interval=2, started=time.time() - 60) for _ in range(100)]
    assert {trigger.first_pauses()[0] for trigger in triggers} == {0.0}
    assert max(trigger.first_pauses()[1] for trigger in triggers) <= 2


@KINDS
async def test_no_task_is_resumed_right_after_its_deferral(
    ehpc_emulator: Emulator, make: Make, monkeypatch: pytest.MonkeyPatch, kind: type[JobTrigger]
) -> None:
    """The scheduler may mark it as failed (GH-71580). Where a triggerer takes over, that is long ago."""
    monkeypatch.setattr(base, "FIRST_POLL", 0.0)
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.wait_for(job_id)
    monkeypatch.setattr(base, "EARLIEST_EVENT", 1.0)
    began = time.time()
    await fire(make(kind, job_id))
    assert time.time() - began >= 1.0
    monkeypatch.setattr(base, "EARLIEST_EVENT", 3600.0)
    async with asyncio.timeout(20):
        await fire(make(kind, job_id, started=time.time() - 60))


@KINDS
async def test_a_connection_that_is_gone_is_reported_to_the_task(
    make: Make, kind: type[JobTrigger], quick_triggers: None
) -> None:
    """Somebody deleted it while the task was deferred. What a trigger raises, the task is not reported."""
    event = await fire(make(kind, "1.manager", conn_id="nobody"))
    assert (event["outcome"], event["message"]) == ("error", "The conn_id `nobody` isn't defined")


@KINDS
async def test_a_connection_that_was_spoilt_is_reported_to_the_task(
    make: Make, kind: type[JobTrigger], ehpc_emulator: Emulator, connect: Connect, quick_triggers: None
) -> None:
    """Or somebody changed it."""
    connect(ehpc_emulator.connection, "spoilt", conn_type="http")
    event = await fire(make(kind, "1.manager", conn_id="spoilt"))
    assert event["outcome"] == "error"
    assert "connection 'spoilt' is of type 'http'" in event["message"]


async def test_the_end_of_one_trigger_is_not_the_end_of_another(
    ehpc_emulator: Emulator, connect: Connect, make: Make, quick_triggers: None
) -> None:
    """The end of one must not close the session of another."""
    short, long = ehpc_emulator.submit("sleep 0.1"), ehpc_emulator.submit("sleep 0.6")
    events = await asyncio.gather(fire(make(JobStateTrigger, short)), fire(make(JobStateTrigger, long)))
    assert [Verdict.from_event(event).outcome for event in events] == [Outcome.REACHED] * 2

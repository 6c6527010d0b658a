# SPDX-License-Identifier: Apache-2.0
"""What tasks record while they wait, on a worker and in the triggerer, against the emulator."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed
from airflow_provider_ehpc.logs.store import WriteThrottle
from airflow_provider_ehpc.operators.job import StopJobOperator, SubmitJobOperator
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.recording import recorder
from airflow_provider_ehpc.recording.record import KEY
from airflow_provider_ehpc.recording.recorder import TriggererRecorder
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from tests.conftest import Pauses, TaskLog
from tests.gates import Gate, eventually
from tests.logs.stores import TI
from tests.triggers.test_triggers import fire

pytestmark = pytest.mark.usefixtures("quick_triggers")


class Database:
    """XComs in memory, by task; ``silent`` is a supervisor that never responds."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, dict[str, Any]]] = []
        self.reads = 0
        self.fault: Exception | None = None
        self.silent = False

    def set(self, *, key: str, value: Any, task_id: str, **_: Any) -> None:
        assert key == KEY
        if self.fault:
            raise self.fault
        self.writes.append((task_id, json.loads(json.dumps(value))))

    def get_one(self, *, key: str, task_id: str, **_: Any) -> Any:
        assert key == KEY
        self.reads += 1
        if self.fault:
            raise self.fault
        return self.last(task_id)

    async def aset(self, **arguments: Any) -> None:
        if self.silent:
            await asyncio.Event().wait()
        self.set(**arguments)

    async def aget_one(self, **arguments: Any) -> Any:
        return self.get_one(**arguments)

    def last(self, task_id: str = TI.task_id) -> Any:
        return next((value for task, value in reversed(self.writes) if task == task_id), None)

    def states(self, task_id: str = TI.task_id) -> list[str]:
        return [
            job.get("state", "") for task, value in self.writes if task == task_id for job in value["jobs"]
        ]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    database = Database()
    monkeypatch.setattr(recorder, "in_a_process_of_airflow", lambda: True)
    monkeypatch.setattr(recorder, "database_xcom", lambda: database)
    monkeypatch.setattr(TriggererRecorder, "_throttle", WriteThrottle(1000))
    monkeypatch.setattr(TriggererRecorder, "_waiting", {})
    return database


CONTEXT: Any = {"ti": SimpleNamespace(**vars(TI), xcom_push=lambda key, value: None)}


def defer(task: Any) -> Any:
    """Execute a task until it defers; return its trigger, as the triggerer has it."""
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(CONTEXT)
    trigger = deferred.value.trigger
    trigger.task_instance = TI
    return trigger


def resume(task: Any, event: dict[str, Any]) -> Any:
    return task.resume_execution("execute_complete", {"event": event}, CONTEXT)


def test_a_sensor_records_each_change(
    ehpc_emulator: Emulator, conn_id: str, database: Database, gate: Gate
) -> None:
    job_id = ehpc_emulator.submit(f"{gate.wait}; true")
    sensor = JobStateSensor(task_id="wait", conn_id=conn_id, job_id=job_id, poke_interval=0.05, timeout=60)
    eventually(lambda: ehpc_emulator.job(job_id).phase == "RUNNING")
    assert not sensor.poke(CONTEXT)
    assert not sensor.poke(CONTEXT)
    assert database.states() == ["RUNNING"]
    gate.open()
    while not sensor.poke(CONTEXT):
        time.sleep(0.05)
    assert database.states() == ["RUNNING", "SUCCEEDED"]
    record = database.last()
    assert record["conn_id"] == conn_id
    assert record["outcome"] == "reached"
    assert [state for state, _ in record["changes"]] == ["RUNNING", "SUCCEEDED"]


def test_a_failed_job_is_recorded_with_its_cause_and_without_its_log(
    ehpc_emulator: Emulator, conn_id: str, database: Database
) -> None:
    job_id = ehpc_emulator.submit("echo the secret is hunter2; nosuchprogram")
    task = JobLogOperator(
        task_id="log", conn_id=conn_id, job_id=job_id, poll_interval=0.05, log_settle_time=0.1, timeout=60
    )
    with pytest.raises(JobFailed):
        task.execute(CONTEXT)
    record = database.last()
    (job,) = record["jobs"]
    assert (job["state"], job["cause"], record["outcome"]) == ("FAILED", "command not found", "failed")
    assert record["log"]["bytes"] > 20
    assert record["log"]["lines"] == 2
    assert "hunter2" not in json.dumps(database.writes)
    assert "nosuchprogram" not in json.dumps(database.writes)


def test_a_timeout_is_recorded(ehpc_emulator: Emulator, conn_id: str, database: Database, gate: Gate) -> None:
    job_id = ehpc_emulator.submit(gate.wait)
    task = JobLogOperator(task_id="log", conn_id=conn_id, job_id=job_id, poll_interval=0.05, timeout=0.5)
    with pytest.raises(Exception, match="timed out"):
        task.execute(CONTEXT)
    assert database.last()["outcome"] == "timed_out"
    gate.open()


def test_an_outage_at_the_beginning_still_shows_the_job(
    ehpc_emulator: Emulator, conn_id: str, database: Database, pauses: Pauses
) -> None:
    ehpc_emulator.fault("html", seconds=600)
    sensor = JobStateSensor(task_id="wait", conn_id=conn_id, job_id="77", poke_interval=0.05, timeout=60)
    assert not sensor.poke(CONTEXT)
    assert [job["job_id"] for job in database.last()["jobs"]] == ["77"]


def test_a_submission_without_a_wait_is_recorded(
    ehpc_emulator: Emulator, conn_id: str, database: Database
) -> None:
    task = SubmitJobOperator(task_id="run", command="true", conn_id=conn_id, wait_for_completion=False)
    result = task.execute(CONTEXT)
    record = database.last()
    assert (record["jobs"][0]["job_id"], record["outcome"]) == (result["job_id"], "submitted")


def test_a_job_that_is_stopped_is_recorded(
    ehpc_emulator: Emulator, conn_id: str, database: Database, gate: Gate
) -> None:
    job_id = ehpc_emulator.submit(gate.wait)
    task = StopJobOperator(
        task_id="stop", conn_id=conn_id, job_id=job_id, wait_for_completion=True, poll_interval=0.05
    )
    task.execute(CONTEXT)
    assert database.last()["jobs"][0]["state"] == "CANCELLED"


def test_a_job_is_recorded_by_a_task_that_does_not_wait_for_its_end(
    ehpc_emulator: Emulator, conn_id: str, database: Database, gate: Gate
) -> None:
    job_id = ehpc_emulator.submit(gate.wait)
    # PBS reports only that the job has ended.
    for outcome, state in (("stop_requested", None), ("reached", "SUCCEEDED")):
        StopJobOperator(task_id="stop", conn_id=conn_id, job_id=job_id, wait_for_completion=False).execute(
            CONTEXT
        )
        record = database.last()
        assert record["outcome"] == outcome
        assert [(job["job_id"], job.get("state")) for job in record["jobs"]] == [(job_id, state)]
        ehpc_emulator.wait_for(job_id)


@pytest.mark.parametrize("kind", ["sensor", "log", "submit"])
async def test_a_deferred_task_is_recorded_through_all_processes(
    ehpc_emulator: Emulator, conn_id: str, database: Database, gate: Gate, kind: str
) -> None:
    command = f"echo begin; {gate.wait}; echo end"
    task: Any
    common: dict[str, Any] = {"task_id": "task", "conn_id": conn_id, "deferrable": True, "timeout": 60}
    if kind == "submit":
        task = SubmitJobOperator(command=command, poll_interval=0.05, log_settle_time=0.1, **common)
    else:
        job_id = ehpc_emulator.submit(command)
        if kind == "log":
            task = JobLogOperator(job_id=job_id, poll_interval=0.05, log_settle_time=0.1, **common)
        else:
            task = JobStateSensor(job_id=job_id, poke_interval=0.05, **common)
    trigger = await asyncio.to_thread(defer, task)
    begun = len(database.writes)
    assert begun == 1, "the worker recorded the job before it deferred"
    firing = asyncio.create_task(fire(trigger))
    await asyncio.sleep(0.5)
    gate.open()
    event = await firing
    deferred = len(database.writes)
    if kind != "sensor":
        assert any("log" in value for _, value in database.writes[begun:])
    CONTEXT["ti"].xcom_push = lambda key, value: None
    if kind == "submit":
        return
    await asyncio.to_thread(resume, task, event)
    assert len(database.writes) == deferred + 1
    record = database.last()
    assert record["outcome"] == "reached"
    assert record["jobs"][0]["state"] == "SUCCEEDED"
    assert [state for state, _ in record["changes"]][-2:] == ["RUNNING", "SUCCEEDED"]
    assert ("log" in record) == (kind == "log")


def deferred_recorder(task_id: str, log: Any, watch: Any) -> TriggererRecorder:
    ti = SimpleNamespace(**{**vars(TI), "task_id": task_id})
    return TriggererRecorder(ti, log, lambda: (watch,), conn_id="c", api="ehpc")


def watch(state: str = "RUNNING") -> Any:
    from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus

    status = JobStatus("7", JobState(state), state)
    return SimpleNamespace(ref=JobRef("7"), status=status, since=time.time())


async def test_a_thousand_triggers_share_few_writes(
    database: Database, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    """Each has changed many times; no trigger waits, and each record is written once."""
    monkeypatch.setattr(TriggererRecorder, "_throttle", WriteThrottle(50))
    recorders = [deferred_recorder(f"t{n}", None, watch()) for n in range(1000)]
    begun = time.monotonic()
    for _ in range(10):
        for each in recorders:
            each.polled(True)
    assert time.monotonic() - begun < 1, "only noted"
    await asyncio.sleep(1)
    took = time.monotonic() - begun
    assert 10 <= len(database.writes) <= 50 * took + 2
    assert len({task for task, _ in database.writes}) == len(database.writes)
    for each in recorders:
        each.close()
    written = len(database.writes)
    await asyncio.sleep(0.2)
    assert len(database.writes) <= written + 1, "a trigger that has ended writes nothing"


async def test_the_triggerer_does_not_repeat_what_the_worker_wrote(database: Database) -> None:
    written = {
        "try_number": TI.try_number,
        "jobs": [],
        "counts": {"RUNNING": 1},
        "changes": [["QUEUED", "x"]],
    }
    database.writes.append(("t", written))
    each = deferred_recorder("t", None, watch())
    each.polled(True)
    await asyncio.sleep(0.1)
    assert (database.reads, len(database.writes)) == (1, 1)
    each._jobs = lambda: (watch("SUCCEEDED"),)
    each.polled(True)
    await asyncio.sleep(0.1)
    assert (database.reads, len(database.writes)) == (1, 2)
    assert [state for state, _ in database.last("t")["changes"]] == ["QUEUED", "RUNNING", "SUCCEEDED"]


async def test_the_record_of_another_try_is_not_continued(database: Database) -> None:
    database.writes.append(
        ("t", {"try_number": 1, "jobs": [], "changes": [["FAILED", "x"]], "console": "old"})
    )
    each = deferred_recorder("t", None, watch())
    each.polled(True)
    await asyncio.sleep(0.1)
    assert [state for state, _ in database.last("t")["changes"]] == ["RUNNING"]
    assert "console" not in database.last("t")


async def test_a_supervisor_that_never_responds_delays_no_trigger(
    ehpc_emulator: Emulator,
    conn_id: str,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    gate: Gate,
) -> None:
    monkeypatch.setattr(recorder, "SUPERVISOR_TIMEOUT", 0.2)
    sensor = JobStateSensor(
        task_id="wait",
        conn_id=conn_id,
        job_id=ehpc_emulator.submit(f"{gate.wait}; true"),
        poke_interval=0.05,
        timeout=60,
        deferrable=True,
    )
    trigger = await asyncio.to_thread(defer, sensor)
    database.silent = True
    gate.open()
    assert (await asyncio.wait_for(fire(trigger), 30))["outcome"] == "reached"


def test_a_record_that_cannot_be_written_fails_nothing(
    ehpc_emulator: Emulator, conn_id: str, database: Database, task_log: TaskLog
) -> None:
    database.fault = RuntimeError("the database is away")
    job_id = ehpc_emulator.submit("true")
    sensor = JobStateSensor(task_id="wait", conn_id=conn_id, job_id=job_id, poke_interval=0.05, timeout=60)
    sensor.execute(CONTEXT)
    assert len([line for line in task_log.lines if "could not be recorded" in line]) == 1
    assert not [line for line in task_log.warnings if "recorded" in line]


def test_ten_thousand_jobs_are_written_once_per_poll_with_a_change(database: Database) -> None:
    from airflow_provider_ehpc.recording.recorder import WorkerRecorder

    each = WorkerRecorder(TI, None, conn_id="c")
    watches = [watch() for _ in range(10_000)]
    each.follow(lambda: watches)
    for changed in (True, False, False, True):
        each.polled(changed)
    assert len(database.writes) == 2
    assert database.last()["counts"] == {"RUNNING": 10_000}

# SPDX-License-Identifier: Apache-2.0
"""How each kind of task is run against the faulty cloud, as Airflow runs it, and what came of it."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_ehpc.apis.job import JobRef, JobSpec
from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.events.job_diff import Position
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.triggers.job_finished import JobFinishedTrigger
from tests.conftest import TaskLog
from tests.faults.catalogue import HUAWEI, Api
from tests.faults.server import FaultServer
from tests.gates import eventually, until
from tests.triggers.triggerer import Kept, SharedStreamManager, Triggerer

LINES = [f"line {n} of the job" for n in range(1, 41)]
_LINE = re.compile(r"(?:\S+ \| )?(line \d+ of the job)")
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
DAY = timedelta(days=1)
RECORDS = 120
"""Operations of the audited day: more than a page holds."""
INTERVAL = 0.02
"""Seconds between two polls."""
PATIENCE = 8.0
"""Seconds within which a task that recovers, recovers."""
_numbers = itertools.count()


class Cloud:
    """An emulator with one ended job, and three others, that every API knows; and with operations."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        ids = [emulator.submit("true", name=f"train-{n}") for n in range(4)]
        for job_id in ids:
            emulator.wait_for(job_id)
        self._jobs = [emulator.job(job_id) for job_id in ids]
        self.log = self._jobs[0].stdout_path
        self._refs: dict[str, list[JobRef]] = {}
        rows = [
            EmulatedOperation(
                MIDNIGHT.timestamp() + 60 * n, "Act", cloud=cloud, actor="me", resources=("c-1",)
            )
            for cloud in ("aliyun", "qingcloud")
            for n in range(RECORDS)
        ]
        emulator.add_operations(rows)

    def refs(self, api: Api, conn_id: str) -> list[JobRef]:
        """Return the jobs' addresses in an API."""
        if api.name not in self._refs:
            hook = job_hook(conn_id, api.name)
            if api.name == "ehpc-serverless":
                image = {"Container": {"Image": "busybox"}}
                refs = [hook.submit(JobSpec(f"train-{n}", "true", options=image)) for n in range(4)]
                for ref in refs:
                    eventually(lambda ref=ref: hook.job_status(ref).state.terminal)
            else:
                refs = self._listed(api, hook)
            hook.close()
            self._refs[api.name] = refs
        return self._refs[api.name]

    def _listed(self, api: Api, hook: Any) -> list[JobRef]:
        numbers = [job.number for job in self._jobs]
        if api.name == "modelarts-v1":
            rows = {row.job_id: row.ref for row in hook.list_jobs().jobs}
            return [rows[str(number)] for number in numbers]
        jobs = hook.cluster_jobs(datetime.now(UTC) - timedelta(hours=1))
        by_name = {row.status.name: hook.job_ref(job_id) for job_id, row in jobs.items()}
        return [by_name[job.spec.name] for job in self._jobs]

    def begin(self, api: Api, ref: JobRef) -> None:
        """Let the first job run, with half of its log written."""
        word = {
            "ehpc-serverless": "Running",
            "modelarts": "Running",
            "modelarts-v1": "8",
            "qingcloud": "running",
        }
        self.emulator.faults.clear()
        self.emulator.fault("state", job_id=ref.job_id, word=word.get(api.name, "RUNNING"))
        self.log.write_text("".join(f"{line}\n" for line in LINES[:20]))

    def end(self) -> None:
        """Let it write the other half and end."""
        with self.log.open("a") as file:
            file.writelines(f"{line}\n" for line in LINES[20:])
        self.emulator.faults.clear()


@dataclass
class Result:
    """What came of a task."""

    value: Any = None
    error: BaseException | None = None
    lines: list[str] = field(default_factory=list)
    """Of the job's log, in the task log."""
    warnings: list[str] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    """Files of the audit."""


@dataclass
class Setting:
    """Where a task runs.

    :param strike: begins the fault.
    :param patience: seconds within which a task that recovers, recovers.
    :param arguments: further arguments of the operator.
    """

    api: Api
    cloud: Cloud
    server: FaultServer
    conn_id: str
    refs: list[JobRef]
    folder: Path
    log: TaskLog
    kept: Kept
    strike: Callable[[], None]
    patience: float = PATIENCE
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> dict[str, Any]:
        """The arguments by which a task finds the first job."""
        ref = self.refs[0]
        return {
            "conn_id": self.conn_id,
            "api": self.api.name,
            "job_id": ref.job_id,
            "cluster_id": ref.cluster_id,
            "version_id": ref.version_id,
        }


def run_sensor(setting: Setting, deferred: bool) -> Result:
    """Wait for the job."""
    return _run(setting, JobStateSensor, {"poke_interval": INTERVAL, "timeout": setting.patience}, deferred)


def run_jobs(setting: Setting, deferred: bool) -> Result:
    """Wait for four jobs at once, which are polled by lists where there are any."""
    ids = [ref.job_id for ref in setting.refs]
    return _run(
        setting,
        JobStateSensor,
        {"poke_interval": INTERVAL, "timeout": setting.patience, "job_id": ids},
        deferred,
    )


def run_log(setting: Setting, deferred: bool) -> Result:
    """Stream the job's log."""
    quick = {"poll_interval": INTERVAL, "log_settle_time": 0.05, "timeout": setting.patience}
    return _run(setting, JobLogOperator, quick, deferred)


def _run(setting: Setting, kind: Any, arguments: dict[str, Any], deferred: bool) -> Result:
    arguments = {**setting.address, **arguments, **setting.arguments}
    operator = kind(task_id=f"task_{next(_numbers)}", deferrable=deferred, **arguments)
    result = Result()
    try:
        if not deferred:
            setting.strike()
            result.value = operator.execute({})
        else:
            try:
                operator.execute({})
                raise AssertionError("it did not defer")
            except TaskDeferred as deferral:
                trigger = _through_the_database(deferral.trigger)
            setting.strike()
            event = asyncio.run(_fire(trigger))
            result.value = operator.execute_complete({}, event)
    except Exception as error:
        result.error = error
    finally:
        operator.hook.close()
    written = [line for text in setting.log.lines for line in text.split("\n")]
    result.lines = [found[1] for line in written if (found := _LINE.fullmatch(line))]
    result.warnings = setting.log.warnings
    return result


def _through_the_database(trigger: Any) -> Any:
    path, kwargs = trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))


async def _fire(trigger: Any) -> Any:
    """Run a trigger as the triggerer does and return the payload of its only event."""
    try:
        events = [event async for event in trigger.run()]
    finally:
        await trigger.cleanup()
    (event,) = events
    return json.loads(json.dumps(event.payload))


def run_audit(setting: Setting, deferred: bool) -> Result:
    """Write down the operations of a day."""
    operator = OperationAuditOperator(
        task_id=f"task_{next(_numbers)}",
        path=f"file://{setting.folder}",
        conn_id=setting.conn_id,
        api=setting.api.name,
        start=MIDNIGHT,
        end=MIDNIGHT + DAY,
        **setting.arguments,
    )
    result = Result()
    setting.strike()
    try:
        result.value = operator.execute({})  # type: ignore[typeddict-item]
    except Exception as error:
        result.error = error
    finally:
        operator.hook.close()
    result.written = [path for path in setting.folder.rglob("*") if path.is_file()]
    return result


def run_event(setting: Setting, deferred: bool, *, lasts: float = 0.0) -> Result:
    """Watch for the end of jobs.

    :param lasts: seconds for which the fault lasts; 0 if it passes by itself or does not matter.
    """
    result = Result()
    heard = _Listener()
    logger = logging.getLogger("airflow_provider_ehpc")
    logger.addHandler(heard)
    try:
        asyncio.run(_watch(setting, lasts, result, heard))
    finally:
        logger.removeHandler(heard)
    result.warnings = heard.warnings
    return result


async def _watch(setting: Setting, lasts: float, result: Result, heard: _Listener) -> None:
    named = setting.api.name == "modelarts-v1"
    ref = setting.refs[0]
    arguments = {name: setting.address[name] for name in ("conn_id", "api", "cluster_id")}
    if named:
        arguments |= {"job_id": ref.job_id, "version_id": ref.version_id}
    trigger = JobFinishedTrigger(**arguments)
    trigger.poll_interval = INTERVAL
    # It followed the jobs before, in a triggerer that is gone: it begins with them, and with a list.
    known = Position(time.time() - 60, frozenset(ref.job_id for ref in setting.refs[: 1 if named else 4]))
    setting.kept.values[f"ehpc_job_finished_{trigger.identity}"] = json.dumps(known.as_dict())
    stored: list[dict[str, Any]] = []
    triggerer = Triggerer(setting.kept, stored, shared=SharedStreamManager is not None)
    setting.strike()
    triggerer.start(trigger)
    wanted = 1 if named else 4
    with suppress(AssertionError):
        if lasts:
            await until(lambda: heard.warnings or len(stored) >= wanted, timeout=setting.patience)
            await asyncio.sleep(lasts)
        else:
            await until(lambda: len(stored) >= wanted, timeout=setting.patience)
            # A job that is reported twice would be now.
            await asyncio.sleep(5 * INTERVAL)
    result.value = list(stored)
    await triggerer.kill()
    if triggerer.crashes:
        result.error = triggerer.crashes[0]


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(record.getMessage())


def modes(api: Api, task: str) -> tuple[str, ...]:
    """Return where a kind of task speaks to an API's cloud: on a worker, in the triggerer, or nowhere."""
    if task == "log":
        return ("worker", "deferred") if api.log else ()
    if task == "audit":
        # What it defers is the wait for the end of its window, which asks no cloud.
        return ("worker",) if api.audit else ()
    if task == "event":
        return ("deferred",)
    if task == "jobs" and api.name == "modelarts-v1":
        # One sensor has one version_id.
        return ()
    return ("worker", "deferred")


RUN: dict[str, Callable[[Setting, bool], Result]] = {
    "sensor": run_sensor,
    "jobs": run_jobs,
    "log": run_log,
    "audit": run_audit,
    "event": run_event,
}
__all__ = ["HUAWEI", "LINES", "RECORDS", "RUN", "Cloud", "Result", "Setting", "modes", "run_event"]

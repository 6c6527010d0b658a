# SPDX-License-Identifier: Apache-2.0
"""Run many tasks at once, on workers and in one triggerer, and submit jobs by such tasks."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_ehpc.apis.submit_rules import RULES
from airflow_provider_ehpc.emulator.jobs import EmulatedJob
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailure
from airflow_provider_ehpc.operators.job import SubmitJobOperator
from airflow_provider_ehpc.triggers import base
from airflow_provider_ehpc.waiting import watch
from tests.gates import eventually
from tests.operators.tries import TaskInstance, jobs_of
from tests.outcomes.cases import NODE_DOWN, Case
from tests.outcomes.table import Seen, cells

MODES = ("worker", "deferred")
SUBMITTED: Mapping[str, dict[str, Any]] = {
    "ehpc": {"conn_id": "aliyun_ehpc"},
    "ehpc-classic": {"conn_id": "aliyun_ehpc", "user": "alice"},
    "ehpc-serverless": {"conn_id": "aliyun_ehpc", "options": {"Container": {"Image": "centos:7"}}},
    "modelarts": {
        "conn_id": "huawei_modelarts",
        "options": {
            "algorithm": {"engine": {"image_url": "team/train:1"}},
            "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.8u"}},
        },
    },
    "qingcloud": {"conn_id": "qingcloud_hpc", "user": "alice"},
}
"""What a submission needs, by API."""


@contextmanager
def connected(cloud: Emulator) -> Iterator[None]:
    """Connect tasks with a cloud, and let triggers poll and fire at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "FIRST_POLL", 0.0)
        patch.setattr(base, "EARLIEST_EVENT", 0.0)
        patch.setattr(watch, "GONE_GRACE", 10.0, raising=False)
        # What a worker reads after a deferral.
        patch.setattr(
            "airflow_provider_ehpc.operators.job.own_xcom", lambda context, key: context["ti"].xcoms.get(key)
        )
        for kind, connection in cloud.connections.items():
            patch.setenv(f"AIRFLOW_CONN_{kind.upper()}", json.dumps(connection))
        yield


class Tasks:
    """Threads for workers, and an event loop for triggers."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(max_workers=400)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, operator: Any, context: Mapping[str, Any]) -> Any:
        """Run a task, and its trigger if it defers."""
        from airflow.providers.common.compat.sdk import TaskDeferred

        try:
            return operator.execute(context)
        except TaskDeferred as deferred:
            event = asyncio.run_coroutine_threadsafe(_event(deferred.trigger), self._loop).result()
            return operator.resume_execution(deferred.method_name, {"event": event}, context)

    def close(self) -> None:
        """End the triggers. The tasks are over by then, unless the test has failed."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)


async def _event(trigger: Any) -> dict[str, Any]:
    try:
        async for event in trigger.run():
            payload: dict[str, Any] = json.loads(json.dumps(event.payload))
            return payload
    finally:
        await trigger.cleanup()
    raise AssertionError("the trigger has fired no event")


class Submissions:
    """Tasks that submit the jobs of cases, one through each API and in each mode."""

    def __init__(self, cloud: Emulator, tasks: Tasks, apis: tuple[str, ...]) -> None:
        self._cloud = cloud
        self._tasks = tasks
        self._apis = apis
        self._names: dict[tuple[str, str, str], str] = {}
        self.ends: dict[tuple[str, str, str], Future[Seen]] = {}

    def begin(self, case: Case) -> None:
        """Begin the tasks of a case, through all APIs that support it."""
        number = len(self._names)
        for api in self._apis:
            # ModelArts stops jobs after whole hours only.
            unsupported = {*RULES[api].rejected, *(("wall_time",) if api == "modelarts" else ())}
            if case.spec.keys() & unsupported:
                continue
            for mode in MODES:
                number += 1
                key = case.name, api, mode
                self._names[key] = f"case{number}x"
                self.ends[key] = self._tasks.threads.submit(self._end, case, *key[1:], self._names[key])

    def jobs(self, case: Case) -> Iterator[tuple[EmulatedJob, bool]]:
        """Wait until the jobs of a case have begun to write; yield each, and if it is a serverless one."""
        for (name, api, _), prefix in self._names.items():
            if name == case.name:
                serverless = api == "ehpc-serverless"
                eventually(lambda: self._begun(prefix, serverless), timeout=240)  # noqa: B023
                yield self._begun(prefix, serverless)[0], serverless

    def _begun(self, prefix: str, serverless: bool) -> list[EmulatedJob]:
        return [
            job
            for job in jobs_of(self._cloud, serverless=serverless)
            if job.spec.name.startswith(prefix)
            and job.phase == "RUNNING"
            and job.stdout_path.exists()
            and job.stdout_path.stat().st_size
        ]

    def stop(self, case: Case) -> None:
        """Stop the jobs of a case as a user of the cluster does."""
        platform = self._cloud._platform
        for job, serverless in self.jobs(case):
            self._cloud._call((platform.serverless if serverless else platform.cluster).stop(job))

    def _end(self, case: Case, api: str, mode: str, name: str) -> Seen:
        operator = SubmitJobOperator(
            task_id="submit",
            api=api,
            command=case.command,
            job_name=name,
            poll_interval=1.0,
            log_settle_time=1.0,
            deferrable=mode == "deferred",
            **{**SUBMITTED[api], **case.spec},
        )
        try:
            job = self._tasks.run(operator, {"ti": TaskInstance()})
        except JobFailure as failure:
            return Seen.of_failure(str(failure))
        return Seen(job["state"], str(job.get("exit_code", "")), job.get("reason", ""))


Ends = Mapping[tuple[str, str, str], Seen]
"""How tasks ended, by case, API and mode."""


def found(ends: Ends, case: Case, api: str) -> Seen | None:
    """Return how a case's job ended, the same in both modes; None if the API does not support the job.

    Without what differs from job to job; of an array, with the indexes of the failed members. A job that is
    killed from outside may have no time to write its exit code, which is captured from the log of ``ehpc``;
    if its node goes down, Slurm may or may not report the signal.
    """
    killed = "\\d" in case.exit_code and (api == "ehpc" or case == NODE_DOWN)
    if (case.name, api, "worker") not in ends:
        return None
    worker, deferred = (
        Seen(seen.state, "" if killed else seen.exit_code, members=_indexes(seen.members), cause=seen.cause)
        for seen in (ends[case.name, api, mode] for mode in MODES)
    )
    assert worker == deferred, (case.name, api)
    return worker


def _indexes(members: str) -> str:
    return " ".join(re.findall(r"(?:_|\[)(\d+)\S* \(FAILED", members))


def table(ends: Ends, cases: Sequence[Case], apis: Sequence[str]) -> list[str]:
    """Return the rows of a table in Markdown: a row for each case, a column for each API."""
    rows = [cells("what happens", *(f"`{api}`" for api in apis)), "|---" * (len(apis) + 1) + "|"]
    for case in cases:
        texts = []
        for api in apis:
            seen = found(ends, case, api)
            code = seen.exit_code if seen else ""
            shown = (seen.state, code, seen.members and f"members {seen.members}", seen.cause) if seen else ()
            texts.append(", ".join(filter(None, shown)) or "–")
        rows.append(cells(case.name, *texts))
    return rows

# SPDX-License-Identifier: Apache-2.0
"""The diagnosis that a task reports, on the worker and deferred."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_ehpc.compat import AirflowFailException, AirflowSkipException
from airflow_provider_ehpc.diagnosis import Cause
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, JobFailedRetryably, JobFailure
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from tests.conftest import Connect, TaskLog
from tests.logs.stores import TI, States
from tests.triggers.test_triggers import fire

TIME_LIMIT = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-20T16:35:48 DUE TO TIME LIMIT ***"


def task(kind: type, conn_id: str, job_id: Any, **arguments: Any) -> Any:
    quick: dict[str, Any] = {"poke_interval": 0.05}
    if issubclass(kind, JobLogOperator):
        quick = {"poll_interval": 0.05, "log_settle_time": 0.1}
    return kind(task_id="task", conn_id=conn_id, job_id=job_id, **{**quick, **arguments})


def run(kind: type, conn_id: str, job_id: Any, *, deferred: bool, **arguments: Any) -> Any:
    from airflow.providers.common.compat.sdk import TaskDeferred

    context: Any = {"ti": TI, "task_state_store": States()}
    try:
        return task(kind, conn_id, job_id, deferrable=deferred, **arguments).execute(context)
    except TaskDeferred as deferral:
        trigger: Any = deferral.trigger
        event = asyncio.run(fire(trigger))
        # Another process continues.
        later = task(kind, conn_id, job_id, deferrable=True, **arguments)
        return later.resume_execution(deferral.method_name, {"event": event}, context)


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("kind", [JobStateSensor, JobLogOperator])
@pytest.mark.parametrize("api", ["ehpc", "ehpc-classic"])
def test_the_diagnosis_is_the_first_line_of_the_exception_and_the_last_of_the_log(
    ehpc_emulator: Emulator,
    conn_id: str,
    task_log: TaskLog,
    quick_triggers: None,
    kind: type,
    deferred: bool,
    api: str,
) -> None:
    job_id = ehpc_emulator.submit(f"sleep 0.3; echo '{TIME_LIMIT}' >&2; exit 9")
    with pytest.raises(JobFailed, match=rf"\njob {job_id} in cluster \S+ ended FAILED ") as caught:
        run(kind, conn_id, job_id, deferred=deferred, api=api)
    diagnosis = caught.value.diagnosis
    assert diagnosis is not None
    assert diagnosis.cause is Cause.WALL_TIME_EXCEEDED
    first, second, *_ = str(caught.value).splitlines()
    assert first == str(diagnosis)
    assert first.startswith(f"wall time exceeded: its log says '{TIME_LIMIT}'. ")
    assert "wall_time=" in first
    assert second.startswith(f"job {job_id} in cluster")
    assert task_log.lines[-1] == f"job {job_id}: {diagnosis}"
    assert task_log.records[-1].levelname == "ERROR"


def test_a_job_that_somebody_else_stopped(ehpc_emulator: Emulator, conn_id: str) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    ehpc_emulator.stop(job_id)
    with pytest.raises(JobFailed) as caught:
        run(JobStateSensor, conn_id, job_id, deferred=False, api="ehpc-classic", timeout=60)
    assert str(caught.value).startswith("cancelled by a user: ")


@pytest.mark.parametrize("api", ["ehpc", "ehpc-classic"])
def test_the_local_scheduler_says_what_pbs_says(ehpc_emulator: Emulator, conn_id: str, api: str) -> None:
    """API 2024-07-30 reports only that the job ended."""
    job_id = ehpc_emulator.submit("sleep 60", wall_time=1)
    policy = {"finished_without_exit_code": "fail"}
    with pytest.raises(JobFailed) as caught:
        run(JobStateSensor, conn_id, job_id, deferred=False, api=api, timeout=60, **policy)
    assert caught.value.diagnosis is not None
    assert caught.value.diagnosis.cause is Cause.WALL_TIME_EXCEEDED


@pytest.mark.parametrize("deferred", [False, True])
def test_the_exit_code_is_enough(
    ehpc_emulator: Emulator, conn_id: str, quick_triggers: None, deferred: bool
) -> None:
    job_id = ehpc_emulator.submit("sleep 0.3; no-such-command")
    with pytest.raises(JobFailed) as caught:
        run(JobStateSensor, conn_id, job_id, deferred=deferred, api="ehpc-classic")
    assert str(caught.value).startswith("command not found: its log says ")
    assert "no-such-command: command not found'. Correct the program's name in command=" in str(caught.value)


def test_an_unknown_cause_adds_nothing(ehpc_emulator: Emulator, conn_id: str, task_log: TaskLog) -> None:
    job_id = ehpc_emulator.submit("echo 'the model diverged' >&2; exit 3")
    with pytest.raises(JobFailed, match=rf"^job {job_id} in cluster") as caught:
        run(JobStateSensor, conn_id, job_id, deferred=False)
    assert caught.value.diagnosis is not None
    assert caught.value.diagnosis.cause is Cause.UNKNOWN
    assert "unknown" not in str(caught.value)
    assert not [line for line in task_log.lines if line.startswith(f"job {job_id}: ")]


def test_an_array_is_diagnosed_by_the_sub_job_whose_log_is_shown(
    ehpc_emulator: Emulator, connect: Connect
) -> None:
    conn_id = connect(ehpc_emulator.connection)
    command = "if [ $PBS_ARRAY_INDEX = 2 ]; then echo 'MemoryError' >&2; exit 1; fi"
    job_id = ehpc_emulator.submit(command, array="1-3")
    with pytest.raises(JobFailed) as caught:
        run(JobStateSensor, conn_id, job_id, deferred=False, api="ehpc-classic")
    assert str(caught.value).startswith("out of memory: its log says 'MemoryError'. ")
    assert f"Last lines of the log of {job_id.replace('[]', '[2]')}:" in str(caught.value)


def test_a_log_that_cannot_be_read_leaves_what_the_scheduler_says(
    ehpc_emulator: Emulator, conn_id: str
) -> None:
    job_id = ehpc_emulator.submit("sleep 60", wall_time=1)
    ehpc_emulator.deny("GetJobLog")
    with pytest.raises(JobFailed, match="Its log could not be read") as caught:
        run(JobStateSensor, conn_id, job_id, deferred=False, api="ehpc-classic", timeout=60)
    assert str(caught.value).startswith("wall time exceeded: the cloud reports ")


def test_a_skipped_task_shows_the_diagnosis(ehpc_emulator: Emulator, conn_id: str, task_log: TaskLog) -> None:
    job_id = ehpc_emulator.submit("echo 'No space left on device' >&2; exit 1")
    with pytest.raises(AirflowSkipException):
        run(JobStateSensor, conn_id, job_id, deferred=False, soft_fail=True)
    assert f"job {job_id}: disk quota: its log says 'No space left on device'. " in "".join(task_log.lines)


class Submits(JobLogOperator):
    """As SubmitJobOperator: a retry runs another job."""

    resubmits = True


def test_only_a_task_with_a_policy_that_submits_again_can_be_retried(
    ehpc_emulator: Emulator, conn_id: str
) -> None:
    """Airflow asks no policy about an AirflowFailException, and waiting again changes nothing."""
    job_id = ehpc_emulator.submit("exit 1")
    for kind, policy, retryable in (
        (JobLogOperator, None, False),
        (JobLogOperator, object(), False),
        (Submits, None, False),
        (Submits, object(), True),
    ):
        operator = task(kind, conn_id, job_id)
        operator.retry_policy = policy
        with pytest.raises(JobFailure) as caught:
            operator.execute({"ti": TI})
        assert type(caught.value) is (JobFailedRetryably if retryable else JobFailed)
        assert isinstance(caught.value, AirflowFailException) != retryable

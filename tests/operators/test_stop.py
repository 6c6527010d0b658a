# SPDX-License-Identifier: Apache-2.0
"""Stopping a job, against the emulator."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG

from airflow_provider_ehpc.apis.call import InvalidArgument, PermissionDenied
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobNotFound, JobTimedOut
from airflow_provider_ehpc.operators.job import StopJobOperator, SubmitJobOperator
from airflow_provider_ehpc.triggers.job_state import JobStateTrigger
from tests.conftest import TaskLog

pytestmark = pytest.mark.timeout(120)
Make = Callable[..., StopJobOperator]
_NUMBERS = itertools.count()


@pytest.fixture
def stop(conn_id: str) -> Make:
    """Make an operator that polls all the time."""

    def build(job_id: Any, **given: Any) -> StopJobOperator:
        fields = {"conn_id": conn_id, "poll_interval": 0.05, **given}
        return StopJobOperator(task_id=f"stop_{next(_NUMBERS)}", job_id=job_id, **fields)

    return build


def test_it_waits_until_the_job_has_ended(ehpc_emulator: Emulator, stop: Make) -> None:
    job_id = ehpc_emulator.submit("trap '' TERM; sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    job = stop(job_id).execute({})
    assert job is not None
    assert job["state"] == "CANCELLED"
    assert ehpc_emulator.job(job_id).phase.ended


def test_it_need_not_wait(ehpc_emulator: Emulator, stop: Make) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    assert stop(job_id, wait_for_completion=False).execute({}) == {
        "job_id": job_id,
        "cluster_id": ehpc_emulator.cluster_id,
    }
    assert ehpc_emulator.requests.count("StopJobs", "ok") == 1
    assert not ehpc_emulator.requests.count("GetJob")


@pytest.mark.parametrize("command", ["true", "exit 1"])
def test_a_job_that_has_ended_is_no_error(ehpc_emulator: Emulator, stop: Make, command: str) -> None:
    job_id = ehpc_emulator.submit(command)
    ehpc_emulator.wait_for(job_id)
    job = stop(job_id).execute({})
    assert job is not None
    assert job["state"] == ("SUCCEEDED" if command == "true" else "FAILED")


@pytest.mark.parametrize("job_id", [None, "", "None", "99.manager"])
def test_no_job_is_no_error(stop: Make, job_id: Any, task_log: TaskLog) -> None:
    """A teardown runs even if the task that submits failed before it had an ID."""
    stop(job_id).execute({})
    assert any("no job to stop" in line or "nothing to stop" in line for line in task_log.lines)


@pytest.mark.parametrize(("job_id", "error"), [("99.manager", JobNotFound), (None, InvalidArgument)])
def test_no_job_can_be_an_error(stop: Make, job_id: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        stop(job_id, missing_ok=False).execute({})


def test_a_job_that_cannot_be_stopped_fails_the_task(ehpc_emulator: Emulator, stop: Make) -> None:
    ehpc_emulator.deny("StopJobs")
    with pytest.raises(PermissionDenied, match="ehpc:StopJobs"):
        stop(ehpc_emulator.submit("sleep 60")).execute({})


def test_the_time_is_over(ehpc_emulator: Emulator, stop: Make) -> None:
    job_id = ehpc_emulator.submit("trap '' TERM; sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    with pytest.raises(JobTimedOut):
        stop(job_id, timeout=0).execute({})


def test_it_defers(ehpc_emulator: Emulator, stop: Make) -> None:
    job_id = ehpc_emulator.submit("trap '' TERM; sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    with pytest.raises(TaskDeferred) as caught:
        stop(job_id, deferrable=True).execute({})
    assert isinstance(caught.value.trigger, JobStateTrigger)
    assert not caught.value.trigger.stop_job_on_kill
    assert caught.value.trigger.conditions.cancelled_by_us


def test_it_is_a_teardown() -> None:
    with DAG("d", schedule=None) as dag:
        start = SubmitJobOperator(task_id="start", command="sleep 600", wait_for_completion=False)
        StopJobOperator(task_id="stop", job_id=start.output["job_id"]).as_teardown(setups=start)
    assert dag.get_task("stop").is_teardown
    assert dag.get_task("start").is_setup

# SPDX-License-Identifier: Apache-2.0
"""How a wait ends, which must not depend on the mode: with a rejected key, a timeout, a kill, many jobs."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import PermissionDenied
from airflow_provider_ehpc.compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.waiting.event import pack
from tests.conftest import Pauses, TaskLog
from tests.logs.stores import States
from tests.sensors.conftest import Make, TaskInstance, deferral


def test_a_rejected_key_uses_no_retries(ehpc_emulator: Emulator, make: Make) -> None:
    """Huawei locks a key that is rejected a few times; a retry would send it again."""
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.deny("GetJob")
    for arguments in ({}, {"soft_fail": True}, {"silent_fail": True}, {"deferrable": True}):
        with pytest.raises(PermissionDenied) as caught:
            make(job_id, **arguments).execute({})
        assert isinstance(caught.value, AirflowFailException)
    requests = ehpc_emulator.requests.count("GetJob")
    assert requests == 4
    event = {"outcome": "error", "message": "x", "error": caught.value.as_dict()}
    for soft_fail in (True, False):
        with pytest.raises(PermissionDenied) as caught:
            make(job_id, soft_fail=soft_fail).resume_execution("execute_complete", {"event": event}, {})
        assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_skipped_task_shows_why(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, deferred: bool
) -> None:
    """Airflow writes only that soft_fail is set."""
    job_id = ehpc_emulator.submit("echo 'no space left'; exit 1")
    event = {"outcome": "failed", "message": f"job {job_id} ended FAILED", "jobs": [], "job_id": job_id}
    ehpc_emulator.wait_for(job_id)
    sensor = make(job_id, soft_fail=True)
    with pytest.raises(AirflowSkipException):
        sensor.resume_execution("execute_complete", {"event": event}, {}) if deferred else sensor.execute({})
    (why,) = [line for line in task_log.warnings if line.startswith("skipped: ")]
    assert "ended FAILED" in why
    assert "no space left" in why


# execution_timeout


EXECUTION = {"execution_timeout": dt.timedelta(seconds=0.3), "timeout": 60}


def timed_out_event(job_id: str) -> dict[str, Any]:
    jobs = [{"job_id": job_id, "state": "RUNNING", "raw_state": "RUNNING"}]
    return {"outcome": "timed_out", "message": f"job {job_id}; the job was not stopped.", "jobs": jobs}


def run_out(sensor: JobStateSensor, mode: str, job_id: str, states: Any = None) -> None:
    """Let ``execution_timeout`` run out in each mode, without the alarm by which Airflow ends ``poke``."""
    first = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    context: Any = {"ti": TaskInstance(first), "task_state_store": states}
    if mode == "deferred":
        sensor.resume_execution("execute_complete", {"event": timed_out_event(job_id)}, context)
    else:
        sensor.execute(context)


MODES = pytest.mark.parametrize("mode", ["poke", "reschedule", "deferred"])


@MODES
@pytest.mark.parametrize("stops", [False, True])
def test_execution_timeout_ends_alike(ehpc_emulator: Emulator, make: Make, mode: str, stops: bool) -> None:
    """With retries, as on a worker; the job is stopped only if that was asked for."""
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    arguments = {"mode": "reschedule"} if mode == "reschedule" else {}
    states = States()
    sensor = make(job_id, stop_job_on_kill=stops, **EXECUTION, **arguments)
    with pytest.raises(AirflowTaskTimeout, match=r"execution_timeout \(0:00:00.300000\) exceeded"):
        run_out(sensor, mode, job_id, states)
    # Airflow calls it after the exception has left the task.
    sensor.on_kill()
    assert ehpc_emulator.requests.count("StopJobs") == stops
    if stops:
        ehpc_emulator.wait_for(job_id)
        with pytest.raises(JobFailed, match="ended CANCELLED"):
            make(job_id, stop_job_on_kill=True).execute({"task_state_store": states})  # type: ignore[typeddict-unknown-key]
        event = {"outcome": "reached", "jobs": [{"job_id": job_id, "state": "SUCCEEDED"}]}
        with pytest.raises(JobFailed, match="ended CANCELLED: an earlier try of this task stopped it"):
            make(job_id, stop_job_on_kill=True).resume_execution(
                "execute_complete",
                {"event": event},
                {"task_state_store": states},  # type: ignore[typeddict-item]
            )


@MODES
def test_soft_fail_covers_execution_timeout(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, mode: str
) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    arguments = {"mode": "reschedule"} if mode == "reschedule" else {}
    sensor = make(job_id, soft_fail=True, stop_job_on_kill=True, **EXECUTION, **arguments)
    with pytest.raises(AirflowSkipException):
        run_out(sensor, mode, job_id)
    assert "execution_timeout (0:00:00.300000) exceeded" in task_log.warnings[-1]
    # Airflow calls on_kill only for a task that fails.
    assert ehpc_emulator.requests.count("StopJobs") == 1


def test_execution_timeout_limits_the_deferral(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    limit = dt.timedelta(minutes=2)
    deferred = deferral(make(job_id, deferrable=True, timeout=7200, execution_timeout=limit))
    assert deferred.trigger.conditions.deadline == pytest.approx(deferred.trigger.started + 120)
    assert deferred.timeout == dt.timedelta(seconds=120 + 300)


def test_the_shorter_timeout_decides_how_the_task_ends(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    sensor = make(job_id, timeout=0.3, execution_timeout=dt.timedelta(hours=1))
    with pytest.raises(AirflowSensorTimeout):
        sensor.execute({})


@pytest.mark.parametrize("fault", [{"kind": "latency", "seconds": 20}, {"kind": "throttle", "times": 10_000}])
def test_the_timeout_holds_within_a_poke(ehpc_emulator: Emulator, make: Make, fault: dict[str, Any]) -> None:
    """However slowly the cloud answers, and however often it refuses."""
    job_id = ehpc_emulator.submit("sleep 60")
    kind = fault.pop("kind")
    ehpc_emulator.fault(kind, operation="GetJob", **fault)
    began = time.monotonic()
    cause = "Throttling.User" if kind == "throttle" else "the API did not respond before the deadline"
    with pytest.raises(AirflowSensorTimeout, match=f"The last error: .*{cause}"):
        make(job_id, timeout=2.5, poke_interval=1).execute({})
    assert time.monotonic() - began < 8


# A job that the task stopped


@pytest.mark.parametrize("wanted", [False, True])
def test_a_job_that_the_task_stopped_is_cancelled(ehpc_emulator: Emulator, make: Make, wanted: bool) -> None:
    """PBS reports only that it finished; on a worker the poke goes on until the process is ended."""
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    sensor = make(job_id, stop_job_on_kill=True, target_states=["CANCELLED" if wanted else "SUCCEEDED"])
    assert not sensor.poke({})
    sensor.on_kill()
    ehpc_emulator.wait_for(job_id)
    if wanted:
        assert sensor.execute({})["state"] == "CANCELLED"
        return
    with pytest.raises(JobFailed, match="ended CANCELLED"):
        sensor.execute({})


def test_a_kill_spares_jobs_in_a_target_state(ehpc_emulator: Emulator, make: Make) -> None:
    """They are where they should be: this wait is not about them any more."""
    reached = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(reached, "RUNNING")
    sensor = make([reached, "77.manager"], target_states=["RUNNING"], stop_job_on_kill=True)
    assert not sensor.poke({})
    sensor.on_kill()
    assert ehpc_emulator.requests.count("StopJobs") == 1
    assert ehpc_emulator.job(reached).phase == "RUNNING"


def test_a_resumed_task_spares_them_too(ehpc_emulator: Emulator, make: Make) -> None:
    reached, waiting = ehpc_emulator.submit("sleep 60"), ehpc_emulator.submit("sleep 60")
    for job_id in (reached, waiting):
        ehpc_emulator.wait_for(job_id, "RUNNING")
    event = timed_out_event(reached)
    event["jobs"][0]["state"] = "RUNNING"
    sensor = make([reached, waiting], target_states=["RUNNING"], stop_job_on_kill=True, **EXECUTION)
    with pytest.raises(AirflowTaskTimeout):
        sensor.resume_execution("execute_complete", {"event": event}, {})
    assert ehpc_emulator.wait_for(waiting).phase == "CANCELLED"
    assert ehpc_emulator.job(reached).phase == "RUNNING"


# Events without every job's status


def test_the_worker_completes_a_bounded_event(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    job_ids = [ehpc_emulator.submit("true", name=f"n{n}") for n in range(3)]
    for job_id in job_ids:
        ehpc_emulator.wait_for(job_id)
    sensor = make([*job_ids, "99.manager"])
    jobs = pack("0000")
    event = {"outcome": "reached", "counts": {"SUCCEEDED": 4}, "jobs": []}
    event["reached"] = {"states": ["SUCCEEDED"], "jobs": jobs}
    result = sensor.execute_complete({}, event)
    assert [job["job_id"] for job in result] == [*job_ids, "99.manager"]
    assert [job.get("name") for job in result] == ["n0", "n1", "n2", None]
    # The scheduler has forgotten the last one since.
    assert {job["state"] for job in result} == {"SUCCEEDED"}
    assert result[:3] == make(job_ids).execute({})


def test_a_cloud_that_cannot_be_polled_again_does_not_undo_the_end(
    ehpc_emulator: Emulator, make: Make, pauses: Pauses
) -> None:
    ehpc_emulator.fault("error", operation="GetJob", status=503, times=10_000)
    event = {"outcome": "reached", "reached": {"states": ["SUCCEEDED", "FAILED"], "jobs": pack("01")}}
    states = ["SUCCEEDED", "FAILED"]
    result = make(["1", "2"], target_states=states).execute_complete({}, event)
    assert [(job["job_id"], job["state"]) for job in result] == [("1", "SUCCEEDED"), ("2", "FAILED")]


def test_many_failures_are_all_in_the_log(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    bad = [ehpc_emulator.submit("exit 1") for _ in range(3)]
    for job_id in bad:
        ehpc_emulator.wait_for(job_id)
    with pytest.raises(JobFailed):
        make(bad).execute({})
    (line,) = [line for line in task_log.warnings if line.startswith("failed jobs:")]
    assert [f"job {job_id} FAILED" in line for job_id in bad] == [True] * 3


def test_a_row_that_mysql_would_refuse_is_warned_of(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_ehpc.triggers.base.LARGEST_ROW", 400)
    job_ids = [ehpc_emulator.submit("sleep 60") for _ in range(2)]
    deferral(make(job_ids, deferrable=True))
    assert [line for line in task_log.warnings if "MySQL stores at most 400" in line]

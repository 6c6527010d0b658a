# SPDX-License-Identifier: Apache-2.0
"""Tasks that capture exit codes: by log streaming and without it, on the worker and deferred, for arrays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_ehpc import outcome
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed
from airflow_provider_ehpc.exit_code import new_token, wrap
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.event import bounded_event
from tests.conftest import Connect, TaskLog
from tests.triggers.test_triggers import fire

pytestmark = pytest.mark.usefixtures("quick_triggers")


class Capturing:
    """Waits as a task does that submitted the job with a wrapped command."""

    exit_token: str | None = None
    max_failed_members = 0

    def _conditions(self, started: float) -> WaitConditions:
        found: dict[str, Any] = super()._conditions(started).as_dict()  # type: ignore[misc]
        capture = {"exit_token": self.exit_token, "max_failed_members": self.max_failed_members}
        return WaitConditions.from_dict({**found, **capture})


class CapturingLog(Capturing, JobLogOperator):
    """Streams the log."""


class CapturingSensor(Capturing, JobStateSensor):
    """Does not stream the log."""


KINDS = {
    "log": (CapturingLog, {"poll_interval": 0.05, "log_settle_time": 0.1}),
    "poke": (CapturingSensor, {"poke_interval": 0.05}),
    "reschedule": (CapturingSensor, {"poke_interval": 0.05, "mode": "reschedule"}),
}
CASES = [(kind, False) for kind in KINDS] + [("log", True), ("poke", True)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "PAUSE", 0.02)


def wait(
    conn_id: str,
    job_id: str,
    token: str | None,
    kind: str = "poke",
    deferred: bool = False,
    max_failed_members: int = 0,
    **more: Any,
) -> Mapping[str, Any]:
    """Return the result of a task that waits for the job."""
    made, arguments = KINDS[kind]
    task = made(task_id="wait", conn_id=conn_id, job_id=job_id, deferrable=deferred, **arguments, **more)
    task.exit_token, task.max_failed_members = token, max_failed_members
    context: Any = {"ti": None}

    class TI:
        def get_first_reschedule_date(self, context: Any) -> None:
            return None

        def xcom_push(self, key: str, value: Any) -> None:
            assert token is None or token not in json.dumps(value)

    context["ti"] = TI()
    try:
        result = task.execute(context)
    except TaskDeferred as deferral:
        event = asyncio.run(fire(deferral.trigger))
        result = task.resume_execution("execute_complete", {"event": event}, context)
    assert token is None or token not in json.dumps(result)
    return result  # type: ignore[no-any-return]


def finished(cloud: Emulator, command: str, token: str, **more: Any) -> str:
    """Return a job of which the cloud reports only that it ended, as PBS does."""
    job_id = cloud.submit(wrap(command, token), **more)
    cloud.wait_for(job_id)
    cloud.fault("state", job_id=job_id, word="FINISHED")
    return job_id


@pytest.mark.parametrize(("kind", "deferred"), CASES)
@pytest.mark.parametrize("policy", ["success", "fail"])
def test_the_captured_code_decides(
    ehpc_emulator: Emulator, conn_id: str, task_log: TaskLog, kind: str, deferred: bool, policy: Any
) -> None:
    token = new_token()
    arguments: dict[str, Any] = {"kind": kind, "deferred": deferred, "finished_without_exit_code": policy}
    job_id = finished(ehpc_emulator, "echo fine; printf 'no newline'", token)
    result = wait(conn_id, job_id, token, **arguments)
    assert (result["state"], result["exit_code"]) == ("SUCCEEDED", 0)
    assert "outcome_assumed" not in result
    job_id = finished(ehpc_emulator, "echo 'Traceback'; printf 'no newline'; exit 3", token)
    with pytest.raises(JobFailed) as caught:
        wait(conn_id, job_id, token, **arguments)
    message = str(caught.value)
    assert "ended FAILED (the cloud reports 'FINISHED'); exit code 3;" in message
    assert message.endswith("stdout:\n  Traceback\n  no newline")
    text = "\n".join([message, *task_log.lines])
    assert token not in text
    assert "finished_without_exit_code" not in text
    if kind == "log":
        assert task_log.lines.count("no newline") == 2
        assert task_log.lines.count("fine") == 1


@pytest.mark.parametrize(("kind", "deferred"), CASES)
@pytest.mark.parametrize("policy", ["success", "fail"])
def test_without_a_marker_the_policy_decides(
    ehpc_emulator: Emulator, conn_id: str, kind: str, deferred: bool, policy: Any
) -> None:
    token = new_token()
    job_id = ehpc_emulator.submit("echo fine")
    ehpc_emulator.wait_for(job_id)
    arguments: dict[str, Any] = {"kind": kind, "deferred": deferred, "finished_without_exit_code": policy}
    if policy == "success":
        result = wait(conn_id, job_id, token, **arguments)
        assert (result["state"], result["outcome_assumed"]) == ("SUCCEEDED", True)
        return
    with pytest.raises(JobFailed, match="no exit code is reported"):
        wait(conn_id, job_id, token, **arguments)


@pytest.mark.parametrize(("command", "code"), [("kill -s KILL $$", 137), ("exec sh -c 'exit 255'", 255)])
def test_other_ends(ehpc_emulator: Emulator, conn_id: str, command: str, code: int) -> None:
    token = new_token()
    job_id = finished(ehpc_emulator, command, token)
    with pytest.raises(JobFailed, match=f"; exit code {code};"):
        wait(conn_id, job_id, token)


def test_the_scheduler_takes_precedence(ehpc_emulator: Emulator, conn_id: str) -> None:
    """A job that traps the signal of its time limit may exit with 0."""
    token = new_token()
    command = "trap 'exit 0' TERM; sleep 60 & wait"
    job_id = ehpc_emulator.submit(wrap(command, token), wall_time=1)
    ehpc_emulator.wait_for(job_id)
    with pytest.raises(JobFailed) as caught:
        wait(conn_id, job_id, token)
    assert "ended FAILED" in str(caught.value)
    assert "exit code 0" not in str(caught.value)


def test_a_code_is_added_to_what_the_scheduler_reports(ehpc_emulator: Emulator, conn_id: str) -> None:
    token = new_token()
    job_id = ehpc_emulator.submit(wrap("exit 7", token))
    ehpc_emulator.wait_for(job_id)
    with pytest.raises(JobFailed, match=r"reports 'FAILED'\); exit code 7;"):
        wait(conn_id, job_id, token)


def test_the_archived_log_is_raw(ehpc_emulator: Emulator, conn_id: str, tmp_path: Path) -> None:
    token = new_token()
    job_id = finished(ehpc_emulator, "printf end", token)
    result = wait(conn_id, job_id, token, kind="log", keep_log_at=str(tmp_path / "logs"))
    assert result["log"]["lines"] == 1
    assert (tmp_path / "logs" / "stdout.log").read_text() == f"end[exit-code {token} 0]\n"


ARRAY = "echo member $PBS_ARRAY_INDEX; [ $((PBS_ARRAY_INDEX % 4)) != 2 ] || exit 9"


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("told", [False, True], ids=["from the logs", "from the scheduler"])
def test_an_array_is_one_task(ehpc_emulator: Emulator, conn_id: str, deferred: bool, told: bool) -> None:
    token = new_token()
    job_id = ehpc_emulator.submit(wrap(ARRAY, token), array="1-10")
    ehpc_emulator.wait_for(job_id)
    if not told:
        for name in (job_id, *(job_id.replace("[]", f"[{n}]") for n in range(1, 11))):
            ehpc_emulator.fault("state", job_id=name, word="FINISHED")
    result = wait(conn_id, job_id, token, deferred=deferred, max_failed_members=3)
    assert result["state"] == "SUCCEEDED"
    assert result["array"] == {"SUCCEEDED": 7, "FAILED": 3}
    assert result["members"] == {"SUCCEEDED": "1,3-5,7-9", "FAILED": "2,6,10"}
    assert result["reason"] == "3 of 10 members failed, which max_failed_members=3 tolerates"
    assert list(result["failed_members"]) == [job_id.replace("[]", f"[{n}]") for n in (2, 6, 10)]
    with pytest.raises(JobFailed) as caught:
        wait(conn_id, job_id, token, deferred=deferred, max_failed_members=2)
    message = str(caught.value)
    assert "7 SUCCEEDED, 3 FAILED" in message
    assert "max_failed_members=2" in message
    assert message.count("Last lines of the log of") == 3
    assert "exit code 9" in message
    assert "  member 6\n" in message
    assert token not in message


def test_a_large_array_stays_small() -> None:
    """MySQL stores 64 KiB of an event; every second member of 1,000 failed is the longest list."""
    from airflow_provider_ehpc.apis.array import array_status, member_states
    from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
    from airflow_provider_ehpc.waiting.watch import JobWatch

    states = {str(n): JobState.FAILED if n % 2 else JobState.SUCCEEDED for n in range(1, 1001)}
    status = array_status(JobStatus("1[].manager", JobState.FAILED, "F", "c"), states, 1000)
    ref = JobRef("1[].manager", "c")
    verdict, _ = JobWatch(ref, WaitConditions(), 0.0).saw(status, 1.0)
    assert verdict is not None
    event = bounded_event(verdict, [ref], [ref], [JobState.SUCCEEDED])
    assert len(json.dumps(event)) < 16 * 1024
    assert member_states(event["jobs"][0]["members"]) == {int(n): state for n, state in states.items()}


def test_a_classic_array_is_tolerated(connect: Connect, tmp_path: Path) -> None:
    with Emulator(tmp_path / "cloud") as cloud:
        conn_id = connect(cloud.connection)
        job_id = cloud.submit(ARRAY, array="1-10")
        cloud.wait_for(job_id)
        result = wait(conn_id, job_id, None, api="ehpc-classic", max_failed_members=3)
    assert result["members"] == {"SUCCEEDED": "1,3-5,7-9", "FAILED": "2,6,10"}

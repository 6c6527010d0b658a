# SPDX-License-Identifier: Apache-2.0
"""How following a log ends, on the worker and after a deferral: a rejected key, execution_timeout."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import AuthenticationFailed, InvalidArgument, PermissionDenied
from airflow_provider_ehpc.compat import AirflowFailException, AirflowTaskTimeout
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator
from airflow_provider_ehpc.waiting.event import pack
from tests.conftest import Connect, TaskLog
from tests.logs.stores import TI, States, XComs


def follow(conn_id: str, job_id: Any, **arguments: Any) -> JobLogOperator:
    quick = {"poll_interval": 0.05, "log_settle_time": 0.1}
    return JobLogOperator(task_id="log", conn_id=conn_id, job_id=job_id, **{**quick, **arguments})


def resume(operator: JobLogOperator, event: dict[str, Any], states: Any = None) -> Any:
    context: Any = {"ti": TI, "task_state_store": states}
    return operator.resume_execution("execute_complete", {"event": event}, context)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_rejected_key_uses_no_retries(ehpc_emulator: Emulator, conn_id: str, deferrable: bool) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.deny("GetJob")
    operator = follow(conn_id, job_id, deferrable=deferrable)
    with pytest.raises(PermissionDenied) as caught:
        operator.execute({})
    assert isinstance(caught.value, AirflowFailException)
    event = {"outcome": "error", "message": "x", "error": caught.value.as_dict()}
    with pytest.raises(PermissionDenied) as caught:
        resume(operator, event)
    assert isinstance(caught.value, AirflowFailException)


def test_a_rejected_key_of_an_audit_uses_no_retries(
    ehpc_emulator: Emulator, connect: Connect, tmp_path: Path
) -> None:
    qingcloud = ehpc_emulator.connections["qingcloud_hpc"]
    conn_id = connect(qingcloud, "rejected", password="another")
    audit = OperationAuditOperator(
        task_id="audit",
        conn_id=conn_id,
        path=str(tmp_path),
        start=dt.datetime.now(dt.UTC) - dt.timedelta(hours=2),
        end=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1),
    )
    with pytest.raises(AuthenticationFailed) as caught:
        audit.execute({})
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("stops", [False, True])
def test_execution_timeout_ends_alike(
    ehpc_emulator: Emulator, conn_id: str, task_log: TaskLog, deferred: bool, stops: bool
) -> None:
    """With retries, as Airflow's alarm ends it, and with what the job wrote until then."""
    job_id = ehpc_emulator.submit("seq 1 50; sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    states = States()
    operator = follow(
        conn_id, job_id, stop_job_on_kill=stops, timeout=60, execution_timeout=dt.timedelta(seconds=1)
    )
    event = {"outcome": "timed_out", "message": f"job {job_id}", "jobs": []}
    context: Any = {"ti": TI, "task_state_store": states}
    with pytest.raises(AirflowTaskTimeout, match=r"execution_timeout \(0:00:01\) exceeded"):
        resume(operator, event, states) if deferred else operator.execute(context)
    operator.on_kill()
    assert ehpc_emulator.requests.count("StopJobs") == stops
    if not deferred:
        lines = [line for record in task_log.lines for line in record.split("\n") if line.isdigit()]
        assert lines == [str(n) for n in range(1, 51)]
    if stops:
        ehpc_emulator.wait_for(job_id)
        with pytest.raises(JobFailed, match="ended CANCELLED"):
            follow(conn_id, job_id, stop_job_on_kill=True).execute(context)


def test_a_list_of_jobs_is_rejected_when_it_is_rendered(conn_id: str) -> None:
    operator = follow(conn_id, "1")
    operator.job_id = ["1", "2"]  # type: ignore[assignment]
    with pytest.raises(InvalidArgument, match=r"^job_id: expected one job, got the list .*\.expand"):
        operator.execute({})


def test_a_job_too_large_for_the_event_is_polled_again(
    ehpc_emulator: Emulator, conn_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_ehpc.logs import store

    monkeypatch.setattr(store, "async_xcom", XComs)
    job_id = ehpc_emulator.submit("true", name="large")
    ehpc_emulator.wait_for(job_id)
    event = {"outcome": "reached", "jobs": [], "reached": {"states": ["SUCCEEDED"], "jobs": pack("0")}}
    job = resume(follow(conn_id, job_id), {**event, "log": {"lines": 7}})
    assert (job["job_id"], job["name"], job["state"]) == (job_id, "large", "SUCCEEDED")
    assert job["log"] == {"lines": 7}

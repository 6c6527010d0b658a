# SPDX-License-Identifier: Apache-2.0
"""What tasks report to OpenLineage, taken by Airflow's own provider for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed
from airflow_provider_ehpc.operators.job import StopJobOperator, SubmitJobOperator
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from tests.operators.tries import TaskInstance
from tests.triggers.test_triggers import fire

manager = pytest.importorskip("airflow.providers.openlineage.extractors.manager")

CLUSTER = "ehpc-hz-emulator"
QUICK: dict[str, Any] = {"poll_interval": 0.05, "log_settle_time": 0.1}
Facets = Callable[..., dict[str, Any]]


@pytest.fixture
def facets(monkeypatch: pytest.MonkeyPatch) -> Facets:
    """Extract a task's run facets as the listener does, and return them as they are sent."""
    from airflow.utils.state import TaskInstanceState
    from openlineage.client.serde import Serde

    def extract(task: Any, state: str) -> dict[str, Any]:
        # The listener runs in a fork, which must not use the connection to the supervisor.
        with monkeypatch.context() as patch:
            patch.setattr("airflow.sdk.BaseHook.get_connection", lambda *_: pytest.fail("a request"))
            lineage = manager.ExtractorManager().extract_metadata(
                SimpleNamespace(run_id="r"), task, TaskInstanceState(state), TaskInstance()
            )
        assert not lineage.inputs
        assert not lineage.outputs
        shown = {name: json.loads(Serde.to_json(facet)) for name, facet in lineage.run_facets.items()}
        return {
            name: {key: value for key, value in facet.items() if key[0] != "_" and value is not None}
            for name, facet in shown.items()
        }

    return extract


def test_a_submitted_job_is_named_with_its_end(ehpc_emulator: Emulator, conn_id: str, facets: Facets) -> None:
    task = SubmitJobOperator(task_id="run", conn_id=conn_id, command="true", **QUICK)
    assert facets(task, "running") == {}
    result = task.execute({"ti": TaskInstance()})
    sent = facets(task, "success")
    assert sent["externalQuery"] == {"externalQueryId": result["job_id"], "source": f"ehpc://{CLUSTER}"}
    assert (
        sent["ehpc_job"].items()
        >= {
            "api": "ehpc",
            "jobId": result["job_id"],
            "clusterId": CLUSTER,
            "state": "SUCCEEDED",
            "exitCode": 0,
            "queue": "workq",
        }.items()
    )
    assert "errorMessage" not in sent


def test_a_failure_is_explained(ehpc_emulator: Emulator, conn_id: str, facets: Facets) -> None:
    task = SubmitJobOperator(task_id="run", conn_id=conn_id, command="no-such-program", **QUICK)
    with pytest.raises(JobFailed) as failed:
        task.execute({"ti": TaskInstance()})
    sent = facets(task, "failed")
    assert sent["errorMessage"] == {"message": str(failed.value), "programmingLanguage": "python"}
    assert (
        sent["ehpc_job"].items() >= {"state": "FAILED", "exitCode": 127, "cause": "command not found"}.items()
    )


async def test_a_deferred_task_reports_the_same(
    ehpc_emulator: Emulator, conn_id: str, facets: Facets, quick_triggers: None
) -> None:
    arguments: dict[str, Any] = {
        "task_id": "log",
        "conn_id": conn_id,
        "job_id": ehpc_emulator.submit("sleep 0.3"),
        "cluster_id": CLUSTER,
        "api": "ehpc",
        **QUICK,
    }
    task = JobLogOperator(**arguments, deferrable=True)
    named = {"externalQueryId": arguments["job_id"], "source": f"ehpc://{CLUSTER}"}
    assert facets(task, "running")["externalQuery"] == named
    with pytest.raises(TaskDeferred) as deferral:
        task.execute({"ti": TaskInstance()})
    event = await fire(deferral.value.trigger)
    resumed = JobLogOperator(**arguments, deferrable=True)
    resumed.execute_complete({"ti": TaskInstance()}, event)
    sent = facets(resumed, "success")
    assert sent["externalQuery"] == named
    assert sent["ehpc_job"]["state"] == "SUCCEEDED"


def test_a_sensor_and_a_stop_report_their_job(ehpc_emulator: Emulator, conn_id: str, facets: Facets) -> None:
    job_id = ehpc_emulator.submit("sleep 30")
    stop = StopJobOperator(task_id="stop", conn_id=conn_id, job_id=job_id, poll_interval=0.05)
    stop.execute({"ti": TaskInstance()})
    assert facets(stop, "success")["ehpc_job"]["state"] == "CANCELLED"
    sensor = JobStateSensor(
        task_id="wait", conn_id=conn_id, job_id=job_id, target_states=["SUCCEEDED", "CANCELLED"]
    )
    sensor.execute({"ti": TaskInstance()})
    assert facets(sensor, "success")["externalQuery"]["externalQueryId"] == job_id


def test_of_many_jobs_none_is_named(ehpc_emulator: Emulator, conn_id: str, facets: Facets) -> None:
    jobs = [ehpc_emulator.submit("true") for _ in range(2)]
    sensor = JobStateSensor(task_id="wait", conn_id=conn_id, job_id=jobs, poke_interval=0.1)
    assert facets(sensor, "running") == {}
    sensor.execute({"ti": TaskInstance()})
    assert facets(sensor, "success") == {}

# SPDX-License-Identifier: Apache-2.0
"""The page "HPC jobs" shows what tasks of a running Airflow record, while they run and afterwards."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any

import pytest

from airflow_provider_ehpc.compat import async_xcom
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.recording.record import KEY
from demo.local_airflow import LocalAirflow
from tests.gates import Gate, eventually

pytestmark = pytest.mark.airflow
DAGS = ("log_worker", "log_deferred", "wait_deferred")


def shown(airflow: LocalAirflow, dag_id: str, run_id: str) -> dict[str, Any] | None:
    """Return what the page shows of the only task of a run."""
    query = urllib.parse.urlencode({"dag": dag_id, "run": run_id})
    request = airflow._request("GET", "")
    request.full_url = f"{airflow.url}/ehpc/jobs?{query}"
    with urllib.request.urlopen(request, timeout=60) as response:
        tasks = json.load(response)["tasks"]
    return tasks[0] if tasks else None


def state(airflow: LocalAirflow, dag_id: str, run_id: str) -> str | None:
    task = shown(airflow, dag_id, run_id)
    return task["jobs"][0].get("state") if task and task["jobs"] else None


def test_tasks_show_their_jobs(cloud: Emulator, airflow: LocalAirflow, gate: Gate) -> None:
    command = f"sleep 8; echo begin; {gate.wait}; echo end; exit 3"
    jobs = {dag_id: cloud.submit(command) for dag_id in DAGS}
    runs = {dag_id: airflow.trigger(dag_id, {"job_id": job_id}) for dag_id, job_id in jobs.items()}
    for dag_id, run_id in runs.items():
        if "deferred" in dag_id:
            # While the job runs, the triggerer writes; Airflow 3.1 and 3.2 do not let it.
            eventually(lambda: airflow.task(dag_id, run_id, "wait")["state"] == "deferred", 90, 0.5)  # noqa: B023
        if async_xcom() or "worker" in dag_id:
            eventually(lambda: state(airflow, dag_id, run_id) == "RUNNING", 90, 0.5)  # noqa: B023
    gate.open()
    for dag_id, run_id in runs.items():
        airflow.wait_for_task(dag_id, run_id, "wait")
        task = shown(airflow, dag_id, run_id)
        assert task is not None
        assert task["task_state"] == "failed"
        assert (task["conn_id"], task["api"], task["outcome"]) == ("aliyun_ehpc_default", "ehpc", "failed")
        (job,) = task["jobs"]
        assert (job["job_id"], job["state"], job["cluster_id"]) == (jobs[dag_id], "FAILED", cloud.cluster_id)
        assert job["started_at"]
        changes = [state for state, _ in task["changes"]]
        assert changes[-1] == "FAILED"
        if async_xcom() or "worker" in dag_id:
            assert "RUNNING" in changes
        if "log" in dag_id and (async_xcom() or "worker" in dag_id):
            assert task["log"]["bytes"] == len("begin\nend\n")
        assert "begin" not in json.dumps(airflow.xcom(dag_id, run_id, "wait", KEY))

# SPDX-License-Identifier: Apache-2.0
"""What a user types before the first DAG runs."""

from __future__ import annotations

import json

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow

pytestmark = pytest.mark.airflow


def test_airflow_discovers_the_provider(airflow: LocalAirflow) -> None:
    """A provider that Airflow does not list has no connection form and no connection test."""
    assert "airflow-provider-ehpc" in airflow.cli("providers", "get", "airflow-provider-ehpc")
    hooks = json.loads(airflow.cli("providers", "hooks", "--output", "json"))
    ours = {hook["connection_type"]: hook for hook in hooks if "ehpc" in str(hook.get("package_name"))}
    assert ours["aliyun_ehpc"]["class"] == "airflow_provider_ehpc.hooks.aliyun.EhpcHook"
    assert ours["aliyun_ehpc"]["conn_id_attribute_name"] == "conn_id"


def test_a_connection_is_tested_from_the_command_line(airflow: LocalAirflow, cloud: Emulator) -> None:
    """The quickest way to know whether key, region and network are right; the secret stays unsaid."""
    reported = airflow.cli("connections", "test", "aliyun_ehpc_default")
    assert "Connection success!" in reported

    wrong = cloud.connection | {"password": "not-the-secret-of-this-key"}
    airflow.environment["AIRFLOW_CONN_WRONG"] = json.dumps(wrong)
    reported = airflow.cli("connections", "test", "wrong", check=False)
    assert "Connection failed!" in reported
    assert "Check the connection's password: the access key secret." in " ".join(reported.split())
    assert "not-the-secret-of-this-key" not in reported


@pytest.mark.parametrize("dag_id", ["wait_deferred", "log_deferred"])
def test_deferred_tasks_run_in_dag_test_too(dag_id: str, airflow: LocalAirflow, cloud: Emulator) -> None:
    """``dag.test()`` runs triggers inline, in a loop of their own and without a task instance (F12)."""
    airflow.wait_until_known(dag_id)
    for _ in range(3):
        job_id = cloud.submit("echo seen in dag.test; sleep 6")
        reported = airflow.cli("dags", "test", dag_id, "--conf", json.dumps({"job_id": job_id}), check=False)
        # On a busy machine, the scheduler of the same Airflow can resume the task first.
        if "not in a state where it could be marked as running" not in reported:
            break
    assert f"job {job_id} in cluster ehpc-hz-emulator is SUCCEEDED" in reported
    assert "state=success" in reported
    if dag_id == "log_deferred":
        assert "seen in dag.test" in reported

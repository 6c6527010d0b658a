# SPDX-License-Identifier: Apache-2.0
"""The retry policy in a real Airflow, run by ``airflow dags test``."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_ehpc import compat
from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(compat.retry_policies() is None, reason="this Airflow has no retry policies"),
]


def test_the_policy_decides_by_the_diagnosis(tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    database = f"sqlite:///{tmp_path / 'airflow.db'}"
    with Emulator(tmp_path / "cloud") as cloud:
        environment = {
            "AIRFLOW_CONN_POLICY": cloud.connection_json,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "POLICY_FLAGS": str(tmp_path),
        }
        airflow = LocalAirflow(tmp_path / "airflow", Path(__file__).parent / "policy", environment)
        airflow.make_database()
        airflow.cli("dags", "reserialize")
        output = airflow.cli("dags", "test", "policy", check=False, timeout=600)
        with create_engine(database).connect() as connection:
            rows = connection.execute(text("SELECT task_id, state, try_number FROM task_instance"))
            ends = {task: (state, tries) for task, state, tries in rows}
        submissions = cloud.requests.count("CreateJob")
    policies = compat.retry_policies()
    assert policies is not None
    tries = 1 if hasattr(policies.RetryDecision, "reschedule") else 2
    assert ends == {
        # 1GB, 2GB, 4GB
        "out_of_memory": ("success", 3),
        "preempted": ("success", tries),
        "own_failure": ("failed", 1),
    }
    assert submissions == 3 + 2 + 1
    assert "out of memory: the next try requests memory=4GB" in output
    assert "another run would fail in the same way (unknown)" in output
    # The first line of the exception, and a line of the log.
    assert "JobFailedRetryably: out of memory: its log says 'MemoryError'. Request more memory" in output

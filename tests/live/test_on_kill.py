# SPDX-License-Identifier: Apache-2.0
"""Which jobs real triggerers stop: those of tasks that a user ended, and none that only changed triggerers.

Airflow 3.3.0 to 3.3.2 call a trigger's ``on_kill`` in both cases (apache/airflow#73454).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.deferred_tasks import WAITS, Plan
from benchmarks.triggerers import Deferred, task_logs
from tests.gates import eventually

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(not hasattr(BaseTrigger, "on_kill"), reason="this Airflow never calls on_kill"),
]
NAMES = ("triggerer", "triggerer-2")


@dataclass
class Triggerers:
    """Two triggerers, and a deferred task that waits for a job in one of them."""

    cloud: Emulator
    airflow: Deferred
    pids: dict[int, int]
    """The process of each, by its job id in Airflow's database."""
    owner: int
    heir: int
    job_id: str

    def execute(self, statement: str, **values: Any) -> None:
        """Change the metadata database."""
        from sqlalchemy import create_engine, text

        engine = create_engine(self.airflow.airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        try:
            with engine.begin() as connection:
                connection.execute(text(statement), values)
        finally:
            engine.dispose()

    def log(self, triggerer: int) -> str:
        """Return what a triggerer wrote into the task's log."""
        logs = task_logs(self.airflow.airflow, WAITS, triggerer)
        return "\n".join(record.text for _, records in logs for record in records)

    def end_by_user(self) -> None:
        """Mark the task as failed, as the API server does for a user."""
        self.execute(
            "UPDATE task_instance SET state = 'failed', trigger_id = NULL WHERE dag_id = :d", d=WAITS
        )
        self.execute("DELETE FROM trigger")


@pytest.fixture
def triggerers(tmp_path: Path) -> Iterator[Triggerers]:
    with Emulator(tmp_path / "cloud") as cloud:
        job_id = cloud.submit("sleep 600")
        cloud.wait_for(job_id, "RUNNING")
        plan = Plan(interval=1.0, waits=[job_id], stop_job_on_kill=True)
        environment = {
            "AIRFLOW_CONN_EHPC": cloud.connection_json,
            # Seconds without a heartbeat after which another triggerer takes over.
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        }
        airflow = Deferred(tmp_path / "airflow", plan, environment)
        try:
            airflow.prepare()
            pids = {}
            for name in NAMES:
                pid = airflow.airflow.start_component("triggerer", name)
                eventually(lambda: len(airflow.triggerers()) == len(pids) + 1, timeout=120)
                pids[airflow.triggerers()[-1]] = pid
            airflow.defer(WAITS)
            eventually(lambda: sum(airflow.started(one, WAITS) for one in pids), timeout=120)
            # Where both start at once, the row says which of them is to run it.
            ((owner,),) = airflow.rows("SELECT triggerer_id FROM trigger")
            (heir,) = pids.keys() - {owner}
            yield Triggerers(cloud, airflow, pids, owner, heir, job_id)
        finally:
            airflow.airflow.stop()


def assert_the_job_continues(triggerers: Triggerers) -> None:
    heir, airflow = triggerers.heir, triggerers.airflow
    eventually(lambda: airflow.started(heir, WAITS), timeout=120)
    # Either way, it has left the job alone: if Airflow does not report the state of the task, it warns.
    left = ("another triggerer has taken it over", "the jobs of this task were not stopped")
    eventually(lambda: any(line in triggerers.log(triggerers.owner) for line in left), timeout=240)
    polled = triggerers.cloud.requests.count("GetJob", "ok")
    eventually(lambda: triggerers.cloud.requests.count("GetJob", "ok") > polled, timeout=240)
    assert triggerers.cloud.requests.count("StopJobs") == 0
    assert triggerers.cloud.job(triggerers.job_id).phase == "RUNNING"


def test_a_trigger_that_is_reassigned_stops_no_job(triggerers: Triggerers) -> None:
    triggerers.execute("UPDATE trigger SET triggerer_id = :heir", heir=triggerers.heir)
    assert_the_job_continues(triggerers)
    eventually(lambda: "is RUNNING" in triggerers.log(triggerers.heir), timeout=240)
    triggerers.end_by_user()
    assert triggerers.cloud.wait_for(triggerers.job_id, timeout=240).phase == "CANCELLED"


def test_a_triggerer_that_was_suspended_stops_no_job(triggerers: Triggerers) -> None:
    """A virtual machine that stood still for some seconds."""
    owner = triggerers.pids[triggerers.owner]
    os.killpg(owner, signal.SIGSTOP)
    try:
        eventually(lambda: triggerers.airflow.started(triggerers.heir, WAITS), timeout=120)
    finally:
        os.killpg(owner, signal.SIGCONT)
    assert_the_job_continues(triggerers)
    assert triggerers.airflow.waiting(WAITS) == 1

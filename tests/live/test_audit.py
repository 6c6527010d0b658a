# SPDX-License-Identifier: Apache-2.0
"""Audits in a running Airflow: templates, the deferral, failing without retries, the asset's event."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow

pytestmark = pytest.mark.airflow


@dataclass(frozen=True)
class Run:
    """A run of the DAG of audits, over a window that has just ended."""

    airflow: LocalAirflow
    run_id: str
    uids: list[str]
    end: datetime

    def task(self, task_id: str) -> dict[str, object]:
        """Wait for a task's end; return what the API says of it."""
        return self.airflow.wait_for_task("audit", self.run_id, task_id, timeout=240)

    def text(self, task_id: str) -> str:
        """Return the text of the task's log, with the messages of exceptions."""
        events = self.airflow.log_events("audit", self.run_id, task_id)
        return "\n".join(f"{event.get('event')} {event.get('error_detail', '')}" for event in events)


@pytest.fixture(scope="module")
def run(cloud: Emulator, airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory) -> Run:
    end = datetime.now(UTC)
    start = end - timedelta(hours=1)
    uids = cloud.add_operations(
        EmulatedOperation(start.timestamp() + n, "HpcClusterStartCluster", actor="usr-a")
        for n in range(1, 300)
    )
    conf = {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "path": f"file://{tmp_path_factory.mktemp('audit')}",
    }
    return Run(airflow, airflow.trigger("audit", conf), uids, end)


def test_a_deferred_audit_reads_the_window_once_it_has_settled(run: Run) -> None:
    task = run.task("deferred")
    assert task["state"] == "success", run.text("deferred")
    assert task["try_number"] == 1
    reported = run.airflow.xcom("audit", run.run_id, "deferred")
    path = Path(reported["files"][0]["path"].removeprefix("file://"))
    assert [json.loads(line)["uid"] for line in path.read_text().splitlines()] == run.uids
    text = run.text("deferred")
    assert all(f"({uid})" in text for uid in run.uids)
    assert time.time() >= run.end.timestamp() + 20


def test_the_asset_event_has_the_summary(run: Run) -> None:
    assert run.task("deferred")["state"] == "success"
    (event,) = run.airflow.get("/assets/events?source_dag_id=audit")["asset_events"]
    assert event["extra"]["records"] == len(run.uids)
    assert event["extra"]["by_operator"] == {"usr-a": len(run.uids)}


def test_a_broken_rule_fails_the_task_without_retries(run: Run) -> None:
    task = run.task("forbidden")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert "299 operations of" in run.text("forbidden")


def test_a_run_without_a_data_interval_learns_what_to_give(run: Run) -> None:
    """What a run triggered by hand or by an asset is in Airflow 3."""
    assert run.task("without_a_window")["state"] == "failed"
    assert "the run has no data interval" in run.text("without_a_window")


def test_a_deferred_sensor_waits_for_an_operation(cloud: Emulator, airflow: LocalAirflow) -> None:
    now = time.time()
    (operation_id,) = cloud.add_operations(
        [EmulatedOperation(now - 7200, "HpcClusterStartCluster", status="pending", ends_at=now + 15)]  # type: ignore[arg-type]
    )
    conf = {"job_id": operation_id, "conn_id": "qingcloud_hpc_default"}
    run_id = airflow.trigger("wait_deferred", conf)
    assert airflow.wait_for_task("wait_deferred", run_id, "wait", timeout=240)["state"] == "success"
    assert airflow.xcom("wait_deferred", run_id, "wait")["raw_state"] == "successful"

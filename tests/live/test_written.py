# SPDX-License-Identifier: Apache-2.0
"""After everything else in this folder: what all those runs have left on the disk, and what they reported."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow
from tests.statsd import StatsdServer

pytestmark = pytest.mark.airflow


def test_no_secret_was_written_anywhere(airflow: LocalAirflow, cloud: Emulator) -> None:
    """Logs are shown to everybody, and trigger payloads and XComs lie in the database."""
    secrets = [cloud.connection["password"].encode(), cloud.connection["login"].encode()]
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files), "nothing was searched"
    assert any(path.suffix == ".db" for path in files)
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_metrics_come_from_workers_and_from_the_triggerer(
    airflow: LocalAirflow, cloud: Emulator, statsd: StatsdServer
) -> None:
    """Each process of Airflow sets its metrics up by itself; in one that does not, ours would be lost."""
    log_ends = [f"{name},api=ehpc,where=" for name in ("ehpc.log_bytes", "ehpc.log_lines")]
    wanted = [
        *(f"{begin}{where}:" for begin in log_ends for where in ("worker", "triggerer")),
        "ehpc.requests,api=ehpc,operation=GetJob,outcome=ok:1|c",
        "ehpc.poll_lag,api=ehpc,conn_id=aliyun_ehpc_default:",
        "ehpc.jobs_watched,api=ehpc,conn_id=aliyun_ehpc_default,hostname=",
    ]

    def enough(reported: list[str]) -> bool:
        return all(any(metric.startswith(begin) for metric in reported) for begin in wanted)

    if not enough(statsd.reported):  # this test is run alone
        job_id = cloud.submit("sleep 15; echo done")
        for dag_id in ("wait_deferred", "log_deferred", "log_worker"):
            airflow.trigger(dag_id, {"job_id": job_id})
    statsd.wait(enough, timeout=120)
    gauges = [metric for metric in statsd.reported if metric.startswith("ehpc.jobs_watched")]
    assert any(int(metric.partition(":")[2].removesuffix("|g")) > 0 for metric in gauges)

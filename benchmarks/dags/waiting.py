# SPDX-License-Identifier: Apache-2.0
"""DAGs of the benchmarks under real triggerers: each waits for many jobs, one mapped task instance a job.

The jobs are read from the file that ``EHPC_BENCHMARK`` names
(:class:`benchmarks.deferred_tasks.Plan`), because their ids are known only when the cloud runs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from benchmarks.deferred_tasks import HTTP, LOGS, LOOP, WAITS, Plan
from benchmarks.loop_watch import WatchLoop

plan = Plan.read()
settings: dict[str, Any] = {
    "max_active_tasks": 10_000,
    "default_args": {"retries": 1, "retry_delay": timedelta(seconds=1)},
}

with DAG(WAITS, schedule=None, **settings) as waits:
    JobStateSensor.partial(
        task_id="task",
        conn_id="ehpc",
        poke_interval=plan.interval,
        deferrable=True,
        stop_job_on_kill=plan.stop_job_on_kill,
    ).expand(job_id=plan.waits)

with DAG(HTTP, schedule=None, **settings) as http_waits:
    HttpSensor.partial(
        task_id="task", http_conn_id="plain", poke_interval=plan.interval, deferrable=True
    ).expand(endpoint=[f"jobs/{job_id}" for job_id in plan.waits])

with DAG(LOGS, schedule=None, **settings) as log_streams:
    JobLogOperator.partial(
        task_id="task", conn_id="ehpc", poll_interval=plan.interval, deferrable=True
    ).expand(job_id=plan.logs)

with DAG(LOOP, schedule=None, **settings) as loop:
    WatchLoop.partial(task_id="task").expand(path=[plan.loop_file])

# SPDX-License-Identifier: Apache-2.0
"""DAGs for the tests of a running Airflow: one task each, what it waits for is given in the run's conf."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True},
}
TARGET = {
    "task_id": "wait",
    "job_id": "{{ dag_run.conf['job_id'] }}",
    "conn_id": "{{ dag_run.conf.get('conn_id', 'aliyun_ehpc_default') }}",
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}

for mode, how in MODES.items():
    for soft in (False, True):
        with DAG(f"wait_{mode}{'_soft' if soft else ''}", schedule=None, catchup=False):
            JobStateSensor(**TARGET, poke_interval=2, soft_fail=soft, **how)

for where, deferrable in (("worker", False), ("deferred", True)):
    with DAG(f"log_{where}", schedule=None, catchup=False):
        JobLogOperator(**TARGET, poll_interval=1, log_settle_time=2, deferrable=deferrable)

# SPDX-License-Identifier: Apache-2.0
"""A DAG for the tests of a running Airflow: audits of the window that is given in the run's conf."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset

from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator

COMMON = {
    "path": "{{ dag_run.conf['path'] }}",
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}
WINDOW = {"start": "{{ dag_run.conf['start'] }}", "end": "{{ dag_run.conf['end'] }}"}

with DAG("audit", schedule=None, catchup=False):
    OperationAuditOperator(
        task_id="deferred",
        settle=20,
        deferrable=True,
        outlets=[Asset("archive", "file:///archive")],
        **WINDOW,
        **COMMON,
    )
    OperationAuditOperator(
        task_id="forbidden", settle=0, rules=[{"name": "nobody", "action": "*"}], **WINDOW, **COMMON
    )
    OperationAuditOperator(task_id="without_a_window", **{**COMMON, "retries": 0})

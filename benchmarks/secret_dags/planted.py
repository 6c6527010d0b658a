# SPDX-License-Identifier: Apache-2.0
"""The DAG of ``benchmarks.secrets_search``: every way to a cloud, with secrets that are known."""

from __future__ import annotations

import json
import os

from airflow.sdk import DAG, task

from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor

PLANTED = json.loads(os.environ["EHPC_PLANTED"])
JOB = {"conn_id": "planted", "job_id": PLANTED["job_id"], "retries": 0}

with DAG("planted", schedule=None, catchup=False, max_active_tasks=16):
    for where, deferrable in (("worker", False), ("deferred", True)):
        JobStateSensor(task_id=f"wait_{where}", poke_interval=1, timeout=20, deferrable=deferrable, **JOB)
        JobLogOperator(task_id=f"log_{where}", poll_interval=1, timeout=20, deferrable=deferrable, **JOB)
    JobStateSensor(task_id="url", **{**JOB, "conn_id": "planted_url"}, timeout=5)
    OperationAuditOperator(
        task_id="audit",
        conn_id="planted",
        path=PLANTED["folder"],
        start=PLANTED["start"],
        end=PLANTED["end"],
        settle=0,
        retries=0,
    )

    @task(retries=0)
    def submit() -> str:
        from airflow_provider_ehpc.apis.job import JobSpec
        from airflow_provider_ehpc.hooks.aliyun import EhpcHook

        spec = JobSpec("made", "run=1", user="me", password=PLANTED["password"])
        print(spec, [spec])
        return EhpcHook("planted").submit(spec).job_id

    submit()

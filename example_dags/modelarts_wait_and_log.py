# SPDX-License-Identifier: Apache-2.0
"""Wait for a training job of Huawei Cloud ModelArts and read its log while it runs.

Start it with the job's ID: ``airflow dags trigger modelarts_wait_and_log --conf '{"job_id": "cf63aba9-…"}'``.
The connection ``huawei_modelarts_default`` supplies the key, the region and the project.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor

with DAG(
    "modelarts_wait_and_log",
    description="Wait for a ModelArts training job and read its log",
    schedule=None,
    catchup=False,
    params={"job_id": Param(type="string", description="The ID of the training job")},
    default_args={"conn_id": "huawei_modelarts_default", "job_id": "{{ params.job_id }}", "deferrable": True},
    tags=["modelarts"],
):
    JobStateSensor(task_id="wait", poke_interval=10)
    JobLogOperator(task_id="log", poll_interval=5)

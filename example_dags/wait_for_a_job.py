# SPDX-License-Identifier: Apache-2.0
"""Wait for an E-HPC job that something else has submitted, and use its result.

Start it with the job's ID: ``airflow dags trigger ehpc_wait_for_a_job --conf '{"job_id": "1.manager"}'``.
The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_ehpc.sensors.job_state import JobStateSensor

with DAG(
    "ehpc_wait_for_a_job",
    description="Wait for a job that something else has submitted",
    schedule=None,
    catchup=False,
    params={"job_id": Param(type="string", description="The job, such as 1.manager")},
    tags=["ehpc"],
):
    wait = JobStateSensor(
        task_id="wait",
        job_id="{{ params.job_id }}",
        deferrable=True,
        poke_interval=10,
        timeout=timedelta(days=2),
    )

    @task
    def use(job: dict[str, Any]) -> str:
        """Use what is known of the job."""
        return f"{job['job_id']} ended {job['state']}; its output is in {job.get('stdout_path')}"

    use(wait.output)

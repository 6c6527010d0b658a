# SPDX-License-Identifier: Apache-2.0
"""Wait for serverless jobs of Alibaba Cloud E-HPC: many in one task, and the sub-jobs of an array job.

Start it with the jobs' IDs: ``airflow dags trigger ehpc_serverless_wait --conf '{"job_ids": ["5", "6"]}'``.
The result has the jobs' exit codes. The API returns no log of serverless jobs.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

from airflow_provider_ehpc.sensors.job_state import JobStateSensor

with DAG(
    "ehpc_serverless_wait",
    description="Wait for serverless E-HPC jobs",
    schedule=None,
    catchup=False,
    params={"job_ids": Param(type="array", items={"type": "string"}, description="The jobs to wait for")},
    render_template_as_native_obj=True,
    tags=["ehpc"],
):
    # One task, few requests: ListServerlessJobs accepts up to a hundred IDs.
    wait = JobStateSensor(
        task_id="wait",
        api="ehpc-serverless",
        job_id="{{ params.job_ids }}",
        deferrable=True,
        poke_interval=10,
    )

    @task
    def say(jobs: list[dict]) -> None:
        """Print how each job ended."""
        for job in jobs:
            print(f"job {job['job_id']}: {job['state']}, exit code {job.get('exit_code')}")

    say(wait.output)

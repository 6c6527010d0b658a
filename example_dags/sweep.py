# SPDX-License-Identifier: Apache-2.0
"""Run a sweep: one job for each value of a parameter, and a task that uses all results.

The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

with DAG(
    "ehpc_sweep",
    description="A sweep of 20 jobs, each a mapped task",
    schedule=None,
    catchup=False,
    tags=["ehpc"],
):

    @task.hpc_job(cores=1, deferrable=True, poll_interval=5, job_name="sweep")
    def simulate(angle: int) -> str:
        """Return the command of a job."""
        return f"echo angle {angle}"

    @task
    def best(jobs: list[dict[str, Any]]) -> str:
        """Use the results of all jobs."""
        return min(jobs, key=lambda job: job["name"])["job_id"]

    best(simulate.expand(angle=list(range(0, 100, 5))))

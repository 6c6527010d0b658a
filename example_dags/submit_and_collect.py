# SPDX-License-Identifier: Apache-2.0
"""Submit a job to E-HPC, wait for it with its log, and use its result.

The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_ehpc.operators.job import SubmitJobOperator

with DAG(
    "ehpc_submit_and_collect",
    description="Submit a job, wait for it with its log, and use its result",
    schedule=None,
    catchup=False,
    tags=["ehpc"],
):
    solve = SubmitJobOperator(
        task_id="solve",
        command='for n in 1 2 3; do echo "residual 1.0e-$n"; sleep 1; done',
        cores=2,
        memory="1GB",
        wall_time="00:10:00",
        deferrable=True,
        poll_interval=2,
    )

    @task
    def collect(job: dict[str, Any]) -> str:
        """Use what is known of the job."""
        return f"{job['name']} ended {job['state']} and wrote {job['log']['lines']} lines"

    collect(solve.output)

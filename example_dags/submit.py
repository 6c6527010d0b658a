# SPDX-License-Identifier: Apache-2.0
"""Run jobs: submit and collect, a sweep, an array, setup and teardown.

The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster; ``python -m
airflow_provider_ehpc.emulator`` prints one for a local cloud.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_ehpc.operators.job import StopJobOperator, SubmitJobOperator

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

with DAG(
    "ehpc_array",
    description="An array of 100 jobs as one task, with retries",
    schedule=None,
    catchup=False,
    tags=["ehpc"],
):
    SubmitJobOperator(
        task_id="frames",
        # The index's variable is PBS_ARRAY_INDEX or SLURM_ARRAY_TASK_ID.
        command="echo frame ${PBS_ARRAY_INDEX:-$SLURM_ARRAY_TASK_ID}",
        array="1-100",
        deferrable=True,
        # The log of the array as a whole is not one file.
        get_logs=False,
        max_failed_members=5,
        retries=2,
        retry_delay=timedelta(minutes=1),
    )

with DAG(
    "ehpc_setup_and_teardown",
    description="Start a server as a job, use it, and stop it whatever happens",
    schedule=None,
    catchup=False,
    tags=["ehpc"],
):
    server = SubmitJobOperator(task_id="server", command="sleep 600", wait_for_completion=False)
    stop = StopJobOperator(
        task_id="stop",
        job_id="{{ ti.xcom_pull(task_ids='server', key='job_id') }}",
        deferrable=True,
        poll_interval=2,
    ).as_teardown(setups=server)
    client = SubmitJobOperator(task_id="client", command="echo the server runs", deferrable=True)
    server >> client >> stop

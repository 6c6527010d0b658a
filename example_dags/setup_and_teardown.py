# SPDX-License-Identifier: Apache-2.0
"""Start a server as a job, use it, and stop it whatever happens.

The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job import StopJobOperator, SubmitJobOperator

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

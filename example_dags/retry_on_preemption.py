# SPDX-License-Identifier: Apache-2.0
"""Run a job again after a preemption or the loss of a node, and with more memory if it ran out (Airflow 3.3).

The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job import SubmitJobOperator
from airflow_provider_ehpc.retry import HpcRetryPolicy

with DAG(
    "ehpc_retry_on_preemption",
    description="Run a job again if it lost its nodes, or with more memory",
    schedule=None,
    catchup=False,
    tags=["ehpc"],
):
    SubmitJobOperator(
        task_id="solve",
        command="echo solving; sleep 2",
        memory="1GB",
        wall_time="01:00:00",
        deferrable=True,
        # The upper limit of tries. The policy decides whether there is another one.
        retries=4,
        retry_policy=HpcRetryPolicy(
            escalate={"memory": 2, "wall_time": 1.5},
            limits={"memory": "8GB", "wall_time": timedelta(hours=6)},
            delay=timedelta(minutes=10),
        ),
    )

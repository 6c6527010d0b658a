# SPDX-License-Identifier: Apache-2.0
"""Run an array of 100 jobs as one task. A retry submits only the members that failed.

The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job import SubmitJobOperator

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

# SPDX-License-Identifier: Apache-2.0
"""Stream the log of an E-HPC job into the task log, without a worker slot.

Start it with the job's ID: ``airflow dags trigger ehpc_stream_a_log --conf '{"job_id": "1.manager"}'``.
The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_ehpc.operators.job_log import JobLogOperator

with DAG(
    "ehpc_stream_a_log",
    description="Stream a job's log from the triggerer",
    schedule=None,
    catchup=False,
    params={"job_id": Param(type="string", description="The job, such as 1.manager")},
    tags=["ehpc"],
):
    JobLogOperator(task_id="log", job_id="{{ params.job_id }}", deferrable=True, poll_interval=5)

# SPDX-License-Identifier: Apache-2.0
"""Wait for an E-HPC job and read its log, in every mode.

Start it with the job's ID: ``airflow dags trigger ehpc_wait_and_log --conf '{"job_id": "1.manager"}'``.
The connection ``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor

with DAG(
    "ehpc_wait_and_log",
    description="Wait for an E-HPC job and read its log, in every mode",
    schedule=None,
    catchup=False,
    params={"job_id": Param(type="string", description="The job to wait for, such as 1.manager")},
    default_args={"job_id": "{{ params.job_id }}"},
    tags=["ehpc"],
):
    # Hold a worker slot during the whole wait: for jobs of minutes.
    JobStateSensor(task_id="wait_on_the_worker", poke_interval=5)

    # Hold a worker slot during each poll only: for jobs of hours.
    JobStateSensor(task_id="wait_rescheduled", mode="reschedule", poke_interval=10)

    # Hold no worker slot: for many jobs, or long ones.
    JobStateSensor(task_id="wait_deferred", deferrable=True, poke_interval=5)

    # Write the job's log into the log of these tasks while the job runs.
    JobLogOperator(task_id="log_on_the_worker", poll_interval=2)
    JobLogOperator(task_id="log_deferred", deferrable=True, poll_interval=2)

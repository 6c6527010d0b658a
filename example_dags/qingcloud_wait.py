# SPDX-License-Identifier: Apache-2.0
"""Wait for a job of QingCloud HPC, and for an operation on a cluster.

Start it with their IDs: ``airflow dags trigger qingcloud_wait --conf
'{"job_id": "hpcjob-cz8ngntp", "operation_id": "j-8ajjp28fps8"}'``.
The connection ``qingcloud_hpc_default`` supplies the key, the zone and the cluster.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_ehpc.sensors.job_state import JobStateSensor

with DAG(
    "qingcloud_wait",
    description="Wait for a job of QingCloud HPC, and for an operation on a cluster",
    schedule=None,
    catchup=False,
    params={
        "operation_id": Param(type="string", description="The ID that an asynchronous call returned: j-…"),
        "job_id": Param(type="string", description="The job to wait for: hpcjob-…"),
    },
    default_args={"conn_id": "qingcloud_hpc_default"},
    tags=["hpc"],
):
    # Starting a cluster or adding nodes takes minutes: the call returns the ID of the operation.
    operation = JobStateSensor(
        task_id="operation", job_id="{{ params.operation_id }}", deferrable=True, poke_interval=10
    )
    job = JobStateSensor(task_id="job", job_id="{{ params.job_id }}", deferrable=True, poke_interval=30)
    operation >> job

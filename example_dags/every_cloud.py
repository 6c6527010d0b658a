# SPDX-License-Identifier: Apache-2.0
"""Wait for one job on each cloud at the same time, then audit what was done to the clusters.

The params of a run name the jobs, the window to audit and the folder to write to. ``make demo`` runs it on
the emulator.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor

with DAG(
    "every_cloud",
    description="One job on each cloud, and an audit of both operation logs",
    schedule=None,
    catchup=False,
    params={
        "classic": Param(type="string", description="A job of E-HPC, by its older API"),
        "serverless": Param(type="string", description="A serverless job of E-HPC"),
        "modelarts": Param(type="string", description="A training job of ModelArts"),
        "qingcloud": Param(type="string", description="A job of QingCloud HPC"),
        "start": Param(type="string", description="ISO 8601; the beginning of the window to audit"),
        "end": Param(type="string", description="ISO 8601; its end"),
        "audits": Param(type="string", description="The folder of the audits, such as s3://bucket/audits"),
    },
    default_args={"deferrable": True},
    tags=["ehpc", "modelarts", "qingcloud", "audit"],
):
    classic = JobLogOperator(
        task_id="classic_log", api="ehpc-classic", job_id="{{ params.classic }}", poll_interval=2
    )
    serverless = JobStateSensor(
        task_id="serverless", api="ehpc-serverless", job_id="{{ params.serverless }}", poke_interval=5
    )
    modelarts = JobLogOperator(
        task_id="modelarts_log",
        conn_id="huawei_modelarts_default",
        job_id="{{ params.modelarts }}",
        poll_interval=2,
    )
    qingcloud = JobStateSensor(
        task_id="qingcloud", conn_id="qingcloud_hpc_default", job_id="{{ params.qingcloud }}", poke_interval=5
    )

    for cloud, conn_id in (("ehpc", "aliyun_ehpc_default"), ("qingcloud", "qingcloud_hpc_default")):
        audit = OperationAuditOperator(
            task_id=f"audit_{cloud}",
            conn_id=conn_id,
            start="{{ params.start }}",
            end="{{ params.end }}",
            path="{{ params.audits }}",
            formats=["jsonl", "ocsf"],
            # Only for the emulator: real logs show an operation some minutes after it began.
            settle=5,
        )
        [classic, serverless, modelarts, qingcloud] >> audit

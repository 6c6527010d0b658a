# SPDX-License-Identifier: Apache-2.0
"""Each night, save what was done to the clusters on the previous day, and check that it was allowed.

It needs the connection ``qingcloud_hpc_default``. With ``conn_id="aliyun_ehpc_default"`` it reads the log of
E-HPC.
"""

from __future__ import annotations

from datetime import datetime

import pendulum
from airflow.sdk import DAG, Asset
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator

ARCHIVE = Asset("hpc_operations", uri="file:///var/lib/airflow/hpc-audit")

with DAG(
    "operation_audit",
    description="Save what was done to the clusters, day by day",
    # With a cron text alone, data intervals have no length.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone=pendulum.timezone("Asia/Shanghai")),
    start_date=datetime(2026, 1, 1, tzinfo=pendulum.timezone("Asia/Shanghai")),
    catchup=False,
    # The next window completes operations that have not ended, so runs must follow one another.
    max_active_runs=1,
    tags=["hpc", "audit"],
):
    OperationAuditOperator(
        task_id="audit",
        path=ARCHIVE.uri,
        formats=["jsonl", "ocsf"],
        rules=[
            {"name": "only operators remove", "action": ["*Delete*", "*Remove*"], "operator": "usr-GxkSGFDs"},
            {
                "name": "office hours",
                "action": "HpcCluster*",
                "hours": "mon-fri 08:00-18:00",
                "time_zone": "Asia/Shanghai",
                "effect": "warn",
            },
        ],
        outlets=[ARCHIVE],
        deferrable=True,
    )

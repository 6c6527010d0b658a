"""Each night, write down what was done to the clusters the day before, and see that it was allowed.

Needs the connection ``qingcloud_hpc_default``. With ``conn_id="aliyun_ehpc_default"`` it is E-HPC's log.
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
    description="Write down what was done to the clusters, day by day",
    # A cron text alone would make data intervals of no length.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone=pendulum.timezone("Asia/Shanghai")),
    start_date=datetime(2026, 1, 1, tzinfo=pendulum.timezone("Asia/Shanghai")),
    catchup=False,
    # An operation that had not ended is completed by the window that follows: one after the other.
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

# SPDX-License-Identifier: Apache-2.0
"""A task that submits a job under the name in the run's conf, as in ``benchmarks.submissions``."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job import SubmitJobOperator

for how, deferrable in (("worker", False), ("deferred", True)):
    with DAG(f"submit_{how}", schedule=None, catchup=False):
        SubmitJobOperator(
            task_id="run",
            command="sleep 4; echo the end",
            job_name="{{ dag_run.conf['name'] }}",
            conn_id="cloud",
            api="ehpc-classic",
            user="alice",
            poll_interval=1,
            log_settle_time=1,
            deferrable=deferrable,
            retries=20,
            retry_delay=timedelta(seconds=1),
        )

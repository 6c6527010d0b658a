# SPDX-License-Identifier: Apache-2.0
"""A task that submits a job, on the worker and deferred: its name and its command are in the run's conf."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job import SubmitJobOperator

for how, deferrable in (("worker", False), ("deferred", True)):
    with DAG(f"submit_{how}", schedule=None, catchup=False):
        SubmitJobOperator(
            task_id="run",
            command="{{ dag_run.conf.get('command', 'sleep 4; echo the end') }}",
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

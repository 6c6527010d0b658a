# SPDX-License-Identifier: Apache-2.0
"""A DAG for ``benchmarks.mapped_jobs``: one mapped task that submits as many jobs as the run's conf names."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_provider_ehpc.operators.job import SubmitJobOperator

with DAG("mapped", schedule=None, catchup=False, max_active_tasks=500):

    @task
    def commands(**context: object) -> list[str]:
        """Return the command of each job: it waits for a file, and every fifth fails."""
        conf = context["dag_run"].conf  # type: ignore[attr-defined]
        return [
            f"while [ ! -e {conf['gate']} ]; do sleep 2; done; echo line of {n}; [ {n % 5} != 4 ] || exit 3"
            for n in range(conf["jobs"])
        ]

    SubmitJobOperator.partial(
        task_id="run", conn_id="cloud", deferrable=True, log_settle_time=2, max_active_tis_per_dagrun=500
    ).expand(command=commands())

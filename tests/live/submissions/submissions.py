# SPDX-License-Identifier: Apache-2.0
"""Jobs that a DAG submits, on workers and in the triggerer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_ehpc.operators.job import StopJobOperator, SubmitJobOperator

MODES: dict[str, dict[str, Any]] = {
    "worker": {},
    "worker_without_log": {"get_logs": False},
    "deferred": {"deferrable": True},
    "deferred_without_log": {"deferrable": True, "get_logs": False},
}
JOBS: dict[str, dict[str, Any]] = {
    "succeeds": {"command": "sleep 1; echo the last line"},
    "fails": {"command": "sleep 1; echo 'no such file'; exit 3"},
    "is_skipped": {"command": "exit 99", "skip_on_exit_code": 99},
    "times_out": {"command": "sleep 600", "timeout": 3, "retries": 0},
}

with DAG(
    "submissions", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(seconds=1)}
) as dag:
    for mode, of_mode in MODES.items():
        common = {"conn_id": "modes", "poll_interval": 1, **of_mode}
        for name, job in JOBS.items():
            SubmitJobOperator(task_id=f"{name}-{mode}", **{**common, **job})
        SubmitJobOperator.partial(task_id=f"sweep-{mode}", **common).expand(
            command=[f"echo value {n}" for n in range(3)]
        )
        server = SubmitJobOperator(
            task_id=f"server-{mode}", command="sleep 600", **{**common, "wait_for_completion": False}
        )
        stop = StopJobOperator(
            task_id=f"stop-{mode}",
            job_id=f"{{{{ ti.xcom_pull(task_ids='server-{mode}', key='job_id') }}}}",
            conn_id="modes",
            poll_interval=1,
            deferrable="deferred" in mode,
        ).as_teardown(setups=server)

        @task.hpc_job(task_id=f"decorated-{mode}", cores=2, **common)
        def decorated(word: str) -> str:
            return f"echo {word} {{{{ ti.try_number }}}}"

        decorated("try")

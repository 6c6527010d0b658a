# SPDX-License-Identifier: Apache-2.0
"""DAGs for ``benchmarks.crashes``: one task that follows the log of the job named in the run's conf."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job_log import JobLogOperator

# A time-out cannot be a template; seconds of those that benchmarks.crashes lets a stream have.
EXECUTION_TIMEOUTS = (6, 9, 13)
WAIT_TIMEOUTS = (14, 19, 26)

HOW: dict[str, dict[str, Any]] = {"worker": {}, "deferred": {"deferrable": True}}
HOW |= {f"worker_{n}": {"execution_timeout": timedelta(seconds=n)} for n in EXECUTION_TIMEOUTS}
HOW |= {f"deferred_{n}": {"deferrable": True, "timeout": n} for n in WAIT_TIMEOUTS}

for name, how in HOW.items():
    with DAG(f"stream_{name}", schedule=None, catchup=False):
        JobLogOperator(
            task_id="log",
            job_id="{{ dag_run.conf['job_id'] }}",
            conn_id="{{ dag_run.conf['conn_id'] }}",
            poll_interval=2,
            log_settle_time=2,
            retries=50,
            retry_delay=timedelta(seconds=1),
            **how,
        )

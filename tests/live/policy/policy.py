# SPDX-License-Identifier: Apache-2.0
"""Tasks whose jobs fail, each by another cause, with a retry policy."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.escalation import escalated, load_escalation
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.retry import HpcRetryPolicy

FLAGS = os.environ["POLICY_FLAGS"]
PREEMPTED = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-20T16:35:48 DUE TO PREEMPTION ***"
COMMANDS = {
    "out_of_memory": "if [ $MEMORY != 4GB ]; then echo MemoryError >&2; exit 1; fi",
    "preempted": f"if ! [ -e {FLAGS}/once ]; then touch {FLAGS}/once; echo '{PREEMPTED}' >&2; exit 1; fi",
    "own_failure": "echo 'ValueError: x' >&2; exit 1",
}


class Submit(JobLogOperator):
    """Submit a job and follow it; a retry submits another one."""

    resubmits = True

    def __init__(self, *, command: str, memory: str, **kwargs: Any) -> None:
        super().__init__(job_id="not submitted yet", **kwargs)
        self.command = command
        self.memory = memory

    def execute(self, context: Any) -> Any:
        """Submit the job with the memory that earlier tries ask for."""
        memory, _ = escalated(self.memory, None, load_escalation(context))
        spec = JobSpec("job", f"export MEMORY={memory}; {self.command}", memory=memory)
        self.job_id = self.hook.submit(spec).job_id
        return super().execute(context)


with DAG("policy", schedule=None) as dag:
    for name, command in COMMANDS.items():
        Submit(
            task_id=name,
            conn_id="policy",
            command=command,
            memory="1GB",
            poll_interval=0.5,
            log_settle_time=0.1,
            retries=4,
            retry_delay=timedelta(seconds=1),
            retry_policy=HpcRetryPolicy(escalate={"memory": 2}, delay=timedelta(seconds=1)),
        )

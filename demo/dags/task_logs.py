# SPDX-License-Identifier: Apache-2.0
"""Jobs that end in every way, for screenshots of their tasks' logs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job import SubmitJobOperator

HEAT = f"{sys.executable} {Path(__file__).parents[1] / 'heat_equation.py'}"

with DAG("simulation", schedule=None, doc_md=__doc__):
    arguments: dict[str, Any] = {
        "cores": 1,
        "memory": "2GB",
        "wall_time": "01:00:00",
        "poll_interval": 1,
        "keep_log_at": "file:///tmp/simulation-logs/{{ run_id }}/{{ ti.task_id }}",
    }
    SubmitJobOperator(
        task_id="solve",
        command=f"echo 'warning: initial guess is far from the solution' >&2; {HEAT} 60",
        deferrable=True,
        **arguments,
    )
    SubmitJobOperator(
        task_id="post_process",
        command="echo reading fields; sleep 1; echo 'MemoryError: Unable to allocate 64.0 GiB' >&2; exit 1",
        **arguments,
    )
    SubmitJobOperator(
        task_id="refine",
        command="echo 'residual is small enough: nothing to refine'; exit 99",
        skip_on_exit_code=99,
        **arguments,
    )

# SPDX-License-Identifier: Apache-2.0
"""Tasks that put the lines of a file into their logs, in three ways, and note what that took.

The files, and the order of the tasks, are read from the file that ``EHPC_BENCHMARK`` names
(:class:`benchmarks.log_tasks.Plan`).
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from benchmarks.log_tasks import KINDS, Plan

plan = Plan.read()

with DAG("lines", schedule=None) as dag:
    tasks = [KINDS[kind](task_id=f"{kind}_{number}", plan=plan) for number, kind in enumerate(plan.tasks)]
    if len(tasks) > 1:
        chain(*tasks)

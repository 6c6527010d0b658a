# SPDX-License-Identifier: Apache-2.0
"""Write a job's input to a bucket, let the job read it, and read the job's result from the bucket.

The cluster mounts the bucket, so that jobs see its objects as files. Two Airflow variables name the place:
``hpc_bucket`` as a URL (``s3://my_bucket@my-bucket/runs``) and ``hpc_mount`` as a path on the cluster
(``/mnt/my-bucket/runs``).
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Variable, task

from airflow_provider_ehpc.operators.job import SubmitJobOperator

with DAG(
    "ehpc_files_in_and_out",
    description="Files in and out of a job through a bucket",
    schedule=None,
    catchup=False,
    tags=["ehpc"],
):

    @task
    def write_input(run_id: str | None = None) -> None:
        """Write the input of this run."""
        folder = ObjectStoragePath(Variable.get("hpc_bucket")) / str(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "input.txt").write_text("3\n1\n2\n")

    solve = SubmitJobOperator(
        task_id="solve",
        command="cd '{{ var.value.hpc_mount }}/{{ run_id }}' && sort input.txt > output.txt",
        deferrable=True,
        poll_interval=5,
    )

    @task
    def read_output(job: dict[str, Any], run_id: str | None = None) -> str:
        """Return the result of this run."""
        folder = ObjectStoragePath(Variable.get("hpc_bucket")) / str(run_id)
        return (folder / "output.txt").read_text()

    write_input() >> solve
    read_output(solve.output)

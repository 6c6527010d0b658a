# SPDX-License-Identifier: Apache-2.0
"""Start when jobs whose names begin with ``train-`` end on an E-HPC cluster, and process each of them.

No task waits for the jobs: the triggerer polls the cluster, and Airflow starts a run. The connection
``aliyun_ehpc_default`` supplies the key, the region and the cluster.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_ehpc.triggers.job_finished import JobFinishedTrigger

trained = Asset(
    "ehpc_jobs_trained",
    watchers=[AssetWatcher(name="ehpc", trigger=JobFinishedTrigger(name="train-*", poll_interval=30))],
)

with DAG(
    "start_when_a_job_ends",
    description="Process every training job that ended",
    schedule=[trained],
    catchup=False,
    tags=["ehpc"],
):

    @task
    def ended_jobs(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """Collect the jobs: several events may have started the run, each with several jobs."""
        events = triggering_asset_events[trained]
        return [job for event in events for job in event.extra["payload"]["jobs"]]

    @task
    def look_at(job: dict[str, Any]) -> str:
        """Return how a job ended; evaluate, register or clean up here."""
        return f"{job['name']} ({job['job_id']}) of {job.get('user')} is {job['state']}"

    look_at.expand(job=ended_jobs())

# SPDX-License-Identifier: Apache-2.0
"""Start when a job ends whose name begins with ``watched``; the task returns the reported jobs."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_ehpc.triggers.job_finished import JobFinishedTrigger

ended = Asset(
    "ended_jobs",
    watchers=[AssetWatcher(name="ehpc", trigger=JobFinishedTrigger(name="watched*", poll_interval=5))],
)

with DAG("finished", schedule=[ended], catchup=False, is_paused_upon_creation=False):

    @task
    def report(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        events = triggering_asset_events[ended]
        return [job for event in events for job in event.extra["payload"]["jobs"]]

    report()

# SPDX-License-Identifier: Apache-2.0
"""The same waits in every mode. The jobs' IDs are in the environment, by the name of the wait."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_ehpc.sensors.job_state import JobStateSensor

JOBS = json.loads(os.environ["MODES_JOBS"])
MODES: dict[str, dict[str, Any]] = {
    "poke": {},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True},
}
WAITS: dict[str, dict[str, Any]] = {
    "succeeds": {},
    "several": {},
    "fails": {},
    "is_skipped": {"soft_fail": True},
    "times_out": {"timeout": timedelta(seconds=3)},
    "execution_timeout": {"execution_timeout": timedelta(seconds=3), "retries": 0, "stop_job_on_kill": True},
    "is_skipped_after_execution_timeout": {"execution_timeout": timedelta(seconds=3), "soft_fail": True},
    "denied": {"conn_id": "denied"},
    "denied_with_soft_fail": {"conn_id": "denied", "soft_fail": True},
}

with DAG("modes", schedule=None, default_args={"retries": 2, "retry_delay": timedelta(seconds=1)}) as dag:
    for mode, of_mode in MODES.items():
        for wait, of_wait in WAITS.items():
            JobStateSensor(
                task_id=f"{wait}-{mode}",
                job_id=JOBS[f"{wait}-{mode}"],
                **{"conn_id": "modes", "poke_interval": 1, **of_mode, **of_wait},
            )

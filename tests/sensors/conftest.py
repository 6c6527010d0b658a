# SPDX-License-Identifier: Apache-2.0
"""Sensors on the emulator."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_ehpc.sensors.job_state import JobStateSensor

Make = Callable[..., JobStateSensor]


@pytest.fixture
def make(conn_id: str) -> Make:
    """Make a sensor that looks all the time."""
    numbers = itertools.count()

    def build(job_id: Any, **arguments: Any) -> JobStateSensor:
        task_id = f"wait_{next(numbers)}"
        return JobStateSensor(
            task_id=task_id, **{"conn_id": conn_id, "job_id": job_id, "poke_interval": 0.05, **arguments}
        )

    return build


class TaskInstance:
    """As much of a task instance as the modes ``reschedule`` and ``poke`` ask of it."""

    task_id = "wait"

    def __init__(self, first: dt.datetime | None = None) -> None:
        self._first = first

    def get_first_reschedule_date(self, context: Any) -> dt.datetime | None:
        return self._first


def deferral(sensor: JobStateSensor) -> Any:
    from airflow.providers.common.compat.sdk import TaskDeferred

    with pytest.raises(TaskDeferred) as caught:
        sensor.execute({})
    return caught.value

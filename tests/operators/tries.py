# SPDX-License-Identifier: Apache-2.0
"""A task instance over its tries, with Airflow's stores in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_ehpc.emulator.jobs import EmulatedJob
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.operators.job import SubmitJobOperator
from tests.logs.stores import States
from tests.triggers.test_triggers import fire

_NUMBERS = itertools.count()


class TaskInstance:
    """What a task sees of its instance."""

    def __init__(self, *, retries: int = 2, map_index: int = -1) -> None:
        self.dag_id = "d"
        self.task_id = f"run_{next(_NUMBERS)}"
        self.run_id = "r"
        self.map_index = map_index
        self.try_number = 1
        self.max_tries = retries
        self.xcoms: dict[str, Any] = {}
        self._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=[])

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


class Tries:
    """Runs the tries of one task; ``store=False`` is Airflow 3.1, which has no task state store.

    :param make: makes the operator of each try.
    """

    def __init__(
        self, make: Callable[[], SubmitJobOperator], *, retries: int = 2, store: bool = True
    ) -> None:
        self.ti = TaskInstance(retries=retries)
        self.dag_run = SimpleNamespace(start_date=datetime(2026, 1, 1, tzinfo=UTC))
        self.states = States()
        self._make = make
        self._store = store
        self._retries = retries
        self.operator = make()

    @property
    def context(self) -> dict[str, Any]:
        """The context of the current try."""
        context: dict[str, Any] = {"ti": self.ti, "task": self.operator, "dag_run": self.dag_run}
        return {**context, "task_state_store": self.states} if self._store else context

    def run(self) -> Any:
        """Run the current try."""
        self.operator.retries = self._retries
        return self.operator.execute(self.context)  # type: ignore[arg-type]

    def next(self, *, cleared: bool = False) -> Tries:
        """Begin the next try: a retry, or that after a user has cleared the task."""
        self.ti.try_number += 1
        if cleared:
            self.ti.max_tries = self.ti.try_number - 1 + self._retries
        return self.again()

    def again(self) -> Tries:
        """Let another process run the same try."""
        # Airflow deletes the XComs of the old one, and reports their keys.
        self.ti._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=list(self.ti.xcoms))
        self.ti.xcoms.clear()
        self.operator = self._make()
        return self

    def run_deferred(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Run the current try with its deferral, and continue in a new process."""
        with pytest.raises(TaskDeferred) as deferral:
            self.run()
        event = asyncio.run(fire(deferral.value.trigger))
        monkeypatch.setattr(
            "airflow_provider_ehpc.operators.job.own_xcom", lambda _c, key: self.ti.xcoms.get(key)
        )
        self.operator = self._make()
        return self.operator.resume_execution("execute_complete", {"event": event}, self.context)  # type: ignore[arg-type]


def jobs_of(emulator: Emulator, *, serverless: bool = False) -> list[EmulatedJob]:
    """Return all jobs of one of the emulator's clusters."""

    platform = emulator._platform

    async def listed() -> list[EmulatedJob]:
        return list((platform.serverless if serverless else platform.cluster).jobs())

    return emulator._call(listed())


__all__ = ["TaskInstance", "Tries", "jobs_of"]

# SPDX-License-Identifier: Apache-2.0
"""Many deferred tasks at once, as rows of Airflow's metadata database.

A worker start takes a second or more, so a thousand deferrals by workers would take as long as the whole
measurement. Here one process runs ``execute()`` of every task of a DAG run, which looks at its job and
defers, and writes what Airflow's API server would write: a row of ``trigger`` with the trigger's own
encrypted arguments, and a task instance in the state ``deferred`` that is resumed as any other.

``python -m benchmarks.deferred_tasks DAG_ID …``, in the environment of an Airflow whose DAGs are serialised,
prints the run ids as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import random
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

WAITS, HTTP, LOGS, LOOP = "waits", "http_waits", "log_streams", "loop"
"""The DAGs of ``dags/waiting.py``."""
DAGS = Path(__file__).parent / "dags"
VARIABLE = "EHPC_BENCHMARK"


@dataclass
class Plan:
    """What the DAGs wait for; a file, whose path is in the environment variable ``EHPC_BENCHMARK``."""

    interval: float = 5.0
    waits: list[str] | list[list[str]] = field(default_factory=lambda: ["none"])
    """The job of each task, or the list of its jobs."""
    logs: list[str] = field(default_factory=lambda: ["none"])
    loop_file: str = ""
    stop_job_on_kill: bool = False
    """Whether the tasks that wait stop their jobs when they are killed."""

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls) -> Plan:
        """Read the file."""
        return cls(**json.loads(Path(os.environ[VARIABLE]).read_text()))


def defer_all(dag_ids: list[str]) -> list[str]:
    """Make a run of each DAG whose task instances are all deferred; return their ids.

    Triggerers take triggers in the order of their making; here it is by chance, so that each of several gets
    some of all DAGs.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    run_ids = [_new_run(dag_id) for dag_id in dag_ids]
    mapped = {dag_id: _dag(dag_id).task_dict["task"] for dag_id in dag_ids}
    with create_session() as session:
        instances = list(session.scalars(select(TaskInstance).where(TaskInstance.run_id.in_(run_ids))))
        random.shuffle(instances)
        # Who watches the loop sees the others start.
        instances.sort(key=lambda instance: instance.dag_id != LOOP)
        for instance in instances:
            task = mapped[instance.dag_id]
            ((argument, values),) = task.expand_input.value.items()
            deferral = _deferral(task.unmap({argument: values[instance.map_index]}))
            instance.trigger, instance.next_method, instance.next_kwargs, timeout = deferral
            now = datetime.now(UTC)
            instance.trigger_timeout = timeout and now + timeout
            instance.start_date = now
            instance.try_number = 1
            instance.state = TaskInstanceState.DEFERRED
    return run_ids


def _new_run(dag_id: str) -> str:
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType

    with create_session() as session:
        # Runs that begin in the same moment have the same id by default.
        run_id = f"{dag_id}-{datetime.now(UTC).isoformat()}"
        trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.TEST, run_id=run_id, session=session)
        return run_id


def _dag(dag_id: str) -> Any:
    from airflow.sdk import DAG

    module = import_module("benchmarks.dags.waiting")
    return next(dag for dag in vars(module).values() if isinstance(dag, DAG) and dag.dag_id == dag_id)


def _deferral(operator: Any) -> tuple[Any, str, Any, Any]:
    from airflow.models.trigger import Trigger
    from airflow.providers.common.compat.sdk import TaskDeferred
    from airflow.sdk.serde import serialize

    try:
        operator.execute({})
    except TaskDeferred as deferred:
        row = Trigger.from_object(deferred.trigger)
        return row, deferred.method_name, serialize(deferred.kwargs or {}), deferred.timeout
    raise RuntimeError(f"{operator} did not defer: its job has ended before the measurement began")


if __name__ == "__main__":
    # An operator that runs outside a task warns of that, a thousand times.
    logging.disable(logging.WARNING)
    print(json.dumps(defer_all(sys.argv[1:])))

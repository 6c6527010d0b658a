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
    waits: list[str] = field(default_factory=lambda: ["none"])
    logs: list[str] = field(default_factory=lambda: ["none"])
    loop_file: str = ""

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls) -> Plan:
        """Read the file."""
        return cls(**json.loads(Path(os.environ[VARIABLE]).read_text()))


def defer_all(dag_id: str) -> str:
    """Make a run of a DAG whose task instances are all deferred; return its id."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import select

    task = _dag(dag_id).task_dict["task"]
    ((argument, values),) = task.expand_input.value.items()
    with create_session() as session:
        run = trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.TEST, session=session)
        assert isinstance(run, DagRun)
        run_id = str(run.run_id)
    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        for instance in session.scalars(query):
            deferral = _deferral(task.unmap({argument: values[instance.map_index]}))
            instance.trigger, instance.next_method, instance.next_kwargs, timeout = deferral
            now = datetime.now(UTC)
            instance.trigger_timeout = timeout and now + timeout
            instance.start_date = now
            instance.try_number = 1
            instance.state = TaskInstanceState.DEFERRED
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
    print(json.dumps([defer_all(dag_id) for dag_id in sys.argv[1:]]))

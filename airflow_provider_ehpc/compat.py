# SPDX-License-Identifier: Apache-2.0
"""Hide the differences between versions of Airflow. No other module knows them.

``apache-airflow-providers-common-compat`` (which the HTTP provider requires) hides where names are defined
and how an event loop reads a connection. The other differences are handled here.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, get_args

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    BaseOperator,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

try:
    from airflow.sdk.exceptions import TaskDeferralTimeout  # type: ignore[attr-defined,unused-ignore]
except ImportError:  # 3.1
    from airflow.exceptions import TaskDeferralTimeout  # type: ignore[no-redef,attr-defined,unused-ignore]

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection, Context

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "PokeReturnValue",
    "TaskDeferralTimeout",
    "aread_connection",
    "asset_states",
    "async_xcom",
    "calls_on_kill",
    "conf",
    "database_xcom",
    "in_a_process_of_airflow",
    "is_mapped",
    "no_longer_ours",
    "own_xcom",
    "ran_before",
    "read_connection",
    "reads_declared_forms",
    "retry_policies",
    "scopes_plugins",
    "stats",
    "task_state",
    "task_state_store",
    "trigger_variables",
]


def read_connection(conn_id: str) -> tuple[Connection, dict[str, Any]]:
    """Return a connection and its extra fields."""
    connection = BaseHook.get_connection(conn_id)
    return connection, connection.extra_dejson


async def aread_connection(conn_id: str) -> tuple[Connection, dict[str, Any]]:
    """Return a connection and its extra fields without blocking the event loop.

    ``dag.test()`` runs a trigger in a process that responds only to synchronous requests for connections of
    the metadata database. So a second attempt is made in a thread.
    """
    import asyncio

    from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

    try:
        connection = await get_async_connection(conn_id)
    except AirflowNotFoundException:
        return await asyncio.to_thread(read_connection, conn_id)
    return connection, await get_async_extra_dejson(connection)


def task_state_store(context: Context) -> Any | None:
    """Return the store that the tries of a task share (Airflow 3.3), on the worker; None if there is none.

    A trigger must not request it: its supervisor never responds.
    """
    return context.get("task_state_store")


def retry_policies() -> Any | None:
    """Return Airflow's module of retry policies (3.3); None if there is none."""
    from importlib import import_module

    try:
        return import_module("airflow.sdk.definitions.retry_policy")
    except ImportError:
        return None


def scopes_plugins() -> bool:
    """Return True if Airflow can show a view of a plugin on some tasks only, by ``applies_to`` (3.4)."""
    from airflow import __version__
    from packaging.version import Version

    return Version(__version__).release >= (3, 4)


def no_longer_ours(error: Exception) -> bool:
    """Return True if Airflow refused to save something because the task instance has been replaced.

    Clearing a running task gives the task instance a new ID at once. The process of the old one ends with its
    next heartbeat, seconds later.
    """
    detail = getattr(getattr(error, "error", None), "detail", None)
    return isinstance(detail, dict) and detail.get("status_code") == 404


def is_mapped(operator: Any) -> bool:
    """Return True for an operator that Airflow creates from a mapped one, even within its ``__init__``.

    Airflow passes it the defaults of arguments that the DAG does not name, such as ``queue``.
    """
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def ran_before(task_instance: Any) -> bool:
    """Return False if no earlier process of a task instance, in this try or another, has pushed an XCom.

    When a process begins, Airflow deletes the XComs of earlier ones, whose keys its server reports.
    """
    reported = getattr(task_instance, "_ti_context_from_server", None)
    return reported is None or bool(reported.xcom_keys_to_clear)


def xcom_address(ti: Any) -> dict[str, Any]:
    """Return the arguments that name a task instance in requests for its XComs."""
    return {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}


def own_xcom(context: Context, key: str) -> Any:
    """Return an XCom that this try of the task has pushed; None if there is none."""
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_one(key=key, **xcom_address(context["ti"]))


def in_a_process_of_airflow() -> bool:
    """Return True in the process of a task or of the triggers: it has a supervisor that stores XComs."""
    return hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS")


def database_xcom() -> Any:
    """Return the XCom class that writes to Airflow's database, whichever backend XComs have."""
    from airflow.sdk.bases.xcom import BaseXCom

    return BaseXCom


def async_xcom() -> Any | None:
    """Return the XCom class if triggers can use it (Airflow 3.3), otherwise None."""
    from airflow.sdk.execution_time.xcom import XCom

    return XCom if hasattr(XCom, "aset") and hasattr(XCom, "aget_one") else None


def calls_on_kill() -> bool:
    """Return True if Airflow calls a trigger's ``on_kill`` (3.3). Before, it only cancels the trigger."""
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")


def asset_states(accessors: Any | None) -> list[Any]:
    """Return the state stores of an event trigger's assets (Airflow 3.3), an empty list before 3.3.

    :param accessors: the trigger's ``asset_state_store``, which Airflow sets if it has one.
    """
    if accessors is None:
        return []
    # Accessors are looked up by asset, and a trigger does not know its assets.
    found = [*getattr(accessors, "_by_name", {}).values(), *getattr(accessors, "_by_uri", {}).values()]
    return found or [accessors]


def _supervisor_knows(*messages: str) -> bool:
    """Return True in a triggerer whose supervisor responds to the messages. It ignores unknown messages."""
    # Only a triggerer has loaded this module.
    runner = sys.modules.get("airflow.jobs.triggerer_job_runner")
    # Annotated[GetConnection | GetVariable | …, Field(…)]
    known = next(iter(get_args(getattr(runner, "ToTriggerSupervisor", None))), None)
    return set(messages) <= {getattr(message, "__name__", "") for message in get_args(known)}


async def task_state(task_instance: Any) -> str | None:
    """Return the state of a trigger's task instance; None if it has no state or no longer exists.

    :raises LookupError: if this triggerer cannot report it.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult

    if not _supervisor_knows("GetTaskStates"):
        raise LookupError("this triggerer does not report task states")
    ti, mapped = task_instance, task_instance.map_index >= 0
    response = await task_runner.SUPERVISOR_COMMS.asend(
        GetTaskStates(
            dag_id=ti.dag_id,
            task_ids=[ti.task_id],
            run_ids=[ti.run_id],
            map_index=ti.map_index if mapped else None,
        )
    )
    if not isinstance(response, TaskStatesResult):
        raise LookupError(f"the triggerer responded with {response!r}")
    states = response.task_states.get(ti.run_id) or {}
    state = states.get(f"{ti.task_id}_{ti.map_index}" if mapped else ti.task_id)
    return None if state is None else str(state)


async def task_xcom(task_instance: Any, key: str) -> Any:
    """Return an XCom of a trigger's task; None if there is none, or this triggerer cannot read it."""
    from airflow.sdk.bases.xcom import BaseXCom
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetXCom, XComResult

    if not _supervisor_knows("GetXCom"):
        return None
    request = GetXCom(key=key, **xcom_address(task_instance))
    response = await task_runner.SUPERVISOR_COMMS.asend(request)
    if not isinstance(response, XComResult) or response.value is None:
        return None
    return BaseXCom.deserialize_value(response)


def trigger_variables() -> TriggerVariables | None:
    """Return an object by which a trigger reads and writes Airflow variables; None outside of a triggerer."""
    return TriggerVariables() if _supervisor_knows("GetVariable", "PutVariable") else None


class TriggerVariables:
    """Read and write JSON in Airflow variables, from a trigger."""

    async def aget(self, key: str) -> Any:
        """Return a variable's value; None if the variable does not exist."""
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult

        response = await self._send(GetVariable(key=key))
        if isinstance(response, VariableResult):
            return json.loads(response.value or "null")
        if isinstance(response, ErrorResponse) and response.error == ErrorType.VARIABLE_NOT_FOUND:
            return None
        raise AirflowRuntimeError(response)

    async def aset(self, key: str, value: Any) -> None:
        """Write a variable."""
        from airflow.sdk.execution_time.comms import PutVariable

        what = "The position of airflow_provider_ehpc.triggers.job_finished."
        await self._send(PutVariable(key=key, value=json.dumps(value), description=what))

    @staticmethod
    async def _send(message: Any) -> Any:
        from airflow.sdk.execution_time import task_runner

        return await task_runner.SUPERVISOR_COMMS.asend(message)


def stats() -> Any:
    """Return Airflow's metrics client, with ``incr``, ``gauge`` and ``timing``. This may block.

    Since 3.2, each process has to set it up. A task's process does; the process of the triggers sets up
    another copy of the module, for Airflow's core. Importing ``airflow.sdk.serde`` sets up this copy (3.2.0,
    3.3.2).
    """
    from contextlib import suppress
    from importlib import import_module

    from airflow.providers.common.compat.sdk import Stats

    with suppress(ImportError):  # 3.1, whose client sets itself up
        import_module("airflow.sdk.serde")
    return Stats


def reads_declared_forms() -> bool:
    """Return True if Airflow reads connection forms from the provider's description (3.2 and later)."""
    from airflow import __version__

    return tuple(int(part) for part in __version__.split(".")[:2]) >= (3, 2)

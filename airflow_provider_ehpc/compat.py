"""The only place that knows the versions of Airflow apart.

``apache-airflow-providers-common-compat`` (which the http provider brings) already hides where a name
lives and how a connection is read inside an event loop; what it does not hide is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseHook,
    BaseOperator,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection, Context

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "PokeReturnValue",
    "aread_connection",
    "async_xcom",
    "conf",
    "no_longer_ours",
    "read_connection",
    "stats",
    "task_state_store",
]


def read_connection(conn_id: str) -> tuple[Connection, dict[str, Any]]:
    """Return a connection and its extra fields."""
    connection = BaseHook.get_connection(conn_id)
    return connection, connection.extra_dejson


async def aread_connection(conn_id: str) -> tuple[Connection, dict[str, Any]]:
    """Return a connection and its extra fields without blocking the event loop.

    ``dag.test()`` runs a trigger in a process that answers only synchronous look-ups of connections in
    the metadata database, hence the second try in a thread.
    """
    import asyncio

    from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

    try:
        connection = await get_async_connection(conn_id)
    except AirflowNotFoundException:
        return await asyncio.to_thread(read_connection, conn_id)
    return connection, await get_async_extra_dejson(connection)


def task_state_store(context: Context) -> Any | None:
    """Return the store that a task's tries share (Airflow 3.3), on the worker; None where there is none.

    A trigger must not ask for it: its supervisor never answers.
    """
    return context.get("task_state_store")


def no_longer_ours(error: Exception) -> bool:
    """Whether Airflow has refused to keep something because the task instance is another one by now.

    Clearing a task that runs gives the instance a new id at once; the process of the old one is ended with
    its next heartbeat, seconds later.
    """
    detail = getattr(getattr(error, "error", None), "detail", None)
    return isinstance(detail, dict) and detail.get("status_code") == 404


def async_xcom() -> Any | None:
    """Return the XCom class where a trigger can use it (Airflow 3.3)."""
    from airflow.sdk.execution_time.xcom import XCom

    return XCom if hasattr(XCom, "aset") and hasattr(XCom, "aget_one") else None


def stats() -> Any:
    """Return Airflow's client for metrics, with ``incr``, ``gauge`` and ``timing``. It may block.

    From 3.2 on each process has to set it up. A task's does; that of the triggers sets up another copy of the
    module, for Airflow's core. This copy is set up by the import of ``airflow.sdk.serde`` (3.2.0, 3.3.2).
    """
    from contextlib import suppress
    from importlib import import_module

    from airflow.providers.common.compat.sdk import Stats

    with suppress(ImportError):  # 3.1, whose client sets itself up
        import_module("airflow.sdk.serde")
    return Stats

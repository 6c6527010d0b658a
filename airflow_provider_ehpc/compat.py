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
    from airflow.providers.common.compat.sdk import Connection

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
    "conf",
    "read_connection",
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

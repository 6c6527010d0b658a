# SPDX-License-Identifier: Apache-2.0
"""Airflow hooks, one for each API: they send requests over a connection and return typed responses.

:func:`job_hook` finds the hook for ``api=`` or, if that is left out, for the connection's type.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from airflow_provider_ehpc.apis.call import InvalidArgument

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.base import ApiHook

HOOKS = {
    "ehpc": ("airflow_provider_ehpc.hooks.aliyun", "EhpcHook"),
    "ehpc-classic": ("airflow_provider_ehpc.hooks.aliyun", "EhpcClassicHook"),
    "ehpc-serverless": ("airflow_provider_ehpc.hooks.aliyun", "EhpcServerlessHook"),
    "modelarts": ("airflow_provider_ehpc.hooks.huawei", "ModelArtsHook"),
    "modelarts-v1": ("airflow_provider_ehpc.hooks.huawei", "ModelArtsV1Hook"),
    "qingcloud": ("airflow_provider_ehpc.hooks.qingcloud", "QingCloudHpcHook"),
}
"""The module and the class of each API's hook, which is imported when it is used."""

DEFAULT_APIS = {
    "aliyun_ehpc": "ehpc",
    "alibaba_cloud": "ehpc",
    "huawei_modelarts": "modelarts",
    "qingcloud_hpc": "qingcloud",
}
"""The API of a connection type, if ``api=`` names none."""


def job_hook(conn_id: str, api: str | None = None) -> ApiHook:
    """Return the hook for an API.

    :param api: one of :data:`HOOKS`; None for that of the connection's type.
    :raises InvalidArgument: if the API is unknown, or no API belongs to the connection's type.
    """
    if api is None:
        from airflow_provider_ehpc.compat import read_connection

        connection, _ = read_connection(conn_id)
        api = api_of_connection_type(conn_id, connection.conn_type)
    return _hook_class(api)(conn_id)


async def ajob_hook(conn_id: str, api: str | None = None) -> ApiHook:
    """Return the hook for an API, without blocking the event loop. See :func:`job_hook`."""
    if api is None:
        from airflow_provider_ehpc.compat import aread_connection

        connection, _ = await aread_connection(conn_id)
        api = api_of_connection_type(conn_id, connection.conn_type)
    hook = _hook_class(api)(conn_id)
    # Some APIs need the account (its project or zone), which later code reads without awaiting.
    await hook.aaccount()
    return hook


def api_of_connection_type(conn_id: str, conn_type: str | None) -> str:
    """Return the API of a connection type.

    :raises InvalidArgument: if there is none.
    """
    try:
        return DEFAULT_APIS[conn_type or ""]
    except KeyError:
        raise InvalidArgument(
            f"connection {conn_id!r} is of type {conn_type!r}, which belongs to no API; "
            f"make it one of {', '.join(DEFAULT_APIS)}, or name another connection in conn_id"
        ) from None


def _hook_class(api: str) -> type[ApiHook]:
    try:
        module, name = HOOKS[api]
    except KeyError:
        raise InvalidArgument(f"api: there is no API {api!r}; the APIs are {', '.join(HOOKS)}") from None
    hook: type[ApiHook] = getattr(import_module(module), name)
    return hook

# SPDX-License-Identifier: Apache-2.0
"""Register the page "HPC jobs" with Airflow, through the entry point ``airflow.plugins``.

Every process of Airflow imports this module. Only the API server needs FastAPI, so the first request builds
the application.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_provider_ehpc.compat import scopes_plugins

PREFIX = "/ehpc"
"""The path of the application under Airflow's base URL."""
_OURS = ("JobStateSensor", "JobLogOperator", "SubmitJobOperator", "StopJobOperator", "@task.hpc_job")
"""The operators whose tasks record jobs, as Airflow's API names them."""


class LazyApp:
    """Build an ASGI application at its first request."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request to the application."""
        if self._app is None:
            from airflow_provider_ehpc.ui.app import build_app

            self._app = build_app()
        await self._app(scope, receive, send)


def _views() -> list[dict[str, Any]]:
    # The addresses are relative, because Airflow may be served under a path.
    page = {
        "name": "HPC jobs",
        "href": "ehpc/",
        "url_route": "hpc-jobs",
        "icon": "ehpc/icon.svg",
        "icon_dark_mode": "ehpc/icon-dark.svg",
        "category": "browse",
    }
    if not scopes_plugins():
        # This Airflow version would show the tab on every task.
        return [page]
    tab = {
        "name": "HPC jobs",
        "href": "ehpc/?dag={DAG_ID}&run={RUN_ID}&task={TASK_ID}&map_index={MAP_INDEX}&tab=1",
        "url_route": "hpc-task-jobs",
        "icon": "ehpc/icon.svg",
        "icon_dark_mode": "ehpc/icon-dark.svg",
        "destination": "task_instance",
        "applies_to": {"operator_name": list(_OURS)},
    }
    return [page, tab]


class EhpcPlugin(AirflowPlugin):  # type: ignore[misc, unused-ignore]  # untyped in 3.1
    """Register the page "HPC jobs"."""

    name = "ehpc"
    fastapi_apps = [{"app": LazyApp(), "url_prefix": PREFIX, "name": "HPC jobs"}]  # noqa: RUF012
    external_views = _views()  # type: ignore[assignment, unused-ignore]  # a TypedDict in 3.4

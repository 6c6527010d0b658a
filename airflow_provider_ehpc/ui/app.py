# SPDX-License-Identifier: Apache-2.0
"""Serve the page and its data. Airflow's auth manager decides who can see them.

FastAPI evaluates the annotations, so they are not postponed.
"""

import os
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from airflow_provider_ehpc.ui.jobs import Filters, read_page

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The page runs only its own script. Data from clouds cannot run as a script, whatever it contains."""


class _Page(StaticFiles):
    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        try:
            return super().lookup_path(path)
        except ValueError:
            # A path with NUL. Older versions of Starlette do not catch this.
            return "", None

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        # The browser revalidates each file, so that page and script match after an upgrade.
        response.headers["Cache-Control"] = "no-cache"
        return response


def _jobs(
    user: GetUserDep,
    session: SessionDep,
    filters: Annotated[Filters, Query()],
) -> JSONResponse:
    """Return a page of recorded jobs, of the DAGs that the user may read."""
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    try:
        page = read_page(session, readable, filters)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    return JSONResponse(page, headers={"Cache-Control": "no-store"})


def build_app() -> FastAPI:
    """Return the application."""
    app = FastAPI(title="HPC jobs", docs_url=None, redoc_url=None, openapi_url=None)
    # The page shows data from XComs, so it requires the permission to read them.
    may_read = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.XCOM))
    app.add_api_route("/jobs", _jobs, methods=["GET"], dependencies=[may_read], response_model=None)
    app.mount("/", _Page(directory=STATIC, html=True))
    return app

# SPDX-License-Identifier: Apache-2.0
"""Provide an auth manager. Users can read only DAGs that begin with their names; ``admin`` can read all."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

PASSWORD = "open sesame"


class OwnDags(SimpleAuthManager):
    """Manage the users ``alpha``, ``beta`` and ``admin``."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **kwargs: Any) -> bool:
        """Compare the DAG's ID with the user's name."""
        if not super().is_authorized_dag(user=user, details=details, **kwargs):
            return False
        name = user.get_name()
        return name == "admin" or details is None or details.id is None or details.id.startswith(f"{name}_")

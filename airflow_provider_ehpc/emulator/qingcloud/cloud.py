"""QingCloud put together: its HPC API on one server, and the connection to it."""

from __future__ import annotations

from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.platform import Platform
from airflow_provider_ehpc.emulator.qingcloud.hpc import Hpc
from airflow_provider_ehpc.emulator.qingcloud.operation import Operations
from airflow_provider_ehpc.emulator.qingcloud.parameters import CLUSTER_ID, ZONE
from airflow_provider_ehpc.emulator.qingcloud.protocol import PREFIX, QingCloudService

PATHS = (PREFIX + "{path:.*}",)
"""The paths of the server that belong to QingCloud."""


def service(platform: Platform) -> QingCloudService:
    """Return the service with all its actions."""
    log, faults = platform.operation_log, platform.faults
    actions = {**Hpc(platform.cluster, log, faults).actions, **Operations(log).actions}
    return QingCloudService(platform.accounts, faults, actions)


def connection(url: str, account: CloudAccount) -> dict[str, Any]:
    """Return the Airflow connection to QingCloud that uses an account."""
    return {
        "conn_type": "qingcloud_hpc",
        "login": account.access_key_id,
        "password": account.secret,
        "host": url,
        "extra": {"zone": ZONE, "cluster_id": CLUSTER_ID},
    }

# SPDX-License-Identifier: Apache-2.0
"""The row of QingCloud in the table of services: its HPC API."""

from __future__ import annotations

import random
import string
from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.jobs import EmulatedJob
from airflow_provider_ehpc.emulator.platform import Platform
from airflow_provider_ehpc.emulator.qingcloud.hpc import Hpc, read_job_id
from airflow_provider_ehpc.emulator.qingcloud.operation import Operations
from airflow_provider_ehpc.emulator.qingcloud.parameters import CLUSTER_ID, ZONE
from airflow_provider_ehpc.emulator.qingcloud.protocol import PREFIX, QingCloudService

PATHS = (PREFIX + "{path:.*}",)
"""Paths on the server."""

_LETTERS = string.ascii_lowercase + string.digits


def service(platform: Platform) -> QingCloudService:
    """Return the service with all its actions."""
    log, faults = platform.operation_log, platform.faults
    actions = {**Hpc(platform.cluster, log, faults).actions, **Operations(log).actions}
    return QingCloudService(platform.accounts, faults, actions)


def find_job(platform: Platform, job_id: str) -> EmulatedJob | None:
    """Return the job with an ID of QingCloud; None if it is unknown."""
    number = read_job_id(job_id)
    return None if number is None else platform.cluster.get(number)


def new_operation_id() -> str:
    """Draw the ID of an operation, such as ``j-8ajjp28fps8``."""
    return "j-" + "".join(random.choices(_LETTERS, k=11))


def connection(url: str, account: CloudAccount) -> dict[str, Any]:
    """Return the Airflow connection to QingCloud with the key of an account."""
    return {
        "conn_type": "qingcloud_hpc",
        "login": account.access_key_id,
        "password": account.secret,
        "host": url,
        "extra": {"zone": ZONE, "cluster_id": CLUSTER_ID},
    }

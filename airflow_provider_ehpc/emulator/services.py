# SPDX-License-Identifier: Apache-2.0
"""The table of the clouds that the emulator serves. A new cloud is a package and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.aliyun import cloud as aliyun
from airflow_provider_ehpc.emulator.gateway import Service
from airflow_provider_ehpc.emulator.huawei import cloud as huawei
from airflow_provider_ehpc.emulator.jobs import EmulatedJob
from airflow_provider_ehpc.emulator.platform import Platform
from airflow_provider_ehpc.emulator.qingcloud import cloud as qingcloud


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud: its paths on the server, its connection, and how it writes IDs."""

    name: str
    """Its name in the operation log."""
    conn_type: str
    paths: tuple[str, ...]
    service: Callable[[Platform], Service]
    connection: Callable[[str, CloudAccount], dict[str, Any]]
    """Returns the Airflow connection for a URL and the key of an account."""
    find_job: Callable[[Platform, str], EmulatedJob | None]
    """Returns the job with an ID of this cloud; None if the text is not such an ID or the job is unknown."""
    new_operation_id: Callable[[], str] | None = None
    """Draws an ID for the operation log; None if the cloud has no such log."""


CLOUDS = (
    Cloud(
        "aliyun",
        "aliyun_ehpc",
        aliyun.PATHS,
        aliyun.service,
        aliyun.connection,
        aliyun.find_job,
        aliyun.new_operation_id,
    ),
    Cloud("huawei", "huawei_modelarts", huawei.PATHS, huawei.service, huawei.connection, huawei.find_job),
    Cloud(
        "qingcloud",
        "qingcloud_hpc",
        qingcloud.PATHS,
        qingcloud.service,
        qingcloud.connection,
        qingcloud.find_job,
        qingcloud.new_operation_id,
    ),
)

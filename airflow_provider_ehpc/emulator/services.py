"""The clouds that the emulator serves: a new one is a package and a row of this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.aliyun import cloud as aliyun
from airflow_provider_ehpc.emulator.gateway import Service
from airflow_provider_ehpc.emulator.huawei import cloud as huawei
from airflow_provider_ehpc.emulator.platform import Platform
from airflow_provider_ehpc.emulator.qingcloud import cloud as qingcloud


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud: where it is served, and how to connect to it."""

    conn_type: str
    paths: tuple[str, ...]
    service: Callable[[Platform], Service]
    connection: Callable[[str, CloudAccount], dict[str, Any]]
    """Returns the Airflow connection to a URL with the key of an account."""


CLOUDS = (
    Cloud("aliyun_ehpc", aliyun.PATHS, aliyun.service, aliyun.connection),
    Cloud("huawei_modelarts", huawei.PATHS, huawei.service, huawei.connection),
    Cloud("qingcloud_hpc", qingcloud.PATHS, qingcloud.service, qingcloud.connection),
)

"""Alibaba Cloud put together: the API versions of E-HPC on one server, and the connection to it."""

from __future__ import annotations

from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.aliyun import classic, ehpc
from airflow_provider_ehpc.emulator.aliyun.cluster_view import CLUSTER_ID, ClusterView
from airflow_provider_ehpc.emulator.aliyun.common_logs import CommonLogs
from airflow_provider_ehpc.emulator.aliyun.dialect import SERVERLESS
from airflow_provider_ehpc.emulator.aliyun.protocol import AliyunService, Version
from airflow_provider_ehpc.emulator.aliyun.serverless import EhpcServerless
from airflow_provider_ehpc.emulator.platform import Platform

PATHS = ("/",)
"""The paths of the server that belong to Alibaba Cloud."""


def service(platform: Platform) -> AliyunService:
    """Return the gateway in front of both versions."""
    view = ClusterView(platform.cluster, platform.dialect, platform.faults)
    jobs = ehpc.Ehpc(view, platform.default_queue).operations
    common_logs = CommonLogs(platform.operation_log, platform.accounts.first).operations
    classic_jobs = classic.EhpcClassic(view, platform.default_queue).operations
    serverless = ClusterView(platform.serverless, SERVERLESS, platform.faults)
    serverless_jobs = EhpcServerless(serverless, platform.serverless_queue).operations
    versions = {
        ehpc.VERSION: Version({**jobs, **common_logs}),
        classic.VERSION: Version({**classic_jobs, **serverless_jobs}, get_only=frozenset(classic_jobs)),
    }
    return AliyunService(platform.accounts, platform.faults, versions, platform.operation_log)


def connection(url: str, account: CloudAccount) -> dict[str, Any]:
    """Return the Airflow connection to E-HPC that uses an account."""
    extra = {"region": "cn-hangzhou", "cluster_id": CLUSTER_ID}
    if account.security_token:
        extra["security_token"] = account.security_token
    return {
        "conn_type": "aliyun_ehpc",
        "login": account.access_key_id,
        "password": account.secret,
        "host": url,
        "extra": extra,
    }

# SPDX-License-Identifier: Apache-2.0
"""The row of Alibaba Cloud in the table of services: both API versions of E-HPC."""

from __future__ import annotations

import uuid
from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.aliyun import classic, ehpc
from airflow_provider_ehpc.emulator.aliyun.cluster_view import CLUSTER_ID, ClusterView
from airflow_provider_ehpc.emulator.aliyun.common_logs import CommonLogs
from airflow_provider_ehpc.emulator.aliyun.dialect import SERVERLESS
from airflow_provider_ehpc.emulator.aliyun.protocol import AliyunService, Version
from airflow_provider_ehpc.emulator.aliyun.serverless import EhpcServerless
from airflow_provider_ehpc.emulator.jobs import EmulatedJob
from airflow_provider_ehpc.emulator.platform import Platform

PATHS = ("/",)
"""Paths on the server."""


def service(platform: Platform) -> AliyunService:
    """Return the service with all operations of both versions."""
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


def find_job(platform: Platform, job_id: str) -> EmulatedJob | None:
    """Return the job with an ID of E-HPC; None if it is unknown. Serverless jobs have IDs of their own."""
    key = platform.dialect.read(job_id)
    return platform.cluster.get(*key) if key else None


def new_operation_id() -> str:
    """Draw the ID of a request."""
    return str(uuid.uuid4()).upper()


def connection(url: str, account: CloudAccount) -> dict[str, Any]:
    """Return the Airflow connection to E-HPC with the key of an account."""
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

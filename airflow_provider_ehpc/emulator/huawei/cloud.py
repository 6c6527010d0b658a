"""Huawei Cloud put together: its services on one server, and the connections to it."""

from __future__ import annotations

from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.gateway import Reply
from airflow_provider_ehpc.emulator.huawei.modelarts import ModelArts
from airflow_provider_ehpc.emulator.huawei.modelarts_v1 import ModelArtsV1
from airflow_provider_ehpc.emulator.huawei.protocol import PROJECT_ID, REGION, Call, HuaweiService, route
from airflow_provider_ehpc.emulator.huawei.tokens import IAM_DOMAIN, IAM_USER, Tokens
from airflow_provider_ehpc.emulator.huawei.training import TrainingJobs
from airflow_provider_ehpc.emulator.platform import Platform

PATHS = ("/v1/{rest:.*}", "/v2/{rest:.*}", "/v3/{rest:.*}")
"""The paths of the server that belong to Huawei Cloud."""


def service(platform: Platform) -> HuaweiService:
    """Return the service: IAM's tokens, and ModelArts in both versions."""
    accounts, faults = platform.accounts, platform.faults
    tokens = Tokens(accounts, faults, PROJECT_ID, REGION)

    async def create_token(call: Call) -> Reply:
        token, told = tokens.create(call.json())
        return Reply(201, told, {"X-Subject-Token": token})

    jobs = TrainingJobs(platform.cluster, faults)
    routes = (
        route("KeystoneCreateUserTokenByPassword", "POST", "/v3/auth/tokens", create_token, signed=False),
        *ModelArts(jobs, faults, platform.default_queue).routes,
        *ModelArtsV1(jobs, faults).routes,
    )
    return HuaweiService(accounts, faults, tokens, routes)


def connection(url: str, account: CloudAccount) -> dict[str, Any]:
    """Return the Airflow connection to ModelArts that uses the key of an account."""
    extra = {"region": REGION, "project_id": PROJECT_ID}
    if account.security_token:
        extra["security_token"] = account.security_token
    return {
        "conn_type": "huawei_modelarts",
        "login": account.access_key_id,
        "password": account.secret,
        "host": url,
        "extra": extra,
    }


def user_connection(url: str, account: CloudAccount) -> dict[str, Any]:
    """Return the Airflow connection of the IAM user, which requests tokens."""
    return {
        "conn_type": "huawei_modelarts",
        "login": IAM_USER,
        "password": account.secret,
        "host": url,
        "extra": {
            "region": REGION,
            "project_id": PROJECT_ID,
            "iam_domain": IAM_DOMAIN,
            "iam_endpoint": url,
        },
    }

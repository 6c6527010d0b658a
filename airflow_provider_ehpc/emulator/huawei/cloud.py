# SPDX-License-Identifier: Apache-2.0
"""The row of Huawei Cloud in the table of services: IAM, and ModelArts v2 and v1."""

from __future__ import annotations

from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.gateway import Reply
from airflow_provider_ehpc.emulator.huawei.modelarts import ModelArts
from airflow_provider_ehpc.emulator.huawei.modelarts_v1 import ModelArtsV1
from airflow_provider_ehpc.emulator.huawei.protocol import PROJECT_ID, REGION, Call, HuaweiService, route
from airflow_provider_ehpc.emulator.huawei.tokens import IAM_DOMAIN, IAM_USER, Tokens
from airflow_provider_ehpc.emulator.huawei.training import TrainingJobs, read_job_id
from airflow_provider_ehpc.emulator.jobs import EmulatedJob
from airflow_provider_ehpc.emulator.platform import Platform

PATHS = ("/v1/{rest:.*}", "/v2/{rest:.*}", "/v3/{rest:.*}")
"""Paths on the server."""


def service(platform: Platform) -> HuaweiService:
    """Return the service with all operations of IAM and of both versions of ModelArts."""
    accounts, faults = platform.accounts, platform.faults
    tokens = Tokens(accounts, faults, PROJECT_ID, REGION)

    async def create_token(call: Call) -> Reply:
        token, details = tokens.create(call.json())
        return Reply(201, details, {"X-Subject-Token": token})

    jobs = TrainingJobs(platform.cluster, faults)
    routes = (
        route("KeystoneCreateUserTokenByPassword", "POST", "/v3/auth/tokens", create_token, signed=False),
        *ModelArts(jobs, faults, platform.default_queue).routes,
        *ModelArtsV1(jobs, faults).routes,
    )
    return HuaweiService(accounts, faults, tokens, routes)


def find_job(platform: Platform, job_id: str) -> EmulatedJob | None:
    """Return the job with an ID of ModelArts v2; None if it is unknown."""
    number = read_job_id(job_id)
    return None if number is None else platform.cluster.get(number)


def connection(url: str, account: CloudAccount) -> dict[str, Any]:
    """Return the Airflow connection to ModelArts with the key of an account."""
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
    """Return the Airflow connection to ModelArts as an IAM user, with tokens in place of a key."""
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

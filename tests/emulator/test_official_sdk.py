# SPDX-License-Identifier: Apache-2.0
"""The vendor's own SDK must work with the emulator as with the cloud."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from alibabacloud_ehpc20240730 import models
from alibabacloud_ehpc20240730.client import Client as Sdk
from alibabacloud_tea_openapi.models import Config
from Tea.exceptions import TeaException

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.server import Emulator

Call = Callable[[str, Any], Awaitable[Any]]

# Characters that either the sync or the async client does not encode, although it signs them encoded.
_AWKWARD = "a b+c*d:e,f'g&h=i/j?k#l%m~n世"


def _sdk(emulator: Emulator, account: CloudAccount) -> Sdk:
    config = Config(
        access_key_id=account.access_key_id,
        access_key_secret=account.secret,
        security_token=account.security_token,
        endpoint=emulator.url.removeprefix("http://"),
        protocol="http",
    )
    return Sdk(config)


@pytest.fixture(params=["key", "token"])
def account(request: pytest.FixtureRequest, ehpc_emulator: Emulator) -> CloudAccount:
    return ehpc_emulator.accounts.first if request.param == "key" else ehpc_emulator.issue_token()


def _caller(emulator: Emulator, account: CloudAccount, way: str) -> Call:
    sdk = _sdk(emulator, account)

    async def call(operation: str, request: Any) -> Any:
        if way == "async":
            return (await getattr(sdk, f"{operation}_async")(request)).body
        return getattr(sdk, operation)(request).body

    return call


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


@pytest.fixture
def call(ehpc_emulator: Emulator, account: CloudAccount, way: str) -> Call:
    return _caller(ehpc_emulator, account, way)


async def test_a_job_from_submission_to_log(ehpc_emulator: Emulator, call: Call) -> None:
    cluster_id = ehpc_emulator.cluster_id
    created = await call(
        "create_job",
        models.CreateJobRequest(
            cluster_id=cluster_id,
            job_name=_AWKWARD,
            job_spec=models.CreateJobRequestJobSpec(
                command_line='-- /bin/echo "$WORD"; echo oh >&2; exit 3',
                variables='[{"Name": "WORD", "Value": "1 + 1 = 2 & 世界"}]',
                resources=models.CreateJobRequestJobSpecResources(cores=2, nodes=1, memory="1gb"),
                wall_time="01:00:00",
                runas_user="alice",
                runas_user_password="p@ss/w+rd",
            ),
        ),
    )
    job_id = created.job_id
    ehpc_emulator.wait_for(job_id)

    answer = await call("get_job", models.GetJobRequest(cluster_id=cluster_id, job_id=job_id))
    info = answer.job_info
    assert (info.job_id, info.job_name, info.state, info.runas_user) == (job_id, _AWKWARD, "FAILED", "alice")
    assert (info.resources.cores, info.variables[0].value) == (2, "1 + 1 = 2 & 世界")

    log = await call("get_job_log", models.GetJobLogRequest(cluster_id=cluster_id, job_id=job_id, size="400"))
    assert base64.b64decode(log.stdout_log).decode() == "1 + 1 = 2 & 世界\n"
    assert base64.b64decode(log.stderr_log) == b"oh\n"
    assert (log.stdout_log_size, log.stderr_log_size) == ("19", "3")

    listed = await call(
        "list_jobs",
        models.ListJobsRequest(
            cluster_id=cluster_id,
            job_filter=models.ListJobsRequestJobFilter(
                job_name=_AWKWARD, job_status="finished", users=["alice"]
            ),
            page_number="1",
            page_size="50",
        ),
    )
    assert listed.total_count == 1
    assert (listed.jobs[0].job_spec.id, listed.jobs[0].job_spec.state) == (job_id, "FAILED")


async def test_a_job_is_stopped(ehpc_emulator: Emulator, call: Call) -> None:
    cluster_id = ehpc_emulator.cluster_id
    first, second = (ehpc_emulator.submit("sleep 60") for _ in range(2))

    await call("stop_jobs", models.StopJobsRequest(cluster_id=cluster_id, job_ids=[first, second]))

    assert ehpc_emulator.wait_for(first).phase == "CANCELLED"
    assert ehpc_emulator.wait_for(second).phase == "CANCELLED"


async def test_errors_have_their_code(ehpc_emulator: Emulator, call: Call) -> None:
    with pytest.raises(TeaException) as unknown_job:
        await call("get_job", models.GetJobRequest(cluster_id=ehpc_emulator.cluster_id, job_id="9.manager"))
    with pytest.raises(TeaException) as unknown_cluster:
        await call("get_job", models.GetJobRequest(cluster_id="ehpc-hz-other", job_id="9.manager"))

    assert unknown_job.value.code == "AgentError"
    assert "Unknown Job Id 9.manager" in unknown_job.value.message
    assert unknown_cluster.value.code == "ClusterNotFound"


async def test_a_wrong_secret_is_a_wrong_signature(ehpc_emulator: Emulator, way: str) -> None:
    first = ehpc_emulator.accounts.first
    call = _caller(ehpc_emulator, CloudAccount(first.access_key_id, "wrong"), way)

    with pytest.raises(TeaException) as refused:
        await call("list_jobs", models.ListJobsRequest(cluster_id=ehpc_emulator.cluster_id))

    assert refused.value.code == "SignatureDoesNotMatch"


async def test_a_throttled_sdk_learns_when_to_retry(ehpc_emulator: Emulator, way: str) -> None:
    """The SDK reads the header in milliseconds."""
    ehpc_emulator.fault("throttle", retry_after_ms=2500)
    call = _caller(ehpc_emulator, ehpc_emulator.accounts.first, way)

    with pytest.raises(TeaException) as throttled:
        await call("list_jobs", models.ListJobsRequest(cluster_id=ehpc_emulator.cluster_id))

    assert (throttled.value.code, throttled.value.retry_after) == ("Throttling.User", 2500)

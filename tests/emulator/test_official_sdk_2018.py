# SPDX-License-Identifier: Apache-2.0
"""The vendor's own SDK for E-HPC 2018-04-12 must work with the emulator as with the cloud."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from alibabacloud_ehpc20180412 import models
from alibabacloud_ehpc20180412.client import Client as Sdk
from alibabacloud_tea_openapi.models import Config
from Tea.exceptions import TeaException

from airflow_provider_ehpc.emulator.server import Emulator
from tests.gates import eventually

Call = Callable[..., Awaitable[Any]]

_AWKWARD = "1 + 1 = 2 & 世界 *,:'~"


@pytest.fixture(params=["key", "token"])
def sdk(request: pytest.FixtureRequest, ehpc_emulator: Emulator) -> Sdk:
    first = ehpc_emulator.accounts.first
    account = first if request.param == "key" else ehpc_emulator.issue_token()
    return Sdk(
        Config(
            access_key_id=account.access_key_id,
            access_key_secret=account.secret,
            security_token=account.security_token,
            endpoint=ehpc_emulator.url.removeprefix("http://"),
            protocol="http",
        )
    )


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, ehpc_emulator: Emulator, sdk: Sdk) -> Call:
    """Call an operation by its name in the SDK, with the fields of its request."""

    async def call(operation: str, **fields: Any) -> Any:
        name = "".join(word.capitalize() for word in operation.split("_"))
        asked = getattr(models, f"{name}Request")(cluster_id=ehpc_emulator.cluster_id, **fields)
        if request.param == "async":
            return (await getattr(sdk, f"{operation}_async")(asked)).body
        return getattr(sdk, operation)(asked).body

    return call


async def test_a_schedulers_job_from_submission_to_log(ehpc_emulator: Emulator, call: Call) -> None:
    submitted = await call(
        "submit_job",
        command_line='echo "$WORD"; echo oh >&2; exit 3',
        name="first.job",
        runas_user="alice",
        runas_user_password="p@ss/w+rd",
        node=1,
        cpu=2,
        mem="1GB",
        clock_time="01:00:00",
        re_runable=False,
        variables=f'[{{"Name":"WORD","Value":"{_AWKWARD}"}}]',
    )
    job_id = submitted.job_id
    ehpc_emulator.wait_for(job_id)

    log = await call("get_job_log", job_id=job_id, offset=0, size=409600)
    assert base64.b64decode(log.output_log).decode() == f"{_AWKWARD}\n"
    assert base64.b64decode(log.error_log) == b"oh\n"

    listed = await call("list_jobs", state="finished", owner="alice", page_size=50)
    (job,) = listed.jobs.job_info
    assert (job.id, job.name, job.state, job.resources.cores) == (job_id, "first.job", "FINISHED", 2)

    at = int(ehpc_emulator.job(job_id).submission.submitted_at)
    filters = {"users": ["alice"], "job_name": "first", "create_time_start": str(at), "submit_order": "desc"}
    for status, count in (("finished", 1), ("notfinish", 0)):
        found = await call("list_jobs_with_filters", job_status=status, page_size=50, **filters)
        assert [job.id for job in found.jobs] == [job_id] * count
        assert found.total_count == count
        assert [job.queue for job in found.jobs] == [ehpc_emulator.job(job_id).spec.queue] * count
    later = await call("list_jobs_with_filters", **{**filters, "create_time_start": str(at + 1)})
    assert not later.jobs

    described = await call("describe_job", job_id=job_id)
    assert described.message.job_info[job_id]["Exit_status"] == 3


async def test_a_running_jobs_log_is_on_its_node(ehpc_emulator: Emulator, call: Call) -> None:
    job_id = ehpc_emulator.submit("echo here; sleep 60")
    job = ehpc_emulator.wait_for(job_id, "RUNNING")
    eventually(lambda: job.stdout_path.exists() and job.stdout_path.read_bytes() == b"here\n")

    log = await call("get_job_log", job_id=job_id, exec_host="compute000")
    with pytest.raises(TeaException) as nowhere:
        await call("get_job_log", job_id=job_id)
    with pytest.raises(TeaException) as elsewhere:
        await call("get_job_log", job_id=job_id, exec_host="compute007")

    assert base64.b64decode(log.output_log) == b"here\n"
    assert (nowhere.value.code, elsewhere.value.code) == ("InvalidParams", "ComputeNotFound")
    await call("stop_jobs", jobs=f'[{{"Id":"{job_id}"}}]')
    assert ehpc_emulator.wait_for(job_id).phase == "CANCELLED"


async def test_a_serverless_job_from_submission_to_exit_code(ehpc_emulator: Emulator, call: Call) -> None:
    submitted = await call(
        "submit_serverless_job",
        job_name="train-1",
        cpu=1.5,
        memory=2,
        timeout=600,
        job_priority=9,
        v_switch_id=["vsw-1"],
        container=models.SubmitServerlessJobRequestContainer(
            image="registry/train:1",
            command=["/bin/sh", "-c"],
            arg=[f'test "$WORD" = "{_AWKWARD}" && exit 3'],
            environment_var=[
                models.SubmitServerlessJobRequestContainerEnvironmentVar(key="WORD", value=_AWKWARD)
            ],
        ),
        retry_strategy=models.SubmitServerlessJobRequestRetryStrategy(attempts=1),
    )
    job_id = submitted.job_id
    ehpc_emulator.wait_for(job_id, serverless=True)

    answer = await call("describe_serverless_jobs", job_ids=[job_id])
    (job,) = answer.job_infos
    assert (job.job_id, job.state, job.priority, job.is_array_job) == (job_id, "Failed", 9, False)
    first, second = job.container_groups
    assert (first.status, second.status, second.cpu, second.v_switch_id) == ("Failed", "Failed", 1.5, "vsw-1")
    (container,) = second.containers
    assert (container.image, container.current_state.state) == ("registry/train:1", "Terminated")
    assert container.current_state.exit_code == 3

    listed = await call("list_serverless_jobs", job_ids=[job_id, "99"], state="Failed", page_size=100)
    assert (listed.total_count, [item.job_id for item in listed.jobs]) == (1, [job_id])
    named = await call("list_serverless_jobs", job_names=["train-1", "other"])
    assert [item.state for item in named.jobs] == ["Failed"]


async def test_an_array_of_serverless_jobs_is_stopped(ehpc_emulator: Emulator, call: Call) -> None:
    submitted = await call(
        "submit_serverless_job",
        job_name="array",
        container=models.SubmitServerlessJobRequestContainer(
            image="i", command=["/bin/sh", "-c"], arg=["test $EHPC_ARRAY_TASK_ID = 1 || sleep 60"]
        ),
        array_properties=models.SubmitServerlessJobRequestArrayProperties(
            index_start=1, index_end=3, index_step=2
        ),
    )
    array = submitted.job_id
    ehpc_emulator.wait_for(f"{array}_1", "COMPLETED", serverless=True)

    await call("stop_serverless_jobs", job_ids=[array])

    ehpc_emulator.wait_for(array, serverless=True)
    listed = await call("list_serverless_jobs", job_ids=[array])
    assert {item.job_id: item.state for item in listed.jobs} == {
        array: "Canceled",
        f"{array}_1": "Succeeded",
        f"{array}_3": "Canceled",
    }
    with pytest.raises(TeaException) as described:
        await call("describe_serverless_jobs", job_ids=[array])
    assert described.value.code == "InvalidParams"

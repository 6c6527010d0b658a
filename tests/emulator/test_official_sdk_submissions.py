# SPDX-License-Identifier: Apache-2.0
"""SubmitJobOperator sends what the vendor's SDK sends, with all arguments, and the SDK sees the job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_ehpc20180412 import models as classic
from alibabacloud_ehpc20180412.client import Client as ClassicSdk
from alibabacloud_ehpc20240730 import models
from alibabacloud_ehpc20240730.client import Client as Sdk

from airflow_provider_ehpc.emulator.huawei.protocol import PROJECT_ID
from airflow_provider_ehpc.operators.job import SubmitJobOperator
from tests.emulator.recorder import RecordingEmulator, Sent
from tests.emulator.test_official_sdk_qingcloud import connect
from tests.emulator.test_sdk_parity import _meaning, _sdk
from tests.operators.test_submit_arguments import ARGUMENTS, IMAGE, REJECTED, TRAINING
from tests.operators.tries import TaskInstance

COMMAND = "sleep 60 # 'a b' & 世"
LINE = "-- /bin/sh -c 'sleep 60 # '\"'\"'a b'\"'\"' & 世'"
VARIABLES = '[{"Name":"NAME_OF_IT","Value":"value of it"}]'
CLUSTER = "ehpc-hz-emulator"
UNKNOWN_TO_THE_SDK = {"qingcloud": {"cmd_line_type": "input", "submit_type": 1, "priority": 7}}
"""What its documentation names, but not its SDK."""
NEEDED: Mapping[str, dict[str, Any]] = {
    "ehpc": {"options": {"PostCmdLine": "true"}},
    "ehpc-classic": {"options": {"PostCmdLine": "true"}},
    "ehpc-serverless": {"options": {**IMAGE, "RamRoleName": "role"}},
    "modelarts": {"options": {**TRAINING, "metadata": {"description": "它"}}},
    "qingcloud": {},
}


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordingEmulator]:
    with RecordingEmulator(jobs="local") as emulator:
        yield emulator


def _ehpc(emulator: RecordingEmulator, name: str) -> None:
    resources = models.CreateJobRequestJobSpecResources(nodes=37, cores=41, gpus=43, memory="47GB")
    spec = models.CreateJobRequestJobSpec(
        command_line=LINE,
        job_queue="gpu-queue",
        runas_user="bob-the-user",
        runas_user_password="p@ss",
        priority="7",
        array_request="1-59:2",
        resources=resources,
        variables=VARIABLES,
        stdout_path="/home/a/out.txt",
        stderr_path="/home/a/err.txt",
        wall_time="53:00:00",
        post_cmd_line="true",
    )
    _sdk(Sdk, emulator).create_job(models.CreateJobRequest(cluster_id=CLUSTER, job_name=name, job_spec=spec))


def _classic(emulator: RecordingEmulator, name: str) -> None:
    request = classic.SubmitJobRequest(
        cluster_id=CLUSTER,
        name=name,
        command_line=LINE,
        job_queue="gpu-queue",
        runas_user="bob-the-user",
        runas_user_password="p@ss",
        priority=7,
        array_request="1-59:2",
        node=37,
        cpu=41,
        gpu=43,
        mem="47GB",
        variables=VARIABLES,
        stdout_redirect_path="/home/a/out.txt",
        stderr_redirect_path="/home/a/err.txt",
        clock_time="53:00:00",
        post_cmd_line="true",
    )
    _sdk(ClassicSdk, emulator).submit_job(request)


def _serverless(emulator: RecordingEmulator, name: str) -> None:
    variable = classic.SubmitServerlessJobRequestContainerEnvironmentVar(
        key="NAME_OF_IT", value="value of it"
    )
    container = classic.SubmitServerlessJobRequestContainer(
        image="centos:7", command=["/bin/sh", "-c"], arg=[COMMAND], gpu=43, environment_var=[variable]
    )
    array = classic.SubmitServerlessJobRequestArrayProperties(index_start=1, index_end=59, index_step=2)
    request = classic.SubmitServerlessJobRequest(
        cluster_id=CLUSTER,
        job_name=name,
        container=container,
        array_properties=array,
        cpu=41.0,
        memory=47.0,
        timeout=190800,
        job_priority=7,
        ram_role_name="role",
    )
    _sdk(ClassicSdk, emulator).submit_serverless_job(request)


def _modelarts(emulator: RecordingEmulator, name: str) -> None:
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkmodelarts import v1 as sdk

    account = emulator.accounts.first
    credentials = BasicCredentials(account.access_key_id, account.secret, PROJECT_ID)
    builder = sdk.ModelArtsClient.new_builder().with_credentials(credentials)
    job = sdk.Job(
        kind="job",
        metadata=sdk.JobMetadata(name=name, description="它"),
        algorithm=sdk.JobAlgorithm(
            command=COMMAND,
            environments={"NAME_OF_IT": "value of it"},
            engine=sdk.JobEngine(image_url="team/train:1"),
        ),
        spec=sdk.Spec(
            resource=sdk.SpecResource(flavor_id="modelarts.vm.cpu.8u", pool_id="gpu-queue", node_count=37),
            auto_stop=sdk.AutoStop(time_unit="HOURS", duration=53),
            schedule_policy=sdk.SchedulePolicy(priority=7),
        ),
    )
    builder.with_endpoints([emulator.url]).build().create_training_job(sdk.CreateTrainingJobRequest(body=job))


def _qingcloud(emulator: RecordingEmulator, name: str) -> None:
    connect(emulator).send_request(
        "HpcJobSubmitJob",
        cluster_id="ehpc-emulator",
        name=name,
        cmd_line=COMMAND,
        run_user="bob-the-user",
        core_limit=41,
        scheduler_queue_name="gpu-queue",
        stdout_redirect_path="/home/a/out.txt",
        stderr_redirect_path="/home/a/err.txt",
    )


SDKS: Mapping[str, tuple[str, Callable[[RecordingEmulator, str], None]]] = {
    "ehpc": ("aliyun_ehpc", _ehpc),
    "ehpc-classic": ("aliyun_ehpc", _classic),
    "ehpc-serverless": ("aliyun_ehpc", _serverless),
    "modelarts": ("huawei_modelarts", _modelarts),
    "qingcloud": ("qingcloud_hpc", _qingcloud),
}


@pytest.mark.parametrize("api", SDKS)
def test_every_argument_is_sent_as_by_the_sdk(
    recording: RecordingEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: str
) -> None:
    # When imported, the SDK of ModelArts writes to the user's home directory.
    monkeypatch.setenv("HOME", str(tmp_path))
    kind, send = SDKS[api]
    connection = recording.connections[kind]
    extra = {**connection["extra"], "user_password": "p@ss"} if kind == "aliyun_ehpc" else connection["extra"]
    monkeypatch.setenv("AIRFLOW_CONN_SUBMITTING", json.dumps({**connection, "extra": extra}))
    arguments = {name: value for name, (value, _) in ARGUMENTS.items() if name not in REJECTED[api]}
    task = SubmitJobOperator(
        task_id="submit",
        conn_id="submitting",
        api=api,
        command=COMMAND,
        capture_exit_code=False,
        wait_for_completion=False,
        **{**arguments, **NEEDED[api]},
    )
    recording.sent.clear()
    name = task.execute({"ti": TaskInstance()})["name"]  # type: ignore[arg-type]
    # ModelArts refuses a second job of that name, behind the recorder.
    with suppress(Exception):
        send(recording, name)
    ours, theirs = (_parameters(sent) for sent in recording.sent)
    assert ours == theirs | UNKNOWN_TO_THE_SDK.get(api, {})


def _parameters(sent: Sent) -> dict[str, Any]:
    """Return what a request asks for; where a parameter is does not matter."""
    _, _, query, body = _meaning(sent)
    return {**query, **(body or {})}


@pytest.mark.parametrize("given", [{}, {"array": "1-3"}])
def test_the_sdk_sees_the_job_as_described(
    recording: RecordingEmulator, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SUBMITTING", recording.connection_json)
    task = SubmitJobOperator(
        task_id="submit",
        conn_id="submitting",
        command="true",
        user="alice",
        cores=2,
        memory="1GB",
        environment={"WORD": "a & b"},
        wait_for_completion=False,
        **given,
    )
    result = task.execute({"ti": TaskInstance()})  # type: ignore[arg-type]
    request = models.GetJobRequest(cluster_id=CLUSTER, job_id=result["job_id"])
    job = _sdk(Sdk, recording).get_job(request).body.job_info
    assert (job.job_name, job.runas_user) == (result["name"], "alice")
    assert (job.resources.cores, job.resources.memory) == (2, "1GB")
    assert [(variable.name, variable.value) for variable in job.variables] == [("WORD", "a & b")]

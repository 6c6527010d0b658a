# SPDX-License-Identifier: Apache-2.0
"""Huawei Cloud's own SDK must work with the emulated ModelArts as with the cloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.huawei.protocol import PROJECT_ID
from airflow_provider_ehpc.emulator.server import Emulator

MakeSdk = Callable[[CloudAccount], Any]


@pytest.fixture
def make_sdk(ehpc_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSdk:
    # When imported, the SDK writes to the user's home directory.
    monkeypatch.setenv("HOME", str(tmp_path))
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkmodelarts.v1 import ModelArtsClient

    def make(account: CloudAccount) -> Any:
        credentials = BasicCredentials(account.access_key_id, account.secret, PROJECT_ID)
        if account.security_token:
            credentials = credentials.with_security_token(account.security_token)
        builder = ModelArtsClient.new_builder().with_credentials(credentials)
        return builder.with_endpoints([ehpc_emulator.url]).build()

    return make


@pytest.fixture(params=["key", "token"])
def sdk(request: pytest.FixtureRequest, ehpc_emulator: Emulator, make_sdk: MakeSdk) -> Any:
    return make_sdk(ehpc_emulator.accounts.first if request.param == "key" else ehpc_emulator.issue_token())


def _create(sdk: Any, name: str, command: str) -> str:
    from huaweicloudsdkmodelarts.v1 import (
        CreateTrainingJobRequest,
        Job,
        JobAlgorithm,
        JobEngine,
        JobMetadata,
        Resource,
        Spec,
    )

    body = Job(
        kind="job",
        metadata=JobMetadata(name=name, description="两个词 & more"),
        algorithm=JobAlgorithm(
            engine=JobEngine(image_url="team/image:1.2"), command=command, environments={"WORD": "a & b=世"}
        ),
        spec=Spec(resource=Resource(flavor_id="modelarts.vm.cpu.2u", node_count=1)),
    )
    created = sdk.create_training_job(CreateTrainingJobRequest(body=body))
    assert created.status.phase == "Creating"
    job_id: str = created.metadata.id
    return job_id


def test_a_job_from_creation_to_its_log(ehpc_emulator: Emulator, sdk: Any) -> None:
    """If the emulator had forms of its own, DAGs would work with it only."""
    from huaweicloudsdkmodelarts.v1 import (
        Filter,
        JobSearches,
        ListTrainingJobEventsRequest,
        ListTrainingJobsRequest,
        ListTrainingJobTasksRequest,
        ShowTrainingJobDetailsRequest,
        ShowTrainingJobLogsFromAomRequest,
        ShowTrainingJobLogsPreviewRequest,
    )

    job_id = _create(sdk, "from-the-sdk", 'echo "$WORD"; echo second >&2; exit 3')
    ehpc_emulator.wait_for(job_id)

    job = sdk.show_training_job_details(ShowTrainingJobDetailsRequest(training_job_id=job_id))
    assert (job.metadata.name, job.metadata.description) == ("from-the-sdk", "两个词 & more")
    assert (job.status.phase, job.status.tasks) == ("Failed", ["worker-0"])
    assert [(one.task, one.exit_code) for one in job.status.task_statuses] == [("worker-0", 3)]
    assert job.status.running_records[0].end_reason == "exit with 3"
    assert job.spec.resource.flavor_id == "modelarts.vm.cpu.2u"

    lines = sdk.show_training_job_logs_from_aom(
        ShowTrainingJobLogsFromAomRequest(
            training_job_id=job_id, task_id="worker-0", base_line="0", lines=500, order="asc"
        )
    )
    assert (lines.content, lines.lines) == ("a & b=世\nsecond\n", 2)
    assert int(lines.start_line) < int(lines.end_line)

    preview = sdk.show_training_job_logs_preview(
        ShowTrainingJobLogsPreviewRequest(training_job_id=job_id, task_id="worker-0")
    )
    assert (preview.content, preview.current_size, preview.full_size) == ("a & b=世\nsecond\n", 17, 17)

    found = sdk.list_training_jobs(
        ListTrainingJobsRequest(
            body=JobSearches(
                offset=0, limit=50, filters=[Filter(key="phase", operator="in", value=["Failed", "Abnormal"])]
            )
        )
    )
    assert (found.count, found.items[0].metadata.id) == (1, job_id)

    tasks = sdk.list_training_job_tasks(ListTrainingJobTasksRequest(training_job_id=job_id))
    assert [task.task for task in tasks.body] == ["worker-0"]

    events = sdk.list_training_job_events(
        ListTrainingJobEventsRequest(training_job_id=job_id, limit=10, order="desc", level="Info")
    )
    assert events.events[0].message == "[worker-0] Training finished. Exit code 3."


def test_a_job_is_stopped_once(ehpc_emulator: Emulator, sdk: Any) -> None:
    from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
    from huaweicloudsdkmodelarts.v1 import JobActionType, StopTrainingJobRequest

    job_id = _create(sdk, "endless", "sleep 60")
    stop = StopTrainingJobRequest(training_job_id=job_id, body=JobActionType(action_type="terminate"))

    assert sdk.stop_training_job(stop).status.phase == "Terminating"
    assert ehpc_emulator.wait_for(job_id).phase == "CANCELLED"
    with pytest.raises(ClientRequestException) as again:
        sdk.stop_training_job(stop)

    assert (again.value.status_code, again.value.error_code) == (409, "ModelArts.2796")


def test_a_log_that_does_not_exist_yet_is_no_error(ehpc_emulator: Emulator, make_sdk: MakeSdk) -> None:
    """The SDK reads 204 as a response without content."""
    from huaweicloudsdkmodelarts.v1 import ShowTrainingJobLogsPreviewRequest

    sdk = make_sdk(ehpc_emulator.accounts.first)
    ehpc_emulator.submit("sleep 60", cores=16)
    job_id = _create(sdk, "behind-another", "echo hello")

    preview = sdk.show_training_job_logs_preview(
        ShowTrainingJobLogsPreviewRequest(training_job_id=job_id, task_id="worker-0")
    )

    assert preview.content is None


def test_a_wrong_key_is_refused(ehpc_emulator: Emulator, make_sdk: MakeSdk) -> None:
    from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
    from huaweicloudsdkmodelarts.v1 import ShowTrainingJobDetailsRequest

    first = ehpc_emulator.accounts.first
    sdk = make_sdk(CloudAccount(first.access_key_id, "wrong"))

    with pytest.raises(ClientRequestException) as refused:
        sdk.show_training_job_details(ShowTrainingJobDetailsRequest(training_job_id="x"))

    assert (refused.value.status_code, refused.value.error_code) == (401, "APIG.0301")
    assert "verify aksk signature fail" in refused.value.error_msg

# SPDX-License-Identifier: Apache-2.0
"""The hooks can send all requests of the vendors' SDKs. Each pair of calls sends the same request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_ehpc20180412 import models as classic_models
from alibabacloud_ehpc20180412.client import Client as ClassicSdk
from alibabacloud_ehpc20240730 import models
from alibabacloud_ehpc20240730.client import Client as Sdk
from alibabacloud_tea_openapi.models import Config

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.emulator.huawei.protocol import PROJECT_ID
from airflow_provider_ehpc.hooks.aliyun import EhpcClassicHook, EhpcHook, EhpcServerlessHook
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.huawei import ModelArtsHook
from airflow_provider_ehpc.hooks.qingcloud import QingCloudHpcHook
from tests.emulator.recorder import RecordingEmulator, Sent, recording

__all__ = ["recording"]
CLUSTER = "ehpc-hz-emulator"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
EPOCH = int(NOON.timestamp())
IN_BEIJING = NOON.astimezone(timezone(timedelta(hours=8)))
Hook = Callable[[type[ApiHook]], Any]
Ask = Callable[..., Any]


@pytest.fixture
def hook(recording: RecordingEmulator, monkeypatch: pytest.MonkeyPatch) -> Hook:
    for kind, connection in recording.connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{kind.upper()}_DEFAULT", json.dumps(connection))
    return lambda kind: kind()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call a method of a hook, or its async counterpart."""

    def call(hook: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return getattr(hook, method)(*args, **kwargs)

        async def run() -> Any:
            try:
                return await getattr(hook, f"a{method}")(*args, **kwargs)
            finally:
                await hook.aclose()

        return asyncio.run(run())

    return call


def _sdk(kind: type[Any], emulator: RecordingEmulator) -> Any:
    account = emulator.accounts.first
    return kind(
        Config(
            access_key_id=account.access_key_id,
            access_key_secret=account.secret,
            endpoint=emulator.url.removeprefix("http://"),
            protocol="http",
        )
    )


def _meaning(sent: Sent) -> Any:
    """Return the parameters of a request, with JSON strings parsed, and without empty values."""

    def read(value: Any) -> Any:
        if isinstance(value, str) and value[:1] in ("{", "["):
            value = json.loads(value)
        if isinstance(value, dict):
            return {name: read(item) for name, item in value.items() if item not in (None, [], {})}
        return value

    return sent.method, sent.path, read(sent.query), read(sent.body)


def _alike(recording: RecordingEmulator) -> Any:
    theirs, ours = map(_meaning, recording.sent)
    assert ours == theirs
    return ours[2] or ours[3]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"nodes": ["compute000", "compute 001"]}, {"nodes": ["compute000", "compute 001"]}),
        (
            {"sort_by": models.ListJobsRequestJobFilterSortBy(execute_order="asc")},
            {"sort_by": {"ExecuteOrder": "asc"}},
        ),
        (
            {"sort_by": models.ListJobsRequestJobFilterSortBy(pend_order="desc")},
            {"sort_by": {"pend_order": "desc"}},
        ),
        (
            {"create_time_start": str(EPOCH), "create_time_end": str(EPOCH + 60)},
            {"created_from": IN_BEIJING, "created_to": EPOCH + 60},
        ),
        ({"job_name": "a 作业", "job_status": "finished"}, {"job_name": "a 作业", "job_status": "finished"}),
        ({"queues": ["workq"], "users": ["alice"]}, {"queues": ["workq"], "users": ["alice"]}),
        ({}, {}),
    ],
)
def test_list_jobs(recording: RecordingEmulator, hook: Hook, ask: Ask, theirs: Any, ours: Any) -> None:
    request = models.ListJobsRequest(
        cluster_id=CLUSTER,
        job_filter=models.ListJobsRequestJobFilter(**theirs),
        page_number="2",
        page_size="50",
    )
    _sdk(Sdk, recording).list_jobs(request)
    ask(hook(EhpcHook), "list_jobs", CLUSTER, page_number=2, **ours)
    _alike(recording)


def test_a_diagnosis_is_sent(recording: RecordingEmulator, hook: Hook, ask: Ask) -> None:
    """The emulator rejects the request, but both send the same one."""
    diagnosis = {"Option": "CpuUtil", "Operator": "Gt", "Threshold": "80"}
    item = models.ListJobsRequestJobFilterDiagnosis(**{name.lower(): v for name, v in diagnosis.items()})
    request = models.ListJobsRequest(
        cluster_id=CLUSTER,
        job_filter=models.ListJobsRequestJobFilter(diagnosis=[item]),
        page_number="1",
        page_size="50",
    )
    with pytest.raises(Exception, match=r"JobFilter\.Diagnosis is not emulated"):
        _sdk(Sdk, recording).list_jobs(request)
    with pytest.raises(Exception, match=r"JobFilter\.Diagnosis is not emulated"):
        ask(hook(EhpcHook), "list_jobs", CLUSTER, diagnosis=[diagnosis])
    _alike(recording)


def test_list_common_logs(recording: RecordingEmulator, hook: Hook, ask: Ask) -> None:
    filters = {
        "cluster_id": CLUSTER,
        "action_status": "Finished",
        "operator_uid": "1",
        "log_request_id": "R-1",
        "log_type": "Operation",
        "resource": "workq and more",
    }
    request = models.ListCommonLogsRequest(
        from_=EPOCH,
        to=EPOCH + 60,
        action_name=["CreateJob", "StopJobs"],
        is_reverse=False,
        page_number=1,
        page_size=100,
        **filters,
    )
    _sdk(Sdk, recording).list_common_logs(request)
    actions = ["CreateJob", "StopJobs"]
    ask(hook(EhpcHook), "list_common_logs", IN_BEIJING, EPOCH + 60, action_names=actions, **filters)
    recording.sent[0].query["IsReverse"] = recording.sent[0].query["IsReverse"].lower()  # "False" of the SDK
    _alike(recording)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            {"nodes": ["n 0", "n1"], "queues": ["workq"], "users": ["alice", "bob"], "submit_order": "asc"},
            {"nodes": ["n 0", "n1"], "queues": ["workq"], "users": ["alice", "bob"], "submit_order": "asc"},
        ),
        ({"execute_order": "desc"}, {"execute_order": "desc"}),
        ({"pend_order": "asc"}, {"pend_order": "asc"}),
        (
            {"job_name": "a 作业", "job_status": "notfinish", "submit_order": "desc"},
            {"job_name": "a 作业", "job_status": "notfinish"},
        ),
        (
            {"create_time_start": str(EPOCH), "create_time_end": str(EPOCH + 60), "submit_order": "desc"},
            {"created_from": IN_BEIJING, "created_to": EPOCH + 60},
        ),
    ],
)
def test_list_jobs_with_filters(
    recording: RecordingEmulator, hook: Hook, ask: Ask, theirs: Any, ours: Any
) -> None:
    request = classic_models.ListJobsWithFiltersRequest(
        cluster_id=CLUSTER, page_number=2, page_size=50, **theirs
    )
    _sdk(ClassicSdk, recording).list_jobs_with_filters(request)
    ask(hook(EhpcClassicHook), "list_jobs_with_filters", CLUSTER, page_number=2, **ours)
    _alike(recording)


def test_list_classic_jobs(recording: RecordingEmulator, hook: Hook, ask: Ask) -> None:
    request = classic_models.ListJobsRequest(
        cluster_id=CLUSTER, owner="alice", state="all", rerunable="true", page_number=1, page_size=50
    )
    _sdk(ClassicSdk, recording).list_jobs(request)
    ask(hook(EhpcClassicHook), "list_jobs", CLUSTER, owner="alice", state="all", rerunable=True)
    _alike(recording)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        ({"sort_by": "name", "order": "asc"}, {"sort_by": "name", "order": "asc"}),
        ({"workspace_id": "0"}, {"workspace_id": "0"}),
        (
            {"filters": [("name", "like", ["train"]), ("phase", "not", ["Failed"])]},
            {
                "filters": [
                    {"key": "name", "operator": "like", "value": ["train"]},
                    {"key": "phase", "operator": "not", "value": ["Failed"]},
                ]
            },
        ),
        (
            {"filters": [("phase", "in", ["Running"]), ("name", "like", ["a 作业"])]},
            {"phases": ["Running"], "name": "a 作业"},
        ),
        (
            {"filters": [("create_time", "between", [str(EPOCH * 1000), str(EPOCH * 1000 + 60_000)])]},
            {"created_from": IN_BEIJING, "created_to": NOON + timedelta(minutes=1)},
        ),
    ],
)
def test_search_training_jobs(
    recording: RecordingEmulator,
    hook: Hook,
    ask: Ask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    theirs: Any,
    ours: Any,
) -> None:
    client = _modelarts(recording, tmp_path, monkeypatch)
    from huaweicloudsdkmodelarts.v1 import Filter, JobSearches, ListTrainingJobsRequest

    conditions = [Filter(key=k, operator=o, value=v) for k, o, v in theirs.get("filters", ())]
    searches = {"sort_by": "create_time", "order": "desc", **theirs, "filters": conditions}
    client.list_training_jobs(ListTrainingJobsRequest(body=JobSearches(offset=1, limit=50, **searches)))
    ask(hook(ModelArtsHook), "search_training_jobs", page=1, page_size=50, **ours)
    _alike(recording)


def test_what_a_search_does_not_emulate_is_named(
    recording: RecordingEmulator,
    hook: Hook,
    ask: Ask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = _modelarts(recording, tmp_path, monkeypatch)
    from huaweicloudsdkmodelarts.v1 import JobSearches, ListTagFilter, ListTrainingJobsRequest

    others = {"group_by": "name", "train_type": "job", "host_ips": ["10.0.0.1"]}
    body = JobSearches(
        offset=0,
        limit=50,
        sort_by="create_time",
        order="desc",
        filters=[],
        tags=[ListTagFilter(key="team", values=["a"])],
        **others,
    )
    with pytest.raises(Exception, match="is not emulated"):
        client.list_training_jobs(ListTrainingJobsRequest(body=body))
    tags = [{"key": "team", "values": ["a"]}]
    with pytest.raises(Exception, match="is not emulated"):
        ask(hook(ModelArtsHook), "search_training_jobs", page_size=50, tags=tags, **others)
    _alike(recording)


def _modelarts(emulator: RecordingEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    # When imported, the SDK writes to the user's home directory.
    monkeypatch.setenv("HOME", str(tmp_path))
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkmodelarts.v1 import ModelArtsClient

    account = emulator.accounts.first
    credentials = BasicCredentials(account.access_key_id, account.secret, PROJECT_ID)
    builder = ModelArtsClient.new_builder().with_credentials(credentials)
    return builder.with_endpoints([emulator.url]).build()


NAIVE = datetime(2026, 1, 2)  # noqa: DTZ001


@pytest.mark.parametrize("time", ["2026-01-02T00:00:00Z", NAIVE, 1.5, True, NAIVE.date()], ids=repr)
@pytest.mark.parametrize(
    ("kind", "method", "arguments"),
    [
        (EhpcHook, "list_jobs", lambda time: ((CLUSTER,), {"created_from": time})),
        (EhpcHook, "list_jobs", lambda time: ((CLUSTER,), {"created_to": time})),
        (EhpcHook, "list_common_logs", lambda time: ((time, EPOCH), {})),
        (EhpcHook, "list_common_logs", lambda time: ((EPOCH, time), {})),
        (EhpcHook, "cluster_jobs", lambda time: ((time, CLUSTER), {})),
        (EhpcClassicHook, "list_jobs_with_filters", lambda time: ((CLUSTER,), {"created_to": time})),
        (EhpcServerlessHook, "list_serverless_jobs", lambda time: ((CLUSTER,), {"submitted_from": time})),
        (
            ModelArtsHook,
            "search_training_jobs",
            lambda t: ((), {"created_from": t, "created_to": NOON}),
        ),
        (ModelArtsHook, "list_training_job_events", lambda time: (("x",), {"since": NOON, "until": time})),
        (ModelArtsHook, "cluster_jobs", lambda time: ((time,), {})),
        (QingCloudHpcHook, "list_operations", lambda time: ((), {"start_time": time})),
        (QingCloudHpcHook, "cluster_jobs", lambda time: ((time,), {})),
    ],
)
def test_only_a_moment_is_taken_for_a_time(
    recording: RecordingEmulator,
    hook: Hook,
    ask: Ask,
    kind: type[ApiHook],
    method: str,
    arguments: Any,
    time: Any,
) -> None:
    """A string or a time without a zone was sent as another time, or failed with an AttributeError."""
    args, kwargs = arguments(time)
    with pytest.raises(InvalidArgument, match="time"):
        ask(hook(kind), method, *args, **kwargs)
    assert recording.sent == []


@pytest.mark.parametrize(
    ("kind", "method", "args", "wrong", "named"),
    [
        (EhpcHook, "list_jobs", (CLUSTER,), {"nodes": "compute000"}, "nodes"),
        (EhpcHook, "list_jobs", (CLUSTER,), {"sort_by": {"Name": "asc"}}, "sort_by"),
        (EhpcHook, "list_jobs", (CLUSTER,), {"sort_by": {"SubmitOrder": "up"}}, "SubmitOrder"),
        (EhpcHook, "list_jobs", (CLUSTER,), {"jobname": "x"}, "jobname"),
        (EhpcHook, "list_common_logs", (1, 2), {"recource": "x"}, "recource"),
        (
            EhpcClassicHook,
            "list_jobs_with_filters",
            (CLUSTER,),
            {"submit_order": "asc", "pend_order": "asc"},
            "order",
        ),
        (EhpcClassicHook, "list_jobs_with_filters", (CLUSTER,), {"users": "alice"}, "users"),
        (ModelArtsHook, "search_training_jobs", (), {"order": "up"}, "order"),
        (ModelArtsHook, "search_training_jobs", (), {"filters": [{"key": "name"}]}, "filters"),
        (ModelArtsHook, "search_training_jobs", (), {"filters": ["name"]}, "filters"),
        (ModelArtsHook, "search_training_jobs", (), {"created_from": NOON}, "created_to"),
        (ModelArtsHook, "search_training_jobs", (), {"phase": "x"}, "phase"),
    ],
)
def test_a_wrong_filter_is_refused_before_any_request(
    recording: RecordingEmulator,
    hook: Hook,
    ask: Ask,
    kind: type[ApiHook],
    method: str,
    args: Any,
    wrong: Any,
    named: str,
) -> None:
    with pytest.raises(InvalidArgument, match=named):
        ask(hook(kind), method, *args, **wrong)
    assert recording.sent == []

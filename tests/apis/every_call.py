# SPDX-License-Identifier: Apache-2.0
"""Every call of every API, with the response in its documentation."""

from __future__ import annotations

import base64
import copy
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from airflow_provider_ehpc import apis
from airflow_provider_ehpc.apis.aliyun import classic, common_logs, ehpc, serverless
from airflow_provider_ehpc.apis.call import ApiCall
from airflow_provider_ehpc.apis.huawei import iam, metadata, modelarts, modelarts_v1
from airflow_provider_ehpc.apis.job import JobRef, JobSpec
from airflow_provider_ehpc.apis.qingcloud import hpc, operations
from tests.apis.answering import sample

CLUSTER = "ehpc-hz-FYUr32****"
SPEC = JobSpec("job", "sleep 30", user="alice")
CONTAINER = JobSpec("job", "sleep 30", options={"Container": {"Image": "busybox"}})
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
_LOG = base64.b64encode(b"sleep 30").decode()
_VERSION = {**sample("huawei/v1-version.json"), "job_id": "10", "version_id": "20"}
_V1 = JobRef("10", version_id="20")
_V2 = sample("huawei/v2-show.json")["metadata"]["id"]
_LISTED = {
    "JobName": "testJob",
    "JobSpec": {
        "Id": "1",
        "State": "RUNNING",
        "SubmitTime": "1724122486",
        "NodeList": "compute[000-001]",
        "ArrayRequest": "",
        "Resources": {"Cores": "1", "Memory": "512mb"},
        "Variables": '{"PBS_O_SHELL":"/bin/bash"}',
    },
}
_LISTED_2018 = {
    "Id": "1.manager",
    "Name": "testJob",
    "Owner": "alice",
    "State": "RUNNING",
    "SubmitTime": "2024-08-22T10:14:54",
    "NodeList": "compute000",
    "Resources": {"Cores": 1, "Nodes": 1},
}
_DESCRIBED = {
    "2.scheduler": {
        "job_state": "F",
        "Exit_status": 0,
        "Job_Name": "testJob",
        "Job_Owner": "alice@manager",
        "exec_host": "compute000/0*2",
        "ctime": "Fri Nov 27 07:04:49 2026",
        "Output_Path": "manager:/home/alice/job.o2",
    }
}
_LISTED_SERVERLESS = {"JobId": "5", "JobName": "j", "State": "Running", "SubmitTime": 1724122486, "User": "1"}
_DESCRIBED_SERVERLESS = sample("aliyun_2018_describe_serverless_jobs.json")
_SERVERLESS_ID = str(_DESCRIBED_SERVERLESS["JobInfos"][0]["JobId"])


def _aliyun(**fields: Any) -> dict[str, Any]:
    return {"RequestId": "04F0F334-1335-436C-A1D7-6C044FE73368", "Success": True, **fields}


def _page(name: str, row: dict[str, Any]) -> dict[str, Any]:
    return _aliyun(PageNumber=1, PageSize=50, TotalCount=1, **{name: [row]})


def _qingcloud(name: str) -> Any:
    return sample(f"qingcloud/{name}.json")


def _huawei(name: str) -> Any:
    return sample(f"huawei/{name}.json")


_JOB_2024 = sample("aliyun_2024_get_job.json")
_ID_2024 = str(_JOB_2024["JobInfo"]["JobId"])

CALLS: dict[Callable[..., Any], tuple[ApiCall[Any], Any]] = {
    ehpc.get_job: (ehpc.get_job(CLUSTER, _ID_2024), _JOB_2024),
    ehpc.list_jobs: (ehpc.list_jobs(CLUSTER), _page("Jobs", _LISTED)),
    ehpc.get_job_log: (
        ehpc.get_job_log(CLUSTER, "1", log_type="stdout", offset=0, size=8),
        _aliyun(JobId="1", StdoutLog=_LOG, StderrLog=_LOG, StdoutLogSize=4096, StderrLogSize=0),
    ),
    ehpc.create_job: (ehpc.create_job(CLUSTER, SPEC), _aliyun(JobId="1.manager")),
    ehpc.stop_jobs: (ehpc.stop_jobs(CLUSTER, ["1"]), _aliyun()),
    ehpc.list_clusters: (ehpc.list_clusters(page_size=1), _aliyun(TotalCount=1)),
    common_logs.list_common_logs: (
        common_logs.list_common_logs(1, 2),
        sample("aliyun/list_common_logs.json"),
    ),
    classic.list_jobs: (
        classic.list_jobs(CLUSTER),
        _aliyun(TotalCount=1, Jobs={"JobInfo": [_LISTED_2018]}),
    ),
    classic.list_jobs_with_filters: (
        classic.list_jobs_with_filters(CLUSTER),
        _aliyun(TotalCount=1, Jobs=[{**_LISTED_2018, "Queue": "workq"}]),
    ),
    classic.describe_job: (
        classic.describe_job(CLUSTER, "2.scheduler"),
        _aliyun(Message={"JobInfo": json.dumps(_DESCRIBED)}),
    ),
    classic.get_job_log: (
        classic.get_job_log(CLUSTER, "1.scheduler****"),
        sample("aliyun_2018_get_job_log.json"),
    ),
    classic.submit_job: (classic.submit_job(CLUSTER, SPEC), _aliyun(JobId="1.manager")),
    classic.stop_jobs: (classic.stop_jobs(CLUSTER, ["1.manager"]), _aliyun()),
    serverless.describe_serverless_jobs: (
        serverless.describe_serverless_jobs(CLUSTER, [_SERVERLESS_ID]),
        _DESCRIBED_SERVERLESS,
    ),
    serverless.list_serverless_jobs: (
        serverless.list_serverless_jobs(CLUSTER),
        _page("Jobs", _LISTED_SERVERLESS),
    ),
    serverless.submit_serverless_job: (
        serverless.submit_serverless_job(CLUSTER, CONTAINER),
        _aliyun(JobId="5"),
    ),
    serverless.stop_serverless_jobs: (serverless.stop_serverless_jobs(CLUSTER, ["5"]), _aliyun()),
    iam.create_token: (iam.create_token(iam.IamUser("u", "p", "d", "p1")), _huawei("iam-token")),
    # A bare text, not JSON.
    metadata.create_session_token: (metadata.create_session_token(), 123456789012345678),
    metadata.get_security_key: (
        metadata.get_security_key("metadata-token"),
        {
            "credential": {
                "access": "AK",
                "secret": "SK",
                "securitytoken": "T",
                "expires_at": "2020-01-08T03:50:07.574000Z",
            }
        },
    ),
    modelarts.show_training_job: (modelarts.show_training_job("p1", _V2), _huawei("v2-show")),
    modelarts.search_training_jobs: (modelarts.search_training_jobs("p1"), _huawei("v2-search")),
    modelarts.create_training_job: (
        modelarts.create_training_job("p1", {"metadata": {"name": "j"}}),
        _huawei("v2-create"),
    ),
    modelarts.terminate_training_job: (
        modelarts.terminate_training_job("p1", _huawei("v2-terminate")["metadata"]["id"]),
        _huawei("v2-terminate"),
    ),
    modelarts.list_training_job_events: (
        modelarts.list_training_job_events("p1", _V2),
        _huawei("v2-events"),
    ),
    modelarts.list_training_job_tasks: (modelarts.list_training_job_tasks("p1", _V2), _huawei("v2-tasks")),
    modelarts.show_log_lines: (
        modelarts.show_log_lines("p1", _V2, "worker-0", base_line="0", lines=10, order="asc"),
        _huawei("v1-aom-log"),
    ),
    modelarts.show_log_preview: (
        modelarts.show_log_preview("p1", _V2, "worker-0"),
        _huawei("v2-log-preview"),
    ),
    modelarts_v1.show_job_version: (modelarts_v1.show_job_version("p1", _V1), _VERSION),
    modelarts_v1.list_jobs: (modelarts_v1.list_jobs("p1"), _huawei("v1-list")),
    modelarts_v1.list_log_files: (modelarts_v1.list_log_files("p1", _V1), _huawei("v1-log-files")),
    modelarts_v1.show_log_slice: (modelarts_v1.show_log_slice("p1", _V1, "job.log"), _huawei("v1-log")),
    modelarts_v1.show_log_lines: (
        modelarts_v1.show_log_lines("p1", _V1, "job.log", base_line="0", lines=10, order="desc"),
        _huawei("v1-aom-log-captured"),
    ),
    modelarts_v1.stop_job_version: (modelarts_v1.stop_job_version("p1", _V1), _huawei("v1-stop")),
    hpc.list_jobs: (hpc.list_jobs("jn1a", "ehpc-1"), _qingcloud("job_list")),
    hpc.job_detail: (
        hpc.job_detail("jn1a", "ehpc-1", _qingcloud("job_detail")["hpc_job_set"][0]["hpcjob_uuid"]),
        _qingcloud("job_detail"),
    ),
    hpc.submit_job: (
        hpc.submit_job("jn1a", "ehpc-1", name="j", cmd_line="hostname", run_user="alice"),
        {"ret_code": 0, "hpcjob_uuid": "hpcjob-1", "job_id": 5, "job_status": "pending"},
    ),
    hpc.stop_jobs: (hpc.stop_jobs("jn1a", "ehpc-1", ["hpcjob-1"]), _qingcloud("stop_jobs")),
    operations.list_operations: (operations.list_operations("jn1a"), _qingcloud("operation")),
}
"""Each call with its response, by the function that returns the call."""


def modules() -> Iterator[ModuleType]:
    """Import every module of the APIs."""
    for module in pkgutil.walk_packages(apis.__path__, f"{apis.__name__}."):
        yield importlib.import_module(module.name)


def functions_that_make_calls() -> set[Callable[..., Any]]:
    """Return every public function that returns an :class:`ApiCall` of one operation."""
    helpers = {"rpc_call", "modelarts_call", "hpc_call", "about"}
    return {
        function
        for module in modules()
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and str(function.__annotations__.get("return", "")).startswith("ApiCall[")
        and name not in helpers
        and not name.startswith("_")
    }


def sample_of(call: ApiCall[Any]) -> Any:
    """Return a copy of a call's documented response."""
    return copy.deepcopy(_SAMPLES[_key(call)])


def _key(call: ApiCall[Any]) -> tuple[str, ...]:
    return call.operation, call.request.headers.get("x-acs-version", ""), call.request.path.split("/")[1]


_SAMPLES = {_key(call): sample for call, sample in CALLS.values()}


def name_of(function: Callable[..., Any]) -> str:
    """Return a short name of a call for a test's ID."""
    module = function.__module__.rpartition(".")[2].removesuffix("_calls")
    return f"{module}.{function.__name__}"

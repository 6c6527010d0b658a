# SPDX-License-Identifier: Apache-2.0
"""What an API does not support is refused before any request, wherever it is asked for."""

from __future__ import annotations

import asyncio
import inspect
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import NotSupported
from airflow_provider_ehpc.apis.capabilities import Capability, supports
from airflow_provider_ehpc.apis.job import JobApi, JobRef, JobSpec, LogCursor
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import DEFAULT_APIS, HOOKS, job_hook
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.triggers.job_finished import JobFinishedTrigger
from airflow_provider_ehpc.triggers.job_log import JobLogTrigger

METHODS = {
    Capability.LOG: ("read_log", "log_tail", "log_limits"),
    Capability.LIST_JOBS: ("cluster_jobs",),
    Capability.SUBMIT: ("submit",),
    Capability.STOP: ("stop",),
}
CALLS: dict[Capability, list[tuple[str, tuple[Any, ...]]]] = {
    Capability.LOG: [("read_log", (JobRef("1", "c"), LogCursor(), 100))],
    Capability.LIST_JOBS: [("cluster_jobs", (datetime.now(UTC), "c"))],
    Capability.SUBMIT: [("submit", (JobSpec("n", "run"),))],
}
UNSUPPORTED = [(api, what) for api in HOOKS for what in Capability if not supports(api, what)]
NO_LOG = [api for api, what in UNSUPPORTED if what is Capability.LOG]


@pytest.fixture(autouse=True)
def _connections(ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for conn_type, connection in ehpc_emulator.connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}", json.dumps(connection))


def _hook(api: str) -> ApiHook:
    kinds = {"ehpc": "aliyun_ehpc", "mode": "huawei_modelarts", "qing": "qingcloud_hpc"}
    return job_hook(kinds[api[:4]], api)


@pytest.mark.parametrize("api", HOOKS)
def test_the_declaration_is_what_the_api_implements(api: str) -> None:
    """Else an operator would refuse what works, or offer what fails hours later."""
    hook = _hook(api)
    for capability, methods in METHODS.items():
        for method in methods:
            inherited = inspect.getattr_static(JobApi, method)
            implemented = inspect.getattr_static(hook.api, method) is not inherited
            assert implemented == supports(api, capability), (capability, method)
    has_operations = type(hook).operation_source is not ApiHook.operation_source
    assert has_operations == supports(api, Capability.OPERATIONS)


@pytest.mark.parametrize(("api", "capability"), UNSUPPORTED)
def test_the_hook_refuses_before_any_request(
    api: str, capability: Capability, ehpc_emulator: Emulator
) -> None:
    hook = _hook(api)
    expected = pytest.raises(NotSupported, match=f"^api: the API '{api}' does not support {capability}")
    with expected:
        hook.require(capability)
    if capability is Capability.OPERATIONS:
        with expected:
            hook.operation_source()
    for method, given in CALLS.get(capability, ()):
        with expected:
            getattr(hook, method)(*given)
        with expected:
            asyncio.run(getattr(hook, f"a{method}")(*given))
    assert ehpc_emulator.requests.count() == 0


@pytest.mark.parametrize("api", NO_LOG)
def test_a_log_is_refused_at_parse_time_if_the_api_is_named(api: str) -> None:
    with pytest.raises(NotSupported, match=f"^api: .*'{api}'"):
        JobLogOperator(task_id="log", job_id="1", api=api)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("api", NO_LOG)
def test_a_log_is_refused_before_any_request(api: str, deferrable: bool, ehpc_emulator: Emulator) -> None:
    """On the worker, which first polls the job if the task is deferred."""
    conn_type = next((kind for kind, default in DEFAULT_APIS.items() if default == api), "aliyun_ehpc")
    operator = JobLogOperator(task_id="log", job_id="1", conn_id=conn_type, deferrable=deferrable)
    # As a template renders it.
    operator.api = None if DEFAULT_APIS[conn_type] == api else api
    with pytest.raises(NotSupported, match=f"^api: .*'{api}'"):
        operator.execute({})
    assert ehpc_emulator.requests.count() == 0


@pytest.mark.parametrize("api", NO_LOG)
def test_a_trigger_of_an_older_version_is_refused_too(api: str, ehpc_emulator: Emulator) -> None:
    trigger = JobLogTrigger(
        conn_id="aliyun_ehpc", api=api, jobs=[{"job_id": "1"}], started=0.0, poll_interval=1.0, settle=1.0
    )

    async def first_event() -> Any:
        return await anext(aiter(trigger.run()))

    event = asyncio.run(first_event())
    assert event.payload["outcome"] == "error"
    assert f"the API '{api}' does not support reading the log of a job" in event.payload["message"]
    assert ehpc_emulator.requests.count() == 0


def test_a_watcher_of_all_jobs_needs_an_api_that_lists_them() -> None:
    with pytest.raises(NotSupported, match=r"^job_id: .*'modelarts-v1' does not support listing the jobs"):
        JobFinishedTrigger(api="modelarts-v1")


def test_an_argument_check_may_name_what_it_needs() -> None:
    assert arguments.api("modelarts", needs=Capability.SUBMIT) == "modelarts"
    with pytest.raises(NotSupported, match="use api='modelarts'"):
        arguments.api("modelarts-v1", needs=Capability.SUBMIT)

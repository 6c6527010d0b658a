# SPDX-License-Identifier: Apache-2.0
"""QingCloud's hook, by both of its methods, against the emulator over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import (
    AuthenticationFailed,
    InvalidArgument,
    NotFound,
    NotSupported,
    PermissionDenied,
    Throttled,
)
from airflow_provider_ehpc.apis.job import JobRef, JobSpec, JobState, LogCursor
from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import DEFAULT_APIS, HOOKS, ajob_hook, job_hook
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.hooks.qingcloud import QingCloudHpcHook

CLUSTER = "ehpc-emulator"
Ask = Callable[..., Any]


@pytest.fixture
def connect(ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., QingCloudHpcHook]:
    def to(**changes: Any) -> QingCloudHpcHook:
        connection = {**ehpc_emulator.connections["qingcloud_hpc"], **changes}
        monkeypatch.setenv("AIRFLOW_CONN_QINGCLOUD_HPC_DEFAULT", json.dumps(connection))
        return QingCloudHpcHook()

    return to


@pytest.fixture
def hook(connect: Callable[..., QingCloudHpcHook]) -> QingCloudHpcHook:
    return connect()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Call ``method`` of a hook, or its twin ``amethod`` in an event loop."""

    def call(hook: QingCloudHpcHook, method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return getattr(hook, method)(*args, **kwargs)

        async def run() -> Any:
            try:
                work: Awaitable[Any] = getattr(hook, f"a{method}")(*args, **kwargs)
                return await work
            finally:
                await hook.aclose()

        return asyncio.run(run())

    return call


def _wait(hook: QingCloudHpcHook, ref: JobRef, *states: JobState) -> JobState:
    deadline = time.monotonic() + 30
    while (state := hook.job_status(ref).state) not in states:
        assert time.monotonic() < deadline, state
        time.sleep(0.02)
    return state


def test_a_job_from_submission_to_its_end(hook: QingCloudHpcHook, ask: Ask) -> None:
    answer = ask(hook, "submit_job", CLUSTER, name="热方程 a+b", cmd_line="echo 1", run_user="alice")
    detail = ask(hook, "job_detail", CLUSTER, answer.hpcjob_uuid).hpc_job_set[0]
    assert (detail.job_name, detail.run_user) == ("热方程 a+b", "alice")
    _wait(hook, JobRef(answer.hpcjob_uuid, CLUSTER), JobState.SUCCEEDED)
    listed = ask(hook, "list_jobs", CLUSTER, jobs_status="finished", search_word="热方程")
    assert [job.hpcjob_uuid for job in listed.hpc_job_set] == [answer.hpcjob_uuid]


def test_stopping_names_an_operation_that_can_be_waited_for(hook: QingCloudHpcHook, ask: Ask) -> None:
    ref = hook.submit(JobSpec("long", "sleep 60", user="alice"))
    operation = ask(hook, "stop_jobs", CLUSTER, [ref.job_id]).job_uuid
    waited = hook.job_ref(operation)
    _wait(hook, waited, JobState.SUCCEEDED)
    assert hook.job_status(ref).state is JobState.CANCELLED
    (row,) = ask(hook, "list_operations", job_ids=operation).job_set
    assert (row.job_action, row.resource_ids) == ("HpcJobStopJobs", f"{CLUSTER} {ref.job_id}")


def test_the_common_surface_knows_the_zone_of_the_connection(hook: QingCloudHpcHook, ask: Ask) -> None:
    """In the triggerer too, where the connection must not be read in a blocking way."""
    ref = ask(hook, "submit", JobSpec("n", "exit 3", user="alice"))
    assert ref.cluster_id == CLUSTER
    _wait(hook, ref, JobState.FAILED)
    status = ask(hook, "job_statuses", [ref, JobRef("hpcjob-99999999", CLUSTER)])
    assert status[ref].raw_state == "exited"
    assert status[JobRef("hpcjob-99999999", CLUSTER)] is None
    with pytest.raises(PermissionDenied, match="the job has ended"):
        ask(hook, "stop", ref)


def test_there_is_no_job_log_and_no_request_for_one(ehpc_emulator: Emulator, hook: QingCloudHpcHook) -> None:
    with pytest.raises(NotSupported, match="stdout_path"):
        hook.read_log(JobRef("hpcjob-00000001", CLUSTER), LogCursor(), 1000)
    assert ehpc_emulator.requests.count() == 0


def test_the_type_of_the_connection_chooses_the_hook(hook: QingCloudHpcHook) -> None:
    assert isinstance(job_hook("qingcloud_hpc_default"), QingCloudHpcHook)
    assert isinstance(asyncio.run(ajob_hook("qingcloud_hpc_default")), QingCloudHpcHook)
    assert set(DEFAULT_APIS.values()) <= HOOKS.keys()
    with pytest.raises(InvalidArgument, match="EhpcHook needs one of type aliyun_ehpc"):
        job_hook("qingcloud_hpc_default", "ehpc").job_status(JobRef("1.manager", CLUSTER))


def test_the_connection_test_reads_one_operation_and_the_cluster(
    ehpc_emulator: Emulator, hook: QingCloudHpcHook
) -> None:
    good, told = hook.test_connection()
    assert good, told
    assert ehpc_emulator.requests.counts == {"job/list": {"ok": 1}, "operation": {"ok": 1}}


def test_the_connection_test_says_what_is_wrong(
    ehpc_emulator: Emulator, connect: Callable[..., QingCloudHpcHook]
) -> None:
    good, told = connect(password="wrong").test_connection()
    assert not good
    assert "1200" in told
    assert "Check the connection's login" in told
    assert ehpc_emulator.accounts.first.access_key_id not in told


def test_a_wrong_clock_is_named(ehpc_emulator: Emulator, hook: QingCloudHpcHook) -> None:
    """1300 alone sends users looking for a wrong key."""
    ehpc_emulator.fault("clock", seconds=600)
    with pytest.raises(AuthenticationFailed, match="10 minutes behind"):
        hook.list_operations(limit=1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"extra": {}}, "extra field zone"),
        ({"login": ""}, "login"),
        ({"password": ""}, "password"),
        ({"host": "https://hpc.example.com/other"}, "not an endpoint"),
        ({"extra": {"zone": "jinan1a", "security_token": "t"}}, "security_token"),
    ],
)
def test_what_a_connection_lacks_is_named_before_any_request(
    ehpc_emulator: Emulator,
    connect: Callable[..., QingCloudHpcHook],
    changes: dict[str, Any],
    named: str,
) -> None:
    hook = connect(**changes)
    with pytest.raises(InvalidArgument, match=named):
        hook.list_operations()
    assert ehpc_emulator.requests.count() == 0


def test_the_base_url_may_be_written_as_the_documentation_does(
    connect: Callable[..., QingCloudHpcHook], ehpc_emulator: Emulator
) -> None:
    assert connect(host=f"{ehpc_emulator.url}/api/").list_operations().total_count == 0
    assert connect(host="").account.base_url == "https://hpc.api.qingcloud.com"


def test_reads_are_tried_again_and_a_used_up_quota_is_not(
    ehpc_emulator: Emulator, hook: QingCloudHpcHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2500 comes back by the hour: a request a second would only use up the next hour's."""
    monkeypatch.setattr("airflow_provider_ehpc.hooks.retry._wait", lambda state: 0.0)
    ehpc_emulator.fault("error", operation="operation", times=2)
    assert hook.list_operations().total_count == 0
    assert ehpc_emulator.requests.count("operation") == 3
    ehpc_emulator.fault("throttle", operation="operation", times=2)
    with pytest.raises(Throttled, match="2500"):
        hook.list_operations()
    assert ehpc_emulator.requests.count("operation") == 4


def test_a_submission_is_never_sent_twice(ehpc_emulator: Emulator, hook: QingCloudHpcHook, ask: Ask) -> None:
    ehpc_emulator.fault("error", operation="job/submitJob", times=5)
    with pytest.raises(Exception, match="5100"):
        ask(hook, "submit", JobSpec("n", "true", user="alice"))
    assert ehpc_emulator.requests.count("job/submitJob") == 1


def test_an_operation_that_is_not_known_is_not_found(hook: QingCloudHpcHook, ask: Ask) -> None:
    with pytest.raises(NotFound, match="j-00000000000"):
        ask(hook, "job_status", JobRef("j-00000000000"))


def test_each_hook_says_where_its_operations_are_told(
    ehpc_emulator: Emulator, hook: QingCloudHpcHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    ehpc_emulator.add_operations([EmulatedOperation(1_772_323_200, "X")])
    source = hook.operation_source(CLUSTER)
    assert source.scope == f"qingcloud-jinan1a-{CLUSTER}"
    monkeypatch.setenv("AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT", ehpc_emulator.connection_json)
    assert EhpcHook().operation_source().scope == "aliyun-cn-hangzhou"
    without = {**ehpc_emulator.connection, "extra": {}}
    monkeypatch.setenv("AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT", json.dumps(without))
    with pytest.raises(InvalidArgument, match="names no region"):
        EhpcHook().operation_source()

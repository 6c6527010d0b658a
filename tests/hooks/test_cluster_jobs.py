# SPDX-License-Identifier: Apache-2.0
"""A cluster's jobs by every API that lists them, from the emulator over HTTP, while jobs end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiCall, InvalidArgument, NotSupported
from airflow_provider_ehpc.apis.job import ClusterJob, JobSpec, JobState
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.hooks.base import ApiHook
from tests.apis.driver import run_flow
from tests.conftest import Ask, Connect
from tests.gates import eventually

KINDS = {
    "ehpc": "aliyun_ehpc",
    "ehpc-classic": "aliyun_ehpc",
    "modelarts": "huawei_modelarts",
    "qingcloud": "qingcloud_hpc",
}
LONG_AGO = timedelta(days=1)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A cloud whose jobs cost nothing, with more of them than fit on a page."""
    with Emulator(tmp_path_factory.mktemp("cloud"), scheduler="timetable") as emulator:
        for number in range(230):
            emulator.submit("run=9999" if number % 2 else "run=0 exit=1", name=f"n{number}")
        eventually(lambda: emulator.wait_for("229.manager").phase.ended)
        yield emulator


@pytest.fixture(params=KINDS)
def hook(request: pytest.FixtureRequest, cloud: Emulator, connect: Connect) -> Iterator[ApiHook]:
    hook = job_hook(connect(cloud.connections[KINDS[request.param]]), request.param)
    yield hook
    hook.close()


def names(jobs: dict[str, ClusterJob], *, ended: bool) -> set[str]:
    return {str(row.status.name) for row in jobs.values() if row.ended is ended}


def of_all(remainder: int) -> set[str]:
    return {f"n{number}" for number in range(230) if number % 2 == remainder}


def test_all_unfinished_and_the_lately_submitted_are_told(hook: ApiHook, ask: Ask) -> None:
    jobs = ask(hook, "cluster_jobs", datetime.now(UTC) - LONG_AGO)
    assert of_all(0) <= names(jobs, ended=True)
    assert names(jobs, ended=False) >= of_all(1) - names(jobs, ended=True)
    for job_id, row in jobs.items():
        assert row.status.job_id == job_id
        assert row.status.submitted_at
        if row.ended and row.whole:
            assert row.status.state is hook.job_status(hook.job_ref(job_id)).state
            break


def test_what_was_submitted_before_is_told_only_where_it_goes_on(hook: ApiHook) -> None:
    """Years of ended jobs would else be read at every look."""
    jobs = dict(hook.cluster_jobs(datetime.now(UTC) + timedelta(days=1)))
    hook.close()
    assert not names(jobs, ended=True) or hook.api.name == "modelarts"
    assert len(names(jobs, ended=False)) > 100


def test_no_job_is_lost_while_others_end(hook: ApiHook, cloud: Emulator) -> None:
    """Each job that ends moves those behind it to a page that was read already."""
    running = sorted(
        (job_id for job_id in map("{}.manager".format, range(1, 231)) if not cloud.job(job_id).phase.ended),
        key=lambda job_id: -int(job_id.split(".")[0]),
    )
    stopped = []

    def stop_one(call: ApiCall[Any]) -> None:
        # The newest are on the first page.
        if len(stopped) < 2:
            stopped.append(running[len(stopped)])
            cloud.stop(stopped[-1])
            cloud.wait_for(stopped[-1])

    jobs = drive(hook, hook.api.cluster_jobs(hook.account.cluster_id, datetime.now(UTC) - LONG_AGO), stop_one)
    told = {str(row.status.name) for row in jobs.values()}
    assert told >= {f"n{number}" for number in range(230)}
    for job_id in stopped:
        name = cloud.job(job_id).spec.name
        (row,) = [row for row in jobs.values() if row.status.name == name]
        # QingCloud's one list tells of every job what it was when its page was asked for.
        assert row.ended or hook.api.name == "qingcloud"


def drive(hook: ApiHook, flow: Any, between: Callable[[ApiCall[Any]], None]) -> dict[str, ClusterJob]:
    """Run a flow, and do something after each call."""

    def answer(call: ApiCall[Any]) -> Any:
        told = hook.call(call)
        between(call)
        return told

    return dict(run_flow(flow, answer))


def test_serverless_jobs_stand_without_their_sub_tasks(tmp_path: Path, connect: Connect) -> None:
    with Emulator(tmp_path) as cloud:
        hook = job_hook(connect(cloud.connection), "ehpc-serverless")
        image = {"Container": {"Image": "busybox"}}

        def submit(command: str, **more: Any) -> str:
            return hook.submit(JobSpec(name="job", command=command, options=image, **more)).job_id

        single, array = submit("sleep 30"), submit("sleep 0.1", array="0-2:1")
        failed = submit("exit 3")
        eventually(lambda: hook.job_status(hook.job_ref(array)).state.terminal)
        eventually(lambda: hook.job_status(hook.job_ref(failed)).state.terminal)
        jobs = hook.cluster_jobs(datetime.now(UTC) - LONG_AGO)
        assert set(jobs) == {single, array, failed}
        assert not jobs[single].ended
        assert jobs[array].ended
        assert jobs[failed].status.state is JobState.FAILED
        assert not jobs[failed].whole, "its exit code is told only by its details"
        time.sleep(1)
        assert set(hook.cluster_jobs(datetime.now(UTC))) == {single}
        hook.close()


def test_an_array_counts_as_ended_only_where_no_part_goes_on(tmp_path: Path, connect: Connect) -> None:
    """Its parts are rows of their own, and some of them end long before the last."""
    with Emulator(tmp_path) as cloud:
        array = cloud.submit("sleep $((PBS_ARRAY_INDEX * 30))", array="0-1:1")
        eventually(lambda: cloud.job(array.replace("[]", "[0]")).phase.ended)
        for api in ("ehpc", "ehpc-classic"):
            hook = job_hook(connect(cloud.connection), api)
            jobs = hook.cluster_jobs(datetime.now(UTC) - LONG_AGO)
            hook.close()
            assert list(jobs) == [array]
            assert not jobs[array].ended


def test_v1_lists_no_jobs(cloud: Emulator, connect: Connect) -> None:
    hook = job_hook(connect(cloud.connections["huawei_modelarts"]), "modelarts-v1")
    asked = cloud.requests.count()
    with pytest.raises(NotSupported, match=r"^api: .* newest version"):
        hook.cluster_jobs(datetime.now(UTC))
    assert cloud.requests.count() == asked


@pytest.mark.parametrize("api", ["ehpc", "ehpc-classic", "ehpc-serverless", "qingcloud"])
def test_a_cluster_is_needed(cloud: Emulator, connect: Connect, api: str) -> None:
    kind = KINDS.get(api, "aliyun_ehpc")
    hook = job_hook(connect(cloud.connections[kind], extra={"cluster_id": None}), api)
    with pytest.raises(InvalidArgument, match=r"^cluster_id: "):
        hook.cluster_jobs(datetime.now(UTC))


def test_modelarts_knows_no_clusters(cloud: Emulator, connect: Connect) -> None:
    hook = job_hook(connect(cloud.connections["huawei_modelarts"]), "modelarts")
    with pytest.raises(InvalidArgument, match=r"^cluster_id: "):
        hook.cluster_jobs(datetime.now(UTC), "a-cluster")

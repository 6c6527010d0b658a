"""How many jobs have not ended, from the emulator over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument, NotSupported
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.hooks.base import ApiHook
from tests.conftest import Ask, Connect
from tests.waiting import eventually

SECOND = timedelta(seconds=1)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path, scheduler="timetable") as emulator:
        yield emulator


@pytest.fixture
def hook(emulator: Emulator, connect: Connect) -> Iterator[ApiHook]:
    hook = job_hook(connect(emulator.connection), "ehpc")
    yield hook
    hook.close()


def test_the_unfinished_of_a_window_are_counted(emulator: Emulator, hook: ApiHook, ask: Ask) -> None:
    """As many as the list tells of, one by one, however few stand on a page of it."""
    jobs = []
    for number in range(70):
        jobs.append(emulator.submit("run=9999" if number % 7 else "run=0"))
        if number == 34:
            time.sleep(3.1)
    eventually(lambda: all(emulator.job(job).phase.ended for job in jobs[::7]))
    rows = hook.cluster_jobs(datetime.now(UTC) - timedelta(days=1)).values()
    running = sorted(row.status.submitted_at for row in rows if row.status.submitted_at and not row.ended)
    assert len(running) == 60
    assert ask(hook, "count_unfinished", running[0], running[-1]) == 60
    early = sum(at <= running[0] + SECOND for at in running)
    assert ask(hook, "count_unfinished", running[0], running[0]) == early < 60
    assert ask(hook, "count_unfinished", running[-1] + 3 * SECOND, running[-1] + 9 * SECOND) == 0


@pytest.mark.parametrize(
    ("api", "kind"),
    [
        ("ehpc-classic", "aliyun_ehpc"),
        ("ehpc-serverless", "aliyun_ehpc"),
        ("modelarts", "huawei_modelarts"),
        ("modelarts-v1", "huawei_modelarts"),
        ("qingcloud", "qingcloud_hpc"),
    ],
)
def test_an_api_without_such_a_list_says_so(
    emulator: Emulator, connect: Connect, ask: Ask, api: str, kind: str
) -> None:
    hook = job_hook(connect(emulator.connections[kind]), api)
    before = emulator.requests.count()
    with pytest.raises(NotSupported, match=api):
        ask(hook, "count_unfinished", datetime.now(UTC), datetime.now(UTC))
    assert emulator.requests.count() == before


def test_a_cluster_must_be_named(emulator: Emulator, connect: Connect, ask: Ask) -> None:
    connection = dict(emulator.connection)
    connection["extra"] = {**connection["extra"], "cluster_id": None}
    hook = job_hook(connect(connection), "ehpc")
    with pytest.raises(InvalidArgument, match="cluster_id"):
        ask(hook, "count_unfinished", datetime.now(UTC), datetime.now(UTC))

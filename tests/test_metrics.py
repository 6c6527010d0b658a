# SPDX-License-Identifier: Apache-2.0
"""What Airflow's metrics are reported of, and that telling them never does harm."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc import metrics
from airflow_provider_ehpc.apis.call import NotFound
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus, PartialResult
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobTimedOut
from airflow_provider_ehpc.hooks import pool
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.polling import poller
from airflow_provider_ehpc.triggers.job_log import JobLogTrigger
from tests.conftest import Ask, Pauses
from tests.gates import eventually
from tests.logs.stores import TI, States
from tests.statsd import StatsdServer


class Reported(list[Any]):
    """Metrics that were handed over."""

    take = list.append

    def values(self, name: str, **tags: str) -> list[float]:
        """The values of a metric that has these tags, beside others."""
        return [value for _, reported, value, has in self if reported == name and tags.items() <= has.items()]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> Reported:
    """Collect the metrics instead of sending them."""
    collected = Reported()
    monkeypatch.setattr(metrics, "_sender", collected)
    return collected


class Client:
    """Airflow's client for metrics."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float]] = []
        self.threads: set[threading.Thread] = set()
        self.do: Callable[[], object] = lambda: None

    def incr(self, name: str, value: float, *, tags: dict[str, str]) -> None:
        self.threads.add(threading.current_thread())
        self.do()
        self.sent.append((name, value))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Airflow's metrics are on; this is what it sends them with."""
    made = Client()
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setattr(metrics, "stats", lambda: made)
    monkeypatch.setattr(metrics, "_sender", None)
    return made


def fail() -> None:
    raise OSError("no route to host")


# What is reported


def test_requests_are_counted_by_outcome(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, pauses: Pauses, reported: Reported
) -> None:
    """Otherwise nobody sees that half of what is asked fails and is asked again."""
    job = ("get_job", ehpc_emulator.cluster_id, ehpc_emulator.submit("true"))
    ehpc_emulator.fault("error", status=503, times=1)
    ehpc_emulator.fault("throttle", times=2)
    ask(hook, *job)
    with pytest.raises(NotFound):
        ask(hook, "get_job", ehpc_emulator.cluster_id, "nobody's")
    outcomes = [tags["outcome"] for _, name, _, tags in reported if name == "ehpc.requests"]
    assert sorted(outcomes) == ["NotFound", "ServiceUnavailable", "Throttled", "Throttled", "ok"]
    assert reported.values("ehpc.requests", api="ehpc", operation="GetJob") == [1] * 5
    assert reported.values("ehpc.throttled", api="ehpc", conn_id=hook.conn_id) == [1, 1]


def test_the_log_is_counted_on_the_worker(ehpc_emulator: Emulator, conn_id: str, reported: Reported) -> None:
    job_id = ehpc_emulator.submit("seq 1 1000; sleep 0.3; echo 数据; printf 'no end'")
    operator = JobLogOperator(
        task_id="log", conn_id=conn_id, job_id=job_id, poll_interval=0.05, log_settle_time=0.1
    )
    totals = operator.execute({})["log"]
    assert sum(reported.values("ehpc.log_bytes", api="ehpc", where="worker")) == totals["bytes"]
    assert sum(reported.values("ehpc.log_lines", api="ehpc", where="worker")) == totals["lines"] == 1002
    assert not reported.values("ehpc.log_resumes")


def test_a_resumed_log_is_counted(ehpc_emulator: Emulator, conn_id: str, reported: Reported) -> None:
    """A triggerer that is killed again and again shows here, and only what is new counts as written."""
    job_id = ehpc_emulator.submit("echo before; sleep 30")
    path = ehpc_emulator.job(job_id).stdout_path
    eventually(lambda: path.exists() and path.read_text() == "before\n")
    context = {"task_state_store": States(), "ti": TI}
    for _ in range(2):
        reported.clear()
        operator = JobLogOperator(
            task_id="log", conn_id=conn_id, job_id=job_id, poll_interval=0.05, timeout=2
        )
        with pytest.raises(JobTimedOut):
            operator.execute(context)
    assert reported.values("ehpc.log_resumes", api="ehpc", where="worker") == [1]
    assert not reported.values("ehpc.log_lines")


async def test_the_log_is_counted_in_the_triggerer(
    ehpc_emulator: Emulator, conn_id: str, quick_triggers: None, reported: Reported
) -> None:
    job = {"job_id": ehpc_emulator.submit("seq 1 300"), "cluster_id": ehpc_emulator.cluster_id}
    trigger = JobLogTrigger(
        conn_id=conn_id, api="ehpc", jobs=[job], started=0.0, poll_interval=0.05, settle=0.1
    )
    (event,) = [event async for event in trigger.run()]
    await trigger.cleanup()
    assert sum(reported.values("ehpc.log_bytes", where="triggerer")) == event.payload["log"]["bytes"]
    assert sum(reported.values("ehpc.log_lines", where="triggerer")) == 300


class SlowHook:
    """Answers after a fifth of a second."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()

    async def ajob_statuses(
        self, refs: Iterable[JobRef], publish: Callable[[PartialResult], Awaitable[None]]
    ) -> dict[JobRef, JobStatus | None]:
        await asyncio.sleep(0.2)
        return {ref: JobStatus(ref.job_id, JobState.RUNNING, "Running") for ref in refs}

    async def aclose(self) -> None:
        pass


async def test_waiting_jobs_and_the_lag_of_their_polls_are_reported(
    monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    """A gauge that stays up when nobody waits any more would keep somebody awake."""

    async def open_hook(conn_id: str, api: str) -> SlowHook:
        return SlowHook()

    monkeypatch.setattr(pool, "ajob_hook", open_hook)
    first = poller.subscribed("c", "ehpc", [JobRef("1", "a"), JobRef("2", "a")], interval=5)
    second = poller.subscribed("c", "ehpc", [JobRef("3", "b")], interval=5)
    other = poller.subscribed("d", "ehpc", [JobRef("4", "a")], interval=5)
    async with first as one, second as two, other as three:
        await asyncio.gather(one.poll(), two.poll(), three.poll())
    lags = reported.values("ehpc.poll_lag", api="ehpc", conn_id="c")
    assert len(lags) == 2
    assert all(lag >= 200 for lag in lags), "milliseconds, with the time of the requests"
    watched = reported.values("ehpc.jobs_watched", api="ehpc", conn_id="c")
    # Jobs of two clusters, in one sum; then one poller after the other ends.
    assert watched == [3, 3, 2, 0]
    assert reported.values("ehpc.jobs_watched", api="ehpc", conn_id="d") == [1, 0]


# How it is reported


def test_airflow_sends_it(ehpc_emulator: Emulator, tmp_path: Path) -> None:
    """By this Airflow's own client, which drops a name with a character that it does not know."""
    code = (
        "import sys, asyncio; from airflow_provider_ehpc import metrics\n"
        "async def main(): metrics.poll_lag('ehpc', 'team a/cluster.1', 1.5); metrics._sender.settle()\n"
        "metrics.request('ehpc', 'GetJob', 'ok'); asyncio.run(main())"
    )
    with StatsdServer() as server:
        environment = {**os.environ, **server.environment, "AIRFLOW_HOME": str(tmp_path)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
        server.wait(lambda reported: len(reported) == 2)
        assert server.reported[0] == "ehpc.requests.ehpc.GetJob.ok:1|c"
        assert server.reported[1] == "ehpc.poll_lag.ehpc.team_a_cluster_1:1500.000000|ms"


@pytest.mark.parametrize("form", ["STATSD_INFLUXDB_ENABLED", "STATSD_DATADOG_ENABLED"])
def test_tags_stay_out_of_the_name_where_there_are_tags(
    monkeypatch: pytest.MonkeyPatch, client: Client, form: str
) -> None:
    monkeypatch.setenv(f"AIRFLOW__METRICS__{form}", "True")
    metrics.throttled("ehpc", "c")
    assert client.sent == [("ehpc.throttled", 1)]


def test_a_client_that_fails_fails_no_task(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.do = fail
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            metrics.request("ehpc", "GetJob", "ok")
    (record,) = [record for record in caplog.records if record.name == metrics.__name__]
    assert "no route to host" in record.getMessage()


def test_a_client_that_cannot_be_made_fails_no_task(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    """Airflow catches a missing package, not a client of the user's own that is none."""

    def make() -> Any:
        raise TypeError("your StatsD client must extend statsd.StatsClient")

    monkeypatch.setattr(metrics, "stats", make)
    metrics.request("ehpc", "GetJob", "ok")


async def test_a_client_that_blocks_does_not_stop_the_loop(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    """All deferred tasks of the triggerer would stop with it, and what waits must not fill the memory."""
    go = threading.Event()
    client.do = go.wait
    monkeypatch.setattr(metrics, "_WAITING", 5)
    for _ in range(50):
        metrics.request("ehpc", "GetJob", "ok")
    go.set()
    sender: Any = metrics._sender
    await asyncio.to_thread(sender.settle)
    assert threading.current_thread() not in client.threads
    assert 5 <= len(client.sent) <= 6


def test_nothing_is_done_where_metrics_are_off(
    monkeypatch: pytest.MonkeyPatch, ehpc_emulator: Emulator, hook: EhpcHook
) -> None:
    """As they are by default."""
    monkeypatch.setattr(metrics, "_sender", None)
    hook.list_jobs(ehpc_emulator.cluster_id)
    assert not metrics.enabled()

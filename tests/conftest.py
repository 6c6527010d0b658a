# SPDX-License-Identifier: Apache-2.0
"""What every test needs: an Airflow that keeps its files elsewhere, and connections to the emulator."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile

# Before anything imports Airflow, which makes its home and its configuration file at once.
_home = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _home
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
# Tests look all the time; tests/hooks/test_limiter.py is about the pace of requests.
os.environ["AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND"] = "2000"

import asyncio  # noqa: E402
import logging  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable, Generator, Iterator, Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any, Protocol  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from airflow_provider_ehpc.logs import arrival  # noqa: E402
from tests.gates import Gate, eventually  # noqa: E402

# How long an example takes says more of the machine than of what is tested.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

if TYPE_CHECKING:
    from airflow_provider_ehpc.emulator.server import Emulator
    from airflow_provider_ehpc.hooks.aliyun import EhpcHook

CONN_ID = "ehpc_test"
# No supervisor stands between a test and its log; tests/live is about the real one.
arrival.ARRIVAL = 0.05


class Connect(Protocol):
    """Makes an Airflow connection and returns its id."""

    def __call__(self, connection: Mapping[str, Any], conn_id: str = CONN_ID, **changes: Any) -> str: ...


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make a connection for one test; ``changes`` replace fields, None takes one out, ``extra`` is merged."""

    def make(connection: Mapping[str, Any], conn_id: str = CONN_ID, **changes: Any) -> str:
        extra = {**connection.get("extra", {}), **changes.pop("extra", {})}
        fields = {**connection, **changes, "extra": _without_none(extra)}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(_without_none(fields)))
        return conn_id

    return make


@pytest.fixture
def conn_id(ehpc_emulator: Emulator, connect: Connect) -> str:
    """A connection to the emulator."""
    return connect(ehpc_emulator.connection)


@pytest.fixture
def hook(conn_id: str) -> Generator[EhpcHook, None, None]:
    """A hook on the emulator."""
    from airflow_provider_ehpc.hooks.aliyun import EhpcHook

    hook = EhpcHook(conn_id)
    yield hook
    hook.close()


class Pauses(list[float]):
    """The pauses between attempts that were asked for, in seconds; none of them takes any time."""

    def __call__(self, seconds: float) -> _Nothing:
        self.append(seconds)
        return _Nothing()


class _Nothing:
    """What AsyncRetrying awaits and Retrying ignores."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Let the attempts of a call follow each other at once; return the pauses they would have made."""
    from airflow_provider_ehpc.hooks import base
    from airflow_provider_ehpc.hooks.limiter import RateLimiter

    taken = Pauses()
    original = base.retry_arguments
    monkeypatch.setattr(RateLimiter, "pause", lambda self, turn: 0.0)
    monkeypatch.setattr(base, "retry_arguments", lambda call: {**original(call), "sleep": taken})
    return taken


Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask a hook for ``operation``, by its synchronous and by its asynchronous method."""

    def run(hook: EhpcHook, operation: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            try:
                return getattr(hook, operation)(*args, **kwargs)
            finally:
                hook.close()

        async def arun() -> Any:
            try:
                return await getattr(hook, f"a{operation}")(*args, **kwargs)
            finally:
                await hook.aclose()

        return asyncio.run(arun())

    return run


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@pytest.fixture
def quick_triggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let triggers poll at once and continuously, and fire as soon as they can."""
    from airflow_provider_ehpc.triggers import base

    monkeypatch.setattr(base, "FIRST_POLL", 0.0)
    monkeypatch.setattr(base, "EARLIEST_EVENT", 0.0)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Holds a job until the test has seen what it must see before."""
    return Gate(tmp_path / "gate")


Hide = Callable[[str], None]


@pytest.fixture
def hide_once(ehpc_emulator: Emulator) -> Iterator[Hide]:
    """Let a job be unknown until it was asked for once."""
    threads: list[threading.Thread] = []

    def show() -> None:
        eventually(lambda: ehpc_emulator.requests.count(outcome="AgentError"))
        ehpc_emulator.faults.clear()

    def hide(job_id: str) -> None:
        ehpc_emulator.fault("invisible", job_id=job_id, seconds=600)
        threads.append(threading.Thread(target=show, daemon=True))
        threads[-1].start()

    yield hide
    for thread in threads:
        thread.join()


class TaskLog(logging.Handler):
    """What a task or a trigger wrote to its log. Airflow's own loggers do not go through ``logging``."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        # Airflow's remark that a test calls execute() itself.
        if "outside of the Task Runner" not in record.getMessage():
            self.records.append(record)

    @property
    def lines(self) -> list[str]:
        """All messages."""
        return [record.getMessage() for record in self.records]

    @property
    def warnings(self) -> list[str]:
        """The messages of warnings and errors."""
        return [record.getMessage() for record in self.records if record.levelno >= logging.WARNING]


@pytest.fixture
def task_log(monkeypatch: pytest.MonkeyPatch) -> TaskLog:
    """Collect what operators, sensors and triggers of this package write."""
    from airflow_provider_ehpc.operators.job import StopJobOperator, SubmitJobOperator
    from airflow_provider_ehpc.operators.job_log import JobLogOperator
    from airflow_provider_ehpc.sensors.job_state import JobStateSensor
    from airflow_provider_ehpc.triggers.base import JobTrigger

    collected = TaskLog()
    logger = logging.Logger("task", logging.DEBUG)
    logger.addHandler(collected)
    for kind in (JobLogOperator, JobStateSensor, JobTrigger, StopJobOperator, SubmitJobOperator):
        monkeypatch.setattr(kind, "log", logger)
    return collected


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a running Airflow or the machine's Slurm, where several processes test."""
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        if item.get_closest_marker("airflow") or item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.xdist_group("shared"))

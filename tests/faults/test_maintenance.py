# SPDX-License-Identifier: Apache-2.0
"""A maintenance page of 3 s, a minute, ten and forty minutes in front of a hundred waits, on a fast clock."""

from __future__ import annotations

import asyncio
import json
import re
import selectors
import sys
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.maintenance import CONN_ID, Outcomes, wait_through
from tests.faults.server import FaultServer

FASTER = 150
"""Seconds of the tasks' clock that pass in one real second."""
WAITS = 100
INTERVAL = 30.0
JUDGES = ("triggers", "polling", "waiting")
"""The parts of the package that decide by the time."""
_BEGAN = time.monotonic()
_ZERO = time.time()


class FastTime(ModuleType):
    """The module ``time``, as the modules of the provider see it."""

    def time(self) -> float:
        return _ZERO + self.monotonic()

    def monotonic(self) -> float:
        return (time.monotonic() - _BEGAN) * FASTER


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / FASTER)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop on the fast clock. What it waits for, such as responses, takes the time it takes."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return (time.monotonic() - _BEGAN) * FASTER


@pytest.fixture
def through(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Run the waits with a page of so many seconds."""
    with Emulator(tmp_path_factory.mktemp("cloud"), scheduler="timetable") as emulator:
        server = FaultServer(emulator.url)
        server.listen()
        connection = {**emulator.connection, "host": server.url}
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(connection))

        def run(seconds: float) -> Outcomes:
            fast = FastTime("time")
            for name, module in list(sys.modules.items()):
                # Requests are signed by the real clock, and the emulator lives by it.
                judges = name.startswith(tuple(f"airflow_provider_ehpc.{part}" for part in JUDGES))
                if judges and getattr(module, "time", None) is time:
                    monkeypatch.setattr(module, "time", fast)
            monkeypatch.setattr("benchmarks.maintenance.time", fast)
            with asyncio.Runner(loop_factory=FastLoop) as runner:
                return runner.run(
                    wait_through(emulator, server, seconds=seconds, waits=WAITS, interval=INTERVAL)
                )

        yield run
        server.close()


@pytest.mark.parametrize("seconds", [3, 60, 600])
def test_all_waits_survive_with_one_warning_each(through, seconds: int) -> None:  # type: ignore[no-untyped-def]
    outcomes = through(seconds)
    assert outcomes.by_outcome == {"reached": WAITS}
    # One of three seconds may come and go between two polls, or between two attempts of a call.
    warned = set(outcomes.warnings.values())
    assert warned == {1} if seconds > 2 * INTERVAL else warned <= {1}
    assert seconds < INTERVAL or outcomes.requests


def test_all_waits_end_with_the_cause_after_half_an_hour(through) -> None:  # type: ignore[no-untyped-def]
    outcomes = through(2400)
    assert outcomes.by_outcome == {"error": WAITS}
    for event in outcomes.events:
        assert re.search("Maintenance.*HTTP 200", event["message"])
        assert event["error"]["kind"]
    assert set(outcomes.warnings.values()) == {1}

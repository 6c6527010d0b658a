# SPDX-License-Identifier: Apache-2.0
"""How lines become records, and that many streams share the narrow way to the log fairly."""

from __future__ import annotations

import asyncio
import codecs
import logging
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from airflow_provider_ehpc.logs import emission
from airflow_provider_ehpc.logs.emission import (
    BURST,
    BYTE_COST,
    FEW,
    RECORD_BYTES,
    RECORD_COST,
    RECORD_LINES,
    SHARE,
    EmissionBudget,
    emission_budget,
    records,
    supervisor_reads,
)
from airflow_provider_ehpc.logs.lines import stream_prefix
from airflow_provider_ehpc.waiting.watch import Note
from tests.conftest import TaskLog


def test_few_lines_are_records_of_their_own() -> None:
    """Each then has its own time in the log."""
    lines = [f"line {n}" for n in range(FEW)]
    assert list(records(lines, "stderr | ")) == [f"stderr | {line}" for line in lines]


def test_many_lines_share_records() -> None:
    lines = [f"line {n}" for n in range(1000)]
    reported = list(records(lines))
    assert len(reported) == 1000 / RECORD_LINES
    assert "\n".join(reported).split("\n") == lines


def test_each_line_of_a_record_has_its_prefix() -> None:
    (record,) = records(["a"] * (FEW + 1), "stderr | ")
    assert set(record.split("\n")) == {"stderr | a"}


@pytest.mark.parametrize("character", ["x", "é", "数", "🚀"])
def test_records_are_bounded_in_bytes(character: str) -> None:
    """Records of megabytes get lost on Airflow's way to the log (GH-66158)."""
    lines = [character * 300] * 500
    reported = list(records(lines))
    assert max(len(record.encode()) for record in reported) <= RECORD_BYTES * (
        4 / 3 if character == "🚀" else 1
    )
    assert "\n".join(reported).split("\n") == lines


def test_a_line_longer_than_a_record_stands_alone() -> None:
    lines = ["a", *["b" * RECORD_BYTES], "c"] + ["d"] * FEW
    assert list(records(lines))[:2] == ["a", "b" * RECORD_BYTES]


def test_no_lines_no_records() -> None:
    assert list(records([])) == []


def test_empty_lines_are_lines() -> None:
    assert list(records([""] * (FEW + 1))) == ["\n" * FEW]


def test_prefixes() -> None:
    assert stream_prefix("stdout") == ""
    assert stream_prefix("stderr") == "stderr | "


class FakeTime:
    """A clock, and a sleep that only moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self._yield = asyncio.sleep
        monkeypatch.setattr(emission.asyncio, "sleep", self.sleep)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await self._yield(0)


async def test_a_flood_keeps_to_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The triggerer's supervisor has heartbeats to send, too."""
    clock = FakeTime(monkeypatch)
    budget = EmissionBudget(clock)
    for _ in range(10_000):
        await budget.take(100)
    cost = 10_000 * (RECORD_COST + 100 * BYTE_COST)
    assert clock.now == pytest.approx((cost - BURST) / SHARE)


async def test_a_quiet_stream_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime(monkeypatch)
    budget = EmissionBudget(clock)
    for _ in range(100):
        clock.now += 1
        before = clock.now
        for _ in range(FEW):
            await budget.take(100)
        assert clock.now == before


async def test_a_long_silence_saves_up_no_more_than_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeTime(monkeypatch)
    budget = EmissionBudget(clock)
    clock.now += 10**6
    start = clock.now
    for _ in range(10_000):
        await budget.take(0)
    assert clock.now - start == pytest.approx((10_000 * RECORD_COST - BURST) / SHARE)


async def test_streams_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One job that writes without end must not silence the others."""
    clock = FakeTime(monkeypatch)
    budget = EmissionBudget(clock)
    written: Counter[int] = Counter()
    over = asyncio.Event()

    async def stream(number: int, size: int) -> None:
        while not over.is_set():
            await budget.take(size)
            written[number] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(stream(number, RECORD_BYTES if number == 0 else 80))
        while clock.now < 100:
            await clock.sleep(0)
        over.set()
    assert max(written.values()) - min(written.values()) <= 1
    assert min(written.values()) > 1000


async def test_the_loop_gets_a_turn_between_records() -> None:
    """Also while the budget is not used up: other triggers poll meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    budget = EmissionBudget()
    for _ in range(50):
        await budget.take(1)
    ticking.cancel()
    assert ticks >= 50


async def test_nobody_writes_while_the_supervisor_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write would block the event loop with all triggers in it until it does."""
    clock = FakeTime(monkeypatch)
    budget = EmissionBudget(clock, lambda: clock.now >= 7)
    await budget.take(100)
    assert 7 <= clock.now < 8


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The root logger's way to the supervisor, as Airflow makes it, and the supervisor's end."""
    here, there = socket.socketpair()
    handler = logging.StreamHandler(codecs.lookup("utf-8").streamwriter(here.makefile("wb", buffering=0)))
    logging.getLogger().addHandler(handler)
    yield here, there
    logging.getLogger().removeHandler(handler)
    here.close()
    there.close()


def test_a_supervisor_that_does_not_read_is_noticed_in_time(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    """In time: the record that is written last has room."""
    here, there = channel
    here.setblocking(False)
    while supervisor_reads():
        here.sendall(b"x" * (RECORD_BYTES + 1000))
    here.sendall(b"x" * (RECORD_BYTES + 1000))
    while not supervisor_reads():
        assert there.recv(4096)


def test_a_process_without_a_supervisor_writes_at_once() -> None:
    """``dag.test()`` writes to a terminal, a test to a file."""
    assert supervisor_reads()


async def test_a_cancelled_stream_leaves_the_turn_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = EmissionBudget()
    budget._left = -(10**6.0)
    waiting = asyncio.create_task(budget.take(1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    budget._left = BURST
    await asyncio.wait_for(budget.take(1), 5)


def test_each_loop_has_one_budget() -> None:
    """``dag.test()`` runs each trigger in a loop of its own; a lock of another loop would raise."""

    async def budgets() -> tuple[EmissionBudget, EmissionBudget]:
        return emission_budget(), emission_budget()

    first, again = asyncio.run(budgets())
    assert first is again
    assert asyncio.run(budgets())[0] is not first


def test_notes_are_written_in_turn_when_there_is_room() -> None:
    """A thousand jobs that end together must not stop the loop until all of it is read."""
    full = True
    written: list[int] = []

    async def main() -> None:
        nonlocal full
        budget = EmissionBudget(has_room=lambda: not full)

        async def note(number: int) -> None:
            await budget.room()
            written.append(number)

        notes = [asyncio.create_task(note(number)) for number in range(100)]
        await asyncio.sleep(0.05)
        assert written == []
        full = False
        await asyncio.gather(*notes)

    asyncio.run(main())
    assert written == list(range(100))


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("count", [1, 50])
def test_no_record_folds_the_log(together: bool, count: int) -> None:
    """Airflow's page would hide all that follows ``::group::`` until the user opens the group."""
    lines = ["  ::group::Build", "::endgroup::", "plain"] * count
    made = list(records(lines, stream_prefix("::group::"), together=together))
    assert not any("::group::" in record or "::endgroup::" in record for record in made)
    assert "Build" in made[0]


def test_no_note_folds_the_log() -> None:
    """A reason or a half line comes from the cloud as well."""
    log = TaskLog()
    logger = logging.Logger("task")
    logger.addHandler(log)
    Note("stderr | ::group::", warning=True).log(logger)
    assert log.warnings == ["stderr | :: group::"]

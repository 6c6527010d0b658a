# SPDX-License-Identifier: Apache-2.0
"""Save the cursor of a deferred stream in time, whatever its follower waits for, and never too early."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.logs import saver as savers
from airflow_provider_ehpc.logs import store as stores
from airflow_provider_ehpc.logs.cursor import SavedCursor, StreamMark
from airflow_provider_ehpc.logs.saver import CursorSaver
from airflow_provider_ehpc.logs.store import XCOM_KEY, TriggerStore, WriteThrottle
from tests.logs.stores import TI, XComs
from tests.polling.cloud import run

ARRIVAL = 3.0
"""The package's value, which is shorter in all other tests."""
EMPTY = SavedCursor("ehpc", {"job_id": "7"})


def counting(lines: int) -> SavedCursor:
    return SavedCursor("ehpc", {"job_id": "7"}, {"stdout": StreamMark(lines, 0, "")})


class Database(XComs):
    """Records when the cursor of which line was saved, in seconds since the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.began = asyncio.get_running_loop().time()
        self.saved: list[tuple[float, int]] = []

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    async def aset(self, *, key: str, value: Any, **address: Any) -> None:
        await super().aset(key=key, value=value, **address)
        assert key == XCOM_KEY
        streams = value["cursor"]["streams"]
        self.saved.append((self.now, streams["stdout"]["position"] if streams else 0))


class Stream:
    """A stream of numbered lines, as a trigger writes them."""

    def __init__(self, database: Database, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(stores, "async_xcom", lambda: database)
        patch.setattr(stores, "ARRIVAL", ARRIVAL)
        patch.setattr(savers, "ARRIVAL", ARRIVAL)
        self.store = TriggerStore(TI, logging.getLogger("task"))
        self.saver = CursorSaver(self.store)
        self.database = database
        self.written: list[float] = []

    async def write(self) -> None:
        """Write a line, and report its checkpoint."""
        self.written.append(self.database.now)
        self.saver.wrote()
        await self.saver.reached(counting(len(self.written)))


@asynccontextmanager
async def stream() -> AsyncIterator[Stream]:
    with pytest.MonkeyPatch.context() as patch:
        clock = asyncio.get_running_loop().time
        patch.setattr(TriggerStore, "_writes", WriteThrottle(stores.WRITES_PER_SECOND, clock))
        made = Stream(Database(), patch)
        try:
            yield made
        finally:
            made.store.close()


def test_the_lines_before_a_long_call_are_saved_during_it() -> None:
    """The API answers 429, and all requests of the account pause for a minute; then again."""

    async def main() -> None:
        async with stream() as job, job.saver.running():
            await job.saver.reached(EMPTY)
            await job.write()
            await asyncio.sleep(5)
            await job.write()
            await asyncio.sleep(60)
            await job.write()
            await asyncio.sleep(60)
            assert [(round(at), line) for at, line in job.database.saved] == [
                (0, 0),
                (3, 1),
                (10, 2),
                (68, 3),
            ]

    run(main())


@given(pauses=st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.5, 5.0, 11.0, 60.0]), max_size=40))
def test_no_line_waits_longer_than_promised_nor_is_counted_before_it_arrived(pauses: list[float]) -> None:
    async def main() -> None:
        async with stream() as job:
            async with job.saver.running():
                await job.saver.reached(EMPTY)
                for pause in pauses:
                    await job.write()
                    await asyncio.sleep(pause)
            saved = job.database.saved
            for number, written in enumerate(job.written, 1):
                counted = min(at for at, lines in saved if lines >= number)
                assert ARRIVAL <= counted - written <= job.store.delay() + 1
            assert [lines for _, lines in saved] == sorted({lines for _, lines in saved}), "nothing twice"
            ends = sum(pauses) + ARRIVAL
            assert len(saved) <= 3 + ends / stores.TRIGGER_EVERY

    run(main())


def test_the_place_before_any_line_is_saved_before_it() -> None:
    """Without it, the next process would not know that there was one before, and would mark no lines."""

    async def main() -> None:
        async with stream() as job, job.saver.running():
            await job.saver.reached(EMPTY)
            assert job.database.saved == [(0, 0)]

    run(main())


def test_the_event_comes_when_the_last_line_has_arrived_and_is_counted() -> None:
    """A triggerer that is killed in between would lose the line: Airflow has the event already."""

    async def main() -> None:
        async with stream() as job:
            async with job.saver.running():
                await job.saver.reached(EMPTY)
                await asyncio.sleep(100)
                await job.write()
            assert job.database.now == pytest.approx(100 + ARRIVAL)
            assert job.database.saved[-1][1] == 1

    run(main())


def test_the_end_without_a_new_line_does_not_wait() -> None:
    async def main() -> None:
        async with stream() as job:
            async with job.saver.running():
                await job.saver.reached(EMPTY)
                await job.write()
                await asyncio.sleep(100)
            assert job.database.now == pytest.approx(100)
            assert len(job.database.saved) == 2

    run(main())


def test_nothing_runs_on_after_an_error() -> None:
    """A trigger that failed, or was cancelled, writes no cursor behind that of its successor."""

    async def main() -> None:
        async with stream() as job:
            tasks = len(asyncio.all_tasks())
            await job.saver.reached(EMPTY)
            await job.write()
            with pytest.raises(RuntimeError, match="the hook is gone"):
                async with job.saver.running():
                    raise RuntimeError("the hook is gone")
            await asyncio.sleep(100)
            assert job.database.saved == [(0, 0)]
            assert len(asyncio.all_tasks()) == tasks

    run(main())


def test_many_streams_write_evenly_and_each_as_often_as_it_promises() -> None:
    """A hundred streams that write all the time save every twenty seconds, and five per second in all."""

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            clock = asyncio.get_running_loop().time
            patch.setattr(TriggerStore, "_writes", WriteThrottle(stores.WRITES_PER_SECOND, clock))
            databases = [Database() for _ in range(100)]
            jobs = [Stream(database, patch) for database in databases]

            async def follow(job: Stream) -> None:
                async with job.saver.running():
                    await job.saver.reached(EMPTY)
                    for _ in range(300):
                        await job.write()
                        await asyncio.sleep(1)

            await asyncio.gather(*map(follow, jobs))
            for job in jobs:
                job.store.close()
            saves = sorted(at for database in databases for at, _ in database.saved)
            for begin in range(0, 280, 10):
                assert sum(begin <= at < begin + 10 for at in saves) <= 10 * stores.WRITES_PER_SECOND + 1
            for job in jobs:
                # At the end, all of them queue for their last write.
                for number, written in enumerate(job.written[:250], 1):
                    counted = min(at for at, lines in job.database.saved if lines >= number)
                    assert counted - written <= 20 + ARRIVAL + 1

    run(main())

# SPDX-License-Identifier: Apache-2.0
"""Airflow's stores, in memory."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

TI = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1, try_number=2, max_tries=3)


class States(dict[str, Any]):
    """A task state store; broken where it is reported to be."""

    broken = False
    cleared = False
    """Whether the task was cleared meanwhile, so that its instance has another id."""

    def set(self, key: str, value: Any) -> None:
        self._work()
        self[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        self._work()
        return super().get(key, default)

    def _work(self) -> None:
        if self.broken:
            raise RuntimeError("the database is away")
        if self.cleared:
            reported = RuntimeError("Task instance not found")
            reported.error = SimpleNamespace(detail={"status_code": 404})  # type: ignore[attr-defined]
            raise reported


class XComs:
    """XComs of one task; silent, broken or deaf to answers where they are reported to be."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.fault: Exception | None = None
        self.silent = False
        self.unanswered = False
        """What is asked for is done, but nobody is reported: as when a triggerer ends."""

    async def aset(self, *, key: str, value: Any, **address: Any) -> None:
        await self._work(address)
        self.values[key] = value
        if self.unanswered:
            await asyncio.Event().wait()

    async def aget_one(self, *, key: str, **address: Any) -> Any:
        await self._work(address)
        return self.values.get(key)

    def get_one(self, *, key: str, **address: Any) -> Any:
        if self.fault:
            raise self.fault
        return self.values.get(key)

    async def _work(self, address: dict[str, Any]) -> None:
        assert address == {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1}
        if self.fault:
            raise self.fault
        if self.silent:
            await asyncio.Event().wait()

# SPDX-License-Identifier: Apache-2.0
"""Save a deferred stream's cursor in the background, on time even while its follower waits for a response.

That can take minutes: if the API throttles the account, all requests pause for as long as it demands. A
triggerer that is killed then must not repeat the lines of the whole pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator

from airflow_provider_ehpc.logs.arrival import ARRIVAL
from airflow_provider_ehpc.logs.cursor import SavedCursor
from airflow_provider_ehpc.logs.store import TriggerStore


class CursorSaver:
    """Save the newest checkpoint of one stream once its lines are in the log.

    :param store: saves the cursor, and decides how often.
    """

    def __init__(self, store: TriggerStore) -> None:
        self._store = store
        self._clock = asyncio.get_running_loop().time
        self._newest: SavedCursor | None = None
        self._saved: SavedCursor | None = None
        self._changed = asyncio.Event()
        self._wrote_at = -math.inf

    def wrote(self) -> None:
        """Process that lines were written."""
        self._wrote_at = self._clock()

    async def reached(self, cursor: SavedCursor) -> None:
        """Process a checkpoint."""
        self._newest = cursor
        if not cursor.streams:
            # It comes before any line, so that after a crash the next process marks those that it repeats.
            await self._save()
        self._changed.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Save checkpoints while the context is open. If it ends without an error, save the last one.

        The end waits until the last line is in the log: a trigger's event is a request, too.
        """
        saving = asyncio.create_task(self._run())
        try:
            yield
            await asyncio.sleep(self._wrote_at + ARRIVAL - self._clock())
        finally:
            saving.cancel()
        if self._newest != self._saved:
            await self._save()

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._newest != self._saved:
                await self._save(ARRIVAL)
                await asyncio.sleep(self._store.every() - ARRIVAL)

    async def _save(self, arrival: float = 0.0) -> None:
        """Save the newest checkpoint when its lines have had ``arrival`` seconds to reach the log."""
        await self._store.turn()
        if cursor := self._newest:
            await asyncio.sleep(arrival)
            await self._store.save(cursor)
            self._saved = cursor

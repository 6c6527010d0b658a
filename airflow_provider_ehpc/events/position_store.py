# SPDX-License-Identifier: Apache-2.0
"""Save a watcher's position outside of the triggerer: in the asset state store, or in an Airflow variable.

Airflow 3.3 gives an event trigger the state store of its assets. In earlier versions, a variable is the only
thing that a trigger can write and read again after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from airflow_provider_ehpc.compat import asset_states, trigger_variables
from airflow_provider_ehpc.events.job_diff import Position

T = TypeVar("T")

STORE_TIMEOUT = 30.0
"""Seconds to wait for a response of the triggerer's supervisor."""
RETRY_AFTER = 5.0
"""Seconds between two attempts."""
EVENT_SETTLE_TIME = 5.0
"""Seconds. A triggerer's runner hands events to its supervisor once a second."""


class PositionStore:
    """Save one watcher's position.

    :param identity: the watcher's identity.
    :param assets: the state store of the trigger's assets (``asset_state_store``); None before Airflow 3.3.
    """

    def __init__(self, identity: str, assets: Any, log: Any) -> None:
        self._key = f"ehpc_job_finished_{identity}"
        self._log = log
        self._assets = asset_states(assets)
        self._variables = None if self._assets else trigger_variables()
        if not self._assets and self._variables:
            log.info(
                "this Airflow has no asset state store (new in 3.3): the watcher's position is saved in the "
                "Airflow variable %s. This Airflow does not report that it has stored an event.",
                self._key,
            )
        elif not self._assets:
            log.warning(
                "this triggerer cannot save the watcher's position: jobs that end while it restarts are "
                "not reported"
            )

    async def load(self) -> Position:
        """Return the saved position, or a new one if there is none.

        Retry until it can be read: without it, the ends of jobs in between would be lost.
        """
        saved = await self._retry(self._read, "read")
        if saved is None:
            return Position()
        try:
            return Position.read(saved)
        except ValueError as error:
            self._log.error(
                "the watcher starts without a position: %s. Jobs that ended meanwhile are not reported.",
                error,
            )
            return Position()

    async def save(self, position: Position) -> None:
        """Save the position; retry until it can be written."""
        value = position.as_dict()
        await self._retry(lambda: self._write(value), "saved")

    async def events_stored(self) -> None:
        """Wait until Airflow has stored the events, for versions that do not report this (before 3.3).

        The supervisor responds in order and stores events after each round of responses. So after a response
        and a pause longer than a round of the runner, the next response comes after the events were stored.
        """
        await self._retry(self._read, "read")
        await asyncio.sleep(EVENT_SETTLE_TIME)
        await self._retry(self._read, "read")

    async def _read(self) -> Any:
        if self._assets:
            # Assets with the same watcher share a trigger, and one of them may be new.
            saved = [await _bounded(asset.aget(self._key)) for asset in self._assets]
            return max((s for s in saved if s), key=lambda s: s.get("since") or 0.0, default=None)
        return await _bounded(self._variables.aget(self._key)) if self._variables else None

    async def _write(self, value: dict[str, Any]) -> None:
        for asset in self._assets:
            await _bounded(asset.aset(self._key, value))
        if self._variables:
            await _bounded(self._variables.aset(self._key, value))

    async def _retry(self, work: Any, action: str) -> Any:
        failures = 0
        while True:
            try:
                done = await work()
            except Exception as error:
                failures += 1
                if failures == 1:
                    self._log.warning(
                        "the watcher's position could not be %s: %s %s. Retrying; no event is "
                        "sent until it succeeds.",
                        action,
                        type(error).__name__,
                        error,
                    )
                await asyncio.sleep(RETRY_AFTER)
            else:
                return done


async def _bounded(answer: Awaitable[T]) -> T:
    """Wait for the supervisor for a limited time.

    The request itself is not cancelled: Airflow 3.1 would take its late response for that of the next one.
    """
    task = asyncio.ensure_future(answer)
    # If nothing awaits the task any more, retrieve its error, so that asyncio does not log it.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    # Not wait_for: in Python 3.11, it drops a cancellation that comes together with the response.
    async with asyncio.timeout(STORE_TIMEOUT):
        return await asyncio.shield(task)

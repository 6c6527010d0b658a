"""Where a watcher's position outlives the triggerer: the asset state store, or an Airflow variable.

Airflow 3.3 gives an event trigger the state store of the assets that it watches for. Before, the one thing
that a trigger can write, and read again after a restart, is a variable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from airflow_provider_ehpc.compat import asset_states, trigger_variables
from airflow_provider_ehpc.polling.finished import Position

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds in which the triggerer's supervisor has to answer."""
RETRY_AFTER = 5.0
"""Seconds after which it is asked again."""
SETTLE = 5.0
"""Seconds. A triggerer's runner hands events to its supervisor once a second."""


class PositionStore:
    """Keeps one watcher's position.

    :param identity: what tells the watcher from all others.
    :param assets: what Airflow gave the trigger (``asset_state_store``), None before 3.3.
    """

    def __init__(self, identity: str, assets: Any, log: Any) -> None:
        self._key = f"ehpc_job_finished_{identity}"
        self._log = log
        self._assets = asset_states(assets)
        self._variables = None if self._assets else trigger_variables()
        if not self._assets and self._variables:
            log.info(
                "this Airflow has no asset state store (3.3 has): how far jobs have been seen to end is kept "
                "in the Airflow variable %s. Whether Airflow has stored an event cannot be known here, only "
                "waited for.",
                self._key,
            )
        elif not self._assets:
            log.warning(
                "there is no place to keep how far jobs have been seen to end: after a restart of the "
                "triggerer, the ends of jobs that ended meanwhile are not told"
            )

    async def load(self) -> Position:
        """Return the position, a new one where there is none; wait for as long as it cannot be read: to
        begin anew would lose the ends of jobs in between.
        """
        told = await self._insist(self._read, "read")
        if told is None:
            return Position()
        try:
            return Position.read(told)
        except ValueError as error:
            self._log.error("%s. The watch begins anew: jobs that ended meanwhile are not told.", error)
            return Position()

    async def save(self, position: Position) -> None:
        """Keep the position; wait for as long as it cannot be written."""
        value = position.as_dict()
        await self._insist(lambda: self._write(value), "kept")

    async def events_stored(self) -> None:
        """Wait until Airflow has stored what was handed to it, where it does not tell (before 3.3).

        The supervisor answers in order and stores events after each round of answers, so behind an answer
        and a pause longer than a round of the runner, the next answer comes after the events were stored.
        """
        await self._insist(self._read, "read")
        await asyncio.sleep(SETTLE)
        await self._insist(self._read, "read")

    async def _read(self) -> Any:
        if self._assets:
            # Several assets with the same watcher share a trigger, and one of them may be new.
            told = [await _bounded(asset.aget(self._key)) for asset in self._assets]
            return max((t for t in told if t), key=lambda t: t.get("since") or 0.0, default=None)
        return await _bounded(self._variables.aget(self._key)) if self._variables else None

    async def _write(self, value: dict[str, Any]) -> None:
        for asset in self._assets:
            await _bounded(asset.aset(self._key, value))
        if self._variables:
            await _bounded(self._variables.aset(self._key, value))

    async def _insist(self, work: Any, what: str) -> Any:
        failures = 0
        while True:
            try:
                done = await work()
            except Exception as error:
                failures += 1
                if failures == 1:
                    self._log.warning(
                        "how far jobs have been seen to end could not be %s: %s %s. No event is sent before "
                        "it can.",
                        what,
                        type(error).__name__,
                        error,
                    )
                await asyncio.sleep(RETRY_AFTER)
            else:
                return done


async def _bounded(answer: Awaitable[T]) -> T:
    """Wait for the supervisor, but not for ever.

    The question itself is not cancelled: Airflow 3.1 would take its late answer for that of the next one.
    """
    task = asyncio.ensure_future(answer)
    # Where nobody waits for it any more, its error is nobody's.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    # Not wait_for, which in Python 3.11 drops a cancellation that comes together with the answer.
    async with asyncio.timeout(PATIENCE):
        return await asyncio.shield(task)

# SPDX-License-Identifier: Apache-2.0
"""End the wait of a task that Airflow kills."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class InterruptibleWait:
    """Wait for a time, or until ``on_kill`` interrupts from a signal handler, at any point of the code.

    A ``threading.Event`` is no alternative. Its lock is not reentrant, so a signal at the wrong moment would
    block the task forever. And ``DAG.partial_subset`` cannot copy an operator that has an ``Event``.
    """

    def __init__(self) -> None:
        self._interrupted = False
        self._wake: SimpleQueue[None] | None = None

    def interrupt(self) -> None:
        """End the current wait and all later ones."""
        self._interrupted = True
        if self._wake is not None:
            # SimpleQueue is the only queue whose put is reentrant.
            self._wake.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait for at most ``seconds``; return True if it was interrupted."""
        wake = self._wake = SimpleQueue()
        try:
            # Checked after the queue exists, so that an interrupt before that is not missed.
            if not self._interrupted and seconds > 0:
                wake.get(timeout=seconds)
        except Empty:
            pass
        finally:
            self._wake = None
        return self._interrupted

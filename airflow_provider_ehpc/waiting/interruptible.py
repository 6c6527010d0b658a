"""Ending the wait of a task that Airflow kills."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class InterruptibleWait:
    """End a wait. ``on_kill`` pulls it, in a signal handler, at any point of the task's code.

    An ``Event`` would do neither: its lock is not reentrant, so that a signal in the wrong moment blocks the
    task for ever, and an operator that has one cannot be copied, as ``DAG.partial_subset`` does.
    """

    def __init__(self) -> None:
        self._pulled = False
        self._wake: SimpleQueue[None] | None = None

    def pull(self) -> None:
        """End the wait that goes on, and all that come."""
        self._pulled = True
        if self._wake is not None:
            # The one queue whose put may interrupt itself.
            self._wake.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait for at most ``seconds``; return True if the task has to end."""
        wake = self._wake = SimpleQueue()
        try:
            # Checked after the queue exists: a pull before that is seen here.
            if not self._pulled and seconds > 0:
                wake.get(timeout=seconds)
        except Empty:
            pass
        finally:
            self._wake = None
        return self._pulled

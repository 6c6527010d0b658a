"""What was asked of the emulator, for tests that count requests and for users who wonder."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

_RECENT = 10_000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request and what it was answered. Its parameters are not kept: a password may be among them."""

    at: float
    """Epoch seconds of its arrival."""
    operation: str
    cluster_id: str
    job_id: str
    outcome: str
    """``ok``, an error code, or the kind of the fault that left no answer."""
    status: int | None
    """The HTTP status; None where no answer was sent."""


class Journal:
    """Counts of all requests, and the last ten thousand of them. To be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[RequestRecord] = deque(maxlen=_RECENT)
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, record: RequestRecord) -> None:
        """Note a request."""
        with self._lock:
            self._recent.append(record)
            self._counts[record.operation, record.outcome] += 1

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._recent.clear()
            self._counts.clear()

    @property
    def recent(self) -> list[RequestRecord]:
        """The last requests, oldest first."""
        with self._lock:
            return list(self._recent)

    def count(self, operation: str = "", outcome: str = "") -> int:
        """Return how many requests there were for an operation, with an outcome; empty means any."""
        return sum(
            count
            for (asked, came), count in self._snapshot()
            if operation in ("", asked) and outcome in ("", came)
        )

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many requests there were, by operation and outcome."""
        told: dict[str, dict[str, int]] = {}
        for (operation, outcome), count in sorted(self._snapshot()):
            told.setdefault(operation, {})[outcome] = count
        return told

    def _snapshot(self) -> list[tuple[tuple[str, str], int]]:
        with self._lock:
            return list(self._counts.items())

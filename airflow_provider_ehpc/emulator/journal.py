# SPDX-License-Identifier: Apache-2.0
"""Record the requests, for tests that count them and for users who want to see them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

_RECENT = 10_000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request and its outcome. The parameters are not recorded, because they may include a password."""

    at: float
    """Epoch seconds of its arrival."""
    operation: str
    cluster_id: str
    job_id: str
    outcome: str
    """``ok``, an error code, or the kind of the fault that prevented a complete response."""
    status: int | None
    """The HTTP status; None if no response was sent."""


class Journal:
    """Counts of all requests, and the last ten thousand of them. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[RequestRecord] = deque(maxlen=_RECENT)
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, record: RequestRecord) -> None:
        """Record a request."""
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
        """Return the number of requests for an operation with an outcome; empty means any."""
        return sum(
            count
            for (each_operation, each_outcome), count in self._snapshot()
            if operation in ("", each_operation) and outcome in ("", each_outcome)
        )

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """The number of requests, by operation and outcome."""
        counts: dict[str, dict[str, int]] = {}
        for (operation, outcome), count in sorted(self._snapshot()):
            counts.setdefault(operation, {})[outcome] = count
        return counts

    def _snapshot(self) -> list[tuple[tuple[str, str], int]]:
        with self._lock:
            return list(self._counts.items())

# SPDX-License-Identifier: Apache-2.0
"""Define the faults that tests and users can inject, to see how a client handles them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_provider_ehpc.emulator.operations import EmulatedStatus


class FaultKind(StrEnum):
    """The kinds of faults. Each docstring names the fields of :class:`Fault` that the kind uses."""

    LATENCY = "latency"
    """The response is ``seconds`` late."""
    ERROR = "error"
    """The API returns ``status`` with ``code`` and ``message``; the operation is not done."""
    THROTTLE = "throttle"
    """Like ERROR; by default 429 with the cloud's own code. ``retry_after_ms`` (milliseconds) sets
    x-acs-retry-after, ``retry_after`` (seconds) sets Retry-After."""
    QUOTA = "quota"
    """Requests beyond ``rate`` per second are throttled as by THROTTLE. After a pause, the requests of one
    second may arrive at once."""
    RESET = "reset"
    """The connection is reset instead of a response; with ``effect`` the operation is done before."""
    TRUNCATE = "truncate"
    """The connection ends in the middle of the response body; the operation is done."""
    HTML = "html"
    """A proxy returns an HTML page with ``status`` (0 means 200); the operation is not done."""
    HUGE = "huge"
    """The response has ``size`` more bytes in a field that no client knows."""
    CLOCK = "clock"
    """The cloud's clock is ``seconds`` ahead, in its checks and in its Date header."""
    INVISIBLE = "invisible"
    """A job is unknown for ``seconds`` after its submission."""
    STATE = "state"
    """A job's state is ``word``."""
    LOG_SIZE = "log_size"
    """The sizes of a log are 0, or with ``word="stale"`` those of the previous request."""
    DRIFT = "drift"
    """Types and white space vary between responses, as they do between pages of the documentation."""
    FINISHED_HIDES_FAILURE = "finished_hides_failure"
    """Every ended job is FINISHED, for any exit code."""
    SPLIT = "split"
    """ModelArts v1 handles a character that the end of a piece of log cuts in two as ``word`` says:
    ``replaced`` (as without the fault), ``dropped``, or ``aligned`` (the piece ends before it)."""
    LIFETIME = "lifetime"
    """Tokens of IAM expire after ``seconds``."""
    TIES = "ties"
    """Operations of one second are in a different order in every response of an operation log."""
    LATE_ROWS = "late_rows"
    """An operation log shows operations ``seconds`` after they began."""
    ARRIVAL = "arrival"
    """Each of the next ``times`` reads of an operation log adds ``rows`` operations that began ``seconds``
    earlier."""
    CHANGE = "change"
    """Each of the next ``times`` reads of an operation log ends ``rows`` operations in progress. ``word`` is
    their status; empty means successful."""


PERSISTENT = frozenset(
    {
        FaultKind.QUOTA,
        FaultKind.CLOCK,
        FaultKind.INVISIBLE,
        FaultKind.STATE,
        FaultKind.LOG_SIZE,
        FaultKind.DRIFT,
        FaultKind.FINISHED_HIDES_FAILURE,
        FaultKind.SPLIT,
        FaultKind.LIFETIME,
        FaultKind.TIES,
        FaultKind.LATE_ROWS,
    }
)
"""Kinds that stay until they are cleared. The others affect ``times`` requests."""
_LOG_KINDS = frozenset({FaultKind.ARRIVAL, FaultKind.CHANGE})
"""Kinds that change the operation log. They do not change the response otherwise."""
_LONGEST = 1_000_000_000
"""The largest ``seconds`` of a fault. With them, clocks are still within the range of dates."""
_MOST_ROWS = 1_000_000


@dataclass
class Fault:
    """A fault to inject. An empty ``operation`` or ``job_id`` means any."""

    kind: FaultKind
    operation: str = ""
    job_id: str = ""
    times: int = 1
    """The number of requests it still affects; ignored for kinds that stay until cleared."""
    seconds: float = 0.0
    status: int = 0
    code: str = ""
    message: str = ""
    retry_after_ms: int | None = None
    retry_after: int | None = None
    effect: bool = False
    size: int = 64 * 1024 * 1024
    word: str = ""
    rows: int = 1
    rate: float = 1.0

    def __post_init__(self) -> None:
        self.kind = FaultKind(self.kind)
        for name, good in (
            ("times", self.times >= 0),
            ("seconds", abs(self.seconds) <= _LONGEST),
            ("status", self.status == 0 or 200 <= self.status < 600),
            ("size", self.size >= 0),
            ("rows", 0 <= self.rows <= _MOST_ROWS),
            ("rate", self.rate > 0),
            ("word", self.kind is not FaultKind.CHANGE or self.word in ("", *EmulatedStatus)),
        ):
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} is out of range for the fault {self.kind}")

    def matches(self, operation: str, job_id: str) -> bool:
        """Return True if the fault is for this operation and job."""
        return self.operation in ("", operation) and self.job_id in ("", job_id)


class Faults:
    """The injected faults, in the order of their injection. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._quota_used_until = 0.0
        """For QUOTA: when the quota used so far is available again, in monotonic seconds."""

    def add(self, fault: Fault) -> None:
        """Inject a fault."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def pending(self) -> list[Fault]:
        """Return the faults that are still active."""
        with self._lock:
            return list(self._faults)

    def active(self, kind: FaultKind, job_id: str = "") -> Fault | None:
        """Return the first active fault of a kind, for a job if one is named."""
        return next(
            (fault for fault in self.pending() if fault.kind is kind and fault.job_id in ("", job_id)), None
        )

    @property
    def hides_any(self) -> bool:
        """True if any job may be hidden. If not, lists need not check each job."""
        return any(fault.kind is FaultKind.INVISIBLE for fault in self.pending())

    def hides(self, job_id: str, submitted_at: float) -> bool:
        """Return True if a job is still hidden."""
        fault = self.active(FaultKind.INVISIBLE, job_id)
        return fault is not None and time.time() - submitted_at < fault.seconds

    def take(self, operation: str, job_id: str) -> list[Fault]:
        """Return the faults for a request, and count it: all latencies, and the first other fault."""
        taken: list[Fault] = []
        with self._lock:
            for fault in list(self._faults):
                other_kind = fault.kind is not FaultKind.LATENCY
                if (
                    fault.kind in PERSISTENT | _LOG_KINDS
                    or not fault.matches(operation, job_id)
                    or (other_kind and any(each.kind is not FaultKind.LATENCY for each in taken))
                ):
                    continue
                taken.append(fault)
                self._use(fault)
            if all(fault.kind is FaultKind.LATENCY for fault in taken):
                for fault in self._faults:
                    if fault.kind is FaultKind.QUOTA and fault.matches(operation, job_id):
                        return [*taken, *self._over_quota(fault)]
        return taken

    def _over_quota(self, quota: Fault) -> list[Fault]:
        """Count a request, and return a THROTTLE fault if it is over the quota."""
        now = time.monotonic()
        used_until = max(self._quota_used_until, now - max(1.0, 1 / quota.rate)) + 1 / quota.rate
        if used_until > now:
            return [replace(quota, kind=FaultKind.THROTTLE)]
        self._quota_used_until = used_until
        return []

    def take_for_log(self, kind: FaultKind) -> list[Fault]:
        """Return the faults of a kind that change the operation log now, and count the read."""
        with self._lock:
            taken = [fault for fault in self._faults if fault.kind is kind]
            for fault in taken:
                self._use(fault)
        return taken

    def _use(self, fault: Fault) -> None:
        fault.times -= 1
        if fault.times <= 0:
            self._faults.remove(fault)

    @property
    def clock_shift(self) -> float:
        """Seconds by which the cloud's clock is ahead."""
        fault = self.active(FaultKind.CLOCK)
        return fault.seconds if fault else 0.0

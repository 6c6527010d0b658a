"""Faults that a test or a user asks for, to see what a client makes of them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_provider_ehpc.emulator.operations import EmulatedStatus


class FaultKind(StrEnum):
    """What goes wrong. Each docstring names the fields of :class:`Fault` that the kind reads."""

    LATENCY = "latency"
    """The answer comes ``seconds`` later."""
    ERROR = "error"
    """The API answers ``status`` with ``code`` and ``message``; nothing was done."""
    THROTTLE = "throttle"
    """As ERROR, by default 429 with the cloud's own code, with x-acs-retry-after of ``retry_after_ms``
    milliseconds or Retry-After of ``retry_after`` seconds where given."""
    QUOTA = "quota"
    """What comes faster than ``rate`` requests a second is refused as by THROTTLE; after a rest, the requests
    of one second may come at once."""
    RESET = "reset"
    """The connection is reset instead of an answer; with ``effect`` the operation was done before."""
    TRUNCATE = "truncate"
    """The connection ends in the middle of the answer's body; the operation was done."""
    HTML = "html"
    """A proxy's HTML page comes with ``status`` (200 where 0); nothing was done."""
    HUGE = "huge"
    """The answer carries ``size`` more bytes in a field that no client knows."""
    CLOCK = "clock"
    """The cloud's clock is ``seconds`` ahead, in its checks and in its Date header."""
    INVISIBLE = "invisible"
    """A job is unknown in its first ``seconds``."""
    STATE = "state"
    """A job's state is ``word``."""
    LOG_SIZE = "log_size"
    """A log's sizes are all 0, or with ``word="stale"`` those that the request before should have told."""
    DRIFT = "drift"
    """Types and white space vary from one answer to the next, as they do between documentation pages."""
    FINISHED_HIDES_FAILURE = "finished_hides_failure"
    """Every job that has ended is FINISHED, whatever its exit code."""
    SPLIT = "split"
    """What is left of a character that ModelArts v1 cut in two: ``word`` is ``replaced`` (as without the
    fault), ``dropped``, or ``aligned`` where the cut is moved to the character's beginning."""
    LIFETIME = "lifetime"
    """IAM gives tokens that are good for ``seconds``."""
    TIES = "ties"
    """Operations of one second are in another order in every answer of an operation log."""
    LATE_ROWS = "late_rows"
    """An operation log shows operations ``seconds`` after they began."""
    ARRIVAL = "arrival"
    """With each of the next ``times`` answers of an operation log come ``rows`` more operations, which began
    ``seconds`` before."""
    CHANGE = "change"
    """With each of the next ``times`` answers of an operation log, ``rows`` operations that were in progress
    have ended; ``word`` is how (successful where empty)."""


_STANDING = frozenset(
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
"""Kinds that hold until they are cleared; the others strike ``times`` requests."""
_OF_THE_LOG = frozenset({FaultKind.ARRIVAL, FaultKind.CHANGE})
"""Kinds that happen to the operation log; the request that is struck is answered all the same."""
_LONGEST = 1_000_000_000
"""Seconds that a fault may name; every clock still shows a date with them."""
_MOST_ROWS = 1_000_000


@dataclass
class Fault:
    """One fault to come. Left out, ``operation`` and ``job_id`` mean any."""

    kind: FaultKind
    operation: str = ""
    job_id: str = ""
    times: int = 1
    """How many requests it still strikes; not read of kinds that hold until cleared."""
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

    def strikes(self, operation: str, job_id: str) -> bool:
        """Whether a request for this operation and job is meant."""
        return self.operation in ("", operation) and self.job_id in ("", job_id)


class Faults:
    """The faults to come, in the order they were asked for. To be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._even = 0.0
        """When the last request within a quota would have come, had all come evenly."""

    def add(self, fault: Fault) -> None:
        """Let a fault happen."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def pending(self) -> list[Fault]:
        """Return the faults that may still happen."""
        with self._lock:
            return list(self._faults)

    def standing(self, kind: FaultKind, job_id: str = "") -> Fault | None:
        """Return the fault of a kind that holds now, for a job where one is named."""
        return next(
            (fault for fault in self.pending() if fault.kind is kind and fault.job_id in ("", job_id)), None
        )

    @property
    def hides_any(self) -> bool:
        """Whether there is a job that may not be known yet; where not, lists need not look at each."""
        return any(fault.kind is FaultKind.INVISIBLE for fault in self.pending())

    def hides(self, job_id: str, submitted_at: float) -> bool:
        """Whether a job is not known yet."""
        fault = self.standing(FaultKind.INVISIBLE, job_id)
        return fault is not None and time.time() - submitted_at < fault.seconds

    def take(self, operation: str, job_id: str) -> list[Fault]:
        """Return what strikes this request: each latency, and the first of the faults that end it."""
        struck: list[Fault] = []
        with self._lock:
            for fault in list(self._faults):
                ending = fault.kind is not FaultKind.LATENCY
                if (
                    fault.kind in _STANDING | _OF_THE_LOG
                    or not fault.strikes(operation, job_id)
                    or (ending and any(other.kind is not FaultKind.LATENCY for other in struck))
                ):
                    continue
                struck.append(fault)
                self._use(fault)
            if all(fault.kind is FaultKind.LATENCY for fault in struck):
                for fault in self._faults:
                    if fault.kind is FaultKind.QUOTA and fault.strikes(operation, job_id):
                        return [*struck, *self._beyond(fault)]
        return struck

    def _beyond(self, quota: Fault) -> list[Fault]:
        """Count a request; return its refusal where it is one too many."""
        now = time.monotonic()
        even = max(self._even, now - max(1.0, 1 / quota.rate)) + 1 / quota.rate
        if even > now:
            return [replace(quota, kind=FaultKind.THROTTLE)]
        self._even = even
        return []

    def strike(self, kind: FaultKind) -> list[Fault]:
        """Return the faults of a kind that happen to the operation log now."""
        with self._lock:
            struck = [fault for fault in self._faults if fault.kind is kind]
            for fault in struck:
                self._use(fault)
        return struck

    def _use(self, fault: Fault) -> None:
        fault.times -= 1
        if fault.times <= 0:
            self._faults.remove(fault)

    @property
    def clock_shift(self) -> float:
        """Seconds by which the cloud's clock is ahead."""
        fault = self.standing(FaultKind.CLOCK)
        return fault.seconds if fault else 0.0

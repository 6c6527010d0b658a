# SPDX-License-Identifier: Apache-2.0
"""A cloud without a network: one job, its files and the time are whatever a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError, Flow, InvalidRequest, NotFound
from airflow_provider_ehpc.apis.job import (
    JobRef,
    JobSpec,
    JobState,
    JobStatus,
    LogBatch,
    LogChunk,
    LogCursor,
    LogLimits,
)
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.logs.cursor import SavedCursor
from airflow_provider_ehpc.logs.follow import (
    Checkpoint,
    Emit,
    GetStatus,
    LogFollower,
    Pause,
    Step,
)
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import JobWatch, Note, Verdict

REF = JobRef("7", "c1")
START = 1_000_000.0


class Clock:
    """Epoch seconds that pass only when a test or a pause lets them."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return self.now - START


@dataclass
class Cloud:
    """Implements :class:`~airflow_provider_ehpc.apis.job.JobApi` as far as following a job needs it.

    ``states`` and ``events`` are what happens and when, in seconds since the beginning.
    """

    clock: Clock = field(default_factory=Clock)
    states: list[tuple[float, str | ApiError | None]] = field(default_factory=lambda: [(0, "RUNNING")])
    events: list[tuple[float, Callable[[Cloud], None]]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=lambda: {"stdout": b"", "stderr": b""})
    log_limits: LogLimits = field(default_factory=lambda: LogLimits(largest=1000, smallest=10))
    refuses_above: int | None = None
    log_fault: Callable[[float], ApiError | None] = lambda passed: None
    reported_size: Callable[[str, int], int | None] = lambda stream, size: size
    read_cost: float = 0.0
    """Seconds that one reading of the log takes."""
    reading_notes: list[str] = field(default_factory=list)
    """What the next reading says of itself."""
    made: list[str] = field(default_factory=list)
    """What was asked, in order."""
    sizes: list[int] = field(default_factory=list)
    """How many bytes were asked for."""
    name: str = "fake"
    details: dict[str, Any] = field(
        default_factory=lambda: {"stdout_path": "/home/x/7.out", "stderr_path": "/home/x/7.err"}
    )
    """What else is known of the job."""

    def happen(self) -> None:
        """Let happen what is due."""
        while self.events and self.events[0][0] <= self.clock.passed:
            self.events.pop(0)[1](self)

    def write(self, at: float, data: bytes, stream: str = "stdout") -> None:
        """Let the job write at a time."""

        def append(cloud: Cloud) -> None:
            cloud.files[stream] += data

        self.at(at, append)

    def at(self, when: float, what: Callable[[Cloud], None]) -> None:
        """Let something happen at a time."""
        self.events = sorted([*self.events, (when, what)], key=lambda event: event[0])

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        self.made.append("state")
        self.happen()
        reported = [state for at, state in self.states if at <= self.clock.passed][-1]
        if isinstance(reported, ApiError):
            raise reported
        if reported is None:
            raise NotFound("no such job")
        state = JobState.__members__.get(reported, JobState.UNKNOWN)
        if reported == "FINISHED":
            return JobStatus("7", JobState.SUCCEEDED, reported, "c1", outcome_assumed=True, **self.details)
        return JobStatus("7", state, reported, "c1", **self.details)
        yield  # a generator, as the real ones are

    def status(self) -> JobStatus | ApiError | None:
        """Answer a follower that looks at the job."""
        try:
            next(self.job_status(REF))
        except StopIteration as end:
            status: JobStatus = end.value
            return status
        except NotFound as error:
            return error if error.code == "ClusterNotFound" else None
        except ApiError as error:
            return error
        raise AssertionError

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        self.made.append("log")
        self.sizes.append(size)
        self.clock.now += self.read_cost
        self.happen()
        if self.refuses_above is not None and size > self.refuses_above:
            raise InvalidRequest("Size is not valid")
        fault = self.log_fault(self.clock.passed)
        if fault:
            raise fault
        chunks = []
        for stream, content in self.files.items():
            position = cursor.position(stream)
            assert isinstance(position, int)
            data = content[position : position + size]
            reported = self.reported_size(stream, len(content))
            chunks.append(LogChunk(stream, data, position + len(data), reported))
        more = any(len(chunk.data) >= size for chunk in chunks)
        notes, self.reading_notes = tuple(self.reading_notes), []
        return LogBatch(tuple(chunks), more, notes)
        yield

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        raise NotImplementedError

    def job_statuses(self, refs: list[JobRef]) -> Flow[dict[JobRef, JobStatus | None]]:
        raise NotImplementedError

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        raise NotImplementedError

    def submit(self, spec: JobSpec, cluster_id: str) -> Flow[JobRef]:
        raise NotImplementedError

    def stop(self, ref: JobRef) -> Flow[None]:
        raise NotImplementedError


def status_of(hook: ApiHook, ref: JobRef) -> JobStatus | ApiError | None:
    """Answer a follower that looks at a job of a real hook."""
    try:
        return hook.job_statuses([ref])[ref]
    except ApiError as error:
        return error


@dataclass
class Followed:
    """What a follower did; no verdict if it was cut short."""

    verdict: Verdict | None
    steps: list[Step]
    follower: LogFollower
    times: list[float] = field(default_factory=list)
    """When each step was asked for, in seconds since the beginning."""

    def lines(self, stream: str = "stdout") -> list[str]:
        """The lines of a stream."""
        return [
            x for step in self.steps if isinstance(step, Emit) and step.stream == stream for x in step.lines
        ]

    def notes(self, *, warning: bool | None = None) -> list[str]:
        """The notes; only warnings, or none, where asked."""
        return [s.text for s in self.steps if isinstance(s, Note) and warning in (None, s.warning)]

    @property
    def cursor(self) -> SavedCursor:
        """The last checkpoint."""
        return [step.cursor for step in self.steps if isinstance(step, Checkpoint)][-1]

    @property
    def pauses(self) -> list[float]:
        return [step.seconds for step in self.steps if isinstance(step, Pause)]


def follow(
    cloud: Cloud,
    *,
    interval: float = 10.0,
    settle: float = 5.0,
    emit_cost: float = 0.0,
    start: SavedCursor | None = None,
    save_delay: float = 0.0,
    cut_after: int = 100_000,
    encoding: str = "utf-8",
    **terms: Any,
) -> Followed:
    """Follow the job to its end; pauses take no time but the cloud's, and so does writing lines.

    :param cut_after: steps after which the follower's process dies.
    """
    clock = cloud.clock
    watch = JobWatch(REF, WaitConditions(**terms), clock())
    follower = LogFollower(
        cloud,
        REF,
        watch,
        clock=clock,
        interval=interval,
        settle=settle,
        start=start,
        save_delay=lambda: save_delay,
        encoding=encoding,
    )
    steps: list[Step] = []
    times: list[float] = []

    flow, answer = follower.steps(), None
    for _ in range(cut_after):
        try:
            step = flow.send(answer)
        except StopIteration as end:
            return Followed(end.value, steps, follower, times)
        steps.append(step)
        times.append(clock.passed)
        answer = cloud.status() if isinstance(step, GetStatus) else None
        if isinstance(step, Pause):
            assert step.seconds > 0
            clock.now += step.seconds
        elif isinstance(step, Emit):
            clock.now += emit_cost
    assert cut_after < 100_000, "the follower goes on for ever"
    return Followed(None, steps, follower, times)

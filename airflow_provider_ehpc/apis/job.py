# SPDX-License-Identifier: Apache-2.0
"""Jobs in the form that all clouds share: address, state, log and specification.

Plain dataclasses, so that a DAG file that uses a state imports neither pydantic models nor a client.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias

from airflow_provider_ehpc.apis.call import ApiError, Flow, InvalidArgument, Together
from airflow_provider_ehpc.apis.capabilities import Capability, unsupported
from airflow_provider_ehpc.apis.json_text import clean_text

_TIMES = ("submitted_at", "started_at", "ended_at", "modified_at")
_TEXTS = ("raw_state", "name", "user", "queue", "reason", "stdout_path", "stderr_path")
"""The fields of a status that hold a cloud's texts unchanged."""


class JobState(StrEnum):
    """The state of a job. ``JobStatus.raw_state`` holds the cloud's own word."""

    PENDING = "PENDING"
    """Accepted; not yet in a queue, or held there."""
    QUEUED = "QUEUED"
    """In a queue, waiting for resources."""
    RUNNING = "RUNNING"
    """Holds resources: starting, executing or finishing its last steps."""
    SUSPENDED = "SUSPENDED"
    """Paused by the scheduler or a person; it can continue."""
    CANCELLING = "CANCELLING"
    """Being stopped; not yet stopped."""
    SUCCEEDED = "SUCCEEDED"
    """Ended without a reported error. See ``JobStatus.outcome_assumed``."""
    FAILED = "FAILED"
    """Ended with an error: its own exit code, a time limit, lost nodes, memory."""
    CANCELLED = "CANCELLED"
    """Ended because somebody stopped it."""
    UNKNOWN = "UNKNOWN"
    """The cloud sent a word that its documentation does not explain. Not a terminal state."""

    @property
    def terminal(self) -> bool:
        """True if the job cannot change its state any more."""
        return self in _TERMINAL

    @classmethod
    def parse(cls, text: str) -> JobState:
        """Return the state with the name ``text``, in upper or lower case.

        :raises ValueError: naming the states, for any other text.
        """
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise ValueError(f"there is no job state {text!r}; the states are {', '.join(cls)}") from None


_TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class JobRef(NamedTuple):
    """The address of one job: with a connection, all that a request for it needs.

    A tuple, because it is a fast key for many thousand waiting jobs.
    """

    job_id: str
    cluster_id: str | None = None
    version_id: str | None = None

    def as_dict(self) -> dict[str, str]:
        """Return the fields that are set. ``JobRef(**fields)`` is the inverse."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def __str__(self) -> str:
        version = f" version {self.version_id}" if self.version_id else ""
        return f"job {self.job_id}{version}" + (f" in cluster {self.cluster_id}" if self.cluster_id else "")


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of a job as the cloud reports it.

    An API may return times without a zone (:func:`in_zone`); in a hook's result, every time has one.
    """

    job_id: str
    state: JobState
    raw_state: str
    cluster_id: str | None = None
    name: str | None = None
    user: str | None = None
    queue: str | None = None
    reason: str | None = None
    """The reason for the state, in the cloud's words."""
    exit_code: int | None = None
    outcome_assumed: bool = False
    """The cloud reported only that the job ended; SUCCEEDED is then an assumption."""
    may_rerun: bool = False
    """The state is terminal, but the scheduler may run the job again: only a second poll confirms the end."""
    restarts: int | None = None
    """The number of times that the scheduler has requeued the job; None if the API does not report it."""
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    modified_at: datetime | None = None
    zone_assumed: bool = False
    """The times' zone is a guess: the cloud sends local times without one, and the connection sets none."""
    zones_mixed: bool = False
    """Some times have a zone and others an assumed one: the difference between two of them is meaningless."""
    nodes: tuple[str, ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)
    """Requested resources, per node: ``nodes``, ``cores``, ``gpus``, ``memory``."""
    wall_time: int | None = None
    """The time limit in seconds, if the API reports it."""
    resources_used: Mapping[str, str] = field(default_factory=dict)
    stdout_path: str | None = None
    stderr_path: str | None = None
    array: Mapping[str, int] = field(default_factory=dict)
    """For an array job, the number of sub-jobs in each state."""
    failed_members: Mapping[str, str] = field(default_factory=dict)
    """For an array job that has ended, the failures of up to ten sub-jobs, by their IDs."""
    members: Mapping[str, str] = field(default_factory=dict)
    """For an array job that has ended, the indexes of its sub-jobs in each state, such as ``3,7-9``."""

    def __post_init__(self) -> None:
        # A text that cannot be sent crashes the triggerer, and with it all triggers (apache/airflow#60120).
        for name in _TEXTS:
            text = getattr(self, name)
            if text and (clean := clean_text(text)) is not text:
                object.__setattr__(self, name, clean)

    def as_dict(self) -> dict[str, Any]:
        """Return the status as JSON-ready data, without the empty fields."""
        fields: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            # An exit code of 0 is not an empty field.
            if value is None or value is False or value in ((), {}) or name == "zone_assumed":
                continue
            if isinstance(value, JobState):
                value = value.value
            elif isinstance(value, datetime):
                value = (value.astimezone(UTC) if value.tzinfo else value).isoformat()
            elif isinstance(value, tuple):
                value = list(value)
            elif not isinstance(value, str | int):
                value = dict(value)
            fields[name] = value
        return fields

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JobStatus:
        """Return the status that :meth:`as_dict` wrote, as far as it is there."""
        fields = {name: data[name] for name in cls.__slots__ if name in data}
        fields["state"] = JobState(fields.get("state", JobState.UNKNOWN))
        fields.setdefault("raw_state", "")
        for name in fields.keys() & _TIMES:
            fields[name] = datetime.fromisoformat(fields[name])
        fields["nodes"] = tuple(fields.get("nodes", ()))
        return cls(**fields)


def in_zone(status: JobStatus, zone: tzinfo, *, assumed: bool) -> JobStatus:
    """Return a status with ``zone`` for times that have none.

    :param assumed: True if the zone is a guess.
    """
    times = {name: getattr(status, name) for name in _TIMES}
    local = {name: time.replace(tzinfo=zone) for name, time in times.items() if time and not time.tzinfo}
    if not local:
        return status
    mixed = assumed and any(time and time.tzinfo for time in times.values())
    return replace(status, **local, zone_assumed=assumed, zones_mixed=mixed)


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A job in the list of a cluster's jobs."""

    status: JobStatus
    ended: bool
    """True if the list counts the job as ended, even with an undocumented word for its state."""
    whole: bool = True
    """True if a request for the single job would report nothing more."""


LogPosition: TypeAlias = int | str
"""The point at which reading a stream continues: a byte offset, or an opaque cursor of the API."""


@dataclass(frozen=True, slots=True)
class LogCursor:
    """The log positions of a job's streams. A stream without one has not been read yet."""

    positions: Mapping[str, LogPosition] = field(default_factory=dict)

    def position(self, stream: str) -> LogPosition:
        """Return the position at which reading ``stream`` continues."""
        return self.positions.get(stream, 0)

    def moved(self, stream: str, position: LogPosition) -> LogCursor:
        """Return a cursor with a new position for ``stream``."""
        return LogCursor({**self.positions, stream: position})


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of one stream of a log: bytes as the job wrote them, possibly none."""

    stream: str
    data: bytes
    next: LogPosition
    """The position at which reading continues."""
    size: int | None = None
    """The stream's whole length in bytes, if the cloud reports it."""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """The result of one reading of a job's log: a piece of each stream."""

    chunks: tuple[LogChunk, ...]
    more: bool
    """True if more of the log can be read at once."""
    notes: tuple[str, ...] = ()
    """Notes for readers of the log: a missing piece, a log that was started again."""
    error: ApiError | None = None
    """The error of a stream that could not be read although the others could."""


@dataclass(frozen=True, slots=True)
class LogLimits:
    """The largest and the smallest sensible number of bytes of a log to request at once."""

    largest: int
    smallest: int
    text: bool = False
    """True if the API returns the log as text, so that its bytes are UTF-8 in any case."""


SHORTEST_VALUE = 6
"""Characters. A shorter value of an environment or an option is a number, a switch or a size rather than a
secret, and masking it in every error would make errors unreadable."""


def confidential_values(value: Any) -> tuple[str, ...]:
    """Return all texts in JSON-like data, at any depth, that are long enough to be secrets."""
    if isinstance(value, Mapping | list | tuple):
        items = value.values() if isinstance(value, Mapping) else value
        return tuple(text for item in items for text in confidential_values(item))
    text = "" if value is None else str(value)
    return (text,) if len(text) >= SHORTEST_VALUE else ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job to submit.

    ``memory`` is a number with a unit (``4GB``); ``wall_time`` is in seconds; ``array`` is ``X-Y:Z``.
    Cores, GPUs and memory are per node. ``password`` is the cluster user's, if the cluster requires one.
    ``options`` holds settings of a single API in its own structure, and is merged into the request's body
    (ModelArts: algorithm, flavor, inputs). It may add to the other fields, but not contradict them.
    ``environment`` and ``options`` may hold secrets: a repr does not show them, and errors of the submission
    show ``***`` in place of their values of :data:`SHORTEST_VALUE` or more characters.
    """

    name: str
    command: str
    queue: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    nodes: int | None = None
    cores: int | None = None
    gpus: int | None = None
    memory: str | None = None
    wall_time: int | None = None
    priority: int | None = None
    array: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdout_path: str | None = None
    stderr_path: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def confidential(self) -> tuple[str, ...]:
        """Texts that may be secrets: the password, and values of ``environment`` and ``options``."""
        values = confidential_values([self.environment, self.options])
        return (self.password, *values) if self.password else values

    def refuse(self, api: str, *names: str, hint: str = "leave it out") -> None:
        """Check that none of the fields ``names`` is set: ``api`` would silently ignore them.

        :raises InvalidArgument: for the first of them that is set.
        """
        for name in names:
            if getattr(self, name):
                raise InvalidArgument(f"{name}: the API {api!r} does not support it; {hint}")


@dataclass(frozen=True, slots=True)
class PartialResult:
    """The statuses of some of the requested jobs, yielded while others are still being requested.

    With many thousand jobs, that takes seconds. The driver sends nothing back, and the flow's result contains
    these statuses, too.
    """

    statuses: Mapping[JobRef, JobStatus | None]


StatusesFlow: TypeAlias = Generator[Together[Any], Any, dict[JobRef, JobStatus | None]]


class JobApi(Protocol):
    """The interface of an API for jobs. Everything above the hooks uses only this interface.

    An API that does not support an operation inherits the refusal from here, and declares it in
    :mod:`airflow_provider_ehpc.apis.capabilities`.
    """

    @property
    def name(self) -> str:
        """The API's name, as in ``api=``."""

    @property
    def log_limits(self) -> LogLimits:
        """The number of bytes of a log that may be requested at once; 0 if the API has no logs."""
        return LogLimits(largest=0, smallest=0)

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """Return the address of a job.

        :raises InvalidArgument: if an ID that the API needs is missing, or if the API does not support one.
        """

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Request one job.

        :raises NotFound: if the job is unknown.
        """

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Request many jobs in as few requests as the API allows; the result for an unknown job is None.

        After each call, the statuses in its response are yielded as a :class:`PartialResult`.
        """

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Read a cluster's jobs that have not ended or were submitted at or after ``since`` (aware).

        The result is by job ID and may contain other jobs, too. An array counts as one job.

        No cloud can list the jobs that ended since a given time. They are the jobs that were unfinished in an
        earlier reading and are not in this one, and the jobs that were submitted since and have ended.

        :raises InvalidArgument: if an ID that the API needs is missing, or if the API does not support one.
        :raises NotSupported: before any request, if the API does not list all jobs.
        """
        raise unsupported(self.name, Capability.LIST_JOBS)

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Read the log from ``cursor`` on, at most ``size`` bytes of each stream.

        :raises NotSupported: before any request, if the API has no logs.
        """
        raise unsupported(self.name, Capability.LOG)

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Read the last ``size`` bytes of each stream.

        :raises NotSupported: before any request, if the API has no logs.
        """
        raise unsupported(self.name, Capability.LOG)

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Submit a job. The request is not retried, because none of these clouds takes an idempotency token.

        :raises InvalidArgument: if the API needs or does not support a field.
        :raises NotSupported: before any request, if the API submits no jobs.
        """
        raise unsupported(self.name, Capability.SUBMIT)

    def jobs_named(self, name: str, cluster_id: str | None) -> Flow[list[JobRef]]:
        """Return the jobs with exactly this name, ended ones as well; an array counts as one.

        :raises InvalidArgument: if the API needs a cluster and got none.
        :raises NotSupported: before any request, if the API submits no jobs.
        """
        raise unsupported(self.name, Capability.SUBMIT)

    def stop(self, ref: JobRef) -> Flow[None]:
        """Request that the job is stopped. It may still run for a while after this returns."""
        raise unsupported(self.name, Capability.STOP)

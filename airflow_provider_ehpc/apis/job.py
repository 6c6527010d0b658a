"""What a job is, whichever cloud runs it: its address, its state, its log.

Plain dataclasses, so that a DAG file which names a state imports neither pydantic models nor a client.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias

from airflow_provider_ehpc.apis.call import Flow, InvalidArgument, Together
from airflow_provider_ehpc.apis.capabilities import Capability, unsupported
from airflow_provider_ehpc.apis.json_text import clean_text

_TIMES = ("submitted_at", "started_at", "ended_at", "modified_at")
_TEXTS = ("raw_state", "name", "user", "queue", "reason", "stdout_path", "stderr_path")
"""The fields of a status that a cloud's text goes into unchanged."""


class JobState(StrEnum):
    """Where a job is in its life. The cloud's own word is kept beside it, in ``JobStatus.raw_state``."""

    PENDING = "PENDING"
    """Accepted; not yet in a queue, or held there."""
    QUEUED = "QUEUED"
    """In a queue, waiting for resources."""
    RUNNING = "RUNNING"
    """Holds resources: starting, executing or finishing its last steps."""
    SUSPENDED = "SUSPENDED"
    """Stopped for a while by the scheduler or a person; it can go on."""
    CANCELLING = "CANCELLING"
    """Asked to stop, not yet stopped."""
    SUCCEEDED = "SUCCEEDED"
    """Ended, and as far as the cloud tells (``JobStatus.outcome_assumed``) without an error."""
    FAILED = "FAILED"
    """Ended with an error: its own exit code, a time limit, lost nodes, memory."""
    CANCELLED = "CANCELLED"
    """Ended because somebody stopped it."""
    UNKNOWN = "UNKNOWN"
    """The cloud said a word that its documentation does not explain. Never counted as an end."""

    @property
    def terminal(self) -> bool:
        """Whether the job can never change its state again."""
        return self in _TERMINAL

    @classmethod
    def parse(cls, text: str) -> JobState:
        """Return the state of that name, in any case.

        :raises ValueError: with the names there are, for any other text.
        """
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise ValueError(f"there is no job state {text!r}; the states are {', '.join(cls)}") from None


_TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class JobRef(NamedTuple):
    """The address of one job: enough, with a connection, to ask for it.

    A tuple, for it is what many thousand waiting jobs are looked up by.
    """

    job_id: str
    cluster_id: str | None = None
    version_id: str | None = None

    def as_dict(self) -> dict[str, str]:
        """Return the fields that are set, to build the address again with ``JobRef(**fields)``."""
        fields = {"job_id": self.job_id, "cluster_id": self.cluster_id, "version_id": self.version_id}
        return {name: value for name, value in fields.items() if value is not None}

    def __str__(self) -> str:
        version = f" version {self.version_id}" if self.version_id else ""
        return f"job {self.job_id}{version}" + (f" in cluster {self.cluster_id}" if self.cluster_id else "")


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What the cloud says of a job at one moment.

    An API may return times without a zone (:func:`in_zone`); a hook returns none.
    """

    job_id: str
    state: JobState
    raw_state: str
    cluster_id: str | None = None
    name: str | None = None
    user: str | None = None
    queue: str | None = None
    reason: str | None = None
    """Why the job is in its state, in the cloud's words."""
    exit_code: int | None = None
    outcome_assumed: bool = False
    """The cloud said only that the job ended; SUCCEEDED is then an assumption, not a report."""
    may_rerun: bool = False
    """The state is terminal, but its scheduler may run the job again: only a second poll confirms the end."""
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    modified_at: datetime | None = None
    zone_assumed: bool = False
    """The cloud reports its local times without a zone, and the connection names none: it is a guess."""
    nodes: tuple[str, ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)
    """What was asked for, per node: ``nodes``, ``cores``, ``gpus``, ``memory``."""
    resources_used: Mapping[str, str] = field(default_factory=dict)
    stdout_path: str | None = None
    stderr_path: str | None = None
    array: Mapping[str, int] = field(default_factory=dict)
    """For an array job, how many of its sub-jobs are in which state."""
    failed_members: Mapping[str, str] = field(default_factory=dict)
    """For an array job that has ended, how sub-jobs failed, by their IDs; the first ten at most."""

    def __post_init__(self) -> None:
        # A text that cannot be sent ends the triggerer, and with it all triggers (apache/airflow#60120).
        for name in _TEXTS:
            text = getattr(self, name)
            if text and (clean := clean_text(text)) is not text:
                object.__setattr__(self, name, clean)

    def as_dict(self) -> dict[str, Any]:
        """Return what is known as JSON-ready data, without the empty fields."""
        told: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            # An exit code of 0 is no empty field.
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
            told[name] = value
        return told


def in_zone(status: JobStatus, zone: tzinfo, *, assumed: bool) -> JobStatus:
    """Return a status whose times without a zone are times of ``zone``.

    :param assumed: the zone is a guess.
    """
    times = {name: getattr(status, name) for name in _TIMES}
    local = {name: time.replace(tzinfo=zone) for name, time in times.items() if time and not time.tzinfo}
    return replace(status, **local, zone_assumed=assumed) if local else status


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A job in the list of a cluster's jobs."""

    status: JobStatus
    ended: bool
    """Whether the list counts it among the ended: it may do so under a word that is not documented."""
    whole: bool = True
    """Whether asking for the job would tell no more."""


LogPosition: TypeAlias = int | str
"""Where a stream is read on: a byte offset, or a cursor word of the API that only it understands."""


@dataclass(frozen=True, slots=True)
class LogCursor:
    """How far a job's log was read. A stream that is not named stands at its beginning."""

    positions: Mapping[str, LogPosition] = field(default_factory=dict)

    def position(self, stream: str) -> LogPosition:
        """Return where reading of ``stream`` goes on."""
        return self.positions.get(stream, 0)

    def moved(self, stream: str, position: LogPosition) -> LogCursor:
        """Return a cursor that differs in this one stream."""
        return LogCursor({**self.positions, stream: position})


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of one stream of a log: bytes as the job wrote them, perhaps none."""

    stream: str
    data: bytes
    next: LogPosition
    """Where the stream is to be read on."""
    size: int | None = None
    """The stream's whole length in bytes, where the cloud tells it."""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What one reading of a job's log gave: a piece of each stream, and whether more lies ready."""

    chunks: tuple[LogChunk, ...]
    more: bool
    notes: tuple[str, ...] = ()
    """What a reader of the log has to know: a piece that is missing, a beginning that was read anew."""


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How many bytes of a log one call may ask for: the most, and the least worth asking for."""

    largest: int
    smallest: int
    text: bool = False
    """Whether the log comes as text, whose bytes are UTF-8 whatever the job wrote."""


SHORTEST_VALUE = 6
"""Characters. A shorter value of an environment or an option is a number, a switch or a size rather than a
secret, and to take it out of every error would make those unreadable."""


def confidential_values(value: Any) -> tuple[str, ...]:
    """Return the texts at any depth of JSON-like data that are long enough to be secrets."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return tuple(text for item in value for text in confidential_values(item))
    text = "" if value is None else str(value)
    return (text,) if len(text) >= SHORTEST_VALUE else ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job to submit.

    ``memory`` is a number with a unit (``4GB``); ``wall_time`` is in seconds; ``array`` is ``X-Y:Z``.
    Cores, GPUs and memory are per node. ``password`` is the cluster user's, where the cluster asks for it.
    ``options`` holds what one API alone has, in that API's words: they are merged into the request's body
    (ModelArts: algorithm, flavor, inputs). They may add to the fields above, never contradict them.
    ``environment`` and ``options`` may hold secrets: a repr does not show them, and errors of the submission
    show ``***`` for their values of :data:`SHORTEST_VALUE` characters and more.
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
        """Every text that may be a secret: the password, and values of ``environment`` and ``options``."""
        values = confidential_values([self.environment, self.options])
        return (self.password, *values) if self.password else values

    def refuse(self, api: str, *names: str, hint: str = "leave it out") -> None:
        """Raise :class:`InvalidArgument` for the first of the fields ``names`` that is set.

        For what ``api`` has no place for: dropped in silence, it would promise what never happens.
        """
        for name in names:
            if getattr(self, name):
                raise InvalidArgument(f"{name}: the API {api!r} has no place for it; {hint}")


@dataclass(frozen=True, slots=True)
class PartialResult:
    """States of some of the jobs that are asked for, while others are still to be asked for: with many
    thousands, that takes seconds. It wants no answer, and the states are in the flow's result as well.
    """

    statuses: Mapping[JobRef, JobStatus | None]


StatusesFlow: TypeAlias = Generator[Together[Any], Any, dict[JobRef, JobStatus | None]]


class JobApi(Protocol):
    """The operations on jobs that all layers above the hooks use.

    An API that does not support one of them inherits the refusal from here, and says so in
    :mod:`airflow_provider_ehpc.apis.capabilities`.
    """

    @property
    def name(self) -> str:
        """How ``api=`` calls it."""

    @property
    def log_limits(self) -> LogLimits:
        """Return how many bytes one reading of a log may ask for; 0 if the API has no logs."""
        return LogLimits(largest=0, smallest=0)

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """Return the address of a job.

        :raises InvalidArgument: for what the API needs and did not get, or got and does not know.
        """

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Ask for one job. Raises ``NotFound`` where the cloud does not know it."""

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Ask for many jobs in as few requests as the API allows; None for a job it does not know.

        What an answer has told already is yielded behind its call, as :class:`PartialResult`.
        """

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Read by their ids all jobs of a cluster that have not ended, and those of the ended that were
        submitted at or after ``since`` (aware). More may come. An array of jobs stands as one.

        No cloud can be asked for the jobs that ended since a moment. They are those that an earlier reading
        told as unfinished and this one does not, and those that were submitted since and have ended.

        :raises InvalidArgument: for what the API needs and did not get, or got and does not know.
        :raises NotSupported: before any request, if the API does not list jobs.
        """
        raise unsupported(self.name, Capability.LIST_JOBS)

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Read on from ``cursor``, at most ``size`` bytes a stream.

        :raises NotSupported: before any request, if the API has no logs.
        """
        raise unsupported(self.name, Capability.LOG)

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Read the last ``size`` bytes of each stream.

        :raises NotSupported: before any request, if the API has no logs.
        """
        raise unsupported(self.name, Capability.LOG)

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Submit a job; never repeated by itself, for no cloud here takes an idempotency token.

        :raises InvalidArgument: for what the API needs and did not get, or got and does not know.
        :raises NotSupported: before any request, if the API submits no jobs.
        """
        raise unsupported(self.name, Capability.SUBMIT)

    def stop(self, ref: JobRef) -> Flow[None]:
        """Ask for the job to be stopped. It is not stopped yet when this returns."""
        raise unsupported(self.name, Capability.STOP)

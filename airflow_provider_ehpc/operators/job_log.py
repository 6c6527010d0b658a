"""Stream a job's log into the task log."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument, NotFound
from airflow_provider_ehpc.apis.capabilities import Capability
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.compat import AirflowTaskTimeout, BaseOperator, conf
from airflow_provider_ehpc.exceptions import JobTimedOut, TaskKilled, without_useless_retries
from airflow_provider_ehpc.logs.lines import line_encoding
from airflow_provider_ehpc.task import DEFER_SLACK, JobTask
from airflow_provider_ehpc.waiting.conditions import (
    FinishedPolicy,
    WaitConditions,
    parse_policy,
    parse_states,
)
from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.apis.job import JobStatus
    from airflow_provider_ehpc.logs.cursor import SavedCursor
    from airflow_provider_ehpc.logs.follow import Step
    from airflow_provider_ehpc.logs.store import WorkerStore
    from airflow_provider_ehpc.metrics import LogMeter
    from airflow_provider_ehpc.waiting.watch import JobWatch, Verdict

HEARTBEATS = 60.0
"""Seconds within which Airflow ends a process that is no longer needed; by default it checks every five."""


class JobLogOperator(JobTask, BaseOperator):
    """Follow a job to its end and write its log into the task log while it runs.

    Every complete line appears once and in order; lines of the standard error begin with ``stderr | ``.
    Lines over 16 KiB are visibly shortened. A log that cannot be read for a while never fails the task.
    A job that ends in another state than the target states fails the task at once, without retries; so does a
    key that the cloud rejects.

    After a crash, and in a retry, it continues after the last line that it saved as written (Airflow 3.3).
    A mark shows where: the lines of one cycle may be repeated, none is missing.

    ``execution_timeout`` limits the whole wait of a try, deferred or not. After that, the task fails with
    retries, as Airflow's tasks do; the job continues unless ``stop_job_on_kill`` is set.

    Return the job's status as a dict, with ``log``: the numbers of lines and bytes that were read.

    :param conn_id: the connection to the cloud account.
    :param job_id: the job; for several, map the task with ``.expand(job_id=...)``.
    :param cluster_id: the job's cluster; default: the connection's.
    :param version_id: the version of a ModelArts v1 job.
    :param api: the API to use; default: that of the connection's type.
    :param target_states: the terminal states to wait for. With SUCCEEDED, FAILED and CANCELLED the task
        succeeds however the job ends.
    :param finished_without_exit_code: how a job counts that ended without an outcome, ``success`` or
        ``fail``.
    :param not_found_grace: seconds, or a ``timedelta``, in which a new job may be unknown.
    :param poll_interval: seconds, or a ``timedelta``, between two cycles.
    :param encoding: the encoding of the job's output, such as ``gbk``, if the API returns bytes (E-HPC).
    :param log_settle_time: seconds, or a ``timedelta``, without a new byte after which an ended job's log
        counts as complete.
    :param keep_log_at: a folder of any kind that ``ObjectStoragePath`` supports, in which the raw bytes of
        each stream are saved as ``<stream>.log`` when the job has ended.
    :param stop_job_on_kill: stop the job when the task is killed or ``execution_timeout`` is exceeded.
    :param deferrable: stream from the triggerer, in one deferral, without a worker slot. The triggerer's
        channel to the log is slow and shared: for a job that writes more than some thousand lines per second,
        use a worker.
    :param timeout: seconds, or a ``timedelta``, for the whole wait.
    :raises InvalidArgument: naming the argument that is wrong.
    """

    template_fields: Sequence[str] = (
        "conn_id",
        "job_id",
        "cluster_id",
        "version_id",
        "api",
        "keep_log_at",
    )
    ui_color = "#d5e8f7"

    def __init__(
        self,
        *,
        job_id: str,
        conn_id: str = "aliyun_ehpc_default",
        cluster_id: str | None = None,
        version_id: str | None = None,
        api: str | None = None,
        target_states: Sequence[str] = (JobState.SUCCEEDED,),
        finished_without_exit_code: FinishedPolicy = "success",
        not_found_grace: timedelta | float = 60.0,
        poll_interval: timedelta | float = 10.0,
        log_settle_time: timedelta | float = 5.0,
        encoding: str = "utf-8",
        keep_log_at: str | None = None,
        stop_job_on_kill: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.job_id = job_id
        self.cluster_id = cluster_id
        self.version_id = version_id
        self.api = api
        if not arguments.is_template(api):
            arguments.api(api, needs=Capability.LOG)
        # A list is a mistake in the DAG file. A missing ID comes from upstream and fails the run instead.
        if arguments.is_list(job_id) and any(isinstance(item, str) and item.strip() for item in job_id):
            arguments.one_job_id(job_id)
        self.target_states = parse_states(target_states)
        if on_the_way := [state for state in self.target_states if not state.terminal]:
            raise InvalidArgument(
                f"target_states: {on_the_way[0]} is not a terminal state, and a log is followed to its end; "
                "to wait for this state, use JobStateSensor"
            )
        self.finished_without_exit_code = parse_policy(finished_without_exit_code)
        self.not_found_grace = arguments.seconds("not_found_grace", not_found_grace)
        self.poll_interval = arguments.seconds("poll_interval", poll_interval, positive=True)
        self.log_settle_time = arguments.seconds("log_settle_time", log_settle_time)
        self.encoding = line_encoding(encoding)
        self.keep_log_at = keep_log_at
        self.stop_job_on_kill = stop_job_on_kill
        self.deferrable = deferrable
        if timeout is None:
            timeout = conf.getfloat("sensors", "default_timeout")
        self.timeout = arguments.seconds("timeout", timeout)
        self._stopped: set[JobRef] = set()
        self._killed = InterruptibleWait()
        self._store: WorkerStore | None = None
        self._meter: LogMeter | None = None
        self._watch: JobWatch | None = None

    @cached_property
    def ref(self) -> JobRef:
        """Return the job's address."""
        (ref,) = self._refs([arguments.one_job_id(self.job_id)])
        return ref

    def execute(self, context: Context) -> dict[str, Any]:
        """Poll the job and write the new lines, until the job has ended and its log is read."""
        with without_useless_retries(), self._stops_at_execution_timeout(context):
            return self._execute(context)

    @contextmanager
    def _stops_at_execution_timeout(self, context: Context) -> Iterator[None]:
        if self.stop_job_on_kill:
            self._load_stopped(context, [self.ref])
        try:
            yield
        except AirflowTaskTimeout:
            # Airflow calls on_kill after this; a retry needs to know that the job was stopped.
            self._stop([self.ref])
            self._save_stopped(context)
            raise

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_ehpc.logs.arrival import arrived
        from airflow_provider_ehpc.logs.cursor import SavedCursor
        from airflow_provider_ehpc.logs.follow import LogFollower
        from airflow_provider_ehpc.logs.store import WorkerStore
        from airflow_provider_ehpc.metrics import LogMeter
        from airflow_provider_ehpc.waiting.watch import JobWatch

        self.hook.require(Capability.LOG)
        started = time.time()
        conditions = self._conditions(started)
        first = self._first_status() if self.deferrable else None
        deferred = self.deferrable and not (first and first.state.terminal)
        store = self._store = WorkerStore(context, self.log)
        cursor = store.load(self.hook.api.name, self.ref, log_missing=not deferred)
        if deferred:
            # If the trigger's cursor is lost, a retry still knows that an earlier try wrote a part of the
            # log.
            begun = cursor or SavedCursor(self.hook.api.name, self.ref.as_dict())
            store.save(dataclasses.replace(begun, cycle=None))
            store.defer(cursor)
            self._defer(conditions, started, cursor, seen=first is not None)
        self._watch = JobWatch(self.ref, conditions, started)
        follower = LogFollower(
            self.hook.api,
            self.ref,
            self._watch,
            clock=time.time,
            interval=self.poll_interval,
            settle=self.log_settle_time,
            start=cursor,
            checkpoint_policy=store,
            encoding=self.encoding,
        )
        self._meter = LogMeter(self.hook.api.name, "worker", follower.totals, resumed=cursor is not None)
        try:
            verdict = self.hook.drive(arrived(follower.steps(), time.time), self._do)
        except TaskKilled:
            store.save(follower.cursor)
            raise
        return self._result(verdict, {}, dataclasses.asdict(follower.totals), conditions.deadline)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the deferral, and save the trigger's position for a retry."""
        from airflow_provider_ehpc.logs.store import WorkerStore

        self._store = WorkerStore(context, self.log)
        self._store.take_over()
        with without_useless_retries(), self._stops_at_execution_timeout(context):
            return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """End the task as the trigger saw the job end."""
        from airflow_provider_ehpc.waiting.verdict import Verdict

        verdict, event = Verdict.from_event(event), event or {}
        return self._result(verdict, event, event.get("log") or {})

    def on_kill(self) -> None:
        """End the wait, and stop the job if ``stop_job_on_kill`` is set."""
        self._killed.interrupt()
        if self.stop_job_on_kill:
            self._stop([self.ref])

    def _first_status(self) -> JobStatus | None:
        """Poll once before deferring: the log of an ended job is read faster here."""
        try:
            return self.hook.job_status(self.ref)
        except NotFound:
            return None
        except ApiError as error:
            if error.transient:
                return None
            raise

    def _conditions(self, started: float) -> WaitConditions:
        return WaitConditions(
            target_states=self.target_states,
            finished_without_exit_code=self.finished_without_exit_code,
            not_found_grace=self.not_found_grace,
            deadline=started + self._limit,
        )

    def _defer(
        self, conditions: WaitConditions, started: float, cursor: SavedCursor | None, *, seen: bool
    ) -> None:
        from airflow_provider_ehpc.triggers.job_log import JobLogTrigger

        self.log.info("streaming the log of %s from the triggerer", self.ref)
        self.defer(
            trigger=JobLogTrigger(
                conn_id=self.conn_id,
                api=self.hook.api.name,
                jobs=[self.ref.as_dict()],
                started=started,
                poll_interval=self.poll_interval,
                settle=self.log_settle_time,
                encoding=self.encoding,
                cursor=cursor.as_dict() if cursor else None,
                terms=conditions.as_dict(),
                stop_job_on_kill=self.stop_job_on_kill,
                seen=seen,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self._limit) + DEFER_SLACK,
        )

    def _do(self, step: Step) -> JobStatus | ApiError | None:
        from airflow_provider_ehpc.logs.emission import records
        from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, GetStatus, Pause
        from airflow_provider_ehpc.logs.lines import stream_prefix
        from airflow_provider_ehpc.waiting.verdict import Note

        if isinstance(step, GetStatus):
            try:
                if self._watch and self.ref in self._stopped:
                    self._watch.cancelled_by_us = True
                return self.hook.job_statuses([self.ref])[self.ref]
            except ApiError as error:
                return error
        if isinstance(step, Emit):
            for record in records(step.lines, stream_prefix(step.stream), together=step.behind):
                self.log.info("%s", record)
            if self._meter:
                self._meter.written()
        elif isinstance(step, Note):
            step.log(self.log)
        elif isinstance(step, Checkpoint) and self._store:
            self._store.save(step.cursor)
            if self._store.outdated:
                # Airflow ends this process with its next heartbeat. Until then, its lines would be
                # duplicates.
                self._killed.wait(HEARTBEATS)
                raise TaskKilled(f"another try of the task now follows {self.ref}")
        # While there is a backlog, there are no pauses. Between two pieces of it, the cursor is correct as
        # well.
        wait = step.seconds if isinstance(step, Pause) else 0.0
        if isinstance(step, Pause | Emit) and self._killed.wait(wait):
            raise TaskKilled(f"Airflow ended the task while it followed {self.ref}")
        return None

    def _result(
        self,
        verdict: Verdict,
        event: dict[str, Any],
        totals: dict[str, Any],
        deadline: float | None = None,
    ) -> dict[str, Any]:
        from airflow_provider_ehpc.logs.archive import archive_log
        from airflow_provider_ehpc.waiting.verdict import Outcome

        if self._store and verdict.outcome in (Outcome.REACHED, Outcome.FAILED):
            self._store.forget()
        kept: dict[str, Any] = {}
        if self.keep_log_at and (verdict.jobs or "reached" in event):
            try:
                kept["kept"] = archive_log(
                    self.hook, self.ref, self.keep_log_at, followed=totals.get("bytes"), deadline=deadline
                )
            except Exception as error:
                # Every storage's library has its own errors. None of them must hide how the job ended.
                self.log.warning("cannot save the log of %s at %s: %s", self.ref, self.keep_log_at, error)
        (job,) = self._jobs(verdict, event, [self.ref], self._conditions(time.time()), JobTimedOut)
        return {**job, "log": {**totals, **kept}}

# SPDX-License-Identifier: Apache-2.0
"""The common base of operators that wait for one job, with or without its log, on a worker or deferred."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.compat import AirflowTaskTimeout
from airflow_provider_ehpc.exceptions import JobTimedOut, TaskKilled, without_useless_retries
from airflow_provider_ehpc.task import DEFER_SLACK, JobTask

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.apis.job import JobStatus
    from airflow_provider_ehpc.logs.cursor import SavedCursor
    from airflow_provider_ehpc.logs.follow import Step
    from airflow_provider_ehpc.logs.store import WorkerStore
    from airflow_provider_ehpc.metrics import LogMeter
    from airflow_provider_ehpc.waiting.conditions import WaitConditions
    from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait
    from airflow_provider_ehpc.waiting.verdict import Verdict
    from airflow_provider_ehpc.waiting.watch import JobWatch

HEARTBEATS = 60.0
"""Seconds within which Airflow ends a process that is no longer needed; by default it checks every five."""


class JobFollower(JobTask):
    """A mixin for operators that wait for one job and may copy its log into the task log."""

    job_id: str
    poll_interval: float
    log_settle_time: float
    keep_log_at: str | None
    stderr_level: str
    deferrable: bool
    _killed: InterruptibleWait
    _store: WorkerStore | None = None
    _meter: LogMeter | None = None
    _watch: JobWatch | None = None

    @cached_property
    def ref(self) -> JobRef:
        """Return the job's address."""
        (ref,) = self._refs([arguments.one_job_id(self.job_id)])
        return ref

    # ------------------------------------------------------------------ with the log

    def _follow(self, context: Context) -> dict[str, Any]:
        """Poll the job and write the new lines, until the job has ended and its log is read."""
        from airflow_provider_ehpc.logs.arrival import arrived
        from airflow_provider_ehpc.logs.cursor import SavedCursor
        from airflow_provider_ehpc.logs.follow import LogFollower
        from airflow_provider_ehpc.logs.store import WorkerStore
        from airflow_provider_ehpc.metrics import LogMeter
        from airflow_provider_ehpc.waiting.watch import JobWatch

        recorder = self._begin_record(context)
        started = time.time()
        conditions = self._conditions(started)
        first = self._first_status(started) if self.deferrable else None
        deferred = self.deferrable and not (first and first.state.terminal)
        store = self._store = WorkerStore(context, self.log)
        cursor = store.load(self.hook.api.name, self.ref, log_missing=not deferred)
        if deferred:
            # If the trigger's cursor is lost, a retry still knows that an earlier try wrote a part of the
            # log.
            begun = cursor or SavedCursor(self.hook.api.name, self.ref.as_dict())
            store.save(dataclasses.replace(begun, cycle=None))
            store.defer(cursor)
            seen = JobWatch(self.ref, conditions, started)
            seen.status = first
            recorder.follow(lambda: (seen,))
            recorder.polled(True)
            self._defer_log(conditions, started, cursor, seen=first is not None)
        watch = self._watch = JobWatch(self.ref, conditions, started, describe=cursor is None)
        follower = LogFollower(
            self.hook.api,
            self.ref,
            watch,
            clock=time.time,
            interval=self.poll_interval,
            settle=self.log_settle_time,
            start=cursor,
            save_delay=store.delay,
            encoding=self.encoding,
        )
        self._meter = LogMeter(self.hook.api.name, "worker", follower.totals, resumed=cursor is not None)
        recorder.follow(lambda: (watch,), follower.totals)
        try:
            verdict = self.hook.drive(arrived(follower.steps(), time.time), self._do)
        except TaskKilled:
            store.save(follower.cursor)
            raise
        return self._result(verdict, {}, dataclasses.asdict(follower.totals), conditions.deadline)

    def _first_status(self, started: float) -> JobStatus | None:
        """Poll once before deferring: the log of an ended job is read faster here."""
        try:
            return self._statuses([self.ref], started + self._limit)[self.ref]
        except ApiError as error:
            if error.transient:
                return None
            raise

    def _defer_log(
        self, conditions: WaitConditions, started: float, cursor: SavedCursor | None, *, seen: bool
    ) -> None:
        from airflow_provider_ehpc.triggers.job_log import JobLogTrigger

        self.log.info("streaming the log of %s from the triggerer", self.ref)
        trigger = JobLogTrigger(
            **self._trigger_arguments(conditions, started, seen=seen),
            settle=self.log_settle_time,
            encoding=self.encoding,
            stderr_level=self.stderr_level,
            cursor=cursor.as_dict() if cursor else None,
        )
        self._defer(trigger)

    def _do(self, step: Step) -> JobStatus | ApiError | None:
        from airflow_provider_ehpc.logs.emission import records, write_record
        from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, GetStatus, Pause
        from airflow_provider_ehpc.logs.lines import stream_prefix
        from airflow_provider_ehpc.waiting.verdict import Note

        if isinstance(step, GetStatus) and self._watch:
            if self.ref in self._stopped:
                self._watch.cancelled_by_us = True
            try:
                return self._statuses([self.ref], self._watch.conditions.deadline or math.inf)[self.ref]
            except ApiError as error:
                return error
        if isinstance(step, Emit):
            for record in records(step.lines, stream_prefix(step.stream), together=step.behind):
                write_record(self.log, step.stream, record, self.stderr_level)
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
        if isinstance(step, Pause) and self._recorder:
            self._recorder.cycle()
        # While there is a backlog, there are no pauses. Between two pieces of it, the cursor is correct as
        # well.
        wait = step.seconds if isinstance(step, Pause) else 0.0
        if isinstance(step, Pause | Emit) and self._killed.wait(wait):
            raise TaskKilled(f"Airflow ended the task while it followed {self.ref}")
        return None

    # ------------------------------------------------------------------ without the log

    def _wait(self, context: Context) -> dict[str, Any]:
        """Poll the job until the wait is over; in deferrable mode, leave that to the triggerer."""
        from airflow_provider_ehpc.triggers.job_state import JobStateTrigger
        from airflow_provider_ehpc.waiting.watch import JobSetWatch

        self._begin_record(context)
        watch = JobSetWatch([self.ref], self._conditions(time.time()), time.time(), describe=True)
        conditions = self._conditions(watch.started)
        while (verdict := self._poll(watch)) is None:
            if self.deferrable:
                self._defer(
                    JobStateTrigger(**self._trigger_arguments(conditions, watch.started, seen=watch.settled))
                )
            left = watch.started + self._limit - time.time()
            if self._killed.wait(max(0.0, min(self.poll_interval, left))):
                raise TaskKilled(f"Airflow ended the task while it waited for {self.ref}")
        return self._result(verdict, {}, {}, conditions.deadline)

    # ------------------------------------------------------------------ both

    def _trigger_arguments(self, conditions: WaitConditions, started: float, *, seen: bool) -> dict[str, Any]:
        return {
            "conn_id": self.conn_id,
            "api": self.hook.api.name,
            "jobs": [self.ref.as_dict()],
            "started": started,
            "poll_interval": self.poll_interval,
            "terms": conditions.as_dict(),
            "stop_job_on_kill": self.stop_job_on_kill,
            "seen": seen,
        }

    def _defer(self, trigger: Any) -> None:
        timeout = timedelta(seconds=self._limit) + DEFER_SLACK
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timeout)  # type: ignore[attr-defined]

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the deferral, and save the trigger's position for a retry."""
        from airflow_provider_ehpc.logs.store import WorkerStore

        self._store = WorkerStore(context, self.log)
        self._store.take_over()
        with without_useless_retries(), self._stops_at_execution_timeout(context):
            return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """End the task by the verdict in the trigger's event."""
        from airflow_provider_ehpc.waiting.verdict import Verdict

        self._begin_record(context, resumed=True)
        verdict, event = Verdict.from_event(event), event or {}
        for note in verdict.news:
            note.log(self.log)
        return self._result(verdict, event, event.get("log") or {})

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

    def on_kill(self) -> None:
        """End the wait, and stop the job if ``stop_job_on_kill`` is set."""
        self._killed.interrupt()
        if self.stop_job_on_kill:
            self._stop([self.ref])

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
        log = dict(totals)
        if self.keep_log_at and (verdict.jobs or "reached" in event):
            try:
                log["kept"] = archive_log(
                    self.hook, self.ref, self.keep_log_at, followed=totals.get("bytes"), deadline=deadline
                )
            except Exception as error:
                # Every storage's library has its own errors. None of them must hide how the job ended.
                self.log.warning("cannot save the log of %s at %s: %s", self.ref, self.keep_log_at, error)
        (job,) = self._jobs(verdict, event, [self.ref], self._conditions(time.time()), JobTimedOut)
        return {**job, "log": log} if log else job

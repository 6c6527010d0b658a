"""Streaming a job's log into the task log."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument, NotFound
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.compat import BaseOperator, conf
from airflow_provider_ehpc.exceptions import JobTimedOut, TaskKilled
from airflow_provider_ehpc.logs.lines import line_encoding
from airflow_provider_ehpc.polling.kill_switch import KillSwitch
from airflow_provider_ehpc.polling.terms import FinishedPolicy, WaitTerms, parse_policy, parse_states

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.apis.job import JobStatus
    from airflow_provider_ehpc.hooks.base import ApiHook
    from airflow_provider_ehpc.logs.cursor import SavedCursor
    from airflow_provider_ehpc.logs.follow import Step
    from airflow_provider_ehpc.logs.store import WorkerStore
    from airflow_provider_ehpc.metrics import LogMeter
    from airflow_provider_ehpc.polling.watch import Verdict

HEARTBEATS = 60.0
"""Seconds in which Airflow tells a process that it is no longer wanted; by default it asks every five."""
DEFER_SLACK = timedelta(minutes=5)
"""The trigger keeps the deadline itself and can say what it saw; Airflow's own time-out comes behind it."""


class JobLogOperator(BaseOperator):
    """Follows a job to its end and writes its log into the task log while it runs.

    Every complete line appears once and in order; lines of the standard error begin with ``stderr | ``.
    Lines over 16 KiB are cut, visibly. A log that cannot be read for a while never fails the task.
    A job that ends in a state that is not wanted does, at once and without using retries.

    After a crash, and in a retry, it goes on behind the last line that it noted as written (Airflow 3.3), and
    marks the place: lines of one turn may come twice, none is missing.

    Returns what is known of the job as a dict, with ``log``: how many lines and bytes were read.

    :param conn_id: the connection to the cloud account.
    :param job_id: the job.
    :param cluster_id: the job's cluster; the connection's default where left out.
    :param version_id: the version of a ModelArts v1 job.
    :param api: the API to ask; the connection's type decides where left out.
    :param target_states: the ends that are wanted. With SUCCEEDED, FAILED and CANCELLED the task succeeds
        however the job ends.
    :param finished_without_exit_code: what an end without an outcome counts as, ``success`` or ``fail``.
    :param not_found_grace: seconds in which a job that was just submitted may not be known yet.
    :param poll_interval: seconds between two readings.
    :param encoding: of the job's output, such as ``gbk``, if the API returns bytes (E-HPC).
    :param log_settle_time: seconds without a new byte after which an ended job's log counts as complete.
    :param keep_log_at: a folder, of any kind that ``ObjectStoragePath`` understands, in which the raw bytes
        of each stream are kept as ``<stream>.log`` when the job has ended.
    :param stop_job_on_kill: stop the job when the task is killed.
    :param deferrable: stream from the triggerer, in one deferral, holding no worker slot. The triggerer's way
        to the log is narrow and shared: read a job that writes more than some thousand lines a second on a
        worker.
    :param timeout: seconds for the whole wait.
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
        not_found_grace: float = 60.0,
        poll_interval: float = 10.0,
        log_settle_time: float = 5.0,
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
        self.target_states = parse_states(target_states)
        if on_the_way := [state for state in self.target_states if not state.terminal]:
            raise InvalidArgument(
                f"target_states: {on_the_way[0]} is no end of a job, and a log is followed to the end; "
                "to wait for it, use JobStateSensor"
            )
        self.finished_without_exit_code = parse_policy(finished_without_exit_code)
        self.not_found_grace = not_found_grace
        if poll_interval <= 0:
            raise InvalidArgument(f"poll_interval: {poll_interval} is not above 0 seconds")
        self.poll_interval = poll_interval
        self.log_settle_time = log_settle_time
        self.encoding = line_encoding(encoding)
        self.keep_log_at = keep_log_at
        self.stop_job_on_kill = stop_job_on_kill
        self.deferrable = deferrable
        if timeout is None:
            timeout = conf.getfloat("sensors", "default_timeout")
        self.timeout = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
        self._killed = KillSwitch()
        self._store: WorkerStore | None = None
        self._meter: LogMeter | None = None

    @cached_property
    def hook(self) -> ApiHook:
        """The hook of the API that is asked."""
        from airflow_provider_ehpc.hooks import job_hook

        return job_hook(self.conn_id, self.api or None)

    @cached_property
    def ref(self) -> JobRef:
        """The job's address."""
        return self.hook.job_ref(str(self.job_id), self.cluster_id, self.version_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Until the job has ended and its log is drained: look at the state, write what is new, wait."""
        from airflow_provider_ehpc.logs.arrival import arrived
        from airflow_provider_ehpc.logs.cursor import SavedCursor
        from airflow_provider_ehpc.logs.follow import LogFollower
        from airflow_provider_ehpc.logs.store import WorkerStore
        from airflow_provider_ehpc.metrics import LogMeter
        from airflow_provider_ehpc.polling.watch import JobWatch

        started = time.time()
        terms = self._terms(started)
        deferred = self.deferrable and not self._ended()
        store = self._store = WorkerStore(context, self.log)
        cursor = store.load(self.hook.api.name, self.ref, tell=not deferred)
        if deferred:
            # Should what the trigger keeps be lost, a retry knows at least that there was a try before it,
            # and that nobody can tell how much that wrote.
            begun = cursor or SavedCursor(self.hook.api.name, self.ref.as_dict())
            store.save(dataclasses.replace(begun, turn=None))
            store.defer(cursor)
            self._defer(terms, started, cursor)
        follower = LogFollower(
            self.hook.api,
            self.ref,
            JobWatch(self.ref, terms, started),
            clock=time.time,
            interval=self.poll_interval,
            settle=self.log_settle_time,
            start=cursor,
            pace=store,
            encoding=self.encoding,
        )
        self._meter = LogMeter(self.hook.api.name, "worker", follower.totals, resumed=cursor is not None)
        try:
            verdict = self.hook.drive(arrived(follower.steps(), time.time), self._do)
        except TaskKilled:
            store.save(follower.cursor)
            raise
        return self._result(verdict, dataclasses.asdict(follower.totals), terms.deadline)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the deferral, however that ended; what the trigger wrote, a retry need not repeat."""
        from airflow_provider_ehpc.logs.store import WorkerStore

        self._store = WorkerStore(context, self.log)
        self._store.take_over()
        return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """End the task as the trigger saw the job end."""
        from airflow_provider_ehpc.polling.watch import Verdict

        verdict = Verdict.from_event(event)
        return self._result(verdict, (event or {}).get("log") or {})

    def on_kill(self) -> None:
        """End the wait, and stop the job where ``stop_job_on_kill`` asks for it."""
        from airflow_provider_ehpc.polling.stop import stop_jobs

        self._killed.pull()
        if self.stop_job_on_kill:
            self.hook.drive(stop_jobs(self.hook.api, [self.ref]), self._do)

    def _ended(self) -> bool:
        """Look once before deferring: the log of a job that has ended is quicker read here."""
        try:
            return self.hook.job_status(self.ref).state.terminal
        except NotFound:
            return False
        except ApiError as error:
            if error.transient:
                return False
            raise

    def _terms(self, started: float) -> WaitTerms:
        # Airflow does not enforce execution_timeout while a task is deferred (GH-69678).
        limits = [self.timeout] + ([self.execution_timeout.total_seconds()] if self.execution_timeout else [])
        return WaitTerms(
            target_states=self.target_states,
            finished_without_exit_code=self.finished_without_exit_code,
            not_found_grace=self.not_found_grace,
            deadline=started + min(limits),
        )

    def _defer(self, terms: WaitTerms, started: float, cursor: SavedCursor | None) -> None:
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
                terms=terms.as_dict(),
                stop_job_on_kill=self.stop_job_on_kill,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=(terms.deadline or started) - started) + DEFER_SLACK,
        )

    def _do(self, step: Step) -> JobStatus | ApiError | None:
        from airflow_provider_ehpc.logs.emission import records
        from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, Look, Pause
        from airflow_provider_ehpc.logs.lines import stream_prefix
        from airflow_provider_ehpc.polling.watch import Note

        if isinstance(step, Look):
            try:
                return self.hook.job_statuses([self.ref])[self.ref]
            except ApiError as error:
                return error
        if isinstance(step, Emit):
            for record in records(step.lines, stream_prefix(step.stream), together=step.behind):
                self.log.info("%s", record)
            if self._meter:
                self._meter.written()
        elif isinstance(step, Note):
            step.tell(self.log)
        elif isinstance(step, Checkpoint) and self._store:
            self._store.save(step.cursor)
            if self._store.outdated:
                # Airflow ends this process with its next heartbeat; what it wrote till then would come twice.
                self._killed.wait(HEARTBEATS)
                raise TaskKilled(f"another try of the task follows {self.ref} by now")
        # A backlog has no pauses. Between its pieces, all lines that the cursor counts are written.
        wait = step.seconds if isinstance(step, Pause) else 0.0
        if isinstance(step, Pause | Emit) and self._killed.wait(wait):
            raise TaskKilled(f"the task was told to end while it followed {self.ref}")
        return None

    def _result(
        self, verdict: Verdict, totals: dict[str, Any], deadline: float | None = None
    ) -> dict[str, Any]:
        from airflow_provider_ehpc.logs.keep import keep_log
        from airflow_provider_ehpc.polling.ending import end_of_wait
        from airflow_provider_ehpc.polling.watch import Outcome

        if self._store and verdict.outcome in (Outcome.REACHED, Outcome.FAILED):
            self._store.forget()
        kept: dict[str, Any] = {}
        if self.keep_log_at and verdict.jobs:
            try:
                kept["kept"] = keep_log(
                    self.hook, self.ref, self.keep_log_at, followed=totals.get("bytes"), deadline=deadline
                )
            except Exception as error:
                # Each storage's library has errors of its own; none of them must hide how the job ended.
                self.log.warning(
                    "the log of %s could not be kept at %s: %s", self.ref, self.keep_log_at, error
                )
        (job,) = end_of_wait(verdict, self.hook, [self.ref], JobTimedOut, encoding=self.encoding)
        return {**job, "log": {**totals, **kept}}

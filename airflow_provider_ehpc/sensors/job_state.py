# SPDX-License-Identifier: Apache-2.0
"""Wait for the state of jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import ApiError, AuthenticationFailed, PermissionDenied
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow_provider_ehpc.exceptions import without_useless_retries
from airflow_provider_ehpc.links.job import CloudConsoleLink, ClusterLink
from airflow_provider_ehpc.task import DEFER_SLACK, JobTask
from airflow_provider_ehpc.waiting.conditions import FinishedPolicy, parse_policy, parse_states

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.waiting.verdict import Verdict
    from airflow_provider_ehpc.waiting.watch import JobSetWatch

SHORTEST_RESCHEDULE = 10.0
"""Seconds. If a task resumes sooner, Airflow's scheduler can mistake the executor's "done" event of one poke
for that of the next, and marks the task as failed (GH-71580; seen here at 6 s)."""


class JobStateSensor(JobTask, BaseSensorOperator):
    """Wait until a job, or every one of many jobs, is in a target state.

    A job that ends in another state fails the task at once, without retries
    (:class:`~airflow_provider_ehpc.exceptions.JobFailed`); with ``soft_fail`` the task is skipped instead,
    and its log shows why. A key that the cloud rejects fails the task without retries, even with
    ``soft_fail``. The modes ``poke`` and ``reschedule`` and ``deferrable=True`` differ only in the resources
    that they use.

    ``execution_timeout`` limits the whole wait of a try in every mode. After that, the task fails with
    retries, as Airflow's tasks do; the job continues unless ``stop_job_on_kill`` is set.

    The result is the job's status as a dict (``state``, ``raw_state``, times, nodes and so on); for a list of
    jobs, a list of such dicts in the same order. An ID that occurs twice in the list is polled and returned
    once.

    :param conn_id: the connection to the cloud account.
    :param job_id: the job, or a list of jobs: one task can wait for many.
    :param cluster_id: the jobs' cluster; default: the connection's.
    :param version_id: the version of a ModelArts v1 job.
    :param api: the API to use; default: that of the connection's type.
    :param target_states: the states to wait for. A state that is not terminal, such as RUNNING, may be over
        between two polls: also name the terminal states.
    :param finished_without_exit_code: how to count a job that ended without an outcome: ``success``, with a
        line in the log, or ``fail``. PBS clusters report FINISHED for every job that is over.
    :param not_found_grace: seconds, or a ``timedelta``, in which a new job may be unknown.
    :param stop_job_on_kill: stop the jobs when the task is killed or ``execution_timeout`` is exceeded.
    :param deferrable: wait in the triggerer.
    :param poke_interval: seconds, or a ``timedelta``, between two polls; at least 10 s in ``reschedule``
        mode, because Airflow fails tasks that resume too soon.
    :param timeout: seconds, or a ``timedelta``, for the whole wait.
    :raises InvalidArgument: naming the argument that is wrong.
    """

    template_fields: Sequence[str] = ("conn_id", "job_id", "cluster_id", "version_id", "api")
    operator_extra_links = (CloudConsoleLink(), ClusterLink())
    ui_color = "#d5e8f7"

    def __init__(
        self,
        *,
        job_id: str | Sequence[str],
        conn_id: str = "aliyun_ehpc_default",
        cluster_id: str | None = None,
        version_id: str | None = None,
        api: str | None = None,
        target_states: Sequence[str] = (JobState.SUCCEEDED,),
        finished_without_exit_code: FinishedPolicy = "success",
        not_found_grace: timedelta | float = 60.0,
        stop_job_on_kill: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poke_interval: timedelta | float = 60.0,
        timeout: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        poke_interval = arguments.seconds("poke_interval", poke_interval, positive=True)
        default = conf.getfloat("sensors", "default_timeout")
        timeout = arguments.seconds("timeout", default if timeout is None else timeout)
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        if self.reschedule:
            self.poke_interval = max(self.poke_interval, SHORTEST_RESCHEDULE)
        self.conn_id = conn_id
        self.job_id = job_id
        self.cluster_id = cluster_id
        self.version_id = version_id
        self.api = api
        if not arguments.is_template(api):
            arguments.api(api)
        self.target_states = parse_states(target_states)
        self.finished_without_exit_code = parse_policy(finished_without_exit_code)
        self.not_found_grace = arguments.seconds("not_found_grace", not_found_grace)
        self.stop_job_on_kill = stop_job_on_kill
        self.deferrable = deferrable
        self._watch: JobSetWatch | None = None
        self._waiting: list[JobRef] | None = None
        self._stopped: set[JobRef] = set()

    @cached_property
    def refs(self) -> list[JobRef]:
        """Return the jobs' addresses, each once."""
        return self._refs(arguments.job_ids(self.job_id))

    def execute(self, context: Context) -> Any:
        """Poll until the wait is over; in deferrable mode, poll once and defer."""
        with without_useless_retries(), self._ends_alike(context):
            return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the deferral."""
        with without_useless_retries(), self._ends_alike(context):
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except ApiError as error:
                # Airflow's sensor does this in a poke, but here only for its own exceptions.
                if self.never_fail:
                    raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
                raise

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once; in deferrable mode, leave the rest to the triggerer.

        Deferring here, inside Airflow's own loop, makes failures the same in all modes. In ``reschedule``
        mode, the process continues to poll as long as another process could not continue the wait: during an
        outage, and while a job is unknown or its state needs a second poll.
        """
        from airflow_provider_ehpc.waiting.watch import JobSetWatch

        first = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
        if self._watch is None:
            started = first.timestamp() if first else time.time()
            seen = first is not None
            self._push_links(context, self.refs)
            self._begin_record(context)
            self._watch = JobSetWatch(
                self.refs, self._conditions(started), started, seen_before=seen, describe=not seen
            )
        while (verdict := self._poll(self._watch)) is None:
            if self.deferrable:
                self._defer(self._watch)
            if not self.reschedule or self._watch.settled:
                return PokeReturnValue(is_done=False)
            time.sleep(max(0.0, min(self.poke_interval, self._watch.started + self._limit - time.time())))
        return PokeReturnValue(is_done=True, xcom_value=self._result(verdict))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """End the task by the verdict in the trigger's event."""
        from airflow_provider_ehpc.waiting.event import not_reached
        from airflow_provider_ehpc.waiting.verdict import Verdict

        verdict = Verdict.from_event(event)
        for note in verdict.news:
            note.log(self.log)
        self._waiting = not_reached(event or {}, self.refs, self.target_states)
        self._begin_record(context, resumed=True)
        return self._result(verdict, event)

    def on_kill(self) -> None:
        """Stop the jobs that have not reached a target state, if ``stop_job_on_kill`` is set."""
        waiting = self._watch.waiting if self._watch else self._waiting
        if self.stop_job_on_kill:
            self._stop(self.refs if waiting is None else waiting)

    @contextmanager
    def _ends_alike(self, context: Context) -> Iterator[None]:
        """End the task in the same way in every mode.

        Airflow's sensor treats an exception differently in a poke, between two pokes and after a deferral.
        """
        if self.stop_job_on_kill:
            self._load_stopped(context, self.refs)
        try:
            yield
        except AirflowSkipException as skip:
            cause = skip.__cause__
            if self.soft_fail and isinstance(cause, AuthenticationFailed | PermissionDenied):
                # Nothing is known about the job, and the next task would send the same key.
                raise cause from cause.__cause__
            if isinstance(cause, AirflowTaskTimeout):
                self.on_kill()
            self.log.warning("skipped: %s", cause or skip)
            raise
        except AirflowTaskTimeout as error:
            # Airflow calls on_kill only after this exception, and a retry needs to know.
            self.on_kill()
            self._save_stopped(context)
            if not (self.soft_fail or self.never_fail):
                raise
            # As in a poke: Airflow does not convert the exception between two pokes or after a deferral.
            self.log.warning("skipped: %s", error)
            raise AirflowSkipException("Skipping due to soft_fail or never_fail.") from error

    def _defer(self, watch: JobSetWatch) -> None:
        from airflow_provider_ehpc.triggers.base import LARGEST_ROW
        from airflow_provider_ehpc.triggers.job_state import JobStateTrigger

        trigger = JobStateTrigger(
            conn_id=self.conn_id,
            api=self.hook.api.name,
            jobs=[ref.as_dict() for ref in self.refs],
            started=watch.started,
            poll_interval=self.poke_interval,
            terms=self._conditions(watch.started).as_dict(),
            stop_job_on_kill=self.stop_job_on_kill,
            seen=watch.settled,
        )
        if (size := trigger.stored_size) > LARGEST_ROW:
            self.log.warning(
                "the IDs of %d jobs take about %d bytes in Airflow's database. MySQL stores at most %d "
                "and would reject this deferral: with MySQL, split the list over several tasks (.expand).",
                len(self.refs),
                size,
                LARGEST_ROW,
            )
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=timedelta(seconds=self._limit) + DEFER_SLACK,
        )

    def _result(
        self, verdict: Verdict, event: dict[str, Any] | None = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        jobs = self._jobs(
            verdict, event or {}, self.refs, self._conditions(time.time()), AirflowSensorTimeout
        )
        return jobs if arguments.is_list(self.job_id) else jobs[0]

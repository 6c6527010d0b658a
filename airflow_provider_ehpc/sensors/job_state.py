"""Waiting for the state of jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow_provider_ehpc.polling.terms import FinishedPolicy, WaitTerms, parse_policy, parse_states
from airflow_provider_ehpc.polling.watch import JobSetWatch, Verdict

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.hooks.base import ApiHook

SHORTEST_RESCHEDULE = 10.0
"""Seconds. Airflow's scheduler can take the executor's "done" of one look for the end of the next, and then
marks the task as failed, where a task is back within some seconds (GH-71580; seen here at 6 s)."""
LAST_POLL = 10.0
"""Seconds that a poll may take beyond the timeout."""
DEFER_SLACK = timedelta(minutes=5)
"""The trigger keeps the deadline itself and can say what it saw; Airflow's own time-out comes behind it."""


class JobStateSensor(BaseSensorOperator):
    """Waits until a job, or every one of many jobs, is in a wanted state.

    A job that ends in another state fails the task at once, without using its retries
    (:class:`~airflow_provider_ehpc.exceptions.JobFailed`); with ``soft_fail`` the task is skipped instead.
    The modes ``poke`` and ``reschedule`` and ``deferrable=True`` differ only in what they occupy.

    Returns what is known of the job as a dict (``state``, ``raw_state``, times, nodes and so on); for a
    list of jobs, a list of such dicts in the same order.

    :param conn_id: the connection to the cloud account.
    :param job_id: the job, or a list of jobs: one task can wait for many.
    :param cluster_id: the jobs' cluster; the connection's default where left out.
    :param version_id: the version of a ModelArts v1 job.
    :param api: the API to ask; the connection's type decides where left out.
    :param target_states: the wanted states. A state on the way, such as RUNNING, may be over between two
        looks: name the end beside it.
    :param finished_without_exit_code: what an end without an outcome counts as: ``success``, with a warning
        in the log, or ``fail``. PBS clusters say FINISHED of every job that is over.
    :param not_found_grace: seconds in which a job that was just submitted may not be known yet.
    :param stop_job_on_kill: stop the jobs when the task is killed.
    :param deferrable: wait in the triggerer.
    :param poke_interval: seconds between two looks; at least 10 in ``reschedule`` mode, where Airflow fails
        tasks that come back too soon.
    :param timeout: seconds for the whole wait.
    """

    template_fields: Sequence[str] = ("conn_id", "job_id", "cluster_id", "version_id", "api")
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
        not_found_grace: float = 60.0,
        stop_job_on_kill: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.reschedule:
            self.poke_interval = max(self.poke_interval, SHORTEST_RESCHEDULE)
        self.conn_id = conn_id
        self.job_id = job_id
        self.cluster_id = cluster_id
        self.version_id = version_id
        self.api = api
        self.target_states = parse_states(target_states)
        self.finished_without_exit_code = parse_policy(finished_without_exit_code)
        self.not_found_grace = not_found_grace
        self.stop_job_on_kill = stop_job_on_kill
        self.deferrable = deferrable
        self._watch: JobSetWatch | None = None

    @cached_property
    def hook(self) -> ApiHook:
        """The hook of the API that is asked."""
        from airflow_provider_ehpc.hooks import job_hook

        return job_hook(self.conn_id, self.api or None)

    @cached_property
    def refs(self) -> list[JobRef]:
        """The jobs' addresses."""
        ids = [self.job_id] if self._one else list(self.job_id)
        if not ids:
            raise InvalidArgument("job_id: an empty list names no job")
        refs = [self.hook.job_ref(str(job_id), self.cluster_id, self.version_id) for job_id in ids]
        return list(dict.fromkeys(refs))

    @property
    def _one(self) -> bool:
        """Whether one job is meant. render_template_as_native_obj makes a number of an id of digits."""
        return isinstance(self.job_id, str | int)

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once; in deferrable mode, leave the rest to the triggerer.

        Deferring here, inside Airflow's own loop, makes every way of failing the same in all modes.
        """
        started = self._started(context)
        terms = self._terms(started)
        later = self.reschedule and self._watch is None and context["ti"].get_first_reschedule_date(context)
        watch = self._watch = self._watch or JobSetWatch(self.refs, terms, started, seen_before=bool(later))
        verdict = self._poll(watch, terms)
        # The process of the next poke knows nothing of this one: what another poll decides is decided here.
        while verdict is None and self.reschedule and not (self.deferrable or watch.settled):
            time.sleep(max(0.0, min(self.poke_interval, started + self.timeout - time.time())))
            verdict = self._poll(watch, terms)
        if verdict is not None:
            return PokeReturnValue(is_done=True, xcom_value=self._result(verdict))
        if self.deferrable:
            self._defer(terms, started)
        return PokeReturnValue(is_done=False)

    def _poll(self, watch: JobSetWatch, terms: WaitTerms) -> Verdict | None:
        # A poll that begins late may find the job in a wanted state all the same.
        deadline = max(terms.deadline or 0.0, time.time() + LAST_POLL)
        try:
            statuses = self.hook.job_statuses(watch.waiting, deadline=deadline)
        except ApiError as error:
            verdict, notes = watch.failed_to_look(error, time.time())
        else:
            verdict, notes = watch.saw(statuses, time.time())
        for note in notes:
            note.tell(self.log)
        return verdict

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """End the task as the trigger saw the jobs end."""
        verdict = Verdict.from_event(event)
        for note in verdict.news:
            note.tell(self.log)
        return self._result(verdict)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the deferral; ``never_fail`` covers a cloud that cannot be asked, as in poke."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except ApiError as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            raise

    def on_kill(self) -> None:
        """Stop the jobs that are waited for, where ``stop_job_on_kill`` asks for it."""
        from airflow_provider_ehpc.polling.stop import stop_jobs

        if self.stop_job_on_kill:
            refs = self._watch.waiting if self._watch else self.refs
            self.hook.drive(stop_jobs(self.hook.api, refs), lambda note: note.tell(self.log))

    def _started(self, context: Context) -> float:
        """Return when the wait began: in ``reschedule`` mode each look is a process of its own."""
        if self.reschedule and (first := context["ti"].get_first_reschedule_date(context)):
            return float(first.timestamp())
        return self._watch.started if self._watch else time.time()

    def _terms(self, started: float) -> WaitTerms:
        return WaitTerms(
            target_states=self.target_states,
            finished_without_exit_code=self.finished_without_exit_code,
            not_found_grace=self.not_found_grace,
            deadline=started + self.timeout,
        )

    def _defer(self, terms: WaitTerms, started: float) -> None:
        from airflow_provider_ehpc.triggers.job_state import JobStateTrigger

        self.defer(
            trigger=JobStateTrigger(
                conn_id=self.conn_id,
                api=self.hook.api.name,
                jobs=[ref.as_dict() for ref in self.refs],
                started=started,
                poll_interval=self.poke_interval,
                terms=terms.as_dict(),
                stop_job_on_kill=self.stop_job_on_kill,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + DEFER_SLACK,
        )

    def _result(self, verdict: Verdict) -> dict[str, Any] | list[dict[str, Any]]:
        from airflow_provider_ehpc.polling.ending import end_of_wait

        jobs = end_of_wait(verdict, self.hook, self.refs, AirflowSensorTimeout)
        if self._one:
            return jobs[0]
        by_id = {job["job_id"]: job for job in jobs}
        return [by_id[ref.job_id] for ref in self.refs]

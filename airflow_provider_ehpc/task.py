# SPDX-License-Identifier: Apache-2.0
"""The common base of all tasks that wait for jobs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.compat import AirflowTaskTimeout, task_state_store
from airflow_provider_ehpc.exceptions import JobFailed, JobFailedRetryably, JobFailure
from airflow_provider_ehpc.recording.task import RecordsJobs
from airflow_provider_ehpc.templates import TextTemplates

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.apis.job import JobRef, JobStatus
    from airflow_provider_ehpc.hooks.base import ApiHook
    from airflow_provider_ehpc.waiting.conditions import FinishedPolicy, WaitConditions
    from airflow_provider_ehpc.waiting.verdict import Verdict
    from airflow_provider_ehpc.waiting.watch import JobSetWatch

DEFER_SLACK = timedelta(minutes=5)
"""Time from the trigger's deadline to Airflow's own timeout, so that the trigger can report the end first."""
LAST_POLL = 2.0
"""Seconds that the last poll may take after the timeout."""
STOPPED_KEY = "ehpc:stopped_jobs"
"""The key in the task state store for the IDs of the jobs that the task stopped."""


class JobTask(RecordsJobs, TextTemplates):
    """A mixin for operators and sensors that wait for jobs over a connection."""

    conn_id: str
    api: str | None
    cluster_id: str | None
    version_id: str | None
    target_states: tuple[JobState, ...]
    finished_without_exit_code: FinishedPolicy
    not_found_grace: float
    stop_job_on_kill: bool
    timeout: float
    execution_timeout: timedelta | None
    encoding: str = "utf-8"
    """The encoding of the jobs' output, if the API returns bytes."""
    resubmits: bool = False
    """True if a retry submits the job again: an array, or a job about which a ``retry_policy`` decides."""
    log: Any
    ended_jobs: list[dict[str, Any]] | None = None
    """The last statuses of the jobs, when the wait is over."""
    failure: JobFailure | None = None
    """Why the job failed, if it did."""
    resumed: bool = False
    """True if this process continues the task after a deferral."""
    _stopped: set[JobRef]
    """The jobs that this try or an earlier try of the task stopped."""

    @cached_property
    def hook(self) -> ApiHook:
        """Return the hook of the API."""
        from airflow_provider_ehpc.hooks import job_hook

        return job_hook(arguments.text("conn_id", self.conn_id), arguments.api(self.api))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the deferral, with the links that the task pushed before it."""
        self.resumed = True
        return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc]

    def _refs(self, job_ids: Iterable[str]) -> list[JobRef]:
        cluster_id = arguments.optional_identifier("cluster_id", self.cluster_id, what="cluster")
        version_id = arguments.optional_identifier("version_id", self.version_id, what="version")
        return list(dict.fromkeys(self.hook.job_ref(job_id, cluster_id, version_id) for job_id in job_ids))

    def _push_links(self, context: Context, refs: Sequence[JobRef]) -> None:
        """Let Airflow show the links while the task runs."""
        from airflow_provider_ehpc.links.job import push_links

        push_links(self, context, self.hook.account, refs=refs, folder=getattr(self, "keep_log_at", None))

    @property
    def _limit(self) -> float:
        """Return the maximum duration of the wait in seconds.

        While a task is deferred or rescheduled, Airflow does not enforce ``execution_timeout`` (GH-69678).
        """
        return min(self.timeout, self._execution_limit)

    @property
    def _execution_limit(self) -> float:
        return self.execution_timeout.total_seconds() if self.execution_timeout else float("inf")

    def _conditions(self, started: float) -> WaitConditions:
        from airflow_provider_ehpc.waiting.conditions import WaitConditions

        return WaitConditions(
            target_states=self.target_states,
            finished_without_exit_code=self.finished_without_exit_code,
            not_found_grace=self.not_found_grace,
            deadline=started + self._limit,
        )

    def _statuses(self, refs: list[JobRef], deadline: float) -> dict[JobRef, JobStatus | None]:
        """Poll jobs once.

        :param deadline: epoch seconds at which the wait ends.
        :raises ApiError: the last error, if the API has not responded by the deadline.
        """
        from airflow_provider_ehpc.waiting.deadline import by_deadline

        # A poll that begins late may still find the job in a target state.
        deadline = max(deadline, time.time() + LAST_POLL)
        hook = self.hook
        return by_deadline(
            deadline, lambda: hook.job_statuses(refs, deadline=deadline), lambda: hook.last_error
        )

    def _poll(self, watch: JobSetWatch) -> Verdict | None:
        """Poll the jobs once; return the verdict if the wait is over."""
        watch.cancelled_by_us(self._stopped)
        try:
            statuses = self._statuses(watch.waiting, watch.started + self._limit)
        except ApiError as error:
            verdict, notes = watch.poll_failed(error, time.time())
        else:
            verdict, notes = watch.saw(statuses, time.time())
        if self._recorder:
            self._recorder.follow(lambda: watch.watches)
            self._recorder.polled(notes and verdict is None)
        for note in notes:
            note.log(self.log)
        return verdict

    def _jobs(
        self,
        verdict: Verdict,
        event: Mapping[str, Any],
        refs: list[JobRef],
        conditions: WaitConditions,
        timed_out: type[Exception],
    ) -> list[dict[str, Any]]:
        """Return each job's last status as a dict, or raise the exception that the verdict calls for.

        :param event: the trigger's event, from which jobs may be missing; empty on the worker.
        """
        from airflow_provider_ehpc.outcome import all_jobs, capture_exit_codes, end_of_wait, failed_jobs
        from airflow_provider_ehpc.waiting.event import reached_states
        from airflow_provider_ehpc.waiting.verdict import Outcome

        reached = reached_states(event, refs)
        if verdict.outcome is Outcome.REACHED and JobState.CANCELLED not in conditions.target_states:
            self._raise_if_stopped(refs, reached, verdict)
        if reached is not None and verdict.outcome is Outcome.REACHED:
            known = all_jobs(self.hook, refs, conditions, reached)
            verdict = dataclasses.replace(verdict, jobs=tuple(known))
        verdict = capture_exit_codes(verdict, self.hook, refs, conditions)
        if verdict.outcome not in (Outcome.REACHED, Outcome.FAILED):
            self._record_end(verdict.jobs, verdict.outcome)
        if verdict.outcome is Outcome.TIMED_OUT and self._execution_limit < self.timeout:
            # Airflow raises the same on a worker.
            message = verdict.message
            if self.stop_job_on_kill:
                message = message.replace("; the job was not stopped", "; stop_job_on_kill stops the job")
            raise AirflowTaskTimeout(f"execution_timeout ({self.execution_timeout}) exceeded: {message}")
        if len(failed := failed_jobs(verdict, conditions.target_states)) > 1:
            self.log.error("failed jobs:\n%s", "\n".join(failed))
        try:
            jobs = end_of_wait(
                verdict,
                self.hook,
                refs,
                timed_out,
                encoding=self.encoding,
                failure=self._failure(verdict),
                token=conditions.exit_token,
            )
        except JobFailure as failure:
            self.failure = failure
            self._summarized(verdict.jobs, {verdict.job_id: failure})
            failure.job = next((job for job in verdict.jobs if job["job_id"] == verdict.job_id), {})
            if failure.explained:
                self.log.error("job %s: %s", verdict.job_id, failure.diagnosis)
            raise
        return self._summarized(jobs)

    def _summarized(
        self, jobs: Iterable[dict[str, Any]], failures: Mapping[str | None, JobFailure] | None = None
    ) -> list[dict[str, Any]]:
        """Return the jobs' statuses with a ``summary`` of each job that has ended; log and count them."""
        from airflow_provider_ehpc import metrics, summary

        jobs = list(jobs)
        self._record_end(jobs, "failed" if failures else "reached", failures)
        found = [summary.summary(job) for job in jobs]
        line = summary.sentence(jobs[0], found[0]) if len(jobs) == 1 else summary.total(found)
        if line:
            self.log.info("%s", line)
        for job, cost in zip(jobs, found, strict=True):
            if JobState(job.get("state", JobState.UNKNOWN)).terminal:
                failure = (failures or {}).get(job["job_id"])
                cause = failure.diagnosis.cause.value if failure and failure.diagnosis else "none"
                metrics.job_ended(self.hook.api.name, job["state"], cause, cost)
        both = zip(jobs, found, strict=True)
        self.ended_jobs = [{**job, "summary": cost} if cost else job for job, cost in both]
        return self.ended_jobs

    def get_openlineage_facets_on_start(self) -> Any:
        """Return what OpenLineage is to know of the job when the task starts or resumes."""
        from airflow_provider_ehpc.lineage import job_lineage

        return job_lineage(self)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what OpenLineage is to know of the job when the task has succeeded."""
        from airflow_provider_ehpc.lineage import job_lineage

        return job_lineage(self)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """Return what OpenLineage is to know of the job when the task has failed."""
        from airflow_provider_ehpc.lineage import job_lineage

        return job_lineage(self, failed=True)

    def _failure(self, verdict: Verdict) -> type[JobFailure]:
        """Return the exception for a failed job: if it is submitted again, a policy decides about a retry.

        Without one, an array with failed members is retried, but not one that somebody cancelled. Of a large
        array, the API may not report which members failed.
        """
        array = getattr(self, "array", None)
        members = any(
            job["array"].get(JobState.FAILED)
            if job.get("array")
            else array and job.get("state") == JobState.FAILED
            for job in verdict.jobs
        )
        retryable = self.resubmits and (members or getattr(self, "retry_policy", None))
        return JobFailedRetryably if retryable else JobFailed

    def _raise_if_stopped(
        self, refs: list[JobRef], reached: Mapping[JobRef, JobState] | None, verdict: Verdict
    ) -> None:
        """Raise JobFailed if an earlier try stopped a job that has ended. The trigger does not know this."""
        if reached is None:
            states = (JobState(job.get("state", JobState.UNKNOWN)) for job in verdict.jobs)
            reached = dict(zip(refs, states, strict=False))
        for ref in refs:
            if ref in self._stopped and ref in reached and reached[ref].terminal:
                raise JobFailed(f"{ref} ended {JobState.CANCELLED}: an earlier try of this task stopped it")

    def _stop(self, refs: Iterable[JobRef]) -> None:
        """Stop the jobs if ``stop_job_on_kill`` is set, each job once."""
        from airflow_provider_ehpc.waiting.stop import stop_jobs

        if self.stop_job_on_kill and (left := [ref for ref in refs if ref not in self._stopped]):
            stopped = self.hook.drive(stop_jobs(self.hook.api, left), lambda note: note.log(self.log))
            self._stopped.update(stopped)

    def _load_stopped(self, context: Context, refs: Iterable[JobRef]) -> None:
        from airflow_provider_ehpc.waiting.event import unpack

        if not self.stop_job_on_kill or (store := task_state_store(context)) is None:
            return
        try:
            saved = store.get(STOPPED_KEY)
            stopped = set(json.loads(unpack(saved))) if saved else set()
        except Exception as error:
            self.log.warning("cannot read which jobs an earlier try stopped: %s", error)
            return
        self._stopped.update(ref for ref in refs if ref.job_id in stopped)

    def _save_stopped(self, context: Context) -> None:
        """Save which jobs were stopped, so that a retry does not count their end as a success."""
        from airflow_provider_ehpc.waiting.event import pack

        if not self._stopped or (store := task_state_store(context)) is None:
            return
        try:
            store.set(STOPPED_KEY, pack(json.dumps([ref.job_id for ref in self._stopped])))
        except Exception as error:
            self.log.warning(
                "cannot save which jobs this try stopped; a retry may count their end as a success: %s", error
            )

# SPDX-License-Identifier: Apache-2.0
"""Submit a task's job only once, even if requests, processes or Airflow fail.

A job's name is unique: it ends with a hash of DAG, run, task, map index, try and the number of tries that
Airflow allows (which changes if a user clears the task). No cloud accepts an idempotency token, so the name
is used to find a job whose submission got no response.

The name is saved before the submission and the ID after it, both before the first poll (Airflow 3.3). Airflow
3.1 and 3.2 save nothing: a retry searches for the names of the earlier tries, and a try that runs a second
time searches for its own name.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import (
    ApiError,
    AuthenticationFailed,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    NotReached,
    PermissionDenied,
    Throttled,
)
from airflow_provider_ehpc.apis.job import JobRef, JobSpec, JobState
from airflow_provider_ehpc.apis.submit_rules import unique_name
from airflow_provider_ehpc.compat import ran_before
from airflow_provider_ehpc.exceptions import SubmissionUnknown, TaskKilled
from airflow_provider_ehpc.exit_code import new_token
from airflow_provider_ehpc.job_record import JobRecord
from airflow_provider_ehpc.waiting.captured import tolerated
from airflow_provider_ehpc.waiting.stop import stop_jobs

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.apis.job import JobStatus
    from airflow_provider_ehpc.hooks.base import ApiHook
    from airflow_provider_ehpc.job_record import JobRecords
    from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait

JOB_NAME_KEY = "job_name"
"""The key of the XCom that holds the name of the job before its submission, if no store saves it."""
VISIBLE = 60.0
"""Seconds after which a submitted job is certainly found by its name."""
_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each search for a job whose submission got no response."""
SUBMISSIONS = 3
"""The maximum number of submissions in one try. Another one is sent only if the job is not found."""
_REFUSALS = (AuthenticationFailed, PermissionDenied, NotFound, InvalidRequest, Throttled, NotReached)
"""Errors after which no job was submitted."""
_NO_SECOND = frozenset({"AgentError.Job.SubmitFailure"})
"""Codes for a job that the scheduler did not accept. The job is still searched for: ``sbatch`` may time out
after slurmctld has accepted it. But the submission is not repeated, because it would fail again."""
_UNREADABLE = frozenset({400, 413, 414, 431})
"""Statuses of a gateway for a request that is malformed or too large (RFC 9110, RFC 6585). Sending it again
does not help."""
_SOON = 10.0
"""The duration of that search, in seconds."""
_DUPLICATE_NAME = frozenset({"ModelArts.2751"})
"""Codes for a name that is already used. Only an earlier submission of this try can have used it."""


def token_of(name: str) -> str:
    """Return the token of the marker with the exit code of the job with this name."""
    return hashlib.sha256(f"exit code of {name}".encode()).hexdigest()[:32]


class Submission:
    """Submit the job of one try, or find the job of an earlier one.

    :param prefix: the readable part of the job's name.
    :param killed: ends a search if Airflow ends the task.
    :param owns_job: True to stop an unfinished job of the task if a user has cleared the task.
    :param array: the whole array of the task, if its job is an array.
    :param max_failed_members: the number of its members that may fail.
    :param run: the number of the job within the try; Airflow 3.4 can repeat a try.
    """

    def __init__(
        self,
        hook: ApiHook,
        cluster_id: str | None,
        prefix: str,
        context: Context,
        records: JobRecords,
        killed: InterruptibleWait,
        log: Any,
        *,
        owns_job: bool,
        array: str | None = None,
        max_failed_members: int = 0,
        run: int = 1,
    ) -> None:
        self._hook = hook
        self._cluster_id = cluster_id
        self._prefix = prefix
        self._ti = context["ti"]
        self._retries = getattr(context.get("task"), "retries", None)
        # If a run is deleted and created again, the new run can have the same ID.
        self._run_started = str(getattr(context.get("dag_run"), "start_date", ""))
        self._records = records
        self._killed = killed
        self._log = log
        self._owns_job = owns_job
        self._run = run
        self._array = array
        self._max_failed_members = max_failed_members
        self.members: str | None = None
        """The smallest range with all members that have not succeeded in an earlier try; None for the whole
        array."""
        self.only: str | None = None
        """These members, if the range also contains others."""
        self.token: str | None = None
        """The token of the marker with the exit code of the job."""
        self.name = self._name(self._ti.try_number)
        """The name of the job that this try submits or rejoins."""
        self.unknown: str | None = None
        """The name of a job that may have been submitted, but whose ID is not known yet."""

    def _name(self, try_number: int) -> str:
        ti = self._ti
        task = [ti.dag_id, ti.run_id, self._run_started, ti.task_id, ti.map_index]
        parts = [*task, ti.max_tries, try_number, self._run]
        digest = hashlib.sha256(json.dumps(parts).encode()).digest()
        suffix = base64.b32encode(digest)[:12].decode().lower()
        return unique_name(self._hook.api.name, self._prefix, suffix)

    # ------------------------------------------------------------------ an earlier try's job

    def earlier_job(self) -> JobRef | None:
        """Return the job of an earlier try to wait for; None if the task must submit a new one.

        :raises SubmissionUnknown: if it cannot be determined whether there is one.
        """
        record = self._records.load()
        if record is not None and record.max_tries != self._ti.max_tries:
            self._start_over(record)
            return None
        ref: JobRef | None
        name = record.name if record else self.name
        if record is None:
            if self._records.lost:
                self._ti.xcom_push(key=JOB_NAME_KEY, value=self.name)
            name, ref = next(self._found_by_name(), (name, None))
        elif record.ended in (JobState.FAILED, JobState.CANCELLED) and not self._is_this_try(name):
            self._log.info("%s of an earlier try ended %s", record.ref or record.name, record.ended)
            self._choose_members()
            return None
        else:
            ref = record.ref or self._search(record.name, until=record.at + VISIBLE)
        if ref is None or (not self._is_this_try(name) and self._has_failed(ref)):
            self._choose_members()
            return None
        self._log.info("rejoining %s, which this task has submitted before", ref)
        self.name = name
        # If a job is found only by its name, new_token() has derived its token from this name.
        self.token = record.token if record else token_of(name)
        if record is None:
            self._records.save(self._record(name, ref))
        elif record.job is None:
            self._records.save(dataclasses.replace(record, job=ref.as_dict()))
        return ref

    def _choose_members(self) -> None:
        """Submit only the members of the array that have not succeeded, if an earlier try saved them."""
        saved = self._records.saved
        if saved and saved.array == self._array:
            self.members, self.only = saved.members, saved.only

    def _is_this_try(self, name: str) -> bool:
        """Return True if an earlier process of this try submitted the job.

        The try ends as that job ends. But the failed members of an array are submitted again.
        """
        return name == self.name and self._array is None

    def _found_by_name(self) -> Iterator[tuple[str, JobRef]]:
        """Search for the jobs of this task if none is saved, the latest first.

        A try can run twice: if a container restarts, the new process can have the host name and the process
        ID of the old one. Airflow then treats its request to start the task as a repeated request (``ti_run``
        in the execution API).
        """
        ti = self._ti
        # The first try since a user last cleared the task, or the first try of all.
        first = 1 if self._retries is None else max(1, ti.max_tries - self._retries + 1)
        last = ti.try_number if self._records.lost and ran_before(ti) else ti.try_number - 1
        for try_number in range(last, first - 1, -1):
            name = self._name(try_number)
            if ref := self._search(name, until=0.0):
                yield name, ref

    def _has_failed(self, ref: JobRef) -> bool:
        status = self._status(ref)
        if (
            status is None
            or status.state not in (JobState.FAILED, JobState.CANCELLED)
            # The wait judges jobs whose outcome is assumed, and jobs that may run again.
            or status.outcome_assumed
            or status.may_rerun
            or tolerated(status, self._max_failed_members).state is JobState.SUCCEEDED
        ):
            return False
        self._log.warning(
            "%s of an earlier try ended %s%s; submitting a new one",
            ref,
            status.state,
            f": {status.reason}" if status.reason else "",
        )
        if self._records.saved:
            self._records.failed(status.as_dict())
        return True

    def _status(self, ref: JobRef) -> JobStatus | None:
        try:
            return self._hook.job_statuses([ref])[ref]
        except ApiError as error:
            if error.transient:
                return None
            raise

    def _start_over(self, record: JobRecord) -> None:
        """Stop the job that was submitted before a user cleared the task, if it still runs."""
        self._log.info("the task was cleared: submitting a new job")
        if record.ended or not self._owns_job:
            return
        try:
            refs = [record.ref] if record.ref else self._hook.jobs_named(record.name, self._cluster_id)
            running = [
                ref for ref, job in self._hook.job_statuses(refs).items() if job and not job.state.terminal
            ]
            self._hook.drive(stop_jobs(self._hook.api, running), lambda note: note.log(self._log))
        except (ApiError, InvalidArgument) as error:
            self._log.warning(
                "%s of this task may still run: %s. Stop it if it is not needed.",
                record.ref or f"the job {record.name!r}",
                error,
            )

    # ------------------------------------------------------------------ a new job

    def new_token(self) -> str:
        """Return the token for the job that this try submits.

        It is random, so that nothing in the job's output can be mistaken for the marker. If a retry can find
        the job only by its name (Airflow 3.1 and 3.2), the token is derived from the name: otherwise a retry
        would count a job of PBS that succeeded as failed. Such a job could compute its token, but would gain
        nothing: it determines its exit code anyway.
        """
        self.token = token_of(self.name) if self._records.lost else new_token()
        return self.token

    def submit(self, spec: JobSpec) -> JobRef:
        """Submit a job with the name :attr:`name`. After a failure, search for the job if it may exist.

        :raises SubmissionUnknown: if it cannot be determined whether the job was submitted.
        :raises ApiError: if no job was submitted.
        """
        self._records.save(self._record(spec.name, None))
        self.unknown = spec.name
        ref = self._submitted(spec)
        self._records.save(self._record(spec.name, ref))
        self.unknown = None
        return ref

    def _submitted(self, spec: JobSpec) -> JobRef:
        for left in reversed(range(SUBMISSIONS)):
            if self._killed.wait(0.0):
                raise TaskKilled("Airflow ended the task before it submitted its job")
            try:
                return self._hook.submit(spec, self._cluster_id)
            except ApiError as error:
                if isinstance(error, _REFUSALS) and error.code not in _DUPLICATE_NAME:
                    self.unknown = None
                    raise
                self._log.warning(
                    "it is unknown whether the job %r was submitted: %s Searching for it.", spec.name, error
                )
                refused = error.code in _NO_SECOND or error.status in _UNREADABLE
                if ref := self._search(spec.name, until=time.time() + (_SOON if refused else VISIBLE)):
                    self._log.info("%s was submitted under this name", ref)
                    return ref
                if not left or refused or isinstance(error, _REFUSALS):
                    raise
                self._log.info("the job %r does not exist: submitting it again", spec.name)
        raise AssertionError("unreachable")

    def _search(self, name: str, *, until: float) -> JobRef | None:
        """Search for a job by its name; repeat the search while the job may not be visible yet.

        :param until: the time in epoch seconds from which the job is certainly visible.
        :raises SubmissionUnknown: if the cloud does not list its jobs.
        """
        error: Exception | None = None
        for pause in _PAUSES:
            left = until - time.time()
            if pause and error is None and left <= 0:
                break
            if self._killed.wait(pause if error else max(0.0, min(pause, left))):
                raise TaskKilled(f"Airflow ended the task while it searched for the job {name!r}")
            try:
                found = self._hook.jobs_named(name, self._cluster_id)
            except (ApiError, InvalidArgument) as caught:
                error = caught
                if isinstance(caught, ApiError) and caught.transient:
                    continue
                break
            error = None
            if found:
                if len(found) > 1:
                    self._log.warning(
                        "%d jobs have the name %r: %s", len(found), name, ", ".join(map(str, found))
                    )
                return found[0]
        if error is not None:
            raise SubmissionUnknown(
                f"it is unknown whether the job {name!r} was submitted, because jobs could not be listed: "
                f"{error} It is not submitted again. A retry of this task searches for it; if it does not "
                "exist, clear the task."
            ) from error
        return None

    def stop_unknown(self, until: float) -> None:
        """Stop the job whose submission is in progress. A signal handler calls this.

        :param until: the time in epoch seconds at which the search ends.
        """
        while self.unknown and time.time() < until:
            try:
                refs = self._hook.drive(
                    self._hook.api.jobs_named(
                        self.unknown, self._cluster_id or self._hook.account.cluster_id
                    ),
                    deadline=until,
                )
            except (ApiError, InvalidArgument):
                refs = []
            if refs:
                self._hook.drive(stop_jobs(self._hook.api, refs), lambda note: note.log(self._log))
                return
            time.sleep(0.5)

    def _record(self, name: str, ref: JobRef | None) -> JobRecord:
        return JobRecord(
            name,
            self._ti.max_tries,
            time.time(),
            ref.as_dict() if ref else None,
            token=self.token,
            array=self._array,
            members=self.members,
            only=self.only,
        )

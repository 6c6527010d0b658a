# SPDX-License-Identifier: Apache-2.0
"""Run a job: submit it, and wait for it with its log."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.capabilities import Capability, supports
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.apis.submit_rules import check_submission
from airflow_provider_ehpc.compat import (
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    TaskDeferralTimeout,
    conf,
    is_mapped,
    own_xcom,
)
from airflow_provider_ehpc.exceptions import JobFailure, TaskKilled, without_useless_retries
from airflow_provider_ehpc.job_arguments import TASK_ARGUMENTS, captures, exit_codes, job_fields, job_spec
from airflow_provider_ehpc.links.job import JOB_LINKS
from airflow_provider_ehpc.logs.lines import STDERR_LEVEL, line_encoding, line_level
from airflow_provider_ehpc.operators.base import JobFollower
from airflow_provider_ehpc.operators.stop_job import StopJobOperator
from airflow_provider_ehpc.waiting.conditions import JOB_ID_KEY, FinishedPolicy, parse_policy
from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.job_record import JobRecords
    from airflow_provider_ehpc.submission import Submission
    from airflow_provider_ehpc.waiting.conditions import WaitConditions
    from airflow_provider_ehpc.waiting.verdict import Verdict

__all__ = ["StopJobOperator", "SubmitJobOperator"]

STOP_SEARCH = 3.0
"""Seconds in which ``on_kill`` searches for a job whose submission is under way. Airflow kills the process
after five."""


class SubmitJobOperator(JobFollower, BaseOperator):
    """Submit a job, copy its log into the task log while it runs, and end as the job ends.

    The job is submitted only once: after a lost response, after a crash of the worker or the triggerer, and
    in a retry, the task searches for the job before it sends anything again. The job's name is ``job_name``
    with a suffix that is unique to this try of the task. A retry rejoins a job that is unfinished or has
    succeeded, and submits a new one if it failed or was cancelled; of an array, only the members that have
    not succeeded. If a user clears the task, it starts over.

    The XCom ``job_id`` holds the job's ID before the first poll. The result is a dict of what the API
    reports of the job, with ``log``: the number of lines and bytes that were read.

    Arguments that the API does not support are rejected when the DAG is parsed if ``api`` is given, otherwise
    before any request. The password of the cluster user comes from the connection's extra field
    ``user_password``.

    :param command: a shell command, or the path of a script on the cluster.
    :param script: instead of ``command``, the text of a script. Its ``#SBATCH`` or ``#PBS`` lines are passed
        on as arguments; an argument of the task takes precedence.
    :param job_name: the readable part of the job's name; default: the task's ID.
    :param conn_id: the connection to the cloud account.
    :param cluster_id: the cluster; default: the connection's.
    :param api: the API to use; default: that of the connection's type.
    :param queue: the queue or partition; for ModelArts, the ID of a resource pool. In ``default_args``, it is
        Airflow's, of the worker that runs the task.
    :param user: the cluster user that the job runs as.
    :param nodes: number of nodes.
    :param cores: cores per node.
    :param gpus: GPUs per node.
    :param memory: memory per node, a number with a unit such as ``4GB``.
    :param wall_time: the time limit of the job: seconds, a ``timedelta``, ``HH:MM:SS`` or ``D-HH:MM:SS``.
    :param priority: a whole number; its range is the API's.
    :param job_queue: the same as ``queue``, also in ``default_args`` and ``expand``; with both, ``queue`` is
        Airflow's.
    :param array: the indexes of an array job, ``X-Y`` or ``X-Y:STEP``.
    :param environment: environment variables of the job.
    :param stdout_path: a file on the cluster for the standard output.
    :param stderr_path: a file on the cluster for the standard error.
    :param options: parameters that only this API has, in its own words and structure.
    :param wait_for_completion: False to end as soon as the job is submitted.
    :param deferrable: wait in the triggerer, without a worker slot.
    :param poll_interval: seconds, or a ``timedelta``, between two polls.
    :param timeout: seconds, or a ``timedelta``, for the whole wait.
    :param get_logs: copy the job's log into the task log, if the API can read it.
    :param keep_log_at: a folder, of any kind that ``ObjectStoragePath`` understands, in which the raw bytes
        of each stream are saved as ``<stream>.log`` when the job has ended, with the marker of
        ``capture_exit_code``.
    :param log_settle_time: seconds, or a ``timedelta``, without a new byte after which an ended job's log
        counts as complete.
    :param encoding: of the job's output, such as ``gbk``, if the API returns bytes (E-HPC).
    :param stderr_level: the level of the lines of the standard error in the task log: ``debug``, ``info``,
        ``warning`` or ``error``.
    :param durable: rejoin the job after a crash and in a retry. False submits a new job in each try.
    :param stop_job_on_kill: stop the job if a user ends the task, or if ``timeout`` or ``execution_timeout``
        is exceeded.
    :param skip_on_exit_code: skip the task if the job ends with this exit code, or one of these.
    :param finished_without_exit_code: what an end without an outcome counts as, ``success`` or ``fail``.
    :param capture_exit_code: let the job write its exit code into its output, if the API does not report it.
    :param max_failed_members: the number of an array's jobs that may fail.
    :raises InvalidArgument: naming the arguments that are wrong.
    """

    template_fields: Sequence[str] = (*TASK_ARGUMENTS, "conn_id", "cluster_id", "api", "keep_log_at")
    template_fields_renderers = {  # noqa: RUF012 - as in Airflow's operators
        "command": "bash",
        "script": "bash",
        "environment": "json",
        "options": "json",
    }
    operator_extra_links = JOB_LINKS
    ui_color = "#c6e2c3"
    version_id: str | None = None
    resubmits = True
    target_states = (JobState.SUCCEEDED,)
    not_found_grace = 60.0

    def __init__(
        self,
        *,
        command: str | None = None,
        script: str | None = None,
        job_name: str | None = None,
        conn_id: str = "aliyun_ehpc_default",
        cluster_id: str | None = None,
        api: str | None = None,
        queue: str | None = None,
        user: str | None = None,
        nodes: int | str | None = None,
        cores: int | str | None = None,
        gpus: int | str | None = None,
        memory: str | None = None,
        wall_time: timedelta | float | str | None = None,
        priority: int | str | None = None,
        job_queue: str | None = None,
        array: str | None = None,
        environment: Mapping[str, str] | None = None,
        stdout_path: str | None = None,
        stderr_path: str | None = None,
        options: Mapping[str, Any] | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: timedelta | float = 10.0,
        timeout: timedelta | float | None = None,
        get_logs: bool = True,
        keep_log_at: str | None = None,
        log_settle_time: timedelta | float = 5.0,
        encoding: str = "utf-8",
        stderr_level: str = STDERR_LEVEL,
        durable: bool = True,
        stop_job_on_kill: bool = True,
        skip_on_exit_code: int | Collection[int] | None = None,
        finished_without_exit_code: FinishedPolicy = "fail",
        capture_exit_code: bool = True,
        max_failed_members: int = 0,
        **kwargs: Any,
    ) -> None:
        # Airflow's operators have a queue, too: that of the worker which runs the task.
        defaults = kwargs.get("default_args") or {}
        workers = is_mapped(self) or queue == defaults.get("queue")
        if not workers and job_queue in (None, defaults.get("job_queue")):
            job_queue = queue
        elif queue is not None:
            kwargs["queue"] = queue
        super().__init__(**kwargs)
        self.command = command
        self.script = script
        self.job_name = job_name
        self.conn_id = conn_id
        self.cluster_id = cluster_id
        self.api = api
        self.job_queue = job_queue
        self.user = user
        self.nodes = nodes
        self.cores = cores
        self.gpus = gpus
        self.memory = memory
        self.wall_time = wall_time
        self.priority = priority
        self.array = array
        self.environment = environment
        self.stdout_path = stdout_path
        self.stderr_path = stderr_path
        self.options = options
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = arguments.seconds("poll_interval", poll_interval, positive=True)
        default = conf.getfloat("sensors", "default_timeout")
        self.timeout = arguments.seconds("timeout", default if timeout is None else timeout)
        self.get_logs = get_logs
        self.keep_log_at = keep_log_at
        self.log_settle_time = arguments.seconds("log_settle_time", log_settle_time)
        self.encoding = line_encoding(encoding)
        self.stderr_level = line_level(stderr_level)
        self.durable = durable
        self.stop_job_on_kill = stop_job_on_kill
        self.skip_on_exit_code = exit_codes(skip_on_exit_code)
        self.finished_without_exit_code = parse_policy(finished_without_exit_code)
        self.capture_exit_code = capture_exit_code
        self.max_failed_members = arguments.count("max_failed_members", max_failed_members, at_least=0)
        # What is a template is checked before the first request.
        fields = job_fields(self)
        if not arguments.is_template(api) and (name := arguments.api(api, needs=Capability.SUBMIT)):
            check_submission(name, fields)
        self._stopped: set[JobRef] = set()
        self._killed = InterruptibleWait()
        self._ref: JobRef | None = None
        self._exit_token: str | None = None
        self._submission: Submission | None = None
        self._records: JobRecords | None = None

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Return the operator to map. Of a mapped task, Airflow would take ``queue`` for the worker's."""
        if "queue" in kwargs and "job_queue" not in kwargs:
            kwargs["job_queue"] = kwargs.pop("queue")
        partial = super().partial(**kwargs)
        if partial.kwargs.get("queue", "") is None:
            # Airflow 3.3 takes this class's default for that of the worker's queue. Set, it cannot be mapped.
            partial.kwargs["queue"] = conf.get("operators", "default_queue", fallback="default")
        return partial

    @property
    def ref(self) -> JobRef:
        """Return the job's address.

        :raises LookupError: if no job has been submitted.
        """
        if self._ref is None:
            raise LookupError("no job has been submitted")
        return self._ref

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit the job, or rejoin that of an earlier try, and wait for its end."""
        with without_useless_retries(), self._ends_job():
            name = self._submit(context)
            if not self.wait_for_completion:
                self._begin_record(context)
                job = {**self.ref.as_dict(), "name": name}
                self._record_end([job], "submitted")
                return job
            if self.get_logs and supports(self.hook.api.name, Capability.LOG):
                return self._follow(context)
            if self.get_logs:
                self.log.info(
                    "the API %r has no operation that reads logs: this log shows only the job's states",
                    self.hook.api.name,
                )
            return self._wait(context)

    def _submit(self, context: Context) -> str:
        """Submit the job or find it; return its name."""
        from airflow_provider_ehpc.escalation import escalated, load_escalation
        from airflow_provider_ehpc.job_record import JobRecords
        from airflow_provider_ehpc.submission import Submission

        self._records = JobRecords(context, self.log, durable=self.durable)
        cluster_id = arguments.optional_identifier("cluster_id", self.cluster_id, what="cluster")
        fields = job_fields(self)
        escalation = load_escalation(context)
        larger = escalated(fields.get("memory"), fields.get("wall_time"), escalation)
        fields |= {k: v for k, v in zip(("memory", "wall_time"), larger, strict=True) if v is not None}
        prefix = fields.get("job_name") or self.task_id.rsplit(".", 1)[-1]
        submission = self._submission = Submission(
            self.hook,
            cluster_id,
            prefix,
            context,
            self._records,
            self._killed,
            self.log,
            owns_job=self.stop_job_on_kill,
            array=fields.get("array"),
            max_failed_members=self.max_failed_members,
            run=escalation.get("runs", 1),
        )
        check_submission(self.hook.api.name, fields)
        captured = self.capture_exit_code and captures(fields, self.hook.api.name)
        self._ref = submission.earlier_job() if self.durable else None
        if self._ref is None:
            if submission.members:
                self.log.info(
                    "submitting only the members %s of the array %s: all others have succeeded",
                    submission.only or submission.members,
                    fields["array"],
                )
                fields["array"] = submission.members
            spec = job_spec(
                fields,
                self.hook.api.name,
                submission.name,
                password=self.hook.account.user_password,
                token=submission.new_token() if captured else None,
                only=submission.only,
            )
            self._ref = submission.submit(spec)
            self.log.info("submitted %s under the name %r", self._ref, spec.name)
        context["ti"].xcom_push(key=JOB_ID_KEY, value=self._ref.job_id)
        self._exit_token = submission.token if captured else None
        self._push_links(context, [self._ref])
        if self._killed.wait(0.0):
            self._stop([self._ref])
            raise TaskKilled(f"Airflow ended the task while it submitted {self._ref}")
        return submission.name

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the deferral, however it ended."""
        from airflow_provider_ehpc.job_record import JobRecords

        self._records = JobRecords(context, self.log, durable=self.durable)
        (self._ref,) = self._refs([arguments.one_job_id(own_xcom(context, JOB_ID_KEY))])
        with self._ends_job():
            return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """End the task by the verdict in the trigger's event."""
        self._exit_token = (event or {}).get("exit_token")
        return super().execute_complete(context, event)

    def _conditions(self, started: float) -> WaitConditions:
        base = super()._conditions(started)
        return replace(base, exit_token=self._exit_token, max_failed_members=self.max_failed_members)

    @contextmanager
    def _ends_job(self) -> Iterator[None]:
        """Stop the job if the time is over, and save that it was stopped, for a retry."""
        try:
            yield
        except (AirflowTaskTimeout, TaskDeferralTimeout):
            self._end_job()
            raise
        except TaskKilled:
            self._save_stop()
            raise

    # Airflow's own exceptions, and what a retry needs to know, are handled around the whole task.
    @contextmanager
    def _stops_at_execution_timeout(self, context: Context) -> Iterator[None]:
        yield

    def _end_job(self) -> None:
        self._stop_submitted()
        self._save_stop()

    def _stop_submitted(self) -> None:
        if self._ref is not None:
            self._stop([self._ref])
        elif self._submission and self.stop_job_on_kill:
            self._submission.stop_unknown(time.time() + STOP_SEARCH)

    def _save_stop(self) -> None:
        if self._records and self._ref in self._stopped:
            self._records.ended(JobState.CANCELLED)

    def on_kill(self) -> None:
        """End the wait, and stop the job if ``stop_job_on_kill`` is set."""
        self._killed.interrupt()
        self._stop_submitted()

    def _result(
        self,
        verdict: Verdict,
        event: dict[str, Any],
        totals: dict[str, Any],
        deadline: float | None = None,
    ) -> dict[str, Any]:
        from airflow_provider_ehpc.waiting.verdict import Outcome

        if verdict.outcome is Outcome.TIMED_OUT and self.stop_job_on_kill:
            self._end_job()
            message = verdict.message.replace("; the job was not stopped", "; stop_job_on_kill stops the job")
            verdict = replace(verdict, message=message)
        try:
            result = super()._result(verdict, event, totals, deadline)
        except JobFailure as failure:
            if self._records:
                self._records.failed(failure.job)
            self._skip_by_exit_code(failure.job, failure)
            raise
        if self._records:
            self._records.ended(JobState.SUCCEEDED)
            result = self._records.whole(result)
        self._skip_by_exit_code(result)
        return result

    def _skip_by_exit_code(self, job: Mapping[str, Any], failure: JobFailure | None = None) -> None:
        if job.get("exit_code") in self.skip_on_exit_code:
            why = f"skip_on_exit_code: {self.ref} ended with exit code {job['exit_code']}"
            # Airflow's view hides its own line about this.
            self.log.info("skipped by %s", why)
            raise AirflowSkipException(why) from failure

# SPDX-License-Identifier: Apache-2.0
"""Stream a job's log into the task log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.capabilities import Capability
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.compat import BaseOperator, conf
from airflow_provider_ehpc.exceptions import without_useless_retries
from airflow_provider_ehpc.links.job import JOB_LINKS
from airflow_provider_ehpc.logs.lines import STDERR_LEVEL, line_encoding, line_level
from airflow_provider_ehpc.operators.base import JobFollower
from airflow_provider_ehpc.waiting.conditions import FinishedPolicy, parse_policy, parse_states
from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class JobLogOperator(JobFollower, BaseOperator):
    """Follow a job to its end and write its log into the task log while it runs.

    Every complete line appears once and in order; lines of the standard error begin with ``stderr | `` and
    are warnings.
    Lines over 16 KiB are visibly shortened. A log that cannot be read for a while never fails the task.
    A job that ends in another state than the target states fails the task at once, without retries; so does a
    key that the cloud rejects.

    After a crash, and in a retry, it continues after the last line that it saved as written (Airflow 3.3).
    A mark shows where: the lines of one cycle may be repeated, none is missing.

    ``execution_timeout`` limits the whole wait of a try, deferred or not. After that, the task fails with
    retries, as Airflow's tasks do; the job continues unless ``stop_job_on_kill`` is set.

    The result is the job's status as a dict, with ``log``: the numbers of lines and bytes that were read.

    :param conn_id: the connection to the cloud account.
    :param job_id: the job; for several, map the task with ``.expand(job_id=...)``.
    :param cluster_id: the job's cluster; default: the connection's.
    :param version_id: the version of a ModelArts v1 job.
    :param api: the API to use; default: that of the connection's type.
    :param target_states: the terminal states to wait for. With SUCCEEDED, FAILED and CANCELLED the task
        succeeds however the job ends.
    :param finished_without_exit_code: how to count a job that ended without an outcome: ``success`` or
        ``fail``.
    :param not_found_grace: seconds, or a ``timedelta``, in which a new job may be unknown.
    :param poll_interval: seconds, or a ``timedelta``, between two cycles.
    :param encoding: the encoding of the job's output, such as ``gbk``, if the API returns bytes (E-HPC).
    :param stderr_level: the level of the lines of the standard error in the task log: ``debug``, ``info``,
        ``warning`` or ``error``.
    :param log_settle_time: seconds, or a ``timedelta``, without a new byte after which an ended job's log
        counts as complete.
    :param keep_log_at: a folder of any kind that ``ObjectStoragePath`` supports, in which the raw bytes of
        each stream are saved as ``<stream>.log`` when the job has ended.
    :param stop_job_on_kill: stop the job when the task is killed or ``execution_timeout`` is exceeded.
    :param deferrable: stream from the triggerer, in one deferral, without a worker slot. The triggerer's
        channel to the log is slow and shared: for a job that writes more than a few thousand lines per
        second, use a worker.
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
    operator_extra_links = JOB_LINKS
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
        stderr_level: str = STDERR_LEVEL,
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
        self.stderr_level = line_level(stderr_level)
        self.keep_log_at = keep_log_at
        self.stop_job_on_kill = stop_job_on_kill
        self.deferrable = deferrable
        default = conf.getfloat("sensors", "default_timeout")
        self.timeout = arguments.seconds("timeout", default if timeout is None else timeout)
        self._stopped: set[JobRef] = set()
        self._killed = InterruptibleWait()

    def execute(self, context: Context) -> dict[str, Any]:
        """Poll the job and write the new lines, until the job has ended and its log is read."""
        with without_useless_retries(), self._stops_at_execution_timeout(context):
            self.hook.require(Capability.LOG)
            self._push_links(context, [self.ref])
            return self._follow(context)

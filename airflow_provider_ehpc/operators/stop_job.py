# SPDX-License-Identifier: Apache-2.0
"""Stop a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import ApiError, NotFound
from airflow_provider_ehpc.apis.capabilities import Capability
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.compat import BaseOperator, conf
from airflow_provider_ehpc.exceptions import JobNotFound, without_useless_retries
from airflow_provider_ehpc.links.job import CloudConsoleLink, ClusterLink
from airflow_provider_ehpc.logs.lines import STDERR_LEVEL
from airflow_provider_ehpc.operators.base import JobFollower
from airflow_provider_ehpc.waiting.conditions import FinishedPolicy
from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.waiting.conditions import WaitConditions
    from airflow_provider_ehpc.waiting.verdict import Verdict


class StopJobOperator(JobFollower, BaseOperator):
    """Stop a job and wait until it has ended, in whichever state.

    As a teardown, it ends the job of a setup or of a task that failed::

        StopJobOperator(task_id="stop", job_id=server.output["job_id"]).as_teardown(setups=server)

    Returns what is known of the job as a dict.

    :param job_id: the job; for several, map the task with ``.expand(job_id=...)``.
    :param conn_id: the connection to the cloud account.
    :param cluster_id: the job's cluster; default: the connection's.
    :param version_id: the version of a ModelArts v1 job.
    :param api: the API to use; default: that of the connection's type.
    :param missing_ok: succeed if the cloud does not know the job, and if there is no ID, because the task
        that submits it did not get that far.
    :param wait_for_completion: False to end as soon as the cloud has agreed to stop the job.
    :param deferrable: wait in the triggerer, without a worker slot.
    :param poll_interval: seconds, or a ``timedelta``, between two polls.
    :param timeout: seconds, or a ``timedelta``, for the whole wait.
    :raises InvalidArgument: naming the argument that is wrong.
    """

    template_fields: Sequence[str] = ("job_id", "conn_id", "cluster_id", "version_id", "api")
    operator_extra_links = (CloudConsoleLink(), ClusterLink())
    ui_color = "#eac9c1"
    target_states = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    finished_without_exit_code: FinishedPolicy = "success"
    not_found_grace = 0.0
    stop_job_on_kill = False
    keep_log_at = None
    log_settle_time = 0.0
    stderr_level = STDERR_LEVEL

    def __init__(
        self,
        *,
        job_id: str,
        conn_id: str = "aliyun_ehpc_default",
        cluster_id: str | None = None,
        version_id: str | None = None,
        api: str | None = None,
        missing_ok: bool = True,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: timedelta | float = 10.0,
        timeout: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.conn_id = conn_id
        self.cluster_id = cluster_id
        self.version_id = version_id
        self.api = api
        if not arguments.is_template(api):
            arguments.api(api, needs=Capability.STOP)
        self.missing_ok = missing_ok
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = arguments.seconds("poll_interval", poll_interval, positive=True)
        default = conf.getfloat("sensors", "default_timeout")
        self.timeout = arguments.seconds("timeout", default if timeout is None else timeout)
        self._stopped: set[JobRef] = set()
        self._killed = InterruptibleWait()

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Stop the job and wait for its end."""
        if self.missing_ok and arguments.is_missing(self.job_id):
            self.log.info("job_id is %r: there is no job to stop", self.job_id)
            return None
        with without_useless_retries():
            self._push_links(context, [self.ref])
            try:
                self.hook.stop(self.ref)
            except ApiError as error:
                if ended := self._ended(error, context):
                    return ended
            else:
                self._stopped.add(self.ref)
                self.log.info("requested the stop of %s", self.ref)
            if self.wait_for_completion:
                return self._wait(context)
            self._begin_record(context)
            self._record_end([self.ref.as_dict()], "stop_requested")
            return self.ref.as_dict()

    def _ended(self, error: ApiError, context: Context) -> dict[str, Any] | None:
        """Return a job that could not be stopped because it has ended or is unknown.

        :raises ApiError: if it runs.
        """
        try:
            status = self.hook.job_status(self.ref)
        except NotFound:
            return self._missing(str(error))
        if not status.state.terminal:
            raise error
        self.log.info("%s has ended already: %s", self.ref, status.state)
        self._begin_record(context)
        self._record_end([status.as_dict()], "reached")
        return status.as_dict()

    def _conditions(self, started: float) -> WaitConditions:
        # However it ends, it was stopped.
        return dataclasses.replace(super()._conditions(started), cancelled_by_us=bool(self._stopped))

    def _missing(self, message: str) -> dict[str, Any]:
        if not self.missing_ok:
            raise JobNotFound(message)
        self.log.info("%s is unknown to the cloud: there is nothing to stop", self.ref)
        return self.ref.as_dict()

    def _result(
        self,
        verdict: Verdict,
        event: dict[str, Any],
        totals: dict[str, Any],
        deadline: float | None = None,
    ) -> dict[str, Any]:
        from airflow_provider_ehpc.waiting.verdict import Outcome

        if verdict.outcome is Outcome.NOT_FOUND:
            return self._missing(verdict.message)
        return super()._result(verdict, event, totals, deadline)

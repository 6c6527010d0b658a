# SPDX-License-Identifier: Apache-2.0
"""The common base of this provider's triggers: serialization, the times of polls, stopping jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.compat import AirflowNotFoundException, calls_on_kill, task_state, task_xcom
from airflow_provider_ehpc.hooks.pool import POOL
from airflow_provider_ehpc.logs.emission import emission_budget
from airflow_provider_ehpc.polling.poller import subscribed
from airflow_provider_ehpc.polling.subscription import Subscription
from airflow_provider_ehpc.recording.recorder import Jobs, TriggererRecorder
from airflow_provider_ehpc.waiting.conditions import JOB_ID_KEY, WaitConditions
from airflow_provider_ehpc.waiting.event import pack, unpack
from airflow_provider_ehpc.waiting.stop import stop_jobs
from airflow_provider_ehpc.waiting.verdict import Note, Outcome, Verdict

FIRST_POLL = 5.0
"""Seconds from a new trigger's start to its first request: the worker has just polled."""
EARLIEST_EVENT = 10.0
"""Seconds from a new trigger's start to its event. Sooner, the scheduler can mistake the executor's "done"
event of the process that deferred for that of the one that resumes, and marks the task as failed (GH-71580;
seen at 6 s)."""
_SHOWN = 3
"""Jobs of an event that the log names."""
_RECENT = 30.0
"""Seconds. A trigger that starts this long after its wait began takes over from another triggerer."""
STATE_TIMEOUT = 10.0
"""Seconds to wait for Airflow's report of the state of a killed task."""
STOP_TIMEOUT = 15.0
"""Seconds for stopping the jobs, at most. Airflow cancels ``on_kill`` after 30 (``[triggerer]
on_kill_timeout``)."""
LARGEST_ROW = 65_535
"""Bytes of a ``TEXT`` on MySQL, in which Airflow stores a trigger's arguments (apache/airflow#55216)."""


class JobEvent(TriggerEvent):
    """The event of a wait for jobs. Its repr is short: the outcome and the jobs' states.

    Airflow writes each event's repr into the task's log. The whole event would repeat in 800 bytes what the
    task then logs in words. If a thousand triggers fire at once, the last event waits until the supervisor
    has read them all, 4 KiB in each round of its work (Airflow 3.3).
    """

    def __repr__(self) -> str:
        if counts := self.payload.get("counts"):
            shown = ", ".join(f"{count} {state}" for state, count in counts.items())
            return f"{self.payload['outcome']}: {shown}"
        jobs = self.payload.get("jobs", ())
        shown = ", ".join(f"{job['job_id']} {job['state']}" for job in jobs[:_SHOWN])
        more = f" and {len(jobs) - _SHOWN} more" if len(jobs) > _SHOWN else ""
        return f"{self.payload['outcome']}: {shown or self.payload.get('message', '')}{more}"


class JobTrigger(BaseTrigger):
    """A trigger that waits for jobs of one API.

    :param conn_id: the connection.
    :param api: the name of the API, as in ``api=`` of the operator.
    :param jobs: the jobs' addresses, as the fields of :class:`~airflow_provider_ehpc.apis.job.JobRef`.
    :param started: epoch seconds at which the wait began; the same after a restart of the triggerer.
    :param poll_interval: seconds between two polls.
    :param terms: :class:`~airflow_provider_ehpc.waiting.conditions.WaitConditions` as a dict.
    :param stop_job_on_kill: stop the jobs when a user ends the task.
    :param seen: True if the worker has seen all jobs: a job that is unknown is then not a new one.
    :param job_ids: instead of ``jobs``, the IDs of many jobs of one cluster, packed as :meth:`serialize`
        returns them.
    :param cluster_id: the cluster of ``job_ids``.
    :param version_id: the version of ``job_ids``.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        api: str,
        started: float,
        poll_interval: float,
        jobs: list[dict[str, Any]] | None = None,
        terms: dict[str, Any] | None = None,
        stop_job_on_kill: bool = False,
        seen: bool = False,
        job_ids: str | None = None,
        cluster_id: str | None = None,
        version_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]  # typed from 3.4 on
        self.conn_id = conn_id
        self.api = api
        if job_ids is not None:
            self.refs = [JobRef(job_id, cluster_id, version_id) for job_id in json.loads(unpack(job_ids))]
        else:
            self.refs = [JobRef(**job) for job in jobs or ()]
        self.started = started
        self.poll_interval = poll_interval
        self.terms = terms or {}
        self.stop_job_on_kill = stop_job_on_kill
        self.seen = seen
        self._recorder: TriggererRecorder | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the arguments that rebuild the trigger. Defaults are left out: an older triggerer may
        not know the argument."""
        kwargs: dict[str, Any] = {
            "conn_id": self.conn_id,
            "api": self.api,
            **self._addresses(),
            "started": self.started,
            "poll_interval": self.poll_interval,
        }
        if self.terms:
            kwargs["terms"] = self.terms
        if self.stop_job_on_kill:
            kwargs["stop_job_on_kill"] = True
        if self.seen:
            kwargs["seen"] = True
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    def _addresses(self) -> dict[str, Any]:
        shared = {(ref.cluster_id, ref.version_id) for ref in self.refs}
        if len(self.refs) < 2 or len(shared) > 1:
            return {"jobs": [ref.as_dict() for ref in self.refs]}
        address: dict[str, Any] = self.refs[0].as_dict()
        del address["job_id"]
        return {**address, "job_ids": pack(json.dumps([ref.job_id for ref in self.refs]))}

    @property
    def stored_size(self) -> int:
        """Return the approximate number of bytes that the trigger's arguments take in Airflow's database."""
        # Fernet adds 57 bytes and padding, and writes the whole in base64.
        return (len(json.dumps(self.serialize()[1])) + 80) * 4 // 3

    @property
    def waiting(self) -> list[JobRef]:
        """Return the jobs that have not reached a target state yet."""
        return self.refs

    @property
    def conditions(self) -> WaitConditions:
        """The conditions of the wait."""
        return WaitConditions.from_dict(self.terms)

    @abstractmethod
    async def watch(self) -> dict[str, Any]:
        """Wait for the jobs and return the payload of the event."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once, when the wait is over, and not too soon for Airflow's scheduler.

        If the connection was removed or became invalid since the deferral, the event reports it: Airflow does
        not pass a trigger's exception to the task.
        """
        # All triggers share the class's logger: a thousand loggers would be some seven thousand objects,
        # which the garbage collector visits while the event loop waits.
        self.logger()
        earliest = time.time() + EARLIEST_EVENT if self._is_recent() else 0.0
        try:
            payload = await self.watch()
        except (AirflowNotFoundException, InvalidArgument) as error:
            payload = Verdict(Outcome.ERROR, str(error)).as_event()
        except asyncio.CancelledError:
            # Of a triggerer that ends, Airflow does not report the task's state any more.
            if not calls_on_kill():
                await self.on_kill()
            raise
        if self.conditions.exit_token:
            # The worker needs it to read an exit code. `airflow dags test` drops the arguments of `defer`.
            payload["exit_token"] = self.conditions.exit_token
        if self._recorder:
            self._recorder.close()
        await asyncio.sleep(max(0.0, earliest - time.time()))
        yield JobEvent(payload=payload)

    def first_pauses(self) -> tuple[float, float]:
        """Return for how many seconds not to poll, and the seconds until the first poll.

        The latter are random, so that triggers that start together do not poll together. A triggerer that
        takes over an older wait polls at once.
        """
        grace = FIRST_POLL if self._is_recent() else 0.0
        return grace, grace + random.uniform(0, min(self.poll_interval, 10.0))

    @property
    def takes_over(self) -> bool:
        """Return True if another triggerer may have polled the jobs before."""
        return not self._is_recent()

    def _is_recent(self) -> bool:
        return time.time() < self.started + _RECENT

    def polling(self) -> AbstractAsyncContextManager[Subscription]:
        """Poll the jobs together with all other triggers of this process."""
        (earliest, first), last = self.first_pauses(), None
        deadline = self.conditions.deadline
        if deadline is not None:
            last = max(0.2, deadline - time.time())
            first = min(first, last)
        return subscribed(
            self.conn_id,
            self.api,
            self.refs,
            interval=self.poll_interval,
            earliest=earliest,
            first=first,
            last=last,
        )

    def recorder(self, jobs: Jobs) -> TriggererRecorder:
        """Return the recorder of these jobs for the page "HPC jobs"."""
        ti = getattr(self, "task_instance", None)
        self._recorder = TriggererRecorder(ti, self.log, jobs, conn_id=self.conn_id, api=self.api)
        return self._recorder

    async def cleanup(self) -> None:
        """Stop recording the jobs."""
        if self._recorder:
            self._recorder.close()

    async def on_kill(self) -> None:
        """Stop the jobs that have not reached a target state, if ``stop_job_on_kill`` is set and a user ended
        the task.

        Airflow 3.3.0 to 3.3.2 call this also if another triggerer has taken over the trigger
        (apache/airflow#73454). The task is still deferred then, and its jobs must continue.
        """
        if not self.stop_job_on_kill:
            return
        stopping = asyncio.create_task(self._stop_jobs())
        while not stopping.done():
            # Airflow 3.3.2 cancels again with every sync, about once a second, until the trigger has ended
            # (TriggerRunnerSupervisor.cancelling_triggers). This must not leave half of the jobs running.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)
        stopping.result()

    async def _stop_jobs(self) -> None:
        if not self.waiting or await self._is_still_deferred():
            return
        async with POOL.share(self.conn_id, self.api) as shared:
            hook = await shared.get()
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await hook.adrive(stop_jobs(hook.api, self.waiting), self.log_notes)
            except TimeoutError:
                self.log.warning("not all jobs of this task were stopped within %g s", STOP_TIMEOUT)

    async def _is_still_deferred(self) -> bool:
        """Return True if the task is still deferred, for the same job, or its state is unknown."""
        if (task_instance := getattr(self, "task_instance", None)) is None:
            # dag.test(), and callers outside of Airflow: no other triggerer can run the trigger.
            return False
        try:
            async with asyncio.timeout(STATE_TIMEOUT):
                state = await task_state(task_instance)
                job_id = await task_xcom(task_instance, JOB_ID_KEY) if state == "deferred" else None
        except Exception as error:
            self.log.warning(
                "the jobs of this task were not stopped: Airflow did not report whether the task was killed "
                "or moved to another triggerer (%s %s). Stop them if they are not needed.",
                type(error).__name__,
                error,
            )
            return True
        if isinstance(job_id, str) and job_id not in {ref.job_id for ref in self.refs}:
            # A user cleared the task, and its next try has submitted a job and is deferred already.
            return False
        if state == "deferred":
            self.log.info(
                "the task is still deferred: another triggerer has taken it over. Its jobs continue."
            )
            return True
        return False

    async def log_notes(self, *notes: Note) -> None:
        """Write notes to the task log as soon as this does not delay other triggers."""
        for note in notes:
            await emission_budget().room()
            note.log(self.log)

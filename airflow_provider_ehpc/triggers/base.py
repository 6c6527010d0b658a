"""What the triggers of this provider share: how they travel, when they poll, how they stop a job."""

from __future__ import annotations

import asyncio
import random
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.compat import AirflowNotFoundException
from airflow_provider_ehpc.hooks import ajob_hook
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.logs.emission import emission_budget
from airflow_provider_ehpc.polling.poller import subscribed
from airflow_provider_ehpc.polling.stop import stop_jobs
from airflow_provider_ehpc.polling.subscription import Subscription
from airflow_provider_ehpc.polling.terms import WaitTerms
from airflow_provider_ehpc.polling.watch import Note, Outcome, Verdict

FIRST_POLL = 5.0
"""Seconds from a new trigger's start to its first request: the worker has just looked."""
EARLIEST_EVENT = 10.0
"""Seconds from a new trigger's start to its event. The scheduler can take the executor's "done" of the
process that deferred for the end of the one that resumes, and then marks the task as failed (GH-71580; seen
at 6 s)."""
_SHOWN = 3
"""Jobs of an event that a log names."""
_RECENT = 30.0
"""Seconds. A trigger that starts later than that after its wait began takes over from another triggerer."""


class JobEvent(TriggerEvent):
    """The event of a wait for jobs, which a log shows by its outcome and the jobs' states.

    Airflow writes each event into the task's log. Whole, ours are 800 bytes of what the task then says in
    words, and where a thousand fire at once, the last waits until the supervisor has read them all, 4 KiB
    between two rounds of its work (Airflow 3.3).
    """

    def __repr__(self) -> str:
        jobs = self.payload.get("jobs", ())
        told = ", ".join(f"{job['job_id']} {job['state']}" for job in jobs[:_SHOWN])
        more = f" and {len(jobs) - _SHOWN} more" if len(jobs) > _SHOWN else ""
        return f"{self.payload['outcome']}: {told or self.payload.get('message', '')}{more}"


class JobTrigger(BaseTrigger):
    """A trigger that waits for jobs of one API.

    :param conn_id: the connection.
    :param api: the API, as ``api=`` of the operator names it.
    :param jobs: the jobs' addresses, as the fields of :class:`~airflow_provider_ehpc.apis.job.JobRef`.
    :param started: epoch seconds at which the wait began; kept when the triggerer restarts.
    :param poll_interval: seconds between two looks.
    :param terms: :class:`~airflow_provider_ehpc.polling.watch.WaitTerms` as a dict.
    :param stop_job_on_kill: stop the jobs when a user ends the task.
    """

    def __init__(
        self,
        *,
        conn_id: str,
        api: str,
        jobs: list[dict[str, Any]],
        started: float,
        poll_interval: float,
        terms: dict[str, Any] | None = None,
        stop_job_on_kill: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.api = api
        self.jobs = jobs
        self.started = started
        self.poll_interval = poll_interval
        self.terms = terms or {}
        self.stop_job_on_kill = stop_job_on_kill
        self._hook: ApiHook | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what rebuilds the trigger, without defaults: an older triggerer may not know a new one."""
        kwargs: dict[str, Any] = {
            "conn_id": self.conn_id,
            "api": self.api,
            "jobs": self.jobs,
            "started": self.started,
            "poll_interval": self.poll_interval,
        }
        if self.terms:
            kwargs["terms"] = self.terms
        if self.stop_job_on_kill:
            kwargs["stop_job_on_kill"] = True
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    @property
    def refs(self) -> list[JobRef]:
        """The jobs' addresses."""
        return [JobRef(**job) for job in self.jobs]

    @property
    def wait_terms(self) -> WaitTerms:
        """What is waited for."""
        return WaitTerms.from_dict(self.terms)

    @abstractmethod
    async def watch(self) -> dict[str, Any]:
        """Wait for the jobs and return the payload of the event."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once, when the wait is over, and not too soon for Airflow's scheduler.

        A connection that is gone or spoilt since the deferral is told in the event: what a trigger raises,
        Airflow does not pass on to the task.
        """
        # The class's logger serves all: each of a thousand has else some seven objects of its own, which the
        # garbage collector walks through while the event loop waits.
        self.logger()
        earliest = time.time() + EARLIEST_EVENT if self._is_recent() else 0.0
        try:
            payload = await self.watch()
        except (AirflowNotFoundException, InvalidArgument) as error:
            payload = Verdict(Outcome.ERROR, str(error)).as_event()
        await asyncio.sleep(max(0.0, earliest - time.time()))
        yield JobEvent(payload=payload)

    async def hook(self) -> ApiHook:
        """Return the hook, made once; its connection is read once."""
        if self._hook is None:
            self._hook = await ajob_hook(self.conn_id, self.api)
        return self._hook

    def first_pauses(self) -> tuple[float, float]:
        """Return the seconds in which no look is wanted, and those until the first one: triggers that begin
        together do not ask together. Where a triggerer takes over a wait that is older, it looks at once.
        """
        grace = FIRST_POLL if self._is_recent() else 0.0
        return grace, grace + random.uniform(0, min(self.poll_interval, 10.0))

    @property
    def takes_over(self) -> bool:
        """Whether another triggerer may have polled the jobs before."""
        return not self._is_recent()

    def _is_recent(self) -> bool:
        return time.time() < self.started + _RECENT

    def looking(self) -> AbstractAsyncContextManager[Subscription]:
        """Look at the jobs together with all other triggers of this process."""
        (earliest, first), last = self.first_pauses(), None
        deadline = self.wait_terms.deadline
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

    async def cleanup(self) -> None:
        """Close the connections."""
        if self._hook is not None:
            await self._hook.aclose()

    async def on_kill(self) -> None:
        """Stop the jobs, where that was asked for. Airflow calls this when a user ends a deferred task."""
        if self.stop_job_on_kill:
            hook = await self.hook()
            await hook.adrive(stop_jobs(hook.api, self.refs), self.tell)

    async def tell(self, *notes: Note) -> None:
        """Write notes to the task log, when that holds up no other trigger."""
        for note in notes:
            await emission_budget().room()
            note.tell(self.log)

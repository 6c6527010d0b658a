"""Waiting for the state of jobs, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.polling.watch import JobSetWatch, Verdict
from airflow_provider_ehpc.triggers.base import JobTrigger


class JobStateTrigger(JobTrigger):
    """Fires once, when every job is in one of the wanted states, or one never will be."""

    async def watch(self) -> dict[str, Any]:
        """Look at the jobs until the wait is over."""
        terms = self.wait_terms
        watch = JobSetWatch(self.refs, terms, self.started)
        pause = self.first_pause()
        while True:
            if terms.deadline is not None:
                pause = min(pause, max(0.2, terms.deadline - time.time()))
            await asyncio.sleep(pause)
            verdict = await self._look(watch)
            if verdict is not None:
                return verdict.as_event()
            pause = self.pause()

    async def _look(self, watch: JobSetWatch) -> Verdict | None:
        hook = await self.hook()
        try:
            statuses = await hook.ajob_statuses(watch.waiting)
        except ApiError as error:
            verdict, notes = watch.failed_to_look(error, time.time())
        else:
            verdict, notes = watch.saw(statuses, time.time())
        self.tell(notes)
        return verdict

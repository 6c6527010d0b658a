# SPDX-License-Identifier: Apache-2.0
"""Wait for the state of jobs, in the triggerer."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.triggers.base import JobTrigger
from airflow_provider_ehpc.waiting.event import bounded_event
from airflow_provider_ehpc.waiting.watch import JobSetWatch, Lateness, Verdict

_CARRIED = 10
"""Lines for the log that the event carries to the worker, at most. Airflow's database stores them."""


class JobStateTrigger(JobTrigger):
    """Fire once, when every job is in a target state or one can no longer reach it."""

    _watch: JobSetWatch | None = None

    @property
    def waiting(self) -> list[JobRef]:
        """Return the jobs that have not reached a target state yet."""
        return self._watch.waiting if self._watch else self.refs

    async def watch(self) -> dict[str, Any]:
        """Poll the jobs, together with all other triggers of this process, until the wait is over."""
        seen = self.seen or self.takes_over
        watch = self._watch = JobSetWatch(
            self.refs, self.conditions, self.started, seen_before=seen, describe=not seen
        )
        lateness = Lateness(self.poll_interval)
        async with self.polling() as subscription:
            recorder = self.recorder(lambda: watch.watches)
            while True:
                result = await subscription.poll()
                if isinstance(result, ApiError):
                    verdict, notes = watch.poll_failed(result, time.time())
                else:
                    verdict, notes = watch.saw(result, time.time())
                    notes = lateness.polled(subscription.late) + notes
                if verdict is not None and len(notes) <= _CARRIED:
                    return self._event(dataclasses.replace(verdict, news=tuple(notes)))
                recorder.polled(notes and verdict is None)
                await self.log_notes(*notes)
                if verdict is not None:
                    return self._event(verdict)
                subscription.refs = watch.waiting
                # The garbage collector visits what thousands of triggers hold while they wait.
                del result, notes

    def _event(self, verdict: Verdict) -> dict[str, Any]:
        return bounded_event(verdict, self.refs, self.waiting, self.conditions.target_states)

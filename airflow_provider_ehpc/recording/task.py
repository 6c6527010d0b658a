# SPDX-License-Identifier: Apache-2.0
"""Provide a mixin for tasks that record their jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.exceptions import JobFailure
    from airflow_provider_ehpc.recording.recorder import WorkerRecorder


class RecordsJobs:
    """Record the jobs of a task that waits for them. This is a mixin."""

    conn_id: str
    hook: Any
    log: Any
    _recorder: WorkerRecorder | None = None

    def _begin_record(self, context: Context, *, resumed: bool = False) -> WorkerRecorder:
        """Return the recorder of this process.

        :param resumed: True after a deferral, to continue the trigger's record.
        """
        from airflow_provider_ehpc.links.job import PUSHED, CloudConsoleLink
        from airflow_provider_ehpc.recording.recorder import WorkerRecorder

        self._recorder = WorkerRecorder(
            context.get("ti"),
            self.log,
            resumed=resumed,
            conn_id=self.conn_id,
            api=self.hook.api.name,
            console=getattr(self, PUSHED, {}).get(CloudConsoleLink().xcom_key),
        )
        return self._recorder

    def _record_end(
        self,
        jobs: Iterable[Mapping[str, Any]],
        outcome: str,
        failures: Mapping[str | None, JobFailure] | None = None,
    ) -> None:
        """Record the last statuses of the jobs, and the causes of failures."""
        causes = {
            job_id: failure.diagnosis.cause.value
            for job_id, failure in (failures or {}).items()
            if job_id and failure.explained and failure.diagnosis
        }
        if self._recorder:
            self._recorder.ended(list(jobs), outcome, causes)

# SPDX-License-Identifier: Apache-2.0
"""Save the job of a task for its later tries, in the task state store (Airflow 3.3).

The store lives as long as the task instance. Airflow 3.1 and 3.2 have none.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.array import (
    array_size,
    failed_members_expression,
    member_states,
    range_of,
    with_earlier,
)
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.compat import task_state_store

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

RECORD_KEY = "ehpc:submitted_job"
"""Key of the task state store for the job that the task submitted."""
LONGEST_LIST = 3_000
"""Characters of a list of members, at most: it is a part of the command, which E-HPC takes in a URL."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The job of a task, as it is saved."""

    name: str
    max_tries: int
    """Those of the task instance. Airflow raises the number if a user clears the task."""
    at: float
    """Epoch seconds of the submission."""
    job: dict[str, str] | None = None
    """Its address; None as long as the ID is unknown."""
    ended: str | None = None
    """Its terminal state, if the task saw it or stopped the job."""
    token: str | None = None
    """The token of the marker with its exit code, if it writes one."""
    array: str | None = None
    """The whole array of the task, such as ``1-100``, if it is one."""
    members: str | None = None
    """The range of its members that the job has, if not all; after its failure, that of the next job."""
    only: str | None = None
    """The members that the job runs, such as ``1,3-4``, if these are not all of the range."""

    @property
    def ref(self) -> JobRef | None:
        """Return the job's address; None if the ID is unknown."""
        return JobRef(**self.job) if self.job else None


class JobRecords:
    """The saved job of a task.

    :param durable: load and save it.
    """

    def __init__(self, context: Context, log: Any, *, durable: bool) -> None:
        self._state = task_state_store(context) if durable else None
        self._log = log
        self.saved: JobRecord | None = None
        self.lost = durable and self._state is None
        """True if a retry can find the job only by its name."""

    def load(self) -> JobRecord | None:
        """Return the job of an earlier try; None if there is none."""
        if self._state is None:
            return None
        try:
            saved = self._state.get(RECORD_KEY)
            self.saved = JobRecord(**json.loads(saved)) if saved else None
        except Exception as error:
            self._failed("read", error)
        return self.saved

    def save(self, record: JobRecord) -> None:
        """Save the job. A failure is logged: a retry then searches for the job by its name."""
        self.saved = record
        if self._state is None:
            return
        try:
            self._state.set(RECORD_KEY, json.dumps(dataclasses.asdict(record)))
        except Exception as error:
            self._failed("saved", error)

    def ended(self, state: JobState) -> None:
        """Save the terminal state of the job."""
        if (saved := self.saved or self.load()) and saved.ended != state:
            self.save(dataclasses.replace(saved, ended=state.value))

    def failed(self, job: Mapping[str, Any]) -> None:
        """Save that the job failed, and which members of its array the next try has to run.

        :param job: its last status, as a dict.
        """
        saved = self.saved or self.load()
        if saved and saved.array and job.get("members") and array_size(saved.array):
            states = member_states(job["members"])
            left = failed_members_expression(saved.members or saved.array, states)
            # A list of too many members has the size 0.
            if 0 < array_size(left) < array_size(saved.array):
                again = range_of(left)
                # A range loses the limit of members that run at the same time.
                limit = re.search(r"%\d+$", saved.array.strip())
                self.saved = dataclasses.replace(
                    saved,
                    members=again + (limit[0] if limit else ""),
                    only=left if array_size(left) < array_size(again) and len(left) <= LONGEST_LIST else None,
                )
        self.ended(JobState.FAILED)

    def whole(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the last status of the job with the members of its array that succeeded in earlier tries."""
        saved = self.saved or self.load()
        if saved and saved.array and saved.members:
            return with_earlier(job, saved.array, saved.members)
        return job

    def _failed(self, what: str, error: Exception) -> None:
        self.lost = True
        self._log.warning(
            "the submitted job could not be %s: %s %s. A retry searches for it by its name.",
            what,
            type(error).__name__,
            error,
        )

# SPDX-License-Identifier: Apache-2.0
"""Define the conditions of a wait and check the arguments that set them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobState

FinishedPolicy = Literal["success", "fail"]
JOB_ID_KEY = "job_id"
"""Key of the XCom in which a task that submits a job saves its ID."""


@dataclass(frozen=True, slots=True)
class WaitConditions:
    """The conditions of a wait. Plain data, so that a trigger can carry it."""

    target_states: tuple[JobState, ...] = (JobState.SUCCEEDED,)
    finished_without_exit_code: FinishedPolicy = "success"
    """The state of a job that ended without an outcome (PBS reports FINISHED for every job that is over)."""
    not_found_grace: float = 60.0
    """Seconds from the start of the wait in which the job may still be unknown."""
    deadline: float | None = None
    """Epoch seconds at which the wait times out."""
    cancelled_by_us: bool = False
    """This task cancelled the jobs: however they end, they count as CANCELLED."""
    exit_token: str | None = None
    """The token of the marker by which the exit code is captured (:mod:`airflow_provider_ehpc.exit_code`)."""
    max_failed_members: int = 0
    """The number of members of an array that may fail before the array counts as failed."""

    def as_dict(self) -> dict[str, Any]:
        """Return the conditions as JSON-ready data, without defaults; :meth:`from_dict` reads it."""
        fields = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        }
        if "target_states" in fields:
            fields["target_states"] = [state.value for state in self.target_states]
        return fields

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WaitConditions:
        """Return the conditions that :meth:`as_dict` wrote."""
        fields = dict(data)
        if "target_states" in fields:
            fields["target_states"] = tuple(JobState(state) for state in fields["target_states"])
        return cls(**fields)


def parse_states(states: Collection[str], argument: str = "target_states") -> tuple[JobState, ...]:
    """Read a state or a list of states.

    :param argument: name of the argument in an error.
    :raises InvalidArgument: if a word is not a state, or the list is empty.
    """
    words = [states] if isinstance(states, str) else states
    # The order of a set differs between processes.
    words = sorted(words, key=str) if isinstance(words, set | frozenset) else words
    try:
        parsed = tuple(JobState.parse(word) for word in words)
    except ValueError as error:
        raise InvalidArgument(f"{argument}: {error}") from None
    except (AttributeError, TypeError):
        raise InvalidArgument(f"{argument}: expected names of states, got {states!r:.80}") from None
    if not parsed:
        raise InvalidArgument(f"{argument}: name at least one state")
    return parsed


def parse_policy(policy: str) -> FinishedPolicy:
    """Read ``finished_without_exit_code``.

    :raises InvalidArgument: if it is neither ``success`` nor ``fail``.
    """
    if isinstance(policy, str) and policy in ("success", "fail"):
        return cast("FinishedPolicy", policy)
    raise InvalidArgument(f"finished_without_exit_code: expected 'success' or 'fail', not {policy!r}")

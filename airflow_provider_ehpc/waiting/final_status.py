# SPDX-License-Identifier: Apache-2.0
"""Decide what the end of a job counts as for a task. Pure."""

from __future__ import annotations

import dataclasses

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.diagnosis import CANCELLED_BY_US
from airflow_provider_ehpc.waiting.captured import tolerated
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.verdict import Note

ASSUMED_OUTCOMES = "docs/waiting.md#assumed-outcomes"
"""The page that explains why an end may have no outcome."""
_ORDINARY = "Job run at"
"""The beginning of the comment that PBS writes about every job that has run (``comment`` in
pbs_job_attributes(7B))."""
_NOTHING = Note("")


def final_status(
    status: JobStatus, conditions: WaitConditions, *, cancelled_by_us: bool, captures: bool
) -> tuple[JobStatus, Note]:
    """Decide an end without an outcome by the exit code if it is known, otherwise by the policy.

    Also return what to log about an assumption, an empty text if nothing was assumed. It is a warning if the
    task does not wait for the assumed outcome, or if there is a reason: something could not be read.

    :param cancelled_by_us: True if this task cancelled the job, which then counts as CANCELLED.
    :param captures: True if the job's output may still show its exit code; then nothing is assumed.
    """
    if cancelled_by_us and status.state.terminal:
        why = status.reason or ""
        if not why.startswith(CANCELLED_BY_US):
            why = f"{CANCELLED_BY_US}; {why}" if why else CANCELLED_BY_US
        state = JobState.CANCELLED
        return dataclasses.replace(status, state=state, outcome_assumed=False, reason=why), _NOTHING
    # If an array ended without an outcome, a sub-job may still have reported a failure.
    if not status.outcome_assumed or status.state is not JobState.SUCCEEDED:
        return tolerated(status, conditions.max_failed_members), _NOTHING
    if status.exit_code is not None:
        state = JobState.FAILED if status.exit_code else JobState.SUCCEEDED
        return dataclasses.replace(status, state=state, outcome_assumed=False), _NOTHING
    if captures:
        return status, _NOTHING
    fail, policy = conditions.finished_without_exit_code == "fail", conditions.finished_without_exit_code
    assumed = JobState.FAILED if fail else JobState.SUCCEEDED
    log = ""
    if conditions.exit_token:
        log = " and its log contains none (the job was killed before it could write it, or has another log)"
    text = (
        f". The cloud reports only that it ended, without an exit code{log}: by "
        f"finished_without_exit_code={policy!r} it counts as {assumed}."
    )
    if status.reason:
        text += f" The reason: {status.reason}."
    reason = status.reason or (
        "no exit code is reported; finished_without_exit_code is 'fail'" if fail else None
    )
    expected = assumed in conditions.target_states and (reason or _ORDINARY).startswith(_ORDINARY)
    note = Note(f"{text} See {ASSUMED_OUTCOMES}", warning=not expected)
    return dataclasses.replace(status, state=assumed, reason=reason), note

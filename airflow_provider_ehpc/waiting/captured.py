# SPDX-License-Identifier: Apache-2.0
"""Combine what the scheduler reports of a job's end with the exit code that its output contains. Pure."""

from __future__ import annotations

import dataclasses

from airflow_provider_ehpc.apis.job import JobState, JobStatus


def with_exit_code(status: JobStatus, code: int) -> JobStatus:
    """Return the status of an ended job with its captured exit code.

    What the scheduler reports takes precedence: a job that it ended at its wall time has failed, even if the
    program then exits with 0. A code that contradicts the state is left out.
    """
    if status.exit_code is not None or not status.state.terminal or status.array:
        return status
    if status.outcome_assumed:
        state = JobState.FAILED if code else JobState.SUCCEEDED
        return dataclasses.replace(status, state=state, exit_code=code, outcome_assumed=False)
    if (status.state is JobState.SUCCEEDED) == (code == 0):
        return dataclasses.replace(status, exit_code=code)
    return status


def tolerated(status: JobStatus, most: int) -> JobStatus:
    """Return the status of an array that counts as a success with at most ``most`` failed members.

    A cancelled member counts as failed. An array whose members' states are not all known is not tolerated.
    """
    ended = status.state in (JobState.FAILED, JobState.CANCELLED)
    failed = status.array.get(JobState.FAILED, 0) + status.array.get(JobState.CANCELLED, 0)
    total = sum(status.array.values())
    if not most or not ended or not 0 < failed <= most:
        return status
    if failed + status.array.get(JobState.SUCCEEDED, 0) < total:
        return status
    reason = f"{failed} of {total} members failed, which max_failed_members={most} tolerates"
    return dataclasses.replace(status, state=JobState.SUCCEEDED, reason=reason)

# SPDX-License-Identifier: Apache-2.0
"""Diagnose why a job failed. Pure: no Airflow, no I/O, no clock.

The scheduler's own word counts first, then the lines that it wrote into the log, then an exit code that the
shell defines, then the program's last error in the log, then the signal that ended it. If none of them names
a cause, it is unknown: a wrong diagnosis costs more than none.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.diagnosis.cause import Cause, Diagnosis
from airflow_provider_ehpc.diagnosis.lines import last_error, scheduler_line
from airflow_provider_ehpc.diagnosis.status import cancelled, exit_code, reported, signal_of

__all__ = ["CANCELLED_BY_US", "Cause", "Diagnosis", "diagnose"]

_OWN_END = "NonZeroExitCode"
"""Slurm's reason for a job that ended by itself: slurmstepd wrote its lines at the end of an earlier run."""
_SHELL_CODES = {126: Cause.NOT_EXECUTABLE, 127: Cause.COMMAND_NOT_FOUND}
"""Exit codes of the shell itself (POSIX, "Exit Status for Commands")."""
CANCELLED_BY_US = "cancelled by this task"
"""The reason of a job that the task itself cancelled begins with this; there is nothing to explain."""
_WHY_NOT_STARTED = frozenset({Cause.COMMAND_NOT_FOUND, Cause.NOT_EXECUTABLE, Cause.MODULE_NOT_FOUND})
_BY_SIGNALS = frozenset({Cause.KILLED, Cause.CRASHED})


def diagnose(status: JobStatus, lines: Sequence[str] = ()) -> Diagnosis:
    """Return why a job ended as it did; ``Cause.UNKNOWN`` if nothing names a cause.

    :param status: the job's last status. One that has neither failed nor been cancelled has no cause.
    :param lines: the last lines of its log; those of the standard error after those of the standard output.
    """
    ended_badly = status.state in (JobState.FAILED, JobState.CANCELLED)
    if not ended_badly or (status.reason or "").startswith(CANCELLED_BY_US):
        return Diagnosis(Cause.UNKNOWN)
    return (
        reported(status)
        or (None if _OWN_END in (status.reason or "") else scheduler_line(lines))
        or cancelled(status)
        or _from_program(status, lines)
        or Diagnosis(Cause.UNKNOWN)
    )


def _from_program(status: JobStatus, lines: Sequence[str]) -> Diagnosis | None:
    if status.state is JobState.CANCELLED:
        return None
    code = exit_code(status)
    error = last_error(lines, code)
    if shell := _SHELL_CODES.get(code or 0):
        if error and error.cause in _WHY_NOT_STARTED:
            return error
        return Diagnosis(shell, f"exit code {code}")
    by_signal = signal_of(code)
    if error and not (by_signal and error.cause in _BY_SIGNALS):
        return error
    return by_signal

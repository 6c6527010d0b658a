"""From the end of a wait to the end of a task."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.exceptions import JobFailed, JobNotFound
from airflow_provider_ehpc.logs.tail import TAIL_SIZE, last_lines
from airflow_provider_ehpc.polling.watch import Outcome, Verdict

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.base import ApiHook

log = logging.getLogger(__name__)


def end_of_wait(
    verdict: Verdict,
    hook: ApiHook,
    refs: list[JobRef],
    timed_out: type[Exception],
    *,
    encoding: str = "utf-8",
) -> list[dict[str, Any]]:
    """Return what is known of each job where the wait had its end, or raise what the verdict means.

    :param timed_out: the exception for a deadline that has passed.
    :param encoding: of the jobs' output, if the API returns bytes.
    :raises JobFailed: with the state, the reason, the exit code and the last lines of the job's log.
    :raises JobNotFound: for a job that the cloud does not know.
    :raises ApiError: where the cloud could not be asked.
    :raises InvalidArgument: where the connection is gone, or no longer what it was.
    """
    if verdict.outcome is Outcome.REACHED:
        return list(verdict.jobs)
    if verdict.outcome is Outcome.FAILED:
        ref = next((ref for ref in refs if ref.job_id == verdict.job_id), refs[0])
        raise JobFailed(verdict.message + _with_log(hook, ref, encoding))
    if verdict.outcome is Outcome.NOT_FOUND:
        raise JobNotFound(verdict.message)
    if verdict.outcome is Outcome.TIMED_OUT:
        raise timed_out(verdict.message)
    raise ApiError.from_dict(verdict.error) if verdict.error else InvalidArgument(verdict.message)


def _with_log(hook: ApiHook, ref: JobRef, encoding: str) -> str:
    """Return the last lines of a failed job's log; a log that cannot be read must not hide the failure."""
    try:
        lines = last_lines(hook.log_tail(ref, TAIL_SIZE), "utf-8" if hook.api.log_limits.text else encoding)
    except (ApiError, InvalidArgument) as error:
        log.info("the log of %s could not be read: %s", ref, error)
        return f". Its log could not be read: {error}"
    return ". Last lines of its log:\n" + "\n".join(lines) if lines else ". Its log is empty."

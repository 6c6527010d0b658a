"""Convert the end of a wait into the end of a task."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobState
from airflow_provider_ehpc.exceptions import JobFailed, JobNotFound, for_airflow
from airflow_provider_ehpc.logs.tail import TAIL_SIZE, last_lines
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.event import FAILED_JOBS
from airflow_provider_ehpc.waiting.watch import JobWatch, Outcome, Verdict

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.base import ApiHook

log = logging.getLogger(__name__)


def end_of_wait(
    verdict: Verdict,
    hook: ApiHook,
    refs: list[JobRef],
    timed_out: type[BaseException],
    *,
    encoding: str = "utf-8",
) -> list[dict[str, Any]]:
    """Return each job's last status as a dict, or raise the exception that the verdict stands for.

    :param timed_out: the exception to raise if the deadline has passed.
    :param encoding: the encoding of the jobs' output, if the API returns bytes.
    :raises JobFailed: with the state, the reason, the exit code and the last lines of the job's log.
    :raises JobNotFound: for an unknown job.
    :raises ApiError: if the cloud could not be polled.
    :raises InvalidArgument: if the connection was removed, or is no longer valid.
    """
    if verdict.outcome is Outcome.REACHED:
        return list(verdict.jobs)
    if verdict.outcome is Outcome.FAILED:
        ref = next((ref for ref in refs if ref.job_id == verdict.job_id), refs[0])
        raise JobFailed(verdict.message + _with_log(hook, ref, _failed_part(verdict, ref), encoding))
    if verdict.outcome is Outcome.NOT_FOUND:
        raise JobNotFound(verdict.message)
    if verdict.outcome is Outcome.TIMED_OUT:
        raise timed_out(verdict.message)
    if verdict.error:
        raise for_airflow(ApiError.from_dict(verdict.error))
    raise InvalidArgument(verdict.message)


def all_jobs(
    hook: ApiHook, refs: list[JobRef], conditions: WaitConditions, reached: Mapping[JobRef, JobState]
) -> list[dict[str, Any]]:
    """Return each job's status as a dict, after an event that does not hold them.

    Poll the jobs again. For a job that the scheduler no longer knows, or that cannot be polled, return only
    its address and the state that it reached.
    """
    try:
        statuses = hook.job_statuses(refs)
    except ApiError as error:
        log.warning("the result lacks the jobs' details, because polling them failed: %s", error)
        statuses = {}
    jobs = []
    for ref in refs:
        watch = JobWatch(ref, conditions, time.time())
        watch.saw(statuses.get(ref), time.time())
        job = watch.status.as_dict() if watch.status else dict(ref.as_dict())
        state = reached.get(ref)
        if state and (watch.status is None or (state.terminal and not watch.status.state.terminal)):
            job["state"] = state.value
        jobs.append(job)
    return jobs


def failed_jobs(verdict: Verdict, targets: Collection[JobState]) -> list[str]:
    """Return a line for each job that ended in another state than a target state, at most a hundred."""
    lines: list[str] = []
    for job in verdict.jobs:
        if len(lines) == FAILED_JOBS:
            break
        state = JobState(job.get("state", JobState.UNKNOWN))
        if state.terminal and state not in targets:
            exit_code = f", exit code {job['exit_code']}" if "exit_code" in job else ""
            reason = f": {job['reason']}" if job.get("reason") else ""
            lines.append(f"job {job['job_id']} {state}{exit_code}{reason}")
    return lines


def _failed_part(verdict: Verdict, ref: JobRef) -> JobRef:
    """Return the job whose log explains the failure: for an array, the first sub-job that failed."""
    job = next((job for job in verdict.jobs if job.get("job_id") == ref.job_id), {})
    failed = next(iter(job.get("failed_members") or ()), None)
    return ref._replace(job_id=failed) if failed else ref


def _with_log(hook: ApiHook, whole: JobRef, ref: JobRef, encoding: str) -> str:
    """Return the last lines of a failed job's log. A log that cannot be read must not hide the failure."""
    try:
        lines = last_lines(hook.log_tail(ref, TAIL_SIZE), "utf-8" if hook.api.log_limits.text else encoding)
    except (ApiError, InvalidArgument) as error:
        log.info("cannot read the log of %s: %s", ref, error)
        return f". Its log could not be read: {error}"
    its = "its log" if ref == whole else f"the log of {ref.job_id}"
    return (
        f". Last lines of {its}:\n" + "\n".join(lines) if lines else f". {its[0].upper()}{its[1:]} is empty."
    )

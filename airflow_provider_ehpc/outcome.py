"""Convert the end of a wait into the end of a task."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.diagnosis import Cause, diagnose
from airflow_provider_ehpc.exceptions import JobFailed, JobFailure, JobNotFound, for_airflow
from airflow_provider_ehpc.logs.tail import TAIL_SIZE, last_lines, tail_lines
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.event import FAILED_JOBS
from airflow_provider_ehpc.waiting.watch import JobWatch, Outcome, Verdict

if TYPE_CHECKING:
    from airflow_provider_ehpc.apis.job import LogChunk
    from airflow_provider_ehpc.hooks.base import ApiHook

log = logging.getLogger(__name__)


def end_of_wait(
    verdict: Verdict,
    hook: ApiHook,
    refs: list[JobRef],
    timed_out: type[BaseException],
    *,
    encoding: str = "utf-8",
    failure: type[JobFailure] = JobFailed,
) -> list[dict[str, Any]]:
    """Return each job's last status as a dict, or raise the exception that the verdict stands for.

    :param timed_out: the exception to raise if the deadline has passed.
    :param encoding: the encoding of the jobs' output, if the API returns bytes.
    :param failure: the exception to raise if a job failed.
    :raises JobFailure: with the diagnosis, the state, the reason, the exit code and the last lines of the
        job's log.
    :raises JobNotFound: for an unknown job.
    :raises ApiError: if the cloud could not be polled.
    :raises InvalidArgument: if the connection was removed, or is no longer valid.
    """
    if verdict.outcome is Outcome.REACHED:
        return list(verdict.jobs)
    if verdict.outcome is Outcome.FAILED:
        ref = next((ref for ref in refs if ref.job_id == verdict.job_id), refs[0])
        raise _failure(failure, verdict, hook, ref, encoding)
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


def _failure(
    kind: type[JobFailure], verdict: Verdict, hook: ApiHook, ref: JobRef, encoding: str
) -> JobFailure:
    """Return the exception for a failed job. Its message begins with the diagnosis, if there is one."""
    job = next((job for job in verdict.jobs if job.get("job_id") == ref.job_id), {})
    part, status = _failed_part(ref, job)
    chunks, unreadable = _log_tail(hook, part)
    encoding = "utf-8" if hook.api.log_limits.text else encoding
    its = "its log" if part == ref else f"the log of {part.job_id}"
    if unreadable:
        message = f"{verdict.message}. Its log could not be read: {unreadable}"
    elif shown := last_lines(chunks, encoding):
        message = f"{verdict.message}. Last lines of {its}:\n" + "\n".join(shown)
    else:
        message = f"{verdict.message}. {its[0].upper()}{its[1:]} is empty."
    diagnosis = diagnose(status, tail_lines(chunks, encoding))
    if diagnosis.cause is not Cause.UNKNOWN:
        message = f"{diagnosis}\n{message}"
    return kind(message, diagnosis)


def _failed_part(ref: JobRef, job: Mapping[str, Any]) -> tuple[JobRef, JobStatus]:
    """Return the job whose log explains the failure, and its status: for an array, the first sub-job that
    failed.
    """
    state = JobState(job.get("state", JobState.UNKNOWN))
    raw_state, exit_code, reason = job.get("raw_state", ""), job.get("exit_code"), job.get("reason")
    for job_id, how in (job.get("failed_members") or {}).items():
        # As apis/array.py describes it: "FAILED, exit code 7, NonZeroExitCode".
        word, *rest = how.split(", ")
        code = next((part.rpartition(" ")[2] for part in rest if part.startswith("exit code ")), "")
        words = ", ".join(part for part in rest if not part.startswith("exit code "))
        part = JobStatus(
            job_id,
            JobState(word) if word in JobState.__members__ else state,
            words,
            exit_code=int(code) if code.lstrip("-").isdigit() else None,
            reason=words or None,
        )
        return ref._replace(job_id=job_id), part
    return ref, JobStatus(ref.job_id, state, raw_state, exit_code=exit_code, reason=reason)


def _log_tail(hook: ApiHook, ref: JobRef) -> tuple[Sequence[LogChunk], Exception | None]:
    """Return the end of a failed job's log. A log that cannot be read must not hide the failure."""
    try:
        return hook.log_tail(ref, TAIL_SIZE), None
    except (ApiError, InvalidArgument) as error:
        log.info("cannot read the log of %s: %s", ref, error)
        return (), error

# SPDX-License-Identifier: Apache-2.0
"""Convert the end of a wait into the end of a task."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.array import member_states, with_members
from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.schedulers.ids import member_id
from airflow_provider_ehpc.diagnosis import Cause, diagnose
from airflow_provider_ehpc.exceptions import JobFailed, JobFailure, JobNotFound, for_airflow
from airflow_provider_ehpc.exit_code import find
from airflow_provider_ehpc.logs.tail import TAIL_SIZE, last_lines, tail_lines
from airflow_provider_ehpc.waiting.captured import with_exit_code
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.event import FAILED_JOBS
from airflow_provider_ehpc.waiting.watch import JobWatch, Outcome, Verdict

if TYPE_CHECKING:
    from airflow_provider_ehpc.apis.job import LogChunk
    from airflow_provider_ehpc.hooks.base import ApiHook

log = logging.getLogger(__name__)

FAILED_LOGS = 3
"""Failed members of an array whose last lines are shown."""
MEMBERS = 1000
"""Members of an array whose exit codes are read from their logs, with two requests each."""
READINGS = 4
PAUSE = 1.5
"""Seconds between two readings of an ended job's log: its last lines take a while to reach the cloud."""


def end_of_wait(
    verdict: Verdict,
    hook: ApiHook,
    refs: list[JobRef],
    timed_out: type[BaseException],
    *,
    encoding: str = "utf-8",
    failure: type[JobFailure] = JobFailed,
    token: str | None = None,
) -> list[dict[str, Any]]:
    """Return each job's last status as a dict, or raise the exception that the verdict calls for.

    :param timed_out: the exception to raise if the deadline has passed.
    :param encoding: the encoding of the jobs' output, if the API returns bytes.
    :param failure: the exception to raise if a job failed.
    :param token: the token of the markers of exit codes, which the exception does not show.
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
        raise _failure(failure, verdict, hook, ref, encoding, token)
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


def capture_exit_codes(
    verdict: Verdict, hook: ApiHook, refs: list[JobRef], conditions: WaitConditions
) -> Verdict:
    """Return the verdict, with exit codes from the ends of the jobs' logs if the cloud reports none.

    The log of an array's member is read if the cloud does not report how the member ended.
    """
    if conditions.exit_token is None or verdict.outcome not in (Outcome.REACHED, Outcome.FAILED):
        return verdict
    jobs, failed = list(verdict.jobs), verdict if verdict.outcome is Outcome.FAILED else None
    by_id = {ref.job_id: ref for ref in refs}
    for n, job in enumerate(jobs):
        ref, status = by_id.get(job["job_id"]), JobStatus.from_dict(job)
        undecided = status.outcome_assumed or (status.state is JobState.FAILED and not status.array)
        if ref is None or status.exit_code is not None or not undecided:
            continue
        if status.array:
            status = _with_member_codes(hook, ref, status, conditions)
        elif (code := _exit_codes(hook, [ref], conditions.exit_token).get(ref)) is not None:
            status = with_exit_code(status, code)
        judged, notes = JobWatch(ref, conditions, time.time()).captured(status)
        for note in notes:
            note.log(log)
        jobs[n] = judged.jobs[0]
        if judged.outcome is Outcome.FAILED and (failed is None or failed.job_id == ref.job_id):
            failed = judged
    return dataclasses.replace(failed or verdict, jobs=tuple(jobs))


def _with_member_codes(
    hook: ApiHook, ref: JobRef, status: JobStatus, conditions: WaitConditions
) -> JobStatus:
    """Return the status of an array whose members ended without an outcome, with their exit codes.

    A member whose code is unknown counts as ``finished_without_exit_code`` decides.
    """
    states = {member_id(ref.job_id, index): state for index, state in member_states(status.members).items()}
    assumed = [ref._replace(job_id=job_id) for job_id in states if states[job_id] is JobState.SUCCEEDED]
    if len(assumed) > MEMBERS:
        log.warning("%s has more than %d members: their exit codes are not read", ref, MEMBERS)
        return status
    log.info("reading the exit codes of %d members of %s from their logs", len(assumed), ref)
    codes = _exit_codes(hook, assumed, conditions.exit_token or "")
    if not codes:
        return status
    members = {job_id: JobStatus(job_id, state, status.raw_state) for job_id, state in states.items()}
    for member in assumed:
        one = dataclasses.replace(members[member.job_id], outcome_assumed=True)
        if member in codes:
            one = with_exit_code(one, codes[member])
        elif conditions.finished_without_exit_code == "fail":
            one = dataclasses.replace(one, state=JobState.FAILED, reason="its exit code is unknown")
        members[member.job_id] = dataclasses.replace(one, outcome_assumed=False)
    return with_members(dataclasses.replace(status, outcome_assumed=False), members)


def _exit_codes(hook: ApiHook, refs: Iterable[JobRef], token: str) -> dict[JobRef, int]:
    """Return the exit codes from the ends of the jobs' logs. A job without one is missing."""
    left, codes = list(refs), {}
    for reading in range(READINGS):
        if reading:
            time.sleep(PAUSE)
        for ref in left:
            try:
                chunks = hook.log_tail(ref, TAIL_SIZE)
            except (ApiError, InvalidArgument) as error:
                log.info("cannot read the exit code from the log of %s: %s", ref, error)
                continue
            code = _captured_code(chunks, token)
            if code is not None:
                codes[ref] = code
        left = [ref for ref in left if ref not in codes]
        if not left:
            break
    return codes


def _failure(
    kind: type[JobFailure],
    verdict: Verdict,
    hook: ApiHook,
    ref: JobRef,
    encoding: str,
    token: str | None,
) -> JobFailure:
    """Return the exception for a failed job. Its message begins with the diagnosis, if there is one, and ends
    with the last lines of the job's log, or of the logs of an array's first failed members.
    """
    job = next((job for job in verdict.jobs if job.get("job_id") == ref.job_id), {})
    encoding = "utf-8" if hook.api.log_limits.text else encoding
    diagnosis, logs = None, []
    for part, status in _failed_parts(ref, job):
        chunks, unreadable = _log_tail(hook, part)
        its = "its log" if part == ref else f"the log of {part.job_id}"
        if status.exit_code is None and token and (code := _captured_code(chunks, token)) is not None:
            status = with_exit_code(status, code)
            if part != ref and status.exit_code is not None:
                its += f" (exit code {code})"
        if unreadable:
            logs.append(f"{its[0].upper()}{its[1:]} could not be read: {unreadable}")
        elif shown := last_lines(chunks, encoding, token):
            logs.append(f"Last lines of {its}:\n" + "\n".join(shown))
        else:
            logs.append(f"{its[0].upper()}{its[1:]} is empty.")
        diagnosis = diagnosis or diagnose(status, tail_lines(chunks, encoding, token))
    message = f"{verdict.message}. " + "\n".join(logs)
    if diagnosis and diagnosis.cause is not Cause.UNKNOWN:
        message = f"{diagnosis}\n{message}"
    return kind(message, diagnosis)


def _failed_parts(ref: JobRef, job: Mapping[str, Any]) -> list[tuple[JobRef, JobStatus]]:
    """Return the jobs whose logs explain the failure, and their statuses: for an array, the first sub-jobs
    that failed.
    """
    state = JobState(job.get("state", JobState.UNKNOWN))
    raw_state, exit_code, reason = job.get("raw_state", ""), job.get("exit_code"), job.get("reason")
    parts = []
    for job_id, how in list((job.get("failed_members") or {}).items())[:FAILED_LOGS]:
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
        parts.append((ref._replace(job_id=job_id), part))
    return parts or [(ref, JobStatus(ref.job_id, state, raw_state, exit_code=exit_code, reason=reason))]


def _captured_code(chunks: Iterable[LogChunk], token: str) -> int | None:
    return find((chunk.data.decode("latin-1") for chunk in chunks), token)


def _log_tail(hook: ApiHook, ref: JobRef) -> tuple[Sequence[LogChunk], Exception | None]:
    """Return the end of a failed job's log. A log that cannot be read must not hide the failure."""
    try:
        return hook.log_tail(ref, TAIL_SIZE), None
    except (ApiError, InvalidArgument) as error:
        log.info("cannot read the log of %s: %s", ref, error)
        return (), error

# SPDX-License-Identifier: Apache-2.0
"""Run ``airflow ehpc jobs``, ``state`` and ``stop``."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument
from airflow_provider_ehpc.apis.capabilities import Capability
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.cli.captured import with_captured_code
from airflow_provider_ehpc.cli.command import (
    ERROR,
    command,
    hook_of,
    jobs_exit_code,
    not_found,
    refs_of,
    status_of,
)
from airflow_provider_ehpc.cli.terminal import Terminal
from airflow_provider_ehpc.exceptions import JobNotFound
from airflow_provider_ehpc.outcome import end_of_wait
from airflow_provider_ehpc.summary import duration
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.stop import stop_jobs
from airflow_provider_ehpc.waiting.watch import JobSetWatch, JobWatch

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.base import ApiHook
    from airflow_provider_ehpc.waiting.verdict import Note, Verdict

_ASSUMED = "assumed: the cloud reports only that it ended"
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@command
def jobs(args: Namespace, terminal: Terminal) -> None:
    """List the jobs of a cluster."""
    states = _states(args.state) if args.state else tuple(JobState)
    hook = hook_of(args)
    hook.require(Capability.LIST_JOBS, "--api")
    terminal.progress("listing jobs")
    cluster_id = arguments.optional_identifier("--cluster-id", args.cluster_id, what="cluster")
    found = [job.status for job in hook.cluster_jobs(args.since, cluster_id).values()]
    chosen = [
        status
        for status in found
        if status.state in states
        and (args.user is None or status.user == args.user)
        and (args.name is None or fnmatchcase(status.name or "", args.name))
        # The API may list more than the requested time range.
        and (not status.state.terminal or (status.submitted_at or args.since) >= args.since)
    ]
    chosen.sort(key=lambda status: (status.submitted_at or datetime.min.replace(tzinfo=UTC), status.job_id))
    terminal.rows([_row(status) for status in chosen], args.output)


@command
def state(args: Namespace, terminal: Terminal) -> int:
    """Show the states of jobs, or wait until they have ended."""
    hook = hook_of(args)
    refs = refs_of(args, hook)
    conditions = WaitConditions(target_states=ENDED, not_found_grace=0.0)
    if args.wait:
        verdict = wait(hook, refs, conditions, args.poll_interval, terminal)
        ended = end_of_wait(verdict, hook, refs, TimeoutError)
        terminal.rows([_row(JobStatus.from_dict(job)) for job in ended], args.output)
        return jobs_exit_code(ended, own=args.exit_code)
    known = []
    for ref, status in _statuses(hook, refs).items():
        watch = JobWatch(ref, conditions, time.time())
        if status is None:
            terminal.error("%s", not_found(ref))
            continue
        for note in watch.saw(status, time.time())[1]:
            if note.warning or status.outcome_assumed:
                note.log(terminal)
        known.append(watch.status or status)
    if known:
        terminal.rows([_row(status) for status in known], args.output)
    if len(known) < len(refs):
        return ERROR
    return jobs_exit_code([status.as_dict() for status in known], own=True) if args.exit_code else 0


@command
def stop(args: Namespace, terminal: Terminal) -> int | None:
    """Request to stop jobs."""
    hook = hook_of(args)
    hook.require(Capability.STOP, "--api")
    code = 0
    for ref in refs_of(args, hook):
        notes: list[Note] = []
        if not hook.drive(stop_jobs(hook.api, [ref]), notes.append):
            try:
                status = with_captured_code(hook, ref, status_of(hook, ref))
            except JobNotFound as error:
                terminal.error("%s", error)
                code = ERROR
                continue
            except ApiError:
                status = None
            if status and status.state.terminal:
                terminal.info("%s has already ended: %s", ref, status.state)
                continue
            code = ERROR
        for note in notes:
            note.log(terminal)
    return code


def wait(
    hook: ApiHook, refs: Sequence[JobRef], conditions: WaitConditions, interval: float, terminal: Terminal
) -> Verdict:
    """Poll jobs until the wait is over."""
    watch = JobSetWatch(refs, conditions, time.time())
    while True:
        terminal.progress(f"polling {len(watch.waiting)} jobs" if len(refs) > 1 else f"polling {refs[0]}")
        try:
            statuses = _statuses(hook, watch.waiting)
        except ApiError as error:
            verdict, notes = watch.poll_failed(error, time.time())
        else:
            verdict, notes = watch.saw(statuses, time.time())
        for note in notes:
            note.log(terminal)
        if verdict is not None:
            return verdict
        left, began = len(watch.waiting), watch.started
        what = f"{left} of {len(refs)} jobs" if len(refs) > 1 else f"{refs[0]}"
        terminal.pause(
            interval,
            lambda rest, what=what, began=began: (  # type: ignore[misc]
                f"waiting for {what} for {duration(time.time() - began)}, next poll in {rest:.0f} s"
            ),
        )


def _states(words: Sequence[str]) -> tuple[JobState, ...]:
    try:
        return tuple(map(JobState.parse, words))
    except ValueError as error:
        raise InvalidArgument(f"--state: {error}") from None


def _statuses(hook: ApiHook, refs: Sequence[JobRef]) -> dict[JobRef, JobStatus | None]:
    statuses = hook.job_statuses(refs)
    return {ref: with_captured_code(hook, ref, status) for ref, status in statuses.items()}


def _row(status: JobStatus) -> Mapping[str, Any]:
    """Return the row of a job in a table. All rows have the same columns."""
    return {
        "job_id": status.job_id,
        "name": status.name,
        "state": status.state,
        "exit_code": status.exit_code,
        "user": status.user,
        "queue": status.queue,
        "submitted_at": status.submitted_at,
        "started_at": status.started_at,
        "ended_at": status.ended_at,
        "reason": status.reason or (_ASSUMED if status.outcome_assumed else None),
    }

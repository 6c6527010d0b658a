# SPDX-License-Identifier: Apache-2.0
"""Provide what all commands share: the connection, errors on one line, exit codes."""

from __future__ import annotations

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import ApiError, InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.cli.terminal import Terminal
from airflow_provider_ehpc.compat import AirflowException, AirflowNotFoundException
from airflow_provider_ehpc.exceptions import JobNotFound

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.base import ApiHook

FAILED, USAGE, ERROR, UNFINISHED, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 4, 130, 141
"""Exit codes. The last two are what shells report if SIGINT or SIGPIPE ends a program."""

Body = Callable[[Namespace, Terminal], int | None]


def command(body: Body) -> Callable[[Namespace], None]:
    """Turn a function that returns the exit code (None for 0) into a command."""

    @suppress_logs_and_warning
    def run(args: Namespace) -> None:
        # Otherwise, Airflow reads connections only from the environment (3.1 to 3.3).
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
        if code := _exit_code(body, args):
            sys.exit(code)

    @functools.wraps(body)
    def wrapped(args: Namespace) -> None:
        run(args)

    return wrapped


def _exit_code(body: Body, args: Namespace) -> int:
    terminal = Terminal()
    try:
        try:
            return body(args, terminal) or 0
        finally:
            terminal.clear()
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Without this, Python reports an error when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (InvalidArgument, AirflowNotFoundException, OSError) as error:
        terminal.error("%s", error)
        return USAGE
    except (ApiError, AirflowException) as error:
        terminal.error("%s", error)
        return ERROR
    except Exception as error:
        if args.verbose:
            raise
        terminal.error("%s: %s (--verbose shows where)", type(error).__name__, error)
        return ERROR


def hook_of(args: Namespace) -> ApiHook:
    """Return the hook of a command's connection."""
    from airflow_provider_ehpc.hooks import job_hook

    return job_hook(arguments.text("--conn-id", args.conn_id), arguments.api(args.api))


def refs_of(args: Namespace, hook: ApiHook) -> list[JobRef]:
    """Return the addresses of a command's jobs, each once."""
    cluster_id = arguments.optional_identifier("--cluster-id", args.cluster_id, what="cluster")
    version_id = arguments.optional_identifier("--version-id", args.version_id, what="version")
    job_ids = args.job_id if isinstance(args.job_id, list) else [args.job_id]
    return [hook.job_ref(job_id, cluster_id, version_id) for job_id in arguments.job_ids(job_ids)]


def status_of(hook: ApiHook, ref: JobRef) -> JobStatus:
    """Return a job's status.

    :raises JobNotFound: if the cloud does not know the job.
    """
    status = hook.job_statuses([ref])[ref]
    if status is None:
        raise not_found(ref)
    return status


def not_found(ref: JobRef) -> JobNotFound:
    """Return the error for a job that the cloud does not know."""
    return JobNotFound(f"{ref} does not exist or no longer exists: check its ID, --cluster-id and --conn-id")


def job_exit_code(job: Mapping[str, Any], *, own: bool) -> int:
    """Return the exit code for a job's status.

    :param own: True to return the job's own exit code if it failed; False to return 1.
    """
    state = JobState(job.get("state", JobState.UNKNOWN))
    if state is JobState.SUCCEEDED:
        return 0
    if not state.terminal:
        return UNFINISHED
    code = job.get("exit_code")
    # A process can only report exit codes from 0 to 255.
    return code if own and code is not None and 0 < code < 256 else FAILED


def jobs_exit_code(jobs: Iterable[Mapping[str, Any]], *, own: bool) -> int:
    """Return the exit code for several jobs: that of the first one that did not succeed."""
    return next((code for job in jobs if (code := job_exit_code(job, own=own))), 0)

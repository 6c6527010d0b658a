# SPDX-License-Identifier: Apache-2.0
"""Run ``airflow ehpc submit``."""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.capabilities import Capability, supports
from airflow_provider_ehpc.apis.submit_rules import UNKNOWN, check_submission
from airflow_provider_ehpc.cli.command import command, hook_of, job_exit_code
from airflow_provider_ehpc.cli.follow import LogPrinter, LogSelection
from airflow_provider_ehpc.cli.jobs import wait
from airflow_provider_ehpc.cli.terminal import Terminal
from airflow_provider_ehpc.exceptions import JobFailure
from airflow_provider_ehpc.job_arguments import captures, job_fields, job_spec
from airflow_provider_ehpc.job_record import JobRecords
from airflow_provider_ehpc.logs.lines import line_encoding
from airflow_provider_ehpc.outcome import capture_exit_codes, end_of_wait
from airflow_provider_ehpc.submission import Submission
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait

if TYPE_CHECKING:
    from airflow_provider_ehpc.apis.job import JobRef
    from airflow_provider_ehpc.hooks.base import ApiHook

_FIELDS = (
    *("job_name", "user", "nodes", "cores", "gpus", "memory", "wall_time", "priority", "array"),
    *("stdout_path", "stderr_path"),
)
_NAME = "cli"
"""The readable part of a job's name, if none is given."""


@command
def submit(args: Namespace, terminal: Terminal) -> int | None:
    """Submit a job, and optionally wait for it or follow its log."""
    fields = _fields(args)
    encoding = line_encoding(args.encoding)
    hook = hook_of(args)
    cluster_id = arguments.optional_identifier("--cluster-id", args.cluster_id, what="cluster")
    check_submission(hook.api.name, fields)
    # The submission sees this as the only try of a task that cannot save anything. So the token of the marker
    # is derived from the job's name.
    ti = SimpleNamespace(
        dag_id="", run_id=uuid.uuid4().hex, task_id="", map_index=-1, max_tries=0, try_number=1
    )
    context: Any = {"ti": ti}
    submission = Submission(
        hook,
        cluster_id,
        fields.get("job_name") or _NAME,
        context,
        JobRecords(context, terminal, durable=True),
        InterruptibleWait(),
        terminal,
        owns_job=False,
    )
    token = submission.new_token() if captures(fields, hook.api.name) else None
    spec = job_spec(fields, hook.api.name, submission.name, password=hook.account.user_password, token=token)
    terminal.progress(f"submitting {spec.name}")
    try:
        ref = submission.submit(spec)
    except KeyboardInterrupt:
        terminal.warning(
            "It is unknown whether the job was submitted. Search for it: %s",
            _again(args, "jobs", "--name", spec.name),
        )
        raise
    terminal.info("submitted %s under the name %r", ref, spec.name)
    if not args.follow:
        terminal.write([ref.job_id])
    if not (args.wait or args.follow):
        return None
    try:
        return _wait(args, hook, ref, token, encoding, terminal)
    except KeyboardInterrupt:
        terminal.warning("%s continues. To stop it: %s", ref, _again(args, "stop", ref.job_id, ref=ref))
        raise


def _wait(
    args: Namespace, hook: ApiHook, ref: JobRef, token: str | None, encoding: str, terminal: Terminal
) -> int:
    """Wait until a job has ended; return the exit code."""
    conditions = WaitConditions(finished_without_exit_code="fail", exit_token=token)
    followed = args.follow and supports(hook.api.name, Capability.LOG)
    if followed:
        printer = LogPrinter(
            hook,
            ref,
            conditions,
            terminal,
            LogSelection(),
            follow=True,
            interval=args.poll_interval,
            encoding=encoding,
        )
        verdict = printer.run()
    else:
        if args.follow:
            terminal.warning("the API %r has no operation that reads logs", hook.api.name)
        verdict = wait(hook, [ref], conditions, args.poll_interval, terminal)
    verdict = capture_exit_codes(verdict, hook, [ref], conditions)
    try:
        (job,) = end_of_wait(verdict, hook, [ref], TimeoutError, encoding=encoding, token=token)
    except JobFailure as failure:
        if not followed:
            terminal.warning("%s", failure)
        elif failure.explained:
            terminal.warning("%s", failure.diagnosis)
        job = next(iter(verdict.jobs), {})
    return job_exit_code(job, own=args.exit_code)


def _fields(args: Namespace) -> dict[str, Any]:
    """Check the arguments that describe the job, in the same way as those of a task."""
    if bool(args.command) == bool(args.script):
        raise InvalidArgument("give either a command after -- or --script")
    task = SimpleNamespace(
        # A shell runs a single word; several words are a program and its arguments.
        command=None
        if args.script
        else args.command[0]
        if len(args.command) == 1
        else shlex.join(args.command),
        script=_text(args.script) if args.script else None,
        job_queue=args.queue,
        environment=_environment(args.environment),
        options=_options(args.options),
        **{name: getattr(args, name) for name in _FIELDS},
    )
    fields = job_fields(task)
    if templates := [name for name, value in fields.items() if value is UNKNOWN]:
        raise InvalidArgument(
            f"{templates[0]}: contains {{{{ or {{%, which begin a template in tasks; move it to a script on "
            "the cluster"
        )
    return fields


def _text(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument(f"--script: {path} is not a text file in UTF-8") from None


def _environment(items: list[str] | None) -> dict[str, str] | None:
    for item in items or ():
        if "=" not in item:
            # The message does not show the text, which may be a secret.
            raise InvalidArgument("--environment: expected NAME=VALUE")
    return {name: value for name, _, value in (item.partition("=") for item in items or ())} or None


def _options(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"--options: not JSON: {error}") from None


def _again(args: Namespace, *words: str, ref: JobRef | None = None) -> str:
    """Return a command for the same connection and cluster."""
    cluster_id = ref.cluster_id if ref else args.cluster_id
    options = {"--conn-id": args.conn_id, "--cluster-id": cluster_id, "--api": args.api}
    return shlex.join(
        ["airflow", "ehpc", *words, *(word for pair in options.items() if pair[1] for word in pair)]
    )

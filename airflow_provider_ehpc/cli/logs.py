# SPDX-License-Identifier: Apache-2.0
"""Run ``airflow ehpc logs``."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING

from airflow_provider_ehpc.apis.capabilities import Capability
from airflow_provider_ehpc.cli.captured import exit_token
from airflow_provider_ehpc.cli.command import ERROR, command, hook_of, job_exit_code, refs_of, status_of
from airflow_provider_ehpc.cli.follow import Line, LogPrinter, LogSelection, print_lines
from airflow_provider_ehpc.cli.jobs import ENDED
from airflow_provider_ehpc.cli.terminal import Terminal
from airflow_provider_ehpc.exit_code import new_token
from airflow_provider_ehpc.logs.lines import LineAssembler, line_encoding
from airflow_provider_ehpc.logs.marker import ExitCodeFilter
from airflow_provider_ehpc.outcome import end_of_wait
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import Outcome

if TYPE_CHECKING:
    from airflow_provider_ehpc.apis.job import JobRef
    from airflow_provider_ehpc.hooks.base import ApiHook

TAIL_SIZE = 64 * 1024
"""Bytes to read from the end of each stream for its last lines."""
_FOREVER = 1e9
"""Seconds. Reading a log without following it takes less time than this."""


@command
def logs(args: Namespace, terminal: Terminal) -> int:
    """Print a job's log."""
    encoding = line_encoding(args.encoding)
    hook = hook_of(args)
    hook.require(Capability.LOG, "--api")
    (ref,) = refs_of(args, hook)
    terminal.progress(f"polling {ref}")
    first = status_of(hook, ref)
    token = exit_token(hook.api.name, first)
    selection = LogSelection(args.stream, args.since, args.tail, zone=hook.account.local_zone)
    if args.tail and not (args.follow or args.since or args.exit_code):
        lines = _last_lines(hook, ref, selection, args.tail, encoding, token)
        if lines is not None:
            print_lines(terminal, selection, lines)
            return 0
    conditions = WaitConditions(
        target_states=ENDED,
        # With a token, no outcome is assumed before the log has been read. --exit-code needs this.
        exit_token=token if token or args.follow else new_token(),
        not_found_grace=0.0,
        deadline=None if args.follow else time.time() + _FOREVER,
    )
    printer = LogPrinter(
        hook,
        ref,
        conditions,
        terminal,
        selection,
        follow=args.follow,
        interval=args.poll_interval,
        encoding=encoding,
        first=first,
    )
    verdict = printer.run()
    if verdict.outcome is not Outcome.TIMED_OUT:
        end_of_wait(verdict, hook, [ref], TimeoutError)
    if printer.unreadable and not args.follow:
        return ERROR
    return job_exit_code(printer.judged().as_dict(), own=True) if args.exit_code else 0


def _last_lines(
    hook: ApiHook, ref: JobRef, selection: LogSelection, tail: int, encoding: str, token: str | None
) -> list[Line] | None:
    """Return the last lines of each stream, read from its end; None if this is not possible."""
    found: list[Line] = []
    seen: set[bytes] = set()
    encoding = "utf-8" if hook.api.log_limits.text else encoding
    chunks = hook.log_tail(ref, TAIL_SIZE)
    if selection.stream and selection.stream not in {chunk.stream for chunk in chunks}:
        # ModelArts returns only the ends of tasks that failed.
        return None
    for chunk in chunks:
        # Both streams may be in the same file.
        if selection.stream not in (None, chunk.stream) or chunk.data in seen:
            continue
        seen.add(chunk.data)
        assembler = LineAssembler(encoding)
        lines = ExitCodeFilter(token).lines(assembler.feed(chunk.data) + assembler.flush())
        if len(chunk.data) >= TAIL_SIZE and len(lines) <= tail:
            return None
        found += [(chunk.stream, line) for line in lines[-tail:]]
    return found

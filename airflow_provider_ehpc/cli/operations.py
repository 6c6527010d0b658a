# SPDX-License-Identifier: Apache-2.0
"""Run ``airflow ehpc operations`` and ``audit``."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.audit.rules import Rule
from airflow_provider_ehpc.audit.run import audit_window, counted, fail_for, run_audit
from airflow_provider_ehpc.audit.window import AUDIT_SETTLE_TIME, read_window
from airflow_provider_ehpc.cli.command import FAILED, command, hook_of
from airflow_provider_ehpc.cli.terminal import Terminal
from airflow_provider_ehpc.exceptions import OperationsForbidden


@command
def operations(args: Namespace, terminal: Terminal) -> None:
    """List the operations of a window."""
    now = datetime.now(UTC)
    window = audit_window(args.start, min(args.end or now, now), args.max_age)
    hook = hook_of(args)
    source = hook.operation_source(_cluster(args))
    terminal.progress("reading operations")
    reading = hook.drive(read_window(source, window, now=now, settle=timedelta(0)))
    terminal.rows(
        [
            {
                "time": record.time,
                "status": record.status.value,
                "action": record.action,
                "operator": record.operator or None,
                "resources": " ".join(record.resources) or None,
                "operation_id": record.operation_id,
                "error": record.error or None,
            }
            for record in reading.records
        ],
        args.output,
    )
    if now < window.end + AUDIT_SETTLE_TIME:
        terminal.info("the newest operations may still be missing: clouds record them minutes later")


@command
def audit(args: Namespace, terminal: Terminal) -> int | None:
    """Save the operations of a window and check them against rules."""
    window = audit_window(args.start, args.end, args.max_age)
    rules = [Rule.parse(rule) for rule in _rules(args.rules)] if args.rules else []
    hook = hook_of(args)
    source = hook.operation_source(_cluster(args))
    terminal.progress("reading operations")
    result = run_audit(
        hook, source, window, rules, args.path, formats=args.format or ("jsonl",), settle=args.settle
    )
    for violation in result.violations:
        terminal.warning("%s", violation)
    summary = result.summary
    terminal.rows(
        [
            {
                "start": window.start,
                "end": window.end,
                "operations": summary.records,
                "pending": summary.pending,
                "violations": len(result.violations),
                "requests": summary.requests,
                "manifest": summary.manifest,
            }
        ],
        args.output,
    )
    try:
        fail_for(result)
    except OperationsForbidden:
        terminal.error("%s violated a rule", counted(sum(summary.violations.values()), "operation"))
        return FAILED
    return None


def _cluster(args: Namespace) -> str | None:
    return arguments.optional_identifier("--cluster-id", args.cluster_id, what="cluster")


def _rules(path: str) -> list[Any]:
    """Return the rules in a file, in the same form as the operator's argument ``rules``."""
    import yaml  # type: ignore[import-untyped,unused-ignore]

    try:
        # JSON is YAML, too.
        rules = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidArgument(f"--rules: {path} is neither YAML nor JSON: {error}") from None
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise InvalidArgument(f"--rules: {path}: expected a list of rules, each with a name")
    return rules

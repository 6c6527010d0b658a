# SPDX-License-Identifier: Apache-2.0
"""Audit a window: read it, check it and write it. The operator and the command line share this module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.operation import OperationRecord, OperationSource, Window
from airflow_provider_ehpc.audit.pending import complete
from airflow_provider_ehpc.audit.rules import Effect, Rule, Violation, judge
from airflow_provider_ehpc.audit.sinks import AuditSummary, carried_operations, write_audit
from airflow_provider_ehpc.audit.window import AUDIT_SETTLE_TIME, REQUEST_LIMIT, read_window
from airflow_provider_ehpc.exceptions import OperationsForbidden

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.base import ApiHook

MAX_AGE = timedelta(days=90)
_LISTED = 20
"""The maximum number of violations in an exception; the task log and the manifest list all."""


@dataclass(frozen=True, slots=True)
class AuditResult:
    """Hold the written summary, the records in its files, and their violations of rules."""

    summary: AuditSummary
    records: tuple[OperationRecord, ...]
    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        return (
            f"wrote {counted(self.summary.records, 'operation')} of {self.summary.window}, read with "
            f"{counted(self.summary.requests, 'request')}, to "
            f"{', '.join(file.path for file in self.summary.files)}"
        )


def audit_window(start: datetime, end: datetime, max_age: timedelta) -> Window:
    """Return a window that can be audited.

    :raises InvalidArgument: if it is empty, too long, in the future, or began more than ``max_age`` ago.
    """
    window = Window(start, end)
    now = datetime.now(UTC)
    window.check(now)
    if now - window.start > max_age:
        raise InvalidArgument(
            f"start: the window {window} begins more than {max_age.days} days ago; the cloud may "
            "have deleted some of its records. If your cloud stores its log longer, set a longer max_age"
        )
    return window


def run_audit(
    hook: ApiHook,
    source: OperationSource,
    window: Window,
    rules: Sequence[Rule],
    path: str,
    *,
    formats: Sequence[str],
    settle: timedelta = AUDIT_SETTLE_TIME,
    request_limit: int = REQUEST_LIMIT,
) -> AuditResult:
    """Read every operation of a window, check it and write it.

    :param path: a folder, as a path or a URL that ``ObjectStoragePath`` supports.
    :raises InvalidArgument: if ``path`` is neither.
    :raises WindowIncomplete: if the window cannot be read completely. In this case, nothing is written.
    """
    from airflow.sdk import ObjectStoragePath

    path = arguments.word("path", path)
    try:
        directory = ObjectStoragePath(path)
        _ = directory.fs
    except ValueError as error:
        raise InvalidArgument(f"path: {error}") from None
    carried = carried_operations(directory, source.scope, window)
    now = datetime.now(UTC)
    reading = hook.drive(read_window(source, window, now=now, settle=settle, request_limit=request_limit))
    done = hook.drive(complete(source, carried, now=now))
    violations = judge(rules, reading.records, done.ended)
    summary = write_audit(
        directory, source.scope, reading, completion=done, violations=violations, formats=formats
    )
    return AuditResult(summary, (*done.ended, *reading.records), tuple(violations))


def operation_line(record: OperationRecord) -> str:
    """Return a log line about an operation."""
    parts = [
        record.time.isoformat(),
        record.raw_status or record.status.value,
        record.action,
        f"by {record.operator or 'unknown user'}",
        f"on {' '.join(record.resources)}" if record.resources else "",
        f"({record.operation_id})",
        f"error {record.error}" if record.error else "",
    ]
    return " ".join(" ".join(part.split()) for part in parts if part)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``2 operations``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def fail_for(result: AuditResult) -> None:
    """Check that no rule whose effect is ``fail`` was violated.

    :raises OperationsForbidden: naming the violations.
    """
    failing = [str(violation) for violation in result.violations if violation.effect is Effect.FAIL]
    if not failing:
        return
    more = f"\n… and {len(failing) - _LISTED} more" if len(failing) > _LISTED else ""
    raise OperationsForbidden(
        f"{counted(len(failing), 'operation')} of {result.summary.window} violated a rule; all operations "
        f"are in {result.summary.manifest}:\n" + "\n".join(failing[:_LISTED]) + more
    )

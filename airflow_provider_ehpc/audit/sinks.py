# SPDX-License-Identifier: Apache-2.0
"""Write an audited window so that a reader finds either all of it or nothing.

A window has a data file for each format and a manifest, named after the log and the window: a rerun replaces
them. Each file appears completely or not at all. The manifest comes last and contains the data files'
SHA-256; a data file that does not match its manifest was written by a run that did not finish.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.operation import OperationRecord, Window, stamp
from airflow_provider_ehpc.audit.ocsf import api_activity
from airflow_provider_ehpc.audit.pending import Completion, PendingOperation, pending_of
from airflow_provider_ehpc.audit.rules import Violation
from airflow_provider_ehpc.audit.window import AuditReading
from airflow_provider_ehpc.text import file_name

FORMATS: dict[str, Callable[[OperationRecord], dict[str, Any]]] = {
    "jsonl": OperationRecord.as_dict,
    "ocsf": api_activity,
}
"""One JSON object per line: the operation with its row as the API returned it, or an OCSF event."""

_SUFFIXES = {"jsonl": ".jsonl", "ocsf": ".ocsf.jsonl"}
_MANIFEST = ".manifest.json"

# Stores in which an object appears only once it is sent completely. They cannot rename, only copy and delete,
# and buckets for audits often forbid deleting.
_WHOLE_OBJECT_STORES = frozenset(
    {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oss", "s3", "s3a", "wasb", "wasbs"}
)


class StorePath(Protocol):
    """The part of ``pathlib.Path`` and ``ObjectStoragePath`` that is used here."""

    @property
    def name(self) -> str: ...
    def __truediv__(self, key: str, /) -> Any: ...
    def glob(self, pattern: str, /) -> Iterable[Any]: ...


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A data file; ``size`` in bytes."""

    path: str
    format: str
    lines: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """The result of an audit and its files. The counts are those of the window's own operations."""

    scope: str
    window: Window
    records: int
    completed: int
    """Operations of earlier windows that have ended since. They are written to the same files."""
    pending: int
    """Operations of this window and earlier ones that the run of the next window reads again."""
    lost: int
    """Operations of earlier windows whose end stays unknown."""
    by_status: Mapping[str, int] = field(default_factory=dict)
    by_action: Mapping[str, int] = field(default_factory=dict)
    by_operator: Mapping[str, int] = field(default_factory=dict)
    violations: Mapping[str, int] = field(default_factory=dict)
    """The number of violations of each rule."""
    requests: int = 0
    files: tuple[WrittenFile, ...] = ()
    manifest: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-ready data."""
        fields = asdict(self)
        fields["window"] = {"start": self.window.start.isoformat(), "end": self.window.end.isoformat()}
        fields["files"] = list(fields["files"])
        return fields


def carried_operations(directory: StorePath, scope: str, window: Window) -> tuple[PendingOperation, ...]:
    """Return the operations that the previous window left unfinished, from its manifest in ``directory``.

    The previous window is the one that ends where this one starts. If it was not audited, nothing is carried.
    """
    found: dict[str, PendingOperation] = {}
    for path in directory.glob(f"{file_name(scope)}_*_{stamp(window.start)}{_MANIFEST}"):
        fields = json.loads(path.read_bytes())
        if fields["scope"] != scope:  # another scope, whose name begins with this one's
            continue
        for operation in map(PendingOperation.from_dict, fields["pending_operations"]):
            found[operation.uid] = operation
    return tuple(sorted(found.values(), key=lambda operation: (operation.time, operation.uid)))


def write_audit(
    directory: StorePath,
    scope: str,
    reading: AuditReading,
    *,
    completion: Completion | None = None,
    violations: Sequence[Violation] = (),
    formats: Sequence[str] = ("jsonl",),
) -> AuditSummary:
    """Write the records to ``directory`` and return a summary.

    :param scope: the scope of the source.
    :param formats: names of :data:`FORMATS`; one data file each.
    :raises InvalidArgument: if a format is unknown, or there is none.
    """
    for name in formats or ("",):
        if name not in FORMATS:
            raise InvalidArgument(f"formats: unknown format {name!r}; expected {' or '.join(FORMATS)}")
    completion = completion or Completion()
    records = reading.records
    pending = (*completion.pending, *pending_of(records))
    base = f"{file_name(scope)}_{reading.window.name}"
    _make(directory)
    files = [
        _write_lines(directory / (base + _SUFFIXES[name]), name, (*completion.ended, *records))
        for name in formats
    ]
    manifest = directory / (base + _MANIFEST)
    summary = AuditSummary(
        scope=scope,
        window=reading.window,
        records=len(records),
        completed=len(completion.ended),
        pending=len(pending),
        lost=len(completion.lost),
        by_status=_counts(record.status.value for record in records),
        by_action=_counts(record.action for record in records),
        by_operator=_counts(record.operator for record in records),
        violations=_counts(violation.rule for violation in violations),
        requests=reading.requests + completion.requests,
        files=tuple(files),
        manifest=str(manifest),
    )
    fields = {
        **summary.as_dict(),
        "pending_operations": [operation.as_dict() for operation in pending],
        "lost_operations": [operation.as_dict() for operation in completion.lost],
        "violation_messages": [str(violation) for violation in violations],
    }
    write_whole(manifest, json.dumps(fields, ensure_ascii=False, indent=1).encode())
    return summary


def write_whole(path: Any, data: bytes) -> None:
    """Write a file so that at every moment, whatever fails, either the old or the new one exists."""
    if getattr(path, "protocol", "") in _WHOLE_OBJECT_STORES:
        path.write_bytes(data)
        return
    # A unique name: an abandoned run and its retry may be writing at the same time.
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write_lines(path: Any, name: str, records: Iterable[OperationRecord]) -> WrittenFile:
    lines = [json.dumps(FORMATS[name](record), ensure_ascii=False) + "\n" for record in records]
    data = "".join(lines).encode()
    write_whole(path, data)
    return WrittenFile(str(path), name, len(lines), len(data), hashlib.sha256(data).hexdigest())


def _make(directory: Any) -> None:
    if getattr(directory, "protocol", "") not in _WHOLE_OBJECT_STORES:
        directory.mkdir(parents=True, exist_ok=True)


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))

# SPDX-License-Identifier: Apache-2.0
"""What an audit writes: whole, replaced by a rerun, and carried on by the next window."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.operation import OperationRecord, OperationStatus, Window
from airflow_provider_ehpc.audit.pending import complete
from airflow_provider_ehpc.audit.rules import Rule, judge
from airflow_provider_ehpc.audit.sinks import AuditSummary, carried_operations, write_audit, write_whole
from airflow_provider_ehpc.audit.window import AuditReading, read_window
from tests.audit.simulated import DAY, LogServer, LogSource, drive, operation

SCOPE = LogSource.scope
NAME = "qingcloud-jinan1a_20260301T000000Z_20260302T000000Z"
NEXT_DAY = Window(DAY.end, DAY.end + timedelta(days=1))
RECORDS = (
    operation(1, 10),
    operation(2, 20, status=OperationStatus.FAILED, raw_status="failed", operator="usr-other"),
    operation(3, 30, status=OperationStatus.IN_PROGRESS, raw_status="pending", raw={"job_id": "j-000003"}),
)


def _write(directory: Any, *records: OperationRecord, **options: Any) -> AuditSummary:
    return write_audit(directory, SCOPE, AuditReading(DAY, records or RECORDS, 4), **options)


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_window_becomes_a_file_a_manifest_and_a_summary(tmp_path: Path) -> None:
    violations = judge([Rule.parse({"name": "removals", "operator": "usr-G*"})], RECORDS)
    summary = _write(tmp_path / "new" / "folder", formats=["jsonl", "ocsf"], violations=violations)
    plain, ocsf = (Path(written.path) for written in summary.files)
    assert sorted(path.name for path in plain.parent.iterdir()) == [
        f"{NAME}.jsonl",
        f"{NAME}.manifest.json",
        f"{NAME}.ocsf.jsonl",
    ]
    assert [line["uid"] for line in _lines(plain)] == ["j-000001", "j-000002", "j-000003"]
    assert _lines(plain)[2]["raw"] == {"job_id": "j-000003"}
    assert [line["class_uid"] for line in _lines(ocsf)] == [6003] * 3
    for written in summary.files:
        data = Path(written.path).read_bytes()
        assert (written.size, written.lines) == (len(data), 3)
        assert written.sha256 == hashlib.sha256(data).hexdigest()
    reported = summary.as_dict()
    assert reported["window"] == {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T00:00:00+00:00"}
    assert reported["by_status"] == {"FAILED": 1, "IN_PROGRESS": 1, "SUCCEEDED": 1}
    assert reported["by_operator"] == {"usr-GxkSGFDs": 2, "usr-other": 1}
    assert reported["by_action"] == {"HpcQueueRemoveEhpcQueueNodes": 3}
    assert reported["violations"] == {"removals": 1}
    assert (reported["records"], reported["pending"], reported["completed"], reported["requests"]) == (
        3,
        1,
        0,
        4,
    )
    manifest = json.loads(Path(summary.manifest).read_text())
    assert json.loads(json.dumps(reported)).items() <= manifest.items()
    assert "usr-other" in manifest["violation_messages"][0]


def test_a_rerun_replaces_what_it_wrote(tmp_path: Path) -> None:
    """A cleared task must not leave the day's operations in the archive twice."""
    _write(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    summary = _write(tmp_path, operation(1, 10))
    assert {path.name for path in tmp_path.iterdir()} == before
    assert [line["uid"] for line in _lines(Path(summary.files[0].path))] == ["j-000001"]


def test_logs_of_different_scope_do_not_overwrite_one_another(tmp_path: Path) -> None:
    reading = AuditReading(DAY, RECORDS, 1)
    for scope in ("qingcloud-jinan1a", "qingcloud-jinan1a-ehpc-1", "qingcloud-../../etc"):
        write_audit(tmp_path, scope, reading)
    assert len(list(tmp_path.iterdir())) == 6
    assert not carried_operations(tmp_path, "qingcloud", NEXT_DAY)


def test_scopes_that_look_alike_have_files_of_their_own(tmp_path: Path) -> None:
    """An id from a connection or a response may hold anything; none leaves the folder or shares a file."""
    reading = AuditReading(DAY, RECORDS, 1)
    folder = tmp_path / "audit"
    scopes = ["a/b", "a-b", "a b", "a_b", "a", "../../evil", "/etc/x", "a\0b", "", "x" * 3000, "a*", "a\\b"]
    for scope in scopes:
        write_audit(folder, scope, reading)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == 2 * len(scopes)
    assert all(path.parent == folder for path in found)
    for scope in scopes:
        assert len(carried_operations(folder, scope, NEXT_DAY)) == 1


def test_a_scope_that_goes_on_behind_another_is_not_carried(tmp_path: Path) -> None:
    write_audit(tmp_path, "a_b", AuditReading(DAY, RECORDS, 1))
    assert carried_operations(tmp_path, "a", NEXT_DAY) == ()


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for formats in (["csv"], []):
        with pytest.raises(InvalidArgument, match="jsonl or ocsf"):
            _write(tmp_path, formats=formats)
    assert not list(tmp_path.iterdir())


def test_an_operation_that_ends_later_is_completed_by_the_next_window(tmp_path: Path) -> None:
    """Its file still lists it as pending; a reader of both files finds by (zone, uid) how it ended."""
    ended = operation(3, 30, changed_at=DAY.end + timedelta(hours=1))
    source = LogSource(LogServer([*RECORDS[:2], ended], random.Random(0)))
    now = NEXT_DAY.end + timedelta(minutes=5)
    _write(tmp_path)
    for _ in range(2):  # a rerun carries the same
        carried = carried_operations(tmp_path, SCOPE, NEXT_DAY)
        assert [pending.uid for pending in carried] == ["j-000003"]
        reading = drive(read_window(source, NEXT_DAY, now=now))
        done = drive(complete(source, carried, now=now))
        summary = write_audit(tmp_path, SCOPE, reading, completion=done)
        assert (summary.records, summary.completed, summary.pending) == (0, 1, 0)
        assert summary.requests == 2
        assert [line["status"] for line in _lines(Path(summary.files[0].path))] == ["SUCCEEDED"]
    third = Window(NEXT_DAY.end, NEXT_DAY.end + timedelta(days=1))
    assert carried_operations(tmp_path, SCOPE, third) == ()


def test_an_operation_that_still_runs_is_carried_further(tmp_path: Path) -> None:
    source = LogSource(LogServer(RECORDS, random.Random(0)))
    now = NEXT_DAY.end + timedelta(minutes=5)
    _write(tmp_path)
    carried = carried_operations(tmp_path, SCOPE, NEXT_DAY)
    done = drive(complete(source, carried, now=now))
    write_audit(tmp_path, SCOPE, AuditReading(NEXT_DAY, (), 1), completion=done)
    third = Window(NEXT_DAY.end, NEXT_DAY.end + timedelta(days=1))
    assert carried_operations(tmp_path, SCOPE, third) == carried


def test_killed_in_the_middle_of_writing_there_is_the_old_file(tmp_path: Path) -> None:
    """SIGKILL after half of the bytes: the archive still has yesterday's whole file, and a rerun mends it."""
    path = tmp_path / "window.jsonl"
    write_whole(path, b"old" * 1000)
    program = textwrap.dedent(
        f"""
        import os, pathlib, signal
        from airflow_provider_ehpc.audit.sinks import write_whole

        def dies(self, data):
            with self.open("wb") as file:
                file.write(data[: len(data) // 2])
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)

        pathlib.Path.write_bytes = dies
        write_whole(pathlib.Path({str(path)!r}), b"new" * 1000)
        """
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9
    assert path.read_bytes() == b"old" * 1000
    assert list(tmp_path.glob("*.jsonl")) == [path]
    write_whole(path, b"new" * 1000)
    assert path.read_bytes() == b"new" * 1000


def test_a_failing_write_leaves_no_piece_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not fill further with pieces of every retry."""
    path = tmp_path / "window.jsonl"
    write_whole(path, b"old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("store", ["file", "memory"])
def test_an_object_storage_path_serves_as_well(store: str, tmp_path: Path) -> None:
    """Airflow's own path for a local folder, and what it is made of for a store of whole objects."""
    from airflow.sdk import ObjectStoragePath
    from upath import UPath

    kind = ObjectStoragePath if store == "file" else UPath
    directory = kind(f"{store}://{tmp_path}/audit")
    _write(directory)
    summary = _write(directory)
    assert sorted(path.name for path in directory.iterdir()) == [f"{NAME}.jsonl", f"{NAME}.manifest.json"]
    assert [pending.uid for pending in carried_operations(directory, SCOPE, NEXT_DAY)] == ["j-000003"]
    data = kind(summary.files[0].path).read_bytes()
    assert summary.files[0].sha256 == hashlib.sha256(data).hexdigest()

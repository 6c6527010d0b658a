# SPDX-License-Identifier: Apache-2.0
"""Store the state of the emulator in one SQLite file. It is written before a response is sent.

The state survives a killed process: write-ahead logging suffices for that, without a flush at each commit.
Only a power failure can lose the last changes, which is acceptable here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from airflow_provider_ehpc.emulator.jobs import EmulatedJob, SubmittedJob
from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.records import read_record

_SCHEMA = """
CREATE TABLE IF NOT EXISTS submissions (number INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER NOT NULL, sub_job INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY (number, sub_job)
);
CREATE TABLE IF NOT EXISTS operations (id TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_NOT_A_SUB_JOB = -1
"""Stands for the index None, because SQLite allows several NULLs in a primary key."""

_JOB_FIELDS = tuple(
    field.name for field in dataclasses.fields(EmulatedJob) if field.name not in ("submission", "index")
)


class CorruptState(OSError):
    """A state file cannot be read. The message names the file, the error and what to do."""


def lock_directory(directory: Path) -> IO[bytes]:
    """Lock the emulator's directory until the result is closed: two emulators would run the same jobs.

    :raises OSError: if another emulator uses it.
    """
    guard = (directory / "lock").open("ab")
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        guard.close()
        raise OSError(f"another emulator uses {directory}; choose another directory") from None
    return guard


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn every error while state is read from a file into :class:`CorruptState`.

    :raises CorruptState: if the file is not a database or contains anything the emulator does not write.
    """
    try:
        yield
    except (sqlite3.Error, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CorruptState(
            f"cannot read the state file {file}: {reason}. Move it away or choose "
            "another directory; the emulator then starts without the keys, jobs and operations in it"
        ) from error


class Store:
    """Submissions, jobs, operations and a few named values. Its methods may be called from any thread.

    Open and load it inside :func:`reading`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, submission: SubmittedJob, jobs: Iterable[EmulatedJob]) -> None:
        """Save a submission and its jobs."""
        record = dataclasses.asdict(submission)
        with self._lock, self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO submissions VALUES (?, ?)", (submission.number, json.dumps(record))
            )
            self._write(jobs)

    def save(self, jobs: Iterable[EmulatedJob]) -> None:
        """Save changed jobs."""
        with self._lock, self._db:
            self._write(jobs)

    def load(self) -> list[EmulatedJob]:
        """Return all jobs, in the order of submission."""
        submissions = {
            number: read_record(SubmittedJob, json.loads(text))
            for number, text in self._db.execute("SELECT number, record FROM submissions")
        }
        rows = self._db.execute("SELECT number, sub_job, record FROM jobs ORDER BY number, sub_job")
        return [
            read_record(
                EmulatedJob,
                {
                    "submission": submissions[number],
                    "index": None if sub_job == _NOT_A_SUB_JOB else sub_job,
                    **json.loads(text),
                },
            )
            for number, sub_job, text in rows
        ]

    def save_operations(self, operations: Iterable[EmulatedOperation]) -> None:
        """Save new or changed operations."""
        rows = [(operation.id, json.dumps(dataclasses.asdict(operation))) for operation in operations]
        # Not INSERT OR REPLACE, which would change the position of a changed operation.
        query = "INSERT INTO operations VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record"
        with self._lock, self._db:
            self._db.executemany(query, rows)

    def operations(self) -> list[EmulatedOperation]:
        """Return all operations, in the order in which they were added."""
        rows = self._db.execute("SELECT record FROM operations ORDER BY rowid")
        return [read_record(EmulatedOperation, json.loads(text)) for (text,) in rows]

    def fact(self, name: str) -> Any:
        """Return the value that :meth:`set_fact` saved, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_fact(self, name: str, value: Any) -> None:
        """Save a JSON-ready value under a name."""
        with self._lock, self._db:
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def _write(self, jobs: Iterable[EmulatedJob]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", map(_row, jobs))


def _row(job: EmulatedJob) -> tuple[int, int, str]:
    record = {name: getattr(job, name) for name in _JOB_FIELDS}
    sub_job = _NOT_A_SUB_JOB if job.index is None else job.index
    return job.number, sub_job, json.dumps(record, default=str)

"""The emulator's memory: one SQLite file, written before anything is answered.

A process that is killed leaves it whole. Write-ahead logging without a flush at each commit is enough for
that; only a power cut may take the last moments, and that is no cloud's business here.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import Job, Phase, Submission
from airflow_provider_ehpc.emulator.operations import Operation

_SCHEMA = """
CREATE TABLE IF NOT EXISTS submissions (number INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER NOT NULL, sub_job INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY (number, sub_job)
);
CREATE TABLE IF NOT EXISTS operations (id TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_NOT_A_SUB_JOB = -1
"""Stands for the index None, which SQLite would not hold unique in a primary key."""


class Store:
    """Submissions, jobs, operations and a few named facts. Its methods may be called from any thread."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(file, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, submission: Submission, jobs: Iterable[Job]) -> None:
        """Keep a submission together with its jobs."""
        record = dataclasses.asdict(submission)
        with self._lock, self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO submissions VALUES (?, ?)", (submission.number, json.dumps(record))
            )
            self._write(jobs)

    def save(self, jobs: Iterable[Job]) -> None:
        """Keep what has become of jobs."""
        with self._lock, self._db:
            self._write(jobs)

    def load(self) -> list[Job]:
        """Return every job, in the order of submission."""
        submissions = {}
        for number, text in self._db.execute("SELECT number, record FROM submissions"):
            record = json.loads(text)
            submissions[number] = Submission(**{**record, "spec": JobSpec(**record["spec"])})
        rows = self._db.execute("SELECT number, sub_job, record FROM jobs ORDER BY number, sub_job")
        return [_job(submissions[number], sub_job, json.loads(text)) for number, sub_job, text in rows]

    def save_operations(self, operations: Iterable[Operation]) -> None:
        """Keep operations, or what has become of them."""
        rows = [(operation.id, json.dumps(dataclasses.asdict(operation))) for operation in operations]
        # Not INSERT OR REPLACE: it would give a changed operation another place in the order.
        query = "INSERT INTO operations VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record"
        with self._lock, self._db:
            self._db.executemany(query, rows)

    def operations(self) -> list[Operation]:
        """Return every operation, in the order in which they were added."""
        rows = self._db.execute("SELECT record FROM operations ORDER BY rowid")
        return [Operation(**json.loads(text)) for (text,) in rows]

    def fact(self, name: str) -> Any:
        """Return what :meth:`set_fact` kept, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def set_fact(self, name: str, value: Any) -> None:
        """Keep JSON-ready data under a name."""
        with self._lock, self._db:
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def _write(self, jobs: Iterable[Job]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", map(_row, jobs))


def _row(job: Job) -> tuple[int, int, str]:
    record = {
        "stdout_path": str(job.stdout_path),
        "stderr_path": str(job.stderr_path),
        "phase": job.phase,
        "exit_code": job.exit_code,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "modified_at": job.modified_at,
        "stopped_at": job.stopped_at,
        "nodes": job.nodes,
        "wait_status": job.wait_status,
        "reason": job.reason,
        "restarts": job.restarts,
    }
    return job.number, _NOT_A_SUB_JOB if job.index is None else job.index, json.dumps(record)


def _job(submission: Submission, sub_job: int, record: dict[str, Any]) -> Job:
    record |= {
        "stdout_path": Path(record["stdout_path"]),
        "stderr_path": Path(record["stderr_path"]),
        "phase": Phase(record["phase"]),
        "nodes": tuple(record["nodes"]),
    }
    return Job(submission, None if sub_job == _NOT_A_SUB_JOB else sub_job, **record)

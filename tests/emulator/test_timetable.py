# SPDX-License-Identifier: Apache-2.0
"""Simulated jobs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase, SubmittedJob
from airflow_provider_ehpc.emulator.schedulers import SubmissionRefused
from airflow_provider_ehpc.emulator.schedulers.timetable import TimetableScheduler, read_timetable
from airflow_provider_ehpc.emulator.server import Emulator


def job(command: str) -> EmulatedJob:
    return EmulatedJob(SubmittedJob(1, JobSpec("j", command), "", 1000.0), None, Path("out"), Path("err"))


@pytest.mark.parametrize(
    ("command", "at", "phase"),
    [
        ("wait=2 run=30 exit=1", 1001.0, None),
        ("wait=2 run=30 exit=1", 1002.0, Phase.RUNNING),
        ("wait=2 run=30 exit=1", 1032.0, Phase.FAILED),
        ("-- run=0.5", 1000.5, Phase.COMPLETED),
        ("", 1000.0, Phase.COMPLETED),
    ],
)
def test_a_job_moves_by_the_clock(command: str, at: float, phase: Phase | None) -> None:
    moved = TimetableScheduler(lambda: at).poll([job(command)])
    assert [moved.phase for moved in moved] == ([phase] if phase else [])


@pytest.mark.parametrize("command", ["sleep 30", "run=", "run=-1", "exit=x", "run=1;exit=2"])
def test_what_is_no_timetable_is_refused(command: str) -> None:
    """If this were a job of no duration, a benchmark would measure nothing."""
    with pytest.raises(SubmissionRefused, match="timetable"):
        read_timetable(command)


def test_jobs_on_a_timetable_are_jobs_like_others(tmp_path: Path) -> None:
    with Emulator(tmp_path, scheduler="timetable") as emulator:
        well, ill, long = (emulator.submit(command) for command in ("run=0.2", "run=0.2 exit=3", "run=99"))
        assert emulator.wait_for(well).phase is Phase.COMPLETED
        ended = emulator.wait_for(ill)
        assert (ended.phase, ended.exit_code) == (Phase.FAILED, 3)
        assert ended.ended_at is not None
        assert ended.ended_at <= time.time()
        emulator.wait_for(long, "RUNNING")
        emulator.stop(long)
        assert emulator.wait_for(long).phase is Phase.CANCELLED


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    with Emulator(tmp_path, scheduler="timetable") as emulator:
        job_id = emulator.submit("run=0.6")
    with Emulator(tmp_path, scheduler="timetable") as emulator:
        assert emulator.wait_for(job_id).phase is Phase.COMPLETED


def test_a_job_with_lines_writes_them_by_the_clock(tmp_path: Path) -> None:
    """If a line were missing, the reader of the log would be blamed."""
    now = 1000.0
    scheduler = TimetableScheduler(lambda: now)
    writing = replace(job("wait=2 run=3 lines=4"), stdout_path=tmp_path / "home" / "out")

    def lines() -> list[str]:
        path = writing.stdout_path
        return path.read_text().splitlines() if path.exists() else []

    scheduler.poll([writing])
    assert lines() == []
    now = 1003.6
    (writing,) = scheduler.poll([writing])
    assert lines() == [f"line {n}" for n in range(1, 7)]
    now = 1009.0
    (writing,) = TimetableScheduler(lambda: now).poll([writing])
    assert writing.phase is Phase.COMPLETED
    assert lines() == [f"line {n}" for n in range(1, 13)]

# SPDX-License-Identifier: Apache-2.0
"""Read squeue without a Slurm: recorded output, and states that are hard to provoke."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase, SubmittedJob
from airflow_provider_ehpc.emulator.schedulers.slurm import SlurmScheduler
from airflow_provider_ehpc.emulator.server import Emulator

_RECORDED = Path(__file__).parents[1] / "samples" / "slurm" / "squeue-22.05.txt"


def _job(number: int, index: int | None = None, **fields: object) -> EmulatedJob:
    spec = JobSpec(name="job", command="true", array="1-3:2" if index else None)
    paths = Path("out"), Path("err")
    return EmulatedJob(SubmittedJob(number, spec, "", 1795227800.0), index, *paths, **fields)  # type: ignore[arg-type]


def _poll(
    jobs: list[EmulatedJob], printed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[EmulatedJob]:
    """Poll with a squeue that prints a file."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "squeue").write_text(f"#!/bin/sh\nexec /bin/cat {printed}\n")
    (tools / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    return SlurmScheduler(tmp_path).poll(jobs)


def test_what_squeue_printed_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = ((1, None), (2, 1), (2, 3), (3, 1), (4, None), (7, None), (9, None), (30, None))
    jobs = [_job(number, index) for number, index in keys]

    seen = _poll(jobs, _RECORDED, monkeypatch, tmp_path)

    assert [(job.phase, job.exit_code) for job in seen] == [
        ("FAILED", 3),
        ("FAILED", 137),
        ("RUNNING", None),
        ("PENDING", None),
        ("PENDING", None),
        ("CANCELLED", 0),
        ("COMPLETED", 0),
        ("TIMEOUT", 143),
    ]
    assert (seen[0].started_at, seen[0].ended_at, seen[0].nodes) == (1795227809, 1795227809, ("compute000",))
    assert (seen[2].started_at, seen[2].ended_at) == (1795227809, None)
    # This is the time at which Slurm expects the job to start.
    assert (seen[3].started_at, seen[3].nodes) == (None, ())


@pytest.mark.parametrize(
    ("word", "phase"),
    [
        ("NODE_FAIL", "NODE_FAIL"),
        ("OUT_OF_MEMORY", "OUT_OF_MEMORY"),
        ("PREEMPTED", "PREEMPTED"),
        ("DEADLINE", "DEADLINE"),
        ("BOOT_FAIL", "BOOT_FAIL"),
        ("SUSPENDED", "SUSPENDED"),
        ("COMPLETING", "COMPLETING"),
        ("CONFIGURING", "PENDING"),
        ("REQUEUED", "PENDING"),
        ("STAGE_OUT", "RUNNING"),
        ("A_WORD_OF_NEXT_YEAR", "RUNNING"),
    ],
)
def test_every_word_has_a_phase(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, word: str, phase: str
) -> None:
    """An unknown state must not end the polling of all jobs."""
    printed = tmp_path / "printed"
    printed.write_text(f"1|N/A|{word}|0|1795227809|1795227812|compute000|\n")

    assert [job.phase for job in _poll([_job(1)], printed, monkeypatch, tmp_path)] == [phase]


def test_a_job_that_is_not_listed_has_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    printed.touch()
    jobs = [_job(1), _job(2, stopped_at=1795227900.0)]

    assert [job.phase for job in _poll(jobs, printed, monkeypatch, tmp_path)] == [
        Phase.FAILED,
        Phase.CANCELLED,
    ]


def test_an_emulator_without_slurms_tools_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(OSError, match="sinfo not found"):
        Emulator(tmp_path / "cloud", scheduler="slurm").start()

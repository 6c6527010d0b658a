# SPDX-License-Identifier: Apache-2.0
"""Run jobs on the Slurm of this machine, by its command line tools (``SLURM_CONF`` selects the Slurm).

Accounting is not needed: ``squeue`` also lists ended jobs until slurmctld forgets them after MinJobAge, and
the cluster saves their last status. Formats as of Slurm 22.05.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.dependencies import sbatch_dependency
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase, output_paths, shell_command
from airflow_provider_ehpc.emulator.schedulers import SubmissionRefused

_TIMEOUT = 30.0
"""Seconds that one of Slurm's tools may take."""
# None of these fields has free text, so a job's name cannot be mistaken for a field.
_FIELDS = (
    "ArrayJobID",
    "ArrayTaskID",
    "State",
    "exit_code",
    "StartTime",
    "EndTime",
    "NodeList",
    "Reason",
    "RestartCnt",
)
_SEPARATOR = "|"
# States of squeue that are not phases, and the phase of a job in them.
_PHASES = {
    "CONFIGURING": Phase.PENDING,
    "REQUEUED": Phase.PENDING,
    "REQUEUE_FED": Phase.PENDING,
    "REQUEUE_HOLD": Phase.PENDING,
    "RESV_DEL_HOLD": Phase.PENDING,
    "SPECIAL_EXIT": Phase.PENDING,
    "STOPPED": Phase.SUSPENDED,
    "REVOKED": Phase.CANCELLED,
}


class SlurmScheduler:
    """Submits with sbatch, polls all jobs with one squeue, stops with scancel."""

    interval = 1.0

    def __init__(self, home: Path) -> None:
        self._home = home

    def default_queue(self) -> str:
        """Return the default partition.

        :raises OSError: if Slurm does not respond.
        """
        done = _run(["sinfo", "--noheader", "--format=%P"])
        partitions = done.stdout.split()
        if done.returncode or not partitions:
            raise OSError(f"Slurm does not respond: {' '.join(done.stderr.split())}")
        marked = [partition for partition in partitions if partition.endswith("*")]
        return (marked or partitions)[0].rstrip("*")

    def submit(self, spec: JobSpec, post_command: str, next_number: int) -> int:
        """Submit the job with sbatch and return Slurm's number for it.

        :raises SubmissionRefused: with Slurm's message.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        index = "%a" if spec.array else None
        paths = output_paths(self._home, _without_patterns(spec), "%A" if spec.array else "%j", index)
        options = {
            "job-name": spec.name,
            "output": str(paths[0]),
            "error": str(paths[1]),
            "chdir": str(self._home),
            "partition": spec.queue,
            "nodes": spec.nodes,
            "cpus-per-task": spec.cores,
            "gpus-per-node": spec.gpus or None,
            "mem": spec.memory and spec.memory.replace(" ", "").upper().removesuffix("B"),
            "time": spec.wall_time and _clock(spec.wall_time),
            "array": spec.array,
            "dependency": sbatch_dependency(spec),
        }
        arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
        done = _run(
            ["sbatch", "--parsable", *arguments],
            script=_script(spec, post_command),
            environment=dict(spec.environment) | {"HOME": str(self._home)},
        )
        if done.returncode:
            raise SubmissionRefused(" ".join(done.stderr.split()))
        return int(done.stdout.strip().split(";")[0])

    def stop(self, jobs: Sequence[EmulatedJob]) -> None:
        """Run scancel, which ignores jobs that have ended meanwhile."""
        if jobs:
            _run(["scancel", *(_slurm_id(job) for job in jobs)])

    def poll(self, jobs: Sequence[EmulatedJob]) -> list[EmulatedJob]:
        """Run squeue once and return these jobs as it lists them.

        :raises OSError: if slurmctld does not respond.
        """
        done = _run(
            [
                "squeue",
                "--noheader",
                "--array",
                "--states=all",
                "--Format=" + ",".join(f"{field}:{_SEPARATOR}" for field in _FIELDS),
            ],
            environment={"SLURM_TIME_FORMAT": "%s"},
        )
        if done.returncode:
            raise OSError(f"squeue: {' '.join(done.stderr.split())}")
        rows = _rows(done.stdout)
        return [_updated(job, rows.get(job.key)) for job in jobs]

    def kill(self, jobs: Sequence[EmulatedJob]) -> None:
        """Run scancel; Slurm kills a job that still runs after KillWait."""
        self.stop(jobs)


def _without_patterns(spec: JobSpec) -> JobSpec:
    """Return ``spec`` with ``%`` escaped in name and paths: sbatch replaces patterns such as ``%x``."""

    def escaped(text: str | None) -> str | None:
        return text and text.replace("%", "%%")

    return dataclasses.replace(
        spec,
        name=spec.name.replace("%", "%%"),
        stdout_path=escaped(spec.stdout_path),
        stderr_path=escaped(spec.stderr_path),
    )


def _script(spec: JobSpec, post_command: str) -> str:
    """Return the batch script, quoted so that no line of the command is read as ``#SBATCH``."""
    command = f"/bin/sh -c {shlex.quote(shell_command(spec))}"
    if post_command:
        command = f"{command}\ncode=$?\n/bin/sh -c {shlex.quote(post_command)}\nexit $code"
    return f"#!/bin/sh\n{command}\n"


def _run(
    command: Sequence[str], *, script: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's tools. Of the emulator's environment, jobs inherit only PATH and SLURM_CONF."""
    needed = {name: os.environ[name] for name in ("PATH", "SLURM_CONF") if name in os.environ}
    try:
        return subprocess.run(  # noqa: S603 - the tools are Slurm's, the arguments no shell's
            command,
            input=script,
            env={"LANG": "C.UTF-8", **(environment or {}), **needed},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise OSError(f"{command[0]} not found: install Slurm's client tools") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} timed out after {_TIMEOUT:.0f} seconds") from None


def _rows(text: str) -> dict[tuple[int, int | None], list[str]]:
    """Return the fields of squeue's lines by number and index of the job."""
    rows = {}
    for line in text.splitlines():
        number, index, *fields = line.strip().split(_SEPARATOR)
        rows[int(number), int(index) if index.isdigit() else None] = fields
    return rows


def _updated(job: EmulatedJob, fields: Sequence[str] | None) -> EmulatedJob:
    if fields is None:
        return _vanished(job)
    state, wait_status, start, end, nodes, reason, restarts, *_ = *fields, "", ""
    phase = _phase(state)
    return dataclasses.replace(
        job,
        phase=phase,
        exit_code=_exit_code(int(wait_status)) if phase.ended else None,
        # For a pending job this is the expected start.
        started_at=None if phase is Phase.PENDING or not nodes else _time(start),
        ended_at=_time(end) if phase.ended else None,
        nodes=(nodes,) if nodes else (),
        wait_status=int(wait_status) if phase.ended else None,
        reason="" if reason == "None" else reason,
        restarts=int(restarts or 0),
    )


def _vanished(job: EmulatedJob) -> EmulatedJob:
    """End a job that slurmctld no longer lists.

    It forgets a sub-job cancelled while pending at once. It forgot any other job between two polls of an
    emulator that was not running: the outcome is unknown, so the job counts as failed, to be safe.
    """
    phase = Phase.FAILED if job.stopped_at is None else Phase.CANCELLED
    return dataclasses.replace(job, phase=phase, ended_at=time.time())


def _phase(state: str) -> Phase:
    if state in _PHASES:
        return _PHASES[state]
    # The remaining states of squeue (SIGNALING, RESIZING, STAGE_OUT) are those of jobs that hold nodes.
    return Phase(state) if state in Phase.__members__ else Phase.RUNNING


def _exit_code(wait_status: int) -> int:
    """Return the exit code as a shell reports it; squeue reports the status of wait(2)."""
    signal = wait_status & 0x7F
    return 128 + signal if signal else wait_status >> 8


def _time(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _slurm_id(job: EmulatedJob) -> str:
    return str(job.number) if job.index is None else f"{job.number}_{job.index}"


def _clock(seconds: int) -> str:
    """Write a time limit as sbatch reads it. Slurm rounds it up to whole minutes."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"

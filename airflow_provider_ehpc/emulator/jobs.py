# SPDX-License-Identifier: Apache-2.0
"""Define a job of the emulator, independent of the scheduler that runs it and of the API that shows it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.apis.schedulers.ids import array_indexes


class Phase(StrEnum):
    """The state of a job, in the words of ``squeue(1)``: Slurm distinguishes more states than others."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    PREEMPTED = "PREEMPTED"
    DEADLINE = "DEADLINE"
    BOOT_FAIL = "BOOT_FAIL"

    @property
    def ended(self) -> bool:
        """True if the job can never change again."""
        return self not in _UNFINISHED


_UNFINISHED = frozenset({Phase.PENDING, Phase.RUNNING, Phase.SUSPENDED, Phase.COMPLETING})


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A submitted job, or an array of jobs with one number. The password is not saved."""

    number: int
    spec: JobSpec
    post_command: str
    submitted_at: float
    """Epoch seconds, like all times here."""

    @property
    def indexes(self) -> tuple[int | None, ...]:
        """The sub-jobs' indexes; a single None for a job that is not an array."""
        if not self.spec.array:
            return (None,)
        return tuple(array_indexes(self.spec.array) or ())


@dataclass(frozen=True, slots=True)
class EmulatedJob:
    """A job, a sub-job of an array, or a whole array (:attr:`whole_array`)."""

    submission: SubmittedJob
    index: int | None
    stdout_path: Path
    stderr_path: Path
    phase: Phase = Phase.PENDING
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    modified_at: float = 0.0
    stopped_at: float | None = None
    """When a stop was requested."""
    nodes: tuple[str, ...] = ()
    wait_status: int | None = None
    """The status of wait(2), which a real Slurm reports. It is not an exit code."""
    reason: str = ""
    """Why the job is in its phase, if the scheduler reports it."""
    restarts: int = 0
    """The number of times the scheduler has restarted the job."""

    @property
    def number(self) -> int:
        """The job's number, which all sub-jobs of an array share."""
        return self.submission.number

    @property
    def spec(self) -> JobSpec:
        """The job as submitted."""
        return self.submission.spec

    @property
    def key(self) -> tuple[int, int | None]:
        """Number and index, which identify the job."""
        return (self.number, self.index)

    @property
    def whole_array(self) -> bool:
        """True for an array as a whole, not one of its sub-jobs."""
        return bool(self.spec.array) and self.index is None


RETRY = "emulator.retry"
"""Key in :attr:`JobSpec.options` of a pair: the number of retries, and the exit code that causes them (None:
any except 0)."""
_RETRYING = """
left={count}
while :; do
    /bin/sh -c {command}
    code=$?
    [ $left -gt 0 ] && [ $code {test} ] || exit $code
    left=$((left - 1))
done
"""


def shell_command(spec: JobSpec) -> str:
    """Return the shell command of a job without ``-- ``, which means "no script" to qsub and E-HPC."""
    command = spec.command.lstrip().removeprefix("-- ")
    if RETRY not in spec.options:
        return command
    count, code = spec.options[RETRY]
    test = "-ne 0" if code is None else f"-eq {code}"
    return _RETRYING.format(count=count, command=shlex.quote(command), test=test)


def output_paths(home: Path, spec: JobSpec, number: str, index: str | None) -> tuple[Path, Path]:
    """Return the paths of stdout and stderr: as requested, else as in PBS (``STDIN.o1``, ``STDIN.o1.3``).

    ``number`` and ``index`` are strings, so that they can be patterns of a scheduler.
    """
    suffix = "" if index is None else f".{index}"
    # A file name has at most 255 bytes; a job's name may be longer, and in any script.
    name = spec.name.replace("/", "_").encode()[:200].decode(errors="ignore")
    stdout = spec.stdout_path or str(home / f"{name}.o{number}")
    stderr = spec.stderr_path or str(home / f"{name}.e{number}")
    return Path(stdout + suffix), Path(stderr + suffix)


def change_log(job: EmulatedJob, change: str, data: bytes, stream: str) -> None:
    """See :meth:`~airflow_provider_ehpc.emulator.server.Emulator.change_log`."""
    paths = {"stdout": job.stdout_path, "stderr": job.stderr_path}
    if stream not in paths:
        raise ValueError(f"stream: expected {' or '.join(paths)}, got {stream!r}")
    path = paths[stream]
    if change == "append":
        with path.open("ab") as file:
            file.write(data)
    elif change == "truncate":
        os.truncate(path, 0)
    elif change == "rotate":
        path.rename(path.with_name(path.name + ".1"))
        path.write_bytes(data)
    else:
        raise ValueError(f"change: expected append, truncate or rotate, got {change!r}")

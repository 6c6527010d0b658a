"""A job as the emulator's cluster keeps it, whichever scheduler runs it and whichever API asks."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.apis.schedulers.ids import array_indexes


class Phase(StrEnum):
    """Where a job is, in the words of ``squeue(1)``: of all schedulers, Slurm tells the most apart."""

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
        """Whether the job can never change again."""
        return self not in _UNFINISHED


_UNFINISHED = frozenset({Phase.PENDING, Phase.RUNNING, Phase.SUSPENDED, Phase.COMPLETING})


@dataclass(frozen=True, slots=True)
class Submission:
    """What was asked for: one job, or an array of jobs under one number. The password is not kept."""

    number: int
    spec: JobSpec
    post_command: str
    submitted_at: float
    """Epoch seconds, as all times here."""

    @property
    def indexes(self) -> tuple[int | None, ...]:
        """The sub-jobs' indexes; a single None for a job that is not an array."""
        if not self.spec.array:
            return (None,)
        return tuple(array_indexes(self.spec.array) or ())


@dataclass(frozen=True, slots=True)
class EmulatedJob:
    """One job, or one sub-job of an array, or (:attr:`whole_array`) an array as a whole."""

    submission: Submission
    index: int | None
    stdout_path: Path
    stderr_path: Path
    phase: Phase = Phase.PENDING
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    modified_at: float = 0.0
    stopped_at: float | None = None
    """When somebody asked for its end."""
    nodes: tuple[str, ...] = ()
    wait_status: int | None = None
    """The status of wait(2) that a real Slurm reports; it holds numbers that are no exit code."""
    reason: str = ""
    """Why the job is in its phase, if its scheduler says so."""
    restarts: int = 0
    """How often the scheduler has started the job again."""

    @property
    def number(self) -> int:
        """The job's number, which all sub-jobs of an array share."""
        return self.submission.number

    @property
    def spec(self) -> JobSpec:
        """What was asked for."""
        return self.submission.spec

    @property
    def key(self) -> tuple[int, int | None]:
        """Number and index: what identifies the job."""
        return (self.number, self.index)

    @property
    def whole_array(self) -> bool:
        """Whether this stands for an array and not for one of its sub-jobs."""
        return bool(self.spec.array) and self.index is None


RETRY = "emulator.retry"
"""Name in :attr:`JobSpec.options` of a pair: how often a job is run again, and after which exit code (None
for any but 0)."""
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
    """Return what runs a job, without the ``-- `` that tells qsub and E-HPC that the command is no script."""
    command = spec.command.lstrip().removeprefix("-- ")
    if RETRY not in spec.options:
        return command
    count, code = spec.options[RETRY]
    test = "-ne 0" if code is None else f"-eq {code}"
    return _RETRYING.format(count=count, command=shlex.quote(command), test=test)


def output_paths(home: Path, spec: JobSpec, number: str, index: str | None) -> tuple[Path, Path]:
    """Return where a job writes: as asked, else as PBS names it (``STDIN.o1``, of a sub-job ``STDIN.o1.3``).

    ``number`` and ``index`` are texts, so that a scheduler's own patterns can stand for them.
    """
    suffix = "" if index is None else f".{index}"
    # A file name holds 255 bytes; a job's name may be longer, and in any script.
    name = spec.name.replace("/", "_").encode()[:200].decode(errors="ignore")
    stdout = spec.stdout_path or str(home / f"{name}.o{number}")
    stderr = spec.stderr_path or str(home / f"{name}.e{number}")
    return Path(stdout + suffix), Path(stderr + suffix)

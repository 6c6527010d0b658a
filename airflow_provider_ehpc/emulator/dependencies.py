"""Jobs that start only after others: DependsOn of E-HPC's serverless jobs.

A dependency is kept in the job's options, so that it survives a restart. A dependency that can no longer be
satisfied cancels the job, as Slurm does with ``kill_invalid_depend``; what E-HPC does is not documented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

OPTION = "emulator.depends_on"
"""Name in :attr:`JobSpec.options` of a list of ``[type, number, index]``; only sub-tasks have an index."""
# The types of E-HPC, and how sbatch calls them.
TYPES = {
    "AfterSucceeded": "afterok",
    "AfterFailed": "afternotok",
    "AfterAny": "afterany",
    "AfterCorresponding": "aftercorr",
}
Parts = Callable[[int], Sequence[EmulatedJob]]
"""Returns the sub-tasks of a job's number, or the job alone if it is no array."""


def may_start(job: EmulatedJob, parts: Parts) -> bool | None:
    """Return True if all dependencies are satisfied, False if one never will be, and None while it waits."""
    verdicts = [
        _satisfied(kind, _meant(job, kind, parts(number), index))
        for kind, number, index in job.spec.options.get(OPTION, ())
    ]
    return False if False in verdicts else None if None in verdicts else True


def sbatch_dependency(spec: JobSpec) -> str | None:
    """Return the value of sbatch's ``--dependency``."""
    words = [
        f"{TYPES[kind]}:{number}" + ("" if index is None else f"_{index}")
        for kind, number, index in spec.options.get(OPTION, ())
    ]
    return ",".join(words) or None


def _meant(job: EmulatedJob, kind: str, parts: Iterable[EmulatedJob], index: int | None) -> list[EmulatedJob]:
    parts = list(parts)
    if kind == "AfterCorresponding" and index is None and job.index is not None:
        # Of a job that is no array, the whole job corresponds to each sub-task.
        return [part for part in parts if part.index in (None, job.index)] or parts
    return [part for part in parts if index is None or part.index == index]


def _satisfied(kind: str, parts: Sequence[EmulatedJob]) -> bool | None:
    ended = [part.phase for part in parts if part.phase.ended]
    wanted = {
        "AfterFailed": lambda phase: phase is not Phase.COMPLETED,
        "AfterAny": lambda phase: True,
    }.get(kind, lambda phase: phase is Phase.COMPLETED)
    if not all(map(wanted, ended)):
        return False
    return True if len(ended) == len(parts) else None

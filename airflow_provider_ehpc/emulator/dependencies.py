# SPDX-License-Identifier: Apache-2.0
"""Let jobs wait for other jobs: DependsOn of E-HPC's serverless jobs.

A dependency is in the job's options, so that it survives a restart. A dependency that can no longer be
satisfied cancels the job, as Slurm does with ``kill_invalid_depend``. E-HPC does not document what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

OPTION = "emulator.depends_on"
"""Key in :attr:`JobSpec.options` of a list of ``[type, number, index]``; only sub-tasks have an index."""
# The types of E-HPC and their names in sbatch.
TYPES = {
    "AfterSucceeded": "afterok",
    "AfterFailed": "afternotok",
    "AfterAny": "afterany",
    "AfterCorresponding": "aftercorr",
}
Parts = Callable[[int], Sequence[EmulatedJob]]
"""Returns the sub-tasks of an array by its number, or the job alone if it is not an array."""


def may_start(job: EmulatedJob, parts: Parts) -> bool | None:
    """Return True if all dependencies are satisfied, False if one never can be, None if the job waits."""
    verdicts = [
        _satisfied(kind, _others(job, kind, parts(number), index))
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


def _others(
    job: EmulatedJob, kind: str, parts: Iterable[EmulatedJob], index: int | None
) -> list[EmulatedJob]:
    parts = list(parts)
    if kind == "AfterCorresponding" and index is None and job.index is not None:
        # A job that is not an array corresponds to each sub-task.
        return [part for part in parts if part.index in (None, job.index)] or parts
    return [part for part in parts if index is None or part.index == index]


def _satisfied(kind: str, parts: Sequence[EmulatedJob]) -> bool | None:
    ended = [part.phase for part in parts if part.phase.ended]
    satisfies = {
        "AfterFailed": lambda phase: phase is not Phase.COMPLETED,
        "AfterAny": lambda phase: True,
    }.get(kind, lambda phase: phase is Phase.COMPLETED)
    if not all(map(satisfies, ended)):
        return False
    return True if len(ended) == len(parts) else None

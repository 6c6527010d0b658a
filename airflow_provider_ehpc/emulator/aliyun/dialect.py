# SPDX-License-Identifier: Apache-2.0
"""Define how E-HPC writes IDs, states and scheduler errors on PBS and on Slurm clusters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

_PBS_STATES = {
    Phase.PENDING: "QUEUED",
    Phase.RUNNING: "RUNNING",
    Phase.COMPLETING: "RUNNING",
    Phase.SUSPENDED: "SUSPENDED",
    Phase.COMPLETED: "FINISHED",
    # In PBS, a deleted job is only finished, like any other ended job.
    Phase.CANCELLED: "FINISHED",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """The forms of IDs, states and errors on one kind of cluster."""

    name: str
    single: str
    """The pattern of an ID for ``str.format``, like the next two."""
    whole_array: str
    sub_job: str
    any_id: re.Pattern[str]
    """Matches each of the three, with the groups ``number`` and ``index``."""
    states: Mapping[Phase, str]
    default_queue: str
    unknown_job: str
    """The scheduler's message for an unknown ID."""
    ended_job: str
    """The scheduler's message if a job to stop has ended."""

    def job_id(self, job: EmulatedJob) -> str:
        """Return the ID of a job."""
        if job.index is not None:
            pattern = self.sub_job
        else:
            pattern = self.whole_array if job.whole_array else self.single
        return pattern.format(number=job.number, index=job.index)

    def read(self, job_id: str) -> tuple[int, int | None] | None:
        """Return number and index of an ID; None if it is not an ID on this kind of cluster."""
        match = self.any_id.fullmatch(job_id)
        if not match:
            return None
        index = match["index"]
        return int(match["number"]), int(index) if index else None

    def state(self, phase: Phase) -> str:
        """Return the name of a phase."""
        return self.states[phase]


PBS = Dialect(
    name="pbs",
    single="{number}.manager",
    whole_array="{number}[].manager",
    sub_job="{number}[{index}].manager",
    any_id=re.compile(r"(?P<number>\d{1,18})(\[(?P<index>\d{1,18})?\])?(\.manager)?"),
    states={phase: _PBS_STATES.get(phase, "FAILED") for phase in Phase},
    default_queue="workq",
    unknown_job="qstat: Unknown Job Id {job_id}",
    ended_job="qdel: Job has finished {job_id}",
)
SLURM = Dialect(
    name="slurm",
    single="{number}",
    whole_array="{number}",
    sub_job="{number}_{index}",
    any_id=re.compile(r"(?P<number>\d{1,18})(_(?P<index>\d{1,18}))?"),
    # Pending, Running, Completed and Failed are documented. The others are Slurm's, written alike.
    states={phase: phase.capitalize() for phase in Phase},
    default_queue="comp",
    unknown_job="slurm_load_jobs error: Invalid job id specified",
    ended_job="scancel: error: Kill job error on job id {job_id}: Job/step already completing or completed",
)
_SERVERLESS_STATES = {
    Phase.PENDING: "Pending",
    Phase.RUNNING: "Running",
    Phase.COMPLETING: "Running",
    Phase.SUSPENDED: "Running",
    Phase.COMPLETED: "Succeeded",
    Phase.CANCELLED: "Canceled",
}
# IDs are numbers; that of a sub-task begins with that of the array job, as in Slurm.
SERVERLESS = dataclasses.replace(
    SLURM, name="serverless", states={phase: _SERVERLESS_STATES.get(phase, "Failed") for phase in Phase}
)
DIALECTS = {dialect.name: dialect for dialect in (PBS, SLURM)}

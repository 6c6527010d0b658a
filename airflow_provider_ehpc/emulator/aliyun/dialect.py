"""How E-HPC spells ids, states and scheduler errors on its two kinds of cluster."""

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
    # A deleted job is only finished in PBS, like any other that is over.
    Phase.CANCELLED: "FINISHED",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one kind of cluster."""

    name: str
    single: str
    """The pattern of an id, for ``str.format``, like the two that follow."""
    whole_array: str
    sub_job: str
    reading: re.Pattern[str]
    """Finds ``number`` and ``index`` in any of the three."""
    states: Mapping[Phase, str]
    default_queue: str
    unknown_job: str
    """What the scheduler says of an id that it does not know."""
    ended_job: str
    """What it says when a job is to be stopped that has ended."""

    def job_id(self, job: EmulatedJob) -> str:
        """Return a job's id."""
        if job.index is not None:
            pattern = self.sub_job
        else:
            pattern = self.whole_array if job.whole_array else self.single
        return pattern.format(number=job.number, index=job.index)

    def read(self, job_id: str) -> tuple[int, int | None] | None:
        """Return number and index; None where this is no id of this kind of cluster."""
        match = self.reading.fullmatch(job_id)
        if not match:
            return None
        index = match["index"]
        return int(match["number"]), int(index) if index else None

    def state(self, phase: Phase) -> str:
        """Return the word for a state."""
        return self.states[phase]


PBS = Dialect(
    name="pbs",
    single="{number}.manager",
    whole_array="{number}[].manager",
    sub_job="{number}[{index}].manager",
    reading=re.compile(r"(?P<number>\d{1,18})(\[(?P<index>\d{1,18})?\])?(\.manager)?"),
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
    reading=re.compile(r"(?P<number>\d{1,18})(_(?P<index>\d{1,18}))?"),
    # Documented are Pending, Running, Completed and Failed; the others are Slurm's, spelt alike.
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
# Ids are numbers, and a sub-task's has the array job's before it: as Slurm has them.
SERVERLESS = dataclasses.replace(
    SLURM, name="serverless", states={phase: _SERVERLESS_STATES.get(phase, "Failed") for phase in Phase}
)
DIALECTS = {dialect.name: dialect for dialect in (PBS, SLURM)}

"""What the E-HPC APIs have in common: a cluster as its API shows it, and how they word some answers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.aliyun.dialect import Dialect
from airflow_provider_ehpc.emulator.aliyun.parameters import required
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Refused
from airflow_provider_ehpc.emulator.jobs import EmulatedJob
from airflow_provider_ehpc.emulator.schedulers import SubmissionRefused

CLUSTER_ID = "ehpc-hz-emulator"
USER = "testuser"

BEIJING = timezone(timedelta(hours=8))
"""The zone of the cluster's clocks."""


class ClusterView:
    """The jobs of a cluster under the IDs and words of its dialect, with the faults that change them."""

    def __init__(self, cluster: Cluster, dialect: Dialect, faults: Faults) -> None:
        self.cluster = cluster
        self.dialect = dialect
        self.faults = faults
        self._answers = 0

    def get(self, job_id: str) -> EmulatedJob | None:
        """Return a job; None for an id that the cluster does not know, or does not know yet."""
        key = self.dialect.read(job_id)
        job = self.cluster.get(*key) if key else None
        return None if job is None or self._invisible(job) else job

    def find(self, job_id: str) -> EmulatedJob:
        """Return a job.

        :raises Refused: as the cluster's agent words it, for an id that its scheduler does not know.
        """
        job = self.get(job_id)
        if job is None:
            raise agent_error(self.dialect.unknown_job.format(job_id=job_id))
        return job

    def jobs(self) -> Iterator[EmulatedJob]:
        """Go through the jobs that can be seen."""
        jobs = self.cluster.jobs()
        return (job for job in jobs if not self._invisible(job)) if self.faults.hides_any else jobs

    async def submit(self, spec: JobSpec, post_command: str = "") -> EmulatedJob:
        """Give a job to the scheduler.

        :raises Refused: where it does not take it.
        """
        try:
            return await self.cluster.submit(spec, post_command)
        except SubmissionRefused as refusal:
            raise agent_error(str(refusal), ".Job.SubmitFailure") from None

    async def stop(self, job_ids: Sequence[str]) -> None:
        """Stop the jobs that can be stopped.

        :raises Refused: for the first that could not, when all others were told to.
        """
        failure: Refused | None = None
        for job_id in job_ids:
            try:
                job = self.find(job_id)
                if job.phase.ended:
                    message = self.dialect.ended_job.format(job_id=job_id)
                    raise agent_error(message, ".Job.StopFailure")
                await self.cluster.stop(job)
            except Refused as refusal:
                failure = failure or refusal
        if failure:
            raise failure

    def strange_state(self, job: EmulatedJob) -> str | None:
        """Return the word that a fault has for a job's state."""
        fault = self.faults.standing(FaultKind.STATE, self.dialect.job_id(job))
        return fault.word if fault else None

    def drift(self) -> int | None:
        """Return 0 and 1 in turn, for the two ways in which answers drift; None where they do not."""
        if not self.faults.standing(FaultKind.DRIFT):
            return None
        self._answers += 1
        return (self._answers - 1) % 2

    def _invisible(self, job: EmulatedJob) -> bool:
        return self.faults.hides(self.dialect.job_id(job), job.submission.submitted_at)


def check_cluster(parameters: Mapping[str, str]) -> None:
    """Refuse any cluster but ours."""
    if required(parameters, "ClusterId") != CLUSTER_ID:
        raise Refused(404, "ClusterNotFound", "The specified cluster does not exist.")


def agent_error(message: str, family: str = "") -> Refused:
    """Return what the agent on the cluster could not do."""
    return Refused(406, f"AgentError{family}", f"The agent service request failed: {message}")


def local_time(at: float | None) -> str:
    """Write a time as the pages of jobs do: without its zone, which is that of the cluster's nodes."""
    return "" if at is None else datetime.fromtimestamp(at, BEIJING).strftime("%Y-%m-%dT%H:%M:%S")


def clock(seconds: int) -> str:
    """Write a duration as both schedulers do: ``hh:mm:ss``."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def read_piece(path: Path, offset: int, size: int) -> tuple[bytes, int]:
    """Return at most ``size`` bytes from ``offset`` on, and the file's whole size; 0 where there is none."""
    try:
        with path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), size, offset), whole
    except (FileNotFoundError, NotADirectoryError):
        return b"", 0
    except OSError as error:
        raise agent_error(f"{path}: {error.strerror}") from None

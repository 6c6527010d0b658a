# SPDX-License-Identifier: Apache-2.0
"""Show a cluster through the E-HPC APIs: find jobs by ID, apply faults, write times, read logs."""

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
"""The time zone of the cluster's nodes."""


class ClusterView:
    """The jobs of a cluster with the IDs and states of its dialect, and with the faults that change them."""

    def __init__(self, cluster: Cluster, dialect: Dialect, faults: Faults) -> None:
        self.cluster = cluster
        self.dialect = dialect
        self.faults = faults
        self._drifted = 0

    def get(self, job_id: str) -> EmulatedJob | None:
        """Return a job; None if it is unknown or hidden by a fault."""
        key = self.dialect.read(job_id)
        job = self.cluster.get(*key) if key else None
        return None if job is None or self._invisible(job) else job

    def find(self, job_id: str) -> EmulatedJob:
        """Return a job.

        :raises Refused: with the error of the cluster's agent, if the job is unknown.
        """
        job = self.get(job_id)
        if job is None:
            raise agent_error(self.dialect.unknown_job.format(job_id=job_id))
        return job

    def jobs(self) -> Iterator[EmulatedJob]:
        """Yield the visible jobs."""
        jobs = self.cluster.jobs()
        return (job for job in jobs if not self._invisible(job)) if self.faults.hides_any else jobs

    async def submit(self, spec: JobSpec, post_command: str = "") -> EmulatedJob:
        """Submit a job to the scheduler.

        :raises Refused: if the scheduler rejects it.
        """
        try:
            return await self.cluster.submit(spec, post_command)
        except SubmissionRefused as refusal:
            raise agent_error(str(refusal), ".Job.SubmitFailure") from None

    async def stop(self, job_ids: Sequence[str]) -> None:
        """Stop the jobs that can be stopped.

        :raises Refused: for the first job that cannot be stopped, after stopping all others.
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

    def injected_state(self, job: EmulatedJob) -> str | None:
        """Return the state that a fault sets for a job; None without such a fault."""
        fault = self.faults.active(FaultKind.STATE, self.dialect.job_id(job))
        return fault.word if fault else None

    def drift(self) -> int | None:
        """Return 0 and 1 alternately, for the two forms of the DRIFT fault; None without the fault."""
        if not self.faults.active(FaultKind.DRIFT):
            return None
        self._drifted += 1
        return (self._drifted - 1) % 2

    def _invisible(self, job: EmulatedJob) -> bool:
        return self.faults.hides(self.dialect.job_id(job), job.submission.submitted_at)


def check_cluster(parameters: Mapping[str, str]) -> None:
    """Reject the ID of any other cluster."""
    if required(parameters, "ClusterId") != CLUSTER_ID:
        raise Refused(404, "ClusterNotFound", "The specified cluster does not exist.")


def agent_error(message: str, family: str = "") -> Refused:
    """Return an error of the agent on the cluster."""
    return Refused(406, f"AgentError{family}", f"The agent service request failed: {message}")


def local_time(at: float | None) -> str:
    """Write a time as the documentation of jobs does: without its zone, which is that of the nodes."""
    return "" if at is None else datetime.fromtimestamp(at, BEIJING).strftime("%Y-%m-%dT%H:%M:%S")


def clock(seconds: int) -> str:
    """Write a duration as both schedulers do: ``hh:mm:ss``."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def read_piece(path: Path, offset: int, size: int) -> tuple[bytes, int]:
    """Return at most ``size`` bytes from ``offset``, and the size of the file; 0 if it does not exist."""
    try:
        with path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), size, offset), whole
    except (FileNotFoundError, NotADirectoryError):
        return b"", 0
    except OSError as error:
        raise agent_error(f"{path}: {error.strerror}") from None

# SPDX-License-Identifier: Apache-2.0
"""Run the jobs: as local processes, on a real Slurm, or simulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import EmulatedJob


class SubmissionRefused(Exception):
    """The scheduler rejects a job. The text is the scheduler's message."""


class Scheduler(Protocol):
    """Runs jobs. Its methods may block; the cluster calls them in a thread, one at a time."""

    interval: float
    """Seconds between two calls of :meth:`poll`."""

    def default_queue(self) -> str | None:
        """Return the queue of a job that names none; None if the API may choose its name.

        :raises OSError: if the scheduler does not respond.
        """

    def submit(self, spec: JobSpec, post_command: str, next_number: int) -> int:
        """Submit a job or an array and return its number: ``next_number``, or the scheduler's own.

        :raises SubmissionRefused: if the scheduler rejects it.
        """

    def stop(self, jobs: Sequence[EmulatedJob]) -> None:
        """Begin to stop unfinished jobs."""

    def poll(self, jobs: Sequence[EmulatedJob]) -> list[EmulatedJob]:
        """Update unfinished jobs and return them, in any order; unchanged jobs may be left out."""

    def kill(self, jobs: Sequence[EmulatedJob]) -> None:
        """Kill unfinished jobs, because the emulator's directory will be removed."""

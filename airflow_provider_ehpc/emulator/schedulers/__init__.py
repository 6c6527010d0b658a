"""What runs the jobs: processes of this machine, or a real Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import EmulatedJob


class SubmissionRefused(Exception):
    """The scheduler does not take a job; the text is its own message."""


class Scheduler(Protocol):
    """Runs jobs. Its methods may block: the cluster calls them in a thread, one at a time."""

    interval: float
    """Seconds between two calls of :meth:`poll`."""

    def default_queue(self) -> str | None:
        """Return the queue of a job that names none; None where the API may name it as it likes.

        :raises OSError: where the scheduler does not answer.
        """

    def submit(self, spec: JobSpec, post_command: str, next_number: int) -> int:
        """Take a job or an array of jobs and return its number, ``next_number`` or one of its own.

        :raises SubmissionRefused: where the scheduler does not take it.
        """

    def stop(self, jobs: Sequence[EmulatedJob]) -> None:
        """Begin to end jobs that have not ended."""

    def poll(self, jobs: Sequence[EmulatedJob]) -> list[EmulatedJob]:
        """Move unfinished jobs on and return them as they are now, in any order."""

    def kill(self, jobs: Sequence[EmulatedJob]) -> None:
        """End unfinished jobs at once and for certain, because the emulator goes away with its directory."""

# SPDX-License-Identifier: Apache-2.0
"""Simulate jobs without processes, for tests of scale. The command is a timetable.

``wait=2 run=30 exit=1`` starts two seconds after its submission, runs for thirty and ends with code 1. With
``lines=4`` it writes ``line 1``, ``line 2`` and so on, four per second. Missing numbers are 0. Ten thousand
jobs cost next to nothing if they write nothing.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase
from airflow_provider_ehpc.emulator.schedulers import SubmissionRefused

_WORD = re.compile(r"(wait|run|lines)=(\d+(?:\.\d*)?)|(exit)=(\d{1,3})")


@dataclasses.dataclass(frozen=True, slots=True)
class Timetable:
    """Start and end of a job in seconds after its submission, its exit code, and its lines per second."""

    begins: float
    ends: float
    exit_code: int
    lines: float = 0.0


def read_timetable(command: str) -> Timetable:
    """Read the command of a job.

    :raises SubmissionRefused: if it is not a timetable.
    """
    numbers: dict[str, float] = {}
    for word in command.removeprefix("-- ").split():
        match = _WORD.fullmatch(word)
        if match is None:
            raise SubmissionRefused(f"invalid timetable: expected 'wait=2 run=30 exit=1', got {word!r}")
        numbers[match[1] or match[3]] = float(match[2] or match[4])
    begins = numbers.get("wait", 0.0)
    ends = begins + numbers.get("run", 0.0)
    return Timetable(begins, ends, int(numbers.get("exit", 0)), numbers.get("lines", 0.0))


class TimetableScheduler:
    """Starts and ends jobs by the clock.

    :param clock: returns epoch seconds.
    """

    interval = 0.1

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._timetables: dict[int, Timetable] = {}
        self._written: dict[tuple[int, int | None], int] = {}

    def default_queue(self) -> None:
        """Return None: the API chooses the name of the only queue."""
        return

    def submit(self, spec: JobSpec, post_command: str, next_number: int) -> int:
        """See :class:`~airflow_provider_ehpc.emulator.schedulers.Scheduler`. Only timetables are accepted."""
        self._timetables[next_number] = read_timetable(spec.command)
        return next_number

    def stop(self, jobs: Sequence[EmulatedJob]) -> None:
        """Leave it to :meth:`poll`, which sees that a job was numbers to stop."""

    def poll(self, jobs: Sequence[EmulatedJob]) -> list[EmulatedJob]:
        """Return the jobs that have started or ended."""
        now = self._clock()
        moved = (self._move(job, now) for job in jobs)
        return [job for job in moved if job is not None]

    def kill(self, jobs: Sequence[EmulatedJob]) -> None:
        """Do nothing, because no processes run."""

    def _move(self, job: EmulatedJob, now: float) -> EmulatedJob | None:
        """Return a job with its changes; None if there are none."""
        if job.stopped_at is not None:
            return dataclasses.replace(job, phase=Phase.CANCELLED, ended_at=job.stopped_at)
        timetable = self._timetables.get(job.number)
        if timetable is None:
            timetable = self._timetables[job.number] = read_timetable(job.spec.command)
        begins, ends = (job.submission.submitted_at + s for s in (timetable.begins, timetable.ends))
        if timetable.lines:
            # Before the end becomes visible, so that a reader who sees the end finds all lines.
            self._write(job, int(min(now - begins, timetable.ends - timetable.begins) * timetable.lines))
        if now >= ends:
            code = timetable.exit_code
            phase = Phase.FAILED if code else Phase.COMPLETED
            return dataclasses.replace(
                job, phase=phase, exit_code=code, started_at=begins, ended_at=ends, nodes=("compute000",)
            )
        if now >= begins and job.phase is Phase.PENDING:
            return dataclasses.replace(job, phase=Phase.RUNNING, started_at=begins, nodes=("compute000",))
        return None

    def _write(self, job: EmulatedJob, due: int) -> None:
        """Write the lines that are due."""
        path = job.stdout_path
        if job.key not in self._written:
            path.parent.mkdir(parents=True, exist_ok=True)
            # An earlier emulator may have written some of them.
            self._written[job.key] = path.read_bytes().count(b"\n") if path.exists() else 0
        written = self._written[job.key]
        if due > written:
            with path.open("a") as file:
                file.writelines(f"line {number}\n" for number in range(written + 1, due + 1))
            self._written[job.key] = due

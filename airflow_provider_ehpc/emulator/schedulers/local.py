# SPDX-License-Identifier: Apache-2.0
"""Run jobs as processes of this machine, which outlive the emulator and which a later emulator finds.

Each job is a session of its own under a small shell, which writes the exit code. A directory per job
contains ``lock``, which the shell holds while it lives (so that a reused process ID is never mistaken for
it); ``pid``, its process group; and ``exit``, renamed into place at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import math
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase, shell_command

_SHELL = "/bin/sh"
# On the clusters' systems (CentOS, Alibaba Cloud Linux) /bin/sh is bash, too.
_JOB_SHELL = "/bin/bash" if Path("/bin/bash").exists() else _SHELL
# The lock is the shell's standard input. In processes that the shell starts, a trapped signal has its default
# action again: a stopped job dies of it, and the shell lives on to write the exit code. If the signal arrives
# before the start, nothing is started. At the end the shell kills what the command left in the background, as
# a node does after a job.
_WRAPPER = """
stopped=
trap stopped=1 TERM INT HUP
echo $$ >"$1/pid.new" && /bin/mv "$1/pid.new" "$1/pid"
code=143
[ -n "$stopped" ] || { "$4" -c "$2" </dev/null; code=$?; }
[ -z "$3" ] || /bin/sh -c "$3" </dev/null
echo $code >"$1/exit.new" && /bin/mv "$1/exit.new" "$1/exit"
kill -s KILL -- -$$
"""
_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL. Slurm's KillWait of 30 is too long for tests."""
_FILE_CLOCK_LAG = 0.1
"""Seconds that a file's time may be before the write: the kernel uses the time of its last tick."""


class LocalScheduler:
    """Runs jobs on a number of cores, in the order of priority and number.

    A job that requests more cores than exist gets all of them, so that no job waits forever.
    """

    interval = 0.05

    def __init__(self, directory: Path, home: Path, slots: int) -> None:
        self._directory = directory
        self._home = home
        self._slots = slots
        self._children: dict[tuple[int, int | None], subprocess.Popen[bytes]] = {}
        self._overdue: set[tuple[int, int | None]] = set()

    def default_queue(self) -> None:
        """Return None: the API chooses the name of the only queue."""
        return

    def submit(self, spec: JobSpec, post_command: str, next_number: int) -> int:
        """See :class:`~airflow_provider_ehpc.emulator.schedulers.Scheduler`. Every job is accepted."""
        return next_number

    def stop(self, jobs: Sequence[EmulatedJob]) -> None:
        """Send SIGTERM. If a job survives it, :meth:`poll` sends SIGKILL."""
        for job in jobs:
            if job.phase is not Phase.PENDING:
                self._signal(job, signal.SIGTERM)

    def poll(self, jobs: Sequence[EmulatedJob]) -> list[EmulatedJob]:
        """Detect ended jobs, stop overdue ones, and start those for which there are cores."""
        now = time.time()
        free = self._slots
        polled: list[EmulatedJob] = []
        waiting: list[EmulatedJob] = []
        for job in jobs:
            if job.phase is not Phase.PENDING:
                current = self._running_or_ended(job, now)
                free -= 0 if current.phase.ended else self._cores(job)
                polled.append(current)
            elif job.stopped_at is not None:
                polled.append(self._cancelled(job, now))
            else:
                waiting.append(job)
        if free > 0:
            waiting.sort(key=lambda job: (-(job.spec.priority or 0), job.number, job.index or 0))
        for job in waiting:
            if self._cores(job) > free:
                break
            started = self._start(job, now)
            free -= 0 if started.phase.ended else self._cores(job)
            polled.append(started)
        return polled

    def kill(self, jobs: Sequence[EmulatedJob]) -> None:
        """Send SIGKILL to the processes of every job and wait for our children."""
        for job in jobs:
            self._signal(job, signal.SIGKILL)
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)

    def _cores(self, job: EmulatedJob) -> int:
        return min(self._slots, max(1, (job.spec.nodes or 1) * (job.spec.cores or 1)))

    def _folder(self, job: EmulatedJob) -> Path:
        return self._directory / (str(job.number) if job.index is None else f"{job.number}_{job.index}")

    def _cancelled(self, job: EmulatedJob, now: float) -> EmulatedJob:
        """Cancel a pending job, unless an emulator started it and was killed before it saved that."""
        if self._begun(self._folder(job)):
            running = self._running(job, now)
            self._signal(running, signal.SIGTERM)
            return running
        return dataclasses.replace(job, phase=Phase.CANCELLED, ended_at=now)

    def _start(self, job: EmulatedJob, now: float) -> EmulatedJob:
        folder = self._folder(job)
        if self._begun(folder):
            return self._running(job, now)
        folder.mkdir(parents=True, exist_ok=True)
        home = self._home
        home.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.ExitStack() as files:
                lock = files.enter_context((folder / "lock").open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Append mode, so that a job whose log is truncated continues at offset 0.
                outputs = [
                    files.enter_context(open(path, "ab", buffering=0, opener=_truncating))
                    for path in (job.stdout_path, job.stderr_path)
                ]
                command = shell_command(job.spec)
                self._children[job.key] = subprocess.Popen(  # noqa: S603 - running the command is the purpose
                    [
                        *(_SHELL, "-c", _WRAPPER, "job", str(folder)),
                        *(command, job.submission.post_command, _JOB_SHELL),
                    ],
                    stdin=lock,
                    stdout=outputs[0],
                    stderr=outputs[1],
                    cwd=home,
                    env=self._environment(job),
                    start_new_session=True,
                )
        except BlockingIOError:
            return job
        except (OSError, ValueError):
            # An output path that is not writable, or a variable with a zero byte: the job fails, as on a
            # node, and the scheduler continues.
            return dataclasses.replace(job, phase=Phase.FAILED, exit_code=1, started_at=now, ended_at=now)
        return self._running(job, now)

    def _running(self, job: EmulatedJob, now: float) -> EmulatedJob:
        nodes = tuple(f"compute{n:03}" for n in range(job.spec.nodes or 1))
        with contextlib.suppress(FileNotFoundError):
            now = (self._folder(job) / "pid").stat().st_mtime
        return dataclasses.replace(job, phase=Phase.RUNNING, started_at=now, nodes=nodes)

    def _running_or_ended(self, job: EmulatedJob, now: float) -> EmulatedJob:
        # The exit code is read after this check: a shell that has ended has written it, or never will.
        if self._alive(job):
            self._hasten(job, now)
            return job
        code, ended_at = _exit(self._folder(job))
        child = self._children.pop(job.key, None)
        if code is None:
            # The shell was killed before it trapped signals, or by a signal that cannot be trapped.
            status = child.wait() if child else -signal.SIGKILL
            code = 128 - status if status < 0 else 1
        ended_at = now if ended_at is None else ended_at
        latest = ended_at + _FILE_CLOCK_LAG
        if job.stopped_at is not None and latest >= job.stopped_at:
            phase = Phase.CANCELLED
        # A job that traps the signal may end with any code, even 0.
        elif job.key in self._overdue or (code > 128 and latest >= _time_up(job)):
            phase = Phase.TIMEOUT
        else:
            phase = Phase.FAILED if code else Phase.COMPLETED
        return dataclasses.replace(job, phase=phase, exit_code=code, ended_at=ended_at)

    def _hasten(self, job: EmulatedJob, now: float) -> None:
        """Signal a running job that was stopped or is over its time limit."""
        signaled_at = _time_up(job) if job.stopped_at is None else job.stopped_at
        if now >= signaled_at + _GRACE:
            self._signal(job, signal.SIGKILL)
        elif now >= _time_up(job) and job.key not in self._overdue:
            self._overdue.add(job.key)
            # As PBS does (mom_main.c).
            limit = job.spec.wall_time
            ran = int(now - (job.started_at or now))
            with contextlib.suppress(OSError), job.stderr_path.open("a") as file:
                file.write(f"=>> PBS: job killed: walltime {ran} exceeded limit {limit}\n")
            self._signal(job, signal.SIGTERM)

    def _begun(self, folder: Path) -> bool:
        return any((folder / name).exists() for name in ("pid", "exit")) or _held(folder / "lock")

    def _alive(self, job: EmulatedJob) -> bool:
        child = self._children.get(job.key)
        return child.poll() is None if child else _held(self._folder(job) / "lock")

    def _signal(self, job: EmulatedJob, number: signal.Signals) -> None:
        """Signal the job's process group while its shell lives, because no other group has its ID then."""
        folder = self._folder(job)
        if not self._alive(job):
            return
        child = self._children.get(job.key)
        try:
            group = child.pid if child else int((folder / "pid").read_text())
            os.killpg(group, number)
        except (OSError, ValueError):
            return

    def _environment(self, job: EmulatedJob) -> dict[str, str]:
        user = job.spec.user or ""
        spec = job.spec
        pbs_id = f"{job.number}.manager" if job.index is None else f"{job.number}[{job.index}].manager"
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": str(self._home),
            "USER": user,
            "LOGNAME": user,
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBID": pbs_id,
            "PBS_JOBNAME": spec.name,
            "PBS_O_WORKDIR": str(self._home),
            "PBS_QUEUE": spec.queue or "",
            "SLURM_JOB_ID": str(job.number),
            "SLURM_JOB_NAME": spec.name,
            "SLURM_JOB_PARTITION": spec.queue or "",
        }
        if job.index is not None:
            environment |= {
                "PBS_ARRAY_ID": f"{job.number}[].manager",
                "PBS_ARRAY_INDEX": str(job.index),
                "SLURM_ARRAY_JOB_ID": str(job.number),
                "SLURM_ARRAY_TASK_ID": str(job.index),
            }
        return environment | dict(spec.environment)


def _truncating(path: str, flags: int) -> int:
    # Unlike ftruncate(2), this is possible for a device such as /dev/null.
    return os.open(path, flags | os.O_TRUNC, 0o666)


def _time_up(job: EmulatedJob) -> float:
    """Return when a running job reaches its time limit, in epoch seconds."""
    return (job.started_at or 0) + job.spec.wall_time if job.spec.wall_time else math.inf


def _exit(folder: Path) -> tuple[int | None, float | None]:
    """Return the exit code and the time of its end in epoch seconds, or two Nones before the end."""
    try:
        file = folder / "exit"
        return int(file.read_text()), file.stat().st_mtime
    except (OSError, ValueError):
        return None, None


def _held(lock: Path) -> bool:
    """Return True if a process holds the lock."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False

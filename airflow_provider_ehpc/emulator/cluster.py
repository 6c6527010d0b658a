# SPDX-License-Identifier: Apache-2.0
"""Run the jobs of a cluster. Nothing here depends on how an API names or describes a job."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.dependencies import OPTION, may_start
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase, SubmittedJob, output_paths
from airflow_provider_ehpc.emulator.schedulers import Scheduler
from airflow_provider_ehpc.emulator.store import Store

log = logging.getLogger(__name__)


class Cluster:
    """The jobs, in memory. Each change is saved in the store before it becomes visible.

    Call all methods in the thread of the event loop. Only the scheduler and the store run in other threads,
    one call at a time, guarded by :attr:`_lock`. Jobs are frozen, so they never change under another thread.
    """

    def __init__(self, scheduler: Scheduler, store: Store, home: Path) -> None:
        self.home = home
        self.changes = 0
        """Counts added and changed jobs."""
        self._scheduler = scheduler
        self._store = store
        self._lock = asyncio.Lock()
        self._jobs: dict[int, dict[int | None, EmulatedJob]] = {}
        self._unfinished: dict[tuple[int, int | None], EmulatedJob] = {}
        self._poll_loop: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def open(self) -> None:
        """Load the jobs of an earlier run and start to poll the scheduler."""
        for job in await asyncio.to_thread(self._store.load):
            self._put(job)
        self._poll_loop = asyncio.create_task(self._poll_forever())

    async def close(self, *, kill_jobs: bool) -> None:
        """Stop polling. The jobs keep running unless ``kill_jobs`` is True."""
        # The task is not cancelled, because the scheduler may be running in its thread.
        self._closing.set()
        if self._poll_loop:
            await self._poll_loop
        async with self._lock:
            if kill_jobs:
                await asyncio.to_thread(self._scheduler.kill, list(self._unfinished.values()))

    async def submit(self, spec: JobSpec, post_command: str = "") -> EmulatedJob:
        """Submit a job or an array of jobs and return it.

        :raises SubmissionRefused: if the scheduler rejects it.
        """
        spec = dataclasses.replace(spec, password=None, environment=dict(spec.environment))
        async with self._lock:
            number = await asyncio.to_thread(
                self._scheduler.submit, spec, post_command, max(self._jobs, default=0) + 1
            )
            now = time.time()
            submission = SubmittedJob(number, spec, post_command, now)
            jobs = []
            for index in submission.indexes:
                paths = output_paths(self.home, spec, str(number), None if index is None else str(index))
                jobs.append(EmulatedJob(submission, index, *paths, modified_at=now))
            await asyncio.to_thread(self._store.add, submission, jobs)
            for job in jobs:
                self._put(job)
        return self._jobs[number].get(None) or self._whole(number)

    async def stop(self, job: EmulatedJob) -> None:
        """Begin to stop a job, or all sub-jobs of an array."""
        async with self._lock:
            keys = [part.key for part in self._jobs[job.number].values()] if job.whole_array else [job.key]
            now = time.time()
            stopping = [
                dataclasses.replace(self._unfinished[key], stopped_at=now)
                for key in keys
                if key in self._unfinished
            ]
            await asyncio.to_thread(self._store.save, stopping)
            for part in stopping:
                self._put(part)
            await asyncio.to_thread(self._scheduler.stop, stopping)

    def get(self, number: int, index: int | None = None) -> EmulatedJob | None:
        """Return a job, a sub-job, or for an array's number the whole array; None if it is unknown."""
        parts = self._jobs.get(number)
        if parts is None:
            return None
        if index is None and None not in parts:
            return self._whole(number)
        return parts.get(index)

    def jobs(self) -> Iterator[EmulatedJob]:
        """Yield all jobs in the order of submission, an array before its sub-jobs."""
        for number, parts in self._jobs.items():
            if None not in parts:
                yield self._whole(number)
            yield from parts.values()

    async def _poll_forever(self) -> None:
        while not self._closing.is_set():
            async with self._lock:
                if self._unfinished:
                    await self._poll()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._scheduler.interval)

    async def _poll(self) -> None:
        try:
            held = {job.key: may_start(job, self._parts) for job in self._dependent()}
            released = [job for key, job in self._unfinished.items() if held.get(key, True)]
            polled = await asyncio.to_thread(self._scheduler.poll, released)
        except Exception:
            # A passing problem (a full disk, a scheduler that is down) must not end the loop.
            log.exception("Cannot poll the scheduler. Retrying every %s s.", self._scheduler.interval)
            return
        now = time.time()
        polled += [
            dataclasses.replace(self._unfinished[key], phase=Phase.CANCELLED, ended_at=now)
            for key, verdict in held.items()
            if verdict is False
        ]
        changed = [
            dataclasses.replace(job, modified_at=now if job.ended_at is None else job.ended_at)
            for job in polled
            if job != self._jobs[job.number][job.index]
        ]
        if changed:
            await asyncio.to_thread(self._store.save, changed)
            for job in changed:
                self._put(job)

    def _dependent(self) -> list[EmulatedJob]:
        """Return the pending jobs with dependencies."""
        return [
            job
            for job in self._unfinished.values()
            if job.phase is Phase.PENDING and job.stopped_at is None and OPTION in job.spec.options
        ]

    def _parts(self, number: int) -> list[EmulatedJob]:
        return list(self._jobs[number].values())

    def _put(self, job: EmulatedJob) -> None:
        self.changes += 1
        self._jobs.setdefault(job.number, {})[job.index] = job
        if job.phase.ended:
            self._unfinished.pop(job.key, None)
        else:
            self._unfinished[job.key] = job

    def _whole(self, number: int) -> EmulatedJob:
        """Return an array as one job. It starts with its first sub-job and ends with its last."""
        parts = list(self._jobs[number].values())
        starts = [part.started_at for part in parts if part.started_at is not None]
        ends = [part.ended_at for part in parts if part.ended_at is not None]
        phase = _whole_phase([part.phase for part in parts])
        submission = parts[0].submission
        stdout, stderr = output_paths(self.home, submission.spec, str(number), None)
        return EmulatedJob(
            submission,
            None,
            stdout,
            stderr,
            phase=phase,
            # PBS reports the code of the sub-job that ended last.
            exit_code=max(parts, key=lambda part: part.ended_at or 0.0).exit_code if phase.ended else None,
            started_at=min(starts, default=None),
            ended_at=max(ends) if phase.ended and ends else None,
            modified_at=max(part.modified_at for part in parts),
            nodes=tuple(sorted({node for part in parts for node in part.nodes})),
        )


def _whole_phase(phases: Sequence[Phase]) -> Phase:
    if all(phase.ended for phase in phases):
        bad = [phase for phase in phases if phase not in (Phase.COMPLETED, Phase.CANCELLED)]
        return bad[0] if bad else Phase.CANCELLED if Phase.CANCELLED in phases else Phase.COMPLETED
    return Phase.PENDING if all(phase is Phase.PENDING for phase in phases) else Phase.RUNNING

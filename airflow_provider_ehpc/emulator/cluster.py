"""The jobs of a cluster and their life. What an API calls them is the API's business."""

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
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase, Submission, output_paths
from airflow_provider_ehpc.emulator.schedulers import Scheduler
from airflow_provider_ehpc.emulator.store import Store

log = logging.getLogger(__name__)


class Cluster:
    """Jobs in memory, each change written to the store before it can be seen.

    All methods belong to the thread of the event loop; only the scheduler and the store work in others,
    one call at a time, which :attr:`_turn` keeps true. Jobs are frozen, so what another thread got stays
    as it was.
    """

    def __init__(self, scheduler: Scheduler, store: Store, home: Path) -> None:
        self.home = home
        self.changes = 0
        """How often a job was added or has changed."""
        self._scheduler = scheduler
        self._store = store
        self._turn = asyncio.Lock()
        self._jobs: dict[int, dict[int | None, EmulatedJob]] = {}
        self._unfinished: dict[tuple[int, int | None], EmulatedJob] = {}
        self._watch: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def open(self) -> None:
        """Find again the jobs of an earlier run and begin to watch them."""
        for job in await asyncio.to_thread(self._store.load):
            self._keep(job)
        self._watch = asyncio.create_task(self._watching())

    async def close(self, *, kill_jobs: bool) -> None:
        """Stop watching; the jobs go on running, unless they are to end too."""
        # Not cancelled: the scheduler may be at work in its thread.
        self._closing.set()
        if self._watch:
            await self._watch
        async with self._turn:
            if kill_jobs:
                await asyncio.to_thread(self._scheduler.kill, list(self._unfinished.values()))

    async def submit(self, spec: JobSpec, post_command: str = "") -> EmulatedJob:
        """Take a job, or an array of jobs, and return it.

        :raises SubmissionRefused: where the scheduler does not take it.
        """
        spec = dataclasses.replace(spec, password=None, environment=dict(spec.environment))
        async with self._turn:
            number = await asyncio.to_thread(
                self._scheduler.submit, spec, post_command, max(self._jobs, default=0) + 1
            )
            now = time.time()
            submission = Submission(number, spec, post_command, now)
            jobs = []
            for index in submission.indexes:
                paths = output_paths(self.home, spec, str(number), None if index is None else str(index))
                jobs.append(EmulatedJob(submission, index, *paths, modified_at=now))
            await asyncio.to_thread(self._store.add, submission, jobs)
            for job in jobs:
                self._keep(job)
        return self._jobs[number].get(None) or self._whole(number)

    async def stop(self, job: EmulatedJob) -> None:
        """Ask for the end of a job, or of all sub-jobs of an array."""
        async with self._turn:
            keys = [part.key for part in self._jobs[job.number].values()] if job.whole_array else [job.key]
            now = time.time()
            stopping = [
                dataclasses.replace(self._unfinished[key], stopped_at=now)
                for key in keys
                if key in self._unfinished
            ]
            await asyncio.to_thread(self._store.save, stopping)
            for part in stopping:
                self._keep(part)
            await asyncio.to_thread(self._scheduler.stop, stopping)

    def get(self, number: int, index: int | None = None) -> EmulatedJob | None:
        """Return a job, a sub-job, or under an array's number the whole array; None where there is none."""
        parts = self._jobs.get(number)
        if parts is None:
            return None
        if index is None and None not in parts:
            return self._whole(number)
        return parts.get(index)

    def jobs(self) -> Iterator[EmulatedJob]:
        """Go through all jobs in the order of submission, an array before its sub-jobs."""
        for number, parts in self._jobs.items():
            if None not in parts:
                yield self._whole(number)
            yield from parts.values()

    async def _watching(self) -> None:
        while not self._closing.is_set():
            async with self._turn:
                if self._unfinished:
                    await self._look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._scheduler.interval)

    async def _look(self) -> None:
        try:
            held = {job.key: may_start(job, self._parts) for job in self._dependent()}
            released = [job for key, job in self._unfinished.items() if held.get(key, True)]
            seen = await asyncio.to_thread(self._scheduler.poll, released)
        except Exception:
            # Whatever went wrong for a moment (a full disk, a scheduler that is down) must not end the watch.
            log.exception("The scheduler could not be asked; it is asked again.")
            return
        now = time.time()
        seen += [
            dataclasses.replace(self._unfinished[key], phase=Phase.CANCELLED, ended_at=now)
            for key, verdict in held.items()
            if verdict is False
        ]
        changed = [
            dataclasses.replace(job, modified_at=now if job.ended_at is None else job.ended_at)
            for job in seen
            if job != self._jobs[job.number][job.index]
        ]
        if changed:
            await asyncio.to_thread(self._store.save, changed)
            for job in changed:
                self._keep(job)

    def _dependent(self) -> list[EmulatedJob]:
        """Return the jobs that may have to wait for others."""
        return [
            job
            for job in self._unfinished.values()
            if job.phase is Phase.PENDING and job.stopped_at is None and OPTION in job.spec.options
        ]

    def _parts(self, number: int) -> list[EmulatedJob]:
        return list(self._jobs[number].values())

    def _keep(self, job: EmulatedJob) -> None:
        self.changes += 1
        self._jobs.setdefault(job.number, {})[job.index] = job
        if job.phase.ended:
            self._unfinished.pop(job.key, None)
        else:
            self._unfinished[job.key] = job

    def _whole(self, number: int) -> EmulatedJob:
        """Return an array as one job: begun with its first sub-job, ended with its last."""
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
            # PBS reports that of the sub-job that ended last, whatever the others did.
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

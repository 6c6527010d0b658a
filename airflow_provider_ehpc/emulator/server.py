# SPDX-License-Identifier: Apache-2.0
"""Start, control and stop the emulator."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.accounts import Accounts, CloudAccount
from airflow_provider_ehpc.emulator.admin import Admin
from airflow_provider_ehpc.emulator.aliyun.cloud import connection as aliyun_connection
from airflow_provider_ehpc.emulator.aliyun.cluster_view import CLUSTER_ID, USER
from airflow_provider_ehpc.emulator.aliyun.dialect import DIALECTS, SERVERLESS
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.faults import Fault, FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Gateway
from airflow_provider_ehpc.emulator.guard import check_loopback, only_this_machine
from airflow_provider_ehpc.emulator.guard import log as http_log
from airflow_provider_ehpc.emulator.huawei.cloud import user_connection
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, change_log
from airflow_provider_ehpc.emulator.journal import Journal
from airflow_provider_ehpc.emulator.operation_log import OperationLog
from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.platform import Platform
from airflow_provider_ehpc.emulator.schedulers import Scheduler
from airflow_provider_ehpc.emulator.schedulers.local import LocalScheduler
from airflow_provider_ehpc.emulator.schedulers.slurm import SlurmScheduler
from airflow_provider_ehpc.emulator.schedulers.timetable import TimetableScheduler
from airflow_provider_ehpc.emulator.services import CLOUDS
from airflow_provider_ehpc.emulator.store import Store, lock_directory, reading

T = TypeVar("T")

SCHEDULERS = ("local", "slurm", "timetable")

_MAX_REQUEST_LINE = 64 * 1024
"""Bytes. CreateJob sends the whole job in the query."""
_CALL_TIMEOUT = 60.0
_OPERATION_IDS = {cloud.name: cloud.new_operation_id for cloud in CLOUDS if cloud.new_operation_id}


class Emulator:
    """A local cloud. :meth:`start` runs it in a thread; the other methods may be called from any thread.

    :param directory: for state, jobs and logs; by default a temporary one, removed at the end with all
        jobs.
    :param host: a loopback address or ``localhost``, because jobs run as the user of the emulator.
    :param port: 0 chooses a free one.
    :param scheduler: ``local`` runs jobs as processes of this machine, ``slurm`` submits them to its Slurm,
        ``timetable`` simulates them (:mod:`~airflow_provider_ehpc.emulator.schedulers.timetable`).
    :param spelling: ``pbs`` or ``slurm``: the form of E-HPC's job IDs and states; by default ``slurm`` with
        the scheduler ``slurm``, else ``pbs``.
    :param slots: cores of the local scheduler.
    :raises ValueError: if other machines can reach ``host``.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        scheduler: str = "local",
        spelling: str | None = None,
        slots: int = 16,
    ) -> None:
        check_loopback(host)
        self.faults = Faults()
        self.requests = Journal()
        self.admin_secret = secrets.token_urlsafe(24)
        """For the admin endpoints, as ``Authorization: Bearer <secret>``. Each emulator has a new one."""
        self.cluster_id = CLUSTER_ID
        self._temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="ehpc-emulator-")).resolve()
        self._host = host
        self._port = port
        self._scheduler_name = scheduler
        self._dialect = DIALECTS[spelling or ("slurm" if scheduler == "slurm" else "pbs")]
        self._slots = slots
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # Start and stop

    def start(self) -> Emulator:
        """Serve from a new thread. Return when the server accepts requests.

        :raises OSError: if the port or the directory is in use, or a state file is corrupt.
        """
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="ehpc-emulator", daemon=True)
        self._thread.start()
        self._loop = loop
        try:
            self._call(self.open())
        except BaseException:
            self._end_thread()
            raise
        return self

    def close(self, *, kill_jobs: bool = True) -> None:
        """Stop serving and kill the jobs; without ``kill_jobs`` they run on, for a later emulator."""
        if self._thread:
            self._call(self.shut(kill_jobs=kill_jobs))
            self._end_thread()

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    async def open(self) -> None:
        """Serve from the running event loop. Raises the errors of :meth:`start`."""
        self._kill_jobs = self._temporary
        async with contextlib.AsyncExitStack() as undo:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            undo.callback(lock_directory(self.directory).close)
            store = self._open_store(undo, self.directory)
            with reading(store.file):
                self.accounts = Accounts(store)
                self.operation_log = OperationLog(store, self.faults, _OPERATION_IDS)
            home = self.directory / "home"
            scheduler = self._make_scheduler(self.directory / "jobs", home)
            queue = await asyncio.to_thread(scheduler.default_queue)
            self._platform = Platform(
                accounts=self.accounts,
                faults=self.faults,
                operation_log=self.operation_log,
                cluster=await self._open_cluster(undo, scheduler, store, home),
                default_queue=queue or self._dialect.default_queue,
                serverless=await self._open_serverless(undo),
                serverless_queue=queue or SERVERLESS.default_queue,
                dialect=self._dialect,
            )
            runner = web.AppRunner(
                self._application(self._platform),
                access_log=None,
                logger=http_log,
                max_line_size=_MAX_REQUEST_LINE,
                shutdown_timeout=1,
            )
            await runner.setup()
            undo.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, self._host, self._port).start()
            self._port = runner.addresses[0][1]
            self._undo = undo.pop_all()

    async def shut(self, *, kill_jobs: bool) -> None:
        """Undo :meth:`open`."""
        self._kill_jobs = kill_jobs or self._temporary
        await self._undo.aclose()
        if self._temporary:
            await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    # Connections

    @property
    def url(self) -> str:
        """The base URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to E-HPC, in the form of ``AIRFLOW_CONN_*`` in JSON."""
        return self.connection_of(self.accounts.first)

    @property
    def connection_json(self) -> str:
        """:attr:`connection` as JSON, for ``AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT``."""
        return json.dumps(self.connection)

    @property
    def connections(self) -> dict[str, dict[str, Any]]:
        """The connections to all clouds by type, in the form of ``AIRFLOW_CONN_*`` in JSON."""
        return {cloud.conn_type: cloud.connection(self.url, self.accounts.first) for cloud in CLOUDS}

    @property
    def iam_connection(self) -> dict[str, Any]:
        """The Airflow connection to ModelArts as an IAM user, with tokens in place of a key."""
        return user_connection(self.url, self.accounts.first)

    def connection_of(self, account: CloudAccount) -> dict[str, Any]:
        """Return the Airflow connection to E-HPC with the key of an account."""
        return aliyun_connection(self.url, account)

    # Operations

    def add_operations(self, operations: Iterable[EmulatedOperation]) -> list[str]:
        """Add operations to the operation log, and return their IDs.

        :raises ValueError: if a cloud has no operation log.
        """
        rows = list(operations)
        return [row.id for row in self._call(_done(lambda: self.operation_log.add(rows)))]

    def operations(self, cloud: str = "qingcloud") -> list[EmulatedOperation]:
        """Return the visible operations of a cloud, oldest first."""
        return self._call(_done(lambda: self.operation_log.read(cloud)))

    # Jobs

    def submit(self, command: str, *, name: str = "job", **spec: Any) -> str:
        """Submit a shell command without the API and return the job's ID.

        :param spec: further fields of :class:`~airflow_provider_ehpc.apis.job.JobSpec`.
        """
        job_spec = dataclasses.replace(
            JobSpec(name=name, command=command, **spec),
            queue=spec.get("queue") or self._platform.default_queue,
            user=spec.get("user") or USER,
            priority=spec.get("priority") or 0,
        )
        return self._dialect.job_id(self._call(self._platform.cluster.submit(job_spec)))

    async def submit_sample(self) -> str:
        """Submit a job of one minute from the running event loop and return its ID.

        In a new emulator with the default scheduler it is ``1.manager``.
        """
        seconds = 60
        command = f'for n in $(seq {seconds}); do echo "step $n of {seconds}"; sleep 1; done'
        if self._scheduler_name == "timetable":
            command = f"run={seconds} lines=1"
        spec = JobSpec(
            name="sample", command=command, queue=self._platform.default_queue, user=USER, priority=0
        )
        return self._dialect.job_id(await self._platform.cluster.submit(spec))

    def job(self, job_id: str, *, serverless: bool = False) -> EmulatedJob:
        """Return a job as the cluster knows it. Faults have no effect.

        :param job_id: the job's ID in any cloud.
        :param serverless: True for the ID of a serverless job of E-HPC.
        :raises KeyError: if the job is unknown.
        """
        if serverless:
            key = SERVERLESS.read(job_id)
            job = self._platform.serverless.get(*key) if key else None
        else:
            found = (cloud.find_job(self._platform, job_id) for cloud in CLOUDS)
            job = next(filter(None, found), None)
        if job is None:
            raise KeyError(job_id)
        return job

    def stop(self, job_id: str) -> None:
        """Begin to stop a job, without the API.

        :raises KeyError: if the job is unknown.
        """
        self._call(self._platform.cluster.stop(self.job(job_id)))

    def wait_for(
        self, job_id: str, *phases: str, timeout: float = 30.0, serverless: bool = False
    ) -> EmulatedJob:
        """Wait until a job is in one of ``phases``, by default until it has ended, and return it.

        :param timeout: seconds.
        :param serverless: True for the ID of a serverless job of E-HPC.
        :raises KeyError: if the job is unknown.
        :raises TimeoutError: on timeout, or if the job ends in another phase.
        """
        deadline = time.monotonic() + timeout
        while True:
            job = self.job(job_id, serverless=serverless)
            if job.phase in phases or (not phases and job.phase.ended):
                return job
            if job.phase.ended or time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is {job.phase}, not {' or '.join(phases) or 'ended'}")
            time.sleep(0.01)

    def write_log(self, job_id: str, data: bytes, stream: str = "stdout") -> None:
        """Append to the log of a job, as if the job had written it.

        Raises the errors of :meth:`change_log`.
        """
        self.change_log(job_id, "append", data, stream)

    def change_log(self, job_id: str, change: str, data: bytes = b"", stream: str = "stdout") -> None:
        """Append to the log of a job, truncate it, or rotate it.

        ``append`` adds ``data``. ``truncate`` empties the file; the job continues at its beginning.
        ``rotate`` renames the file to ``*.1``, to which the job continues to write, and creates a file with
        ``data`` in its place.

        :raises KeyError: if the job is unknown.
        :raises ValueError: if ``change`` or ``stream`` is unknown.
        :raises OSError: if the file cannot be changed.
        """
        change_log(self.job(job_id), change, data, stream)

    # Faults and permissions

    def fault(self, kind: FaultKind | str, **settings: Any) -> None:
        """Inject a fault; see :class:`~airflow_provider_ehpc.emulator.faults.FaultKind`."""
        self.faults.add(Fault(FaultKind(kind), **settings))

    def issue_token(self, *, seconds: float = 3600, denied: tuple[str, ...] = ()) -> CloudAccount:
        """Create a temporary key with a security token; with negative ``seconds`` it has expired."""
        return self._call(_done(lambda: self.accounts.issue_token(seconds=seconds, denied=denied)))

    def deny(self, *operations: str) -> None:
        """Deny the account of :attr:`connection` these operations, and allow it all others."""
        self._call(_done(lambda: self.accounts.deny(*operations)))

    # Internals

    def _open_store(self, undo: contextlib.AsyncExitStack, directory: Path) -> Store:
        file = directory / "state.sqlite"
        with reading(file):
            store = Store(file)
        undo.callback(store.close)
        return store

    async def _open_cluster(
        self, undo: contextlib.AsyncExitStack, scheduler: Scheduler, store: Store, home: Path
    ) -> Cluster:
        cluster = Cluster(scheduler, store, home)
        with reading(store.file):
            await cluster.open()
        undo.push_async_callback(lambda: cluster.close(kill_jobs=self._kill_jobs))
        return cluster

    async def _open_serverless(self, undo: contextlib.AsyncExitStack) -> Cluster:
        """Return the cluster of serverless jobs, which have their own IDs."""
        directory = self.directory / "serverless"
        directory.mkdir(exist_ok=True)
        store, home = self._open_store(undo, directory), directory / "home"
        return await self._open_cluster(undo, self._make_scheduler(directory / "jobs", home), store, home)

    def _application(self, platform: Platform) -> web.Application:
        app = web.Application(middlewares=[only_this_machine])
        Admin(
            self.admin_secret,
            faults=self.faults,
            journal=self.requests,
            accounts=self.accounts,
            operation_log=self.operation_log,
            change_log=self.change_log,
        ).add_to(app)
        for cloud in CLOUDS:
            gateway = Gateway(cloud.service(platform), self.faults, self.requests)
            for path in cloud.paths:
                app.router.add_route("*", path, gateway.handle)
        return app

    def _make_scheduler(self, directory: Path, home: Path) -> Scheduler:
        if self._scheduler_name == "slurm":
            return SlurmScheduler(home)
        if self._scheduler_name == "timetable":
            return TimetableScheduler()
        return LocalScheduler(directory, home, self._slots)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the emulator is not running in a thread: call start() first")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT)

    def _end_thread(self) -> None:
        if self._loop and self._thread:
            self._call(_cancel_others())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            with contextlib.suppress(RuntimeError):
                self._loop.close()
        self._thread = self._loop = None


async def _cancel_others() -> None:
    """Cancel the other tasks of the loop: requests whose response is late by a fault."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _done(work: Callable[[], T]) -> T:
    """Run a short function in the thread of the event loop."""
    return work()

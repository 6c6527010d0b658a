"""What all hooks share: a connection becomes an account, a call is signed, sent, retried and read.

Each operation exists twice, ``get_job`` and ``aget_job``, but only as two one-line drivers over the same
:class:`~airflow_provider_ehpc.apis.call.ApiCall`. Nothing that decides anything is written twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from abc import abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.providers.http.hooks.http import HttpHook
from tenacity import AsyncRetrying, Retrying

from airflow_provider_ehpc import __version__, metrics
from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    AuthenticationFailed,
    Credentials,
    InvalidArgument,
    NotSupported,
    ServiceUnavailable,
    Throttled,
    Together,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import (
    ClusterJob,
    JobApi,
    JobRef,
    JobSpec,
    JobStatus,
    LogBatch,
    LogChunk,
    LogCursor,
    LogLimits,
    Told,
    in_zone,
)
from airflow_provider_ehpc.apis.moments import aware
from airflow_provider_ehpc.apis.operation import OperationSource
from airflow_provider_ehpc.compat import AirflowNotFoundException, aread_connection, read_connection
from airflow_provider_ehpc.hooks.account import Account, key_text
from airflow_provider_ehpc.hooks.exchange import Exchange
from airflow_provider_ehpc.hooks.limiter import RateLimiter, limiter_of
from airflow_provider_ehpc.hooks.redaction import Redactor
from airflow_provider_ehpc.hooks.retry import retry_arguments
from airflow_provider_ehpc.hooks.transport import asend, configure_session, new_async_session, send

if TYPE_CHECKING:
    import aiohttp
    import requests
    from airflow.providers.common.compat.sdk import Connection

T = TypeVar("T")


class ApiHook(HttpHook):
    """A hook for one API of one cloud; the http provider's hook supplies the session.

    Of that hook only the session is used: it would send every unknown extra field as a header, the key
    pair as Basic auth, and log answers whole.

    :param conn_id: the connection, one an account.
    """

    conn_name_attr = "conn_id"
    conn_types: ClassVar[tuple[str, ...]]
    """Connection types that this hook understands."""

    def __init__(self, conn_id: str) -> None:
        super().__init__(http_conn_id=conn_id)
        self.conn_id = conn_id
        self.requests: Counter[str] = Counter()
        """Requests sent so far, by operation."""
        self._account: Account | None = None
        self._session: requests.Session | None = None
        self._async_session: aiohttp.ClientSession | None = None
        self._async_loop: asyncio.AbstractEventLoop | None = None

    # ------------------------------------------------------------------ the connection

    @abstractmethod
    def _understand(self, connection: Connection, extra: dict[str, Any]) -> Account:
        """Return the account that a connection of the right type describes."""

    @property
    def account(self) -> Account:
        """The connection, read once."""
        if self._account is None:
            self._account = self._read(*read_connection(self.conn_id))
        return self._account

    @property
    def api(self) -> JobApi:
        """The API. A hook whose API needs something of the account has it made by :meth:`_api`."""
        return self._api(self.account)

    def _api(self, account: Account) -> JobApi:
        """Return the API as an account speaks it."""
        raise NotImplementedError

    async def _aapi(self) -> JobApi:
        """Return the API, without blocking the event loop."""
        await self.aaccount()
        return self.api

    async def aaccount(self) -> Account:
        """Return the connection, read once, without blocking the event loop."""
        if self._account is None:
            self._account = self._read(*await aread_connection(self.conn_id))
        return self._account

    def _read(self, connection: Connection, extra: dict[str, Any]) -> Account:
        if connection.conn_type not in self.conn_types:
            raise InvalidArgument(
                f"connection {self.conn_id!r} is of type {connection.conn_type!r}; {type(self).__name__} "
                f"needs one of type {' or '.join(self.conn_types)}"
            )
        return self._understand(connection, extra)

    def _key(self, login: Any, password: Any, extra: Mapping[str, Any], *, user: bool = False) -> Credentials:
        """Return a connection's key.

        :param user: the login is the name of a user, not an access key id.
        :raises InvalidArgument: naming the field that is missing or cannot be sent.
        """
        key = Credentials(
            key_text(self.conn_id, "login", login, ascii_only=not user),
            # A password that a person chose may begin or end with a space.
            key_text(self.conn_id, "password", password, strip="\r\n" if user else None),
            key_text(self.conn_id, "security_token", extra.get("security_token"), ascii_only=True) or None,
        )
        names = ("IAM user", "password") if user else ("access key id", "secret")
        for value, what, name in zip(
            (key.access_key_id, key.secret), names, ("login", "password"), strict=True
        ):
            if not value:
                raise InvalidArgument(f"connection {self.conn_id!r} has no {what}: set its {name}")
        return key

    def get_conn(self, headers: Any = None, extra_options: Any = None) -> requests.Session:
        """Return the session for synchronous calls, made once."""
        if self._session is None:
            self._session = super().get_conn(headers, extra_options)
        return self._session

    def _set_base_url(self, connection: Connection) -> None:
        self.base_url = self.account.base_url
        self._base_url_initialized = True

    def _configure_session_from_auth(
        self, session: requests.Session, connection: Connection
    ) -> requests.Session:
        return session

    def _configure_session_from_extra(
        self, session: requests.Session, connection: Connection, extra_options: dict[str, Any]
    ) -> requests.Session:
        return session

    def _configure_session_from_mount_adapters(self, session: requests.Session) -> requests.Session:
        configure_session(session, self.account.transport)
        return session

    def _get_async_session(self, account: Account) -> aiohttp.ClientSession:
        # dag.test() makes a new loop at every deferral; a session belongs to the loop it was made in.
        loop = asyncio.get_running_loop()
        if self._async_session is None or self._async_loop is not loop or self._async_session.closed:
            self._async_session = new_async_session(account.transport)
            self._async_loop = loop
        return self._async_session

    def close(self) -> None:
        """Close the connections that synchronous calls hold."""
        if self._session is not None:
            self._session.close()
            self._session = None

    async def aclose(self) -> None:
        """Close the connections that asynchronous calls hold."""
        if self._async_session is not None and self._async_loop is asyncio.get_running_loop():
            await self._async_session.close()
        self._async_session = None

    # ------------------------------------------------------------------ calls

    def call(self, call: ApiCall[T]) -> T:
        """Send a call and return its typed response. Transient errors are retried (``hooks.retry``).

        A key that is refused is sent again only if the connection holds another one by now: a trigger or a
        sensor may live for weeks, and keys are replaced. The same key could get locked.

        :raises ApiError: of the kind that says what went wrong.
        """
        account = self.account
        try:
            return self._try(account, call)
        except AuthenticationFailed:
            with contextlib.suppress(AirflowNotFoundException, InvalidArgument):
                self._reread(account, *read_connection(self.conn_id))
            if self.account.key == account.key:
                raise
        return self._try(self.account, call)

    async def acall(self, call: ApiCall[T]) -> T:
        """Send a call and return its typed response, without blocking the event loop. See :meth:`call`."""
        account = await self.aaccount()
        try:
            return await self._atry(account, call)
        except AuthenticationFailed:
            with contextlib.suppress(AirflowNotFoundException, InvalidArgument):
                self._reread(account, *await aread_connection(self.conn_id))
            if self.account.key == account.key:
                raise
        return await self._atry(self.account, call)

    def _reread(self, refused: Account, connection: Connection, extra: dict[str, Any]) -> None:
        """Take the account from a connection that was read again, unless another call has done so."""
        if self._account is refused:
            self._account = self._read(connection, extra)

    def _try(self, account: Account, call: ApiCall[T]) -> T:
        result: T = Retrying(**retry_arguments(call))(self._exchange, account, call)
        return result

    async def _atry(self, account: Account, call: ApiCall[T]) -> T:
        result: T = await AsyncRetrying(**retry_arguments(call))(self._aexchange, account, call)
        return result

    def drive(
        self,
        flow: Generator[Any, Any, T],
        handle: Callable[[Any], Any] | None = None,
        deadline: float | None = None,
    ) -> T:
        """Run logic of several calls to its end.

        :param handle: does what the logic yields besides calls, and answers it
            (:mod:`airflow_provider_ehpc.logs.follow`).
        :param deadline: epoch seconds after which no other call is sent.
        :raises ServiceUnavailable: if the logic has not ended by the deadline.
        """
        try:
            step = next(flow)
            while True:
                _check(deadline, step)
                if not isinstance(step, ApiCall | Together):
                    step = flow.send(handle(step) if handle else None)
                    continue
                try:
                    if isinstance(step, ApiCall):
                        answer = self.call(step)
                    else:
                        answer = self._all(step, handle, deadline)
                except ApiError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        except ApiError as error:
            # One that the logic itself raised, about what the calls returned.
            error.where = error.where or f"connection {self.conn_id!r}"
            raise

    async def adrive(
        self,
        flow: Generator[Any, Any, T],
        handle: Callable[[Any], Awaitable[Any]] | None = None,
        deadline: float | None = None,
    ) -> T:
        """Run logic of several calls to its end, without blocking the event loop. See :meth:`drive`."""
        try:
            step = next(flow)
            while True:
                _check(deadline, step)
                if not isinstance(step, ApiCall | Together):
                    step = flow.send(await handle(step) if handle else None)
                    continue
                try:
                    if isinstance(step, ApiCall):
                        answer = await self.acall(step)
                    else:
                        answer = await self._aall(step, handle, deadline)
                except ApiError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        except ApiError as error:
            # One that the logic itself raised, about what the calls returned.
            error.where = error.where or f"connection {self.conn_id!r}"
            raise

    def _all(self, step: Together[T], handle: Callable[[Any], Any] | None, deadline: float | None) -> list[T]:
        return [self.drive(flow, handle, deadline) for flow in step.flows]

    async def _aall(
        self,
        step: Together[T],
        handle: Callable[[Any], Awaitable[Any]] | None,
        deadline: float | None,
    ) -> list[T]:
        if len(step.flows) == 1:
            return [await self.adrive(step.flows[0], handle, deadline)]
        results = await asyncio.gather(
            *(self.adrive(flow, handle, deadline) for flow in step.flows), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if not isinstance(result, BaseException)]

    def _exchange(self, account: Account, call: ApiCall[T]) -> T:
        session = self.get_conn()
        limiter = limiter_of(account)
        with self._reported(account, call, limiter) as exchange:
            exchange.turn = limiter.wait()
            exchange.request = self._sign(account, call)
            exchange.response = send(session, account, exchange.request)
            return exchange.read()

    async def _aexchange(self, account: Account, call: ApiCall[T]) -> T:
        session = self._get_async_session(account)
        limiter = limiter_of(account)
        with self._reported(account, call, limiter) as exchange:
            exchange.turn = await limiter.await_turn()
            exchange.request = self._sign(account, call)
            exchange.response = await asend(session, account, exchange.request)
            return exchange.read()

    def _sign(self, account: Account, call: ApiCall[Any]) -> ApiRequest:
        """Sign an attempt: each has its own time and nonce, for a nonce is accepted only once.

        :raises InvalidArgument: for a header that cannot be sent.
        """
        signed = account.signer.sign(
            call.request, host=account.host, now=datetime.now(UTC), nonce=uuid.uuid4().hex
        )
        headers = {**signed.headers, "user-agent": f"airflow-provider-ehpc/{__version__}"}
        for name, value in headers.items():
            # Beyond ASCII, requests sends Latin-1 and aiohttp UTF-8.
            if not (value.isascii() and value.isprintable()):
                raise InvalidArgument(f"{call.operation}: the value of the header {name} cannot be sent")
        self.requests[call.operation] += 1
        return ApiRequest(signed.method, signed.path, signed.query, headers, signed.body)

    @contextlib.contextmanager
    def _reported(self, account: Account, call: ApiCall[T], limiter: RateLimiter) -> Iterator[Exchange[T]]:
        """Learn from an attempt, count it, and complete its error."""
        exchange = Exchange(account, call)
        try:
            yield exchange
        except ApiError as error:
            exchange.redactor.error(error)
            if exchange.turn:
                limiter.failed(error, exchange.turn)
            self._count(call, account, error)
            subject = f" of {call.subject}" if call.subject else ""
            error.where = f"{call.operation}{subject} (connection {self.conn_id!r}, {account.base_url})"
            error.hint = exchange.hint(error)
            raise
        limiter.answered()
        self._count(call, account)

    def _count(self, call: ApiCall[Any], account: Account, error: ApiError | None = None) -> None:
        if metrics.enabled():
            api = self.api.name
            metrics.request(api, call.operation, type(error).__name__ if error else "ok")
            if isinstance(error, Throttled):
                metrics.throttled(api, account.conn_id)

    # ------------------------------------------------------------------ the common surface

    def job_ref(self, job_id: str, cluster_id: str | None = None, version_id: str | None = None) -> JobRef:
        """Return the address of a job; the connection's default cluster is taken where none is given.

        :raises InvalidArgument: for what the API needs and did not get, or got and does not know.
        """
        return self.api.job_ref(job_id, cluster_id or self.account.cluster_id, version_id)

    def job_status(self, ref: JobRef) -> JobStatus:
        """Return what the cloud says of a job.

        :raises NotFound: where it does not know the job.
        """
        return self._zoned(self.drive(self.api.job_status(ref)))

    async def ajob_status(self, ref: JobRef) -> JobStatus:
        """Return what the cloud says of a job. See :meth:`job_status`."""
        return self._zoned(await self.adrive((await self._aapi()).job_status(ref)))

    def job_statuses(
        self, refs: Iterable[JobRef], deadline: float | None = None
    ) -> dict[JobRef, JobStatus | None]:
        """Return the states of many jobs, with few requests; None for a job that the cloud does not know.

        :param deadline: epoch seconds after which no other request is sent.
        :raises ServiceUnavailable: if they are not read by the deadline.
        """
        return self._all_zoned(self.drive(self.api.job_statuses(list(refs)), deadline=deadline))

    async def ajob_statuses(
        self, refs: Iterable[JobRef], tell: Callable[[Told], Awaitable[None]] | None = None
    ) -> dict[JobRef, JobStatus | None]:
        """Return what the cloud says of many jobs. See :meth:`job_statuses`.

        :param tell: is told of some jobs while others are still asked for, each time an answer has come.
        """

        async def zoned(step: Told) -> None:
            if tell:
                await tell(Told(self._all_zoned(step.statuses)))

        return self._all_zoned(await self.adrive((await self._aapi()).job_statuses(list(refs)), zoned))

    def cluster_jobs(self, since: datetime, cluster_id: str | None = None) -> Mapping[str, ClusterJob]:
        """Return by their ids all unfinished jobs of a cluster, and the ended ones submitted at or after
        ``since`` (aware); the connection's default cluster is taken where none is given.

        :raises NotSupported: where the API cannot tell.
        """
        flow = self.api.cluster_jobs(cluster_id or self.account.cluster_id, aware("since", since))
        return self._jobs_zoned(self.drive(flow))

    async def acluster_jobs(self, since: datetime, cluster_id: str | None = None) -> Mapping[str, ClusterJob]:
        """Return a cluster's jobs. See :meth:`cluster_jobs`."""
        account, since = await self.aaccount(), aware("since", since)
        flow = self.api.cluster_jobs(cluster_id or account.cluster_id, since)
        return self._jobs_zoned(await self.adrive(flow))

    def _zoned(self, status: JobStatus) -> JobStatus:
        return in_zone(status, self.account.local_zone, assumed=self.account.zone_assumed)

    def _all_zoned(self, statuses: Mapping[JobRef, JobStatus | None]) -> dict[JobRef, JobStatus | None]:
        return {ref: status and self._zoned(status) for ref, status in statuses.items()}

    def _jobs_zoned(self, jobs: Mapping[str, ClusterJob]) -> dict[str, ClusterJob]:
        return {job_id: replace(job, status=self._zoned(job.status)) for job_id, job in jobs.items()}

    @property
    def log_limits(self) -> LogLimits:
        """How many bytes one reading of a log may ask for."""
        return self.api.log_limits

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> LogBatch:
        """Read a job's log on from ``cursor``, at most ``size`` bytes a stream."""
        return self.drive(self.api.read_log(ref, cursor, size))

    async def aread_log(self, ref: JobRef, cursor: LogCursor, size: int) -> LogBatch:
        """Read a job's log on from ``cursor``. See :meth:`read_log`."""
        return await self.adrive((await self._aapi()).read_log(ref, cursor, size))

    def log_tail(self, ref: JobRef, size: int) -> tuple[LogChunk, ...]:
        """Read the last ``size`` bytes of each stream of a job's log."""
        return self.drive(self.api.log_tail(ref, size))

    def submit(self, spec: JobSpec, cluster_id: str | None = None) -> JobRef:
        """Submit a job. After a :class:`ServiceUnavailable` other than :class:`NotReached`, look it up by
        name: it may have been accepted.
        """
        ref = self.drive(self.api.submit(spec, cluster_id or self.account.cluster_id))
        return self._without_secrets(ref, spec)

    async def asubmit(self, spec: JobSpec, cluster_id: str | None = None) -> JobRef:
        """Submit a job. See :meth:`submit`."""
        account = await self.aaccount()
        ref = await self.adrive(self.api.submit(spec, cluster_id or account.cluster_id))
        return self._without_secrets(ref, spec)

    def _without_secrets(self, ref: JobRef, spec: JobSpec) -> JobRef:
        """Return a submitted job's id, which goes into logs and XCom, unless it repeats a secret."""
        secrets = Redactor((*self.account.confidential, spec.password or ""))
        if secrets.text(ref.job_id) != ref.job_id:
            raise UnexpectedResponse("the job id in the response repeats a secret of the request")
        return ref

    def stop(self, ref: JobRef) -> None:
        """Ask for a job to be stopped; it goes on until the cloud has done so."""
        self.drive(self.api.stop(ref))

    async def astop(self, ref: JobRef) -> None:
        """Ask for a job to be stopped. See :meth:`stop`."""
        await self.adrive((await self._aapi()).stop(ref))

    def operation_source(self, cluster_id: str | None = None) -> OperationSource:
        """Return the log of what was done, for the audit (:mod:`airflow_provider_ehpc.audit`).

        :param cluster_id: a cluster; None for all of the account's in its zone or region.
        :raises NotSupported: where the API has no such log.
        """
        raise NotSupported(f"api: the API {self.api.name!r} keeps no log of operations that could be read")

    # ------------------------------------------------------------------ Airflow's connection test

    @abstractmethod
    def _probe(self, account: Account) -> ApiCall[Any]:
        """Return a cheap, signed read that any valid account may do."""

    def test_connection(self) -> tuple[bool, str]:
        """Say whether the endpoint answers and accepts the key (``airflow connections test``)."""
        started = time.monotonic()
        try:
            self._exchange(self.account, self._probe(self.account))
        except (ApiError, InvalidArgument) as error:
            return False, str(error)
        finally:
            self.close()
        took = time.monotonic() - started
        return True, f"{self.account.base_url} accepts the key; it answered in {took:.2f} s."


def _check(deadline: float | None, step: Any) -> None:
    if deadline is not None and time.time() >= deadline and isinstance(step, ApiCall | Together):
        what = f"before {step.operation} was sent" if isinstance(step, ApiCall) else "before all was read"
        raise ServiceUnavailable(f"the deadline of the wait passed {what}")

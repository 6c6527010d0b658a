# SPDX-License-Identifier: Apache-2.0
"""The base class of all hooks: the connection, retries, and the methods that all APIs share.

A method whose name begins with ``a`` does the same as the one without, for a running event loop. Both run the
same :class:`~airflow_provider_ehpc.apis.call.ApiCall` or flow; no decision is written twice.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tenacity import AsyncRetrying, Retrying

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    AuthenticationFailed,
    Credentials,
    Flow,
    InvalidArgument,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.capabilities import Capability, require, unsupported
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
    PartialResult,
    in_zone,
)
from airflow_provider_ehpc.apis.moments import aware
from airflow_provider_ehpc.apis.operation import OperationSource
from airflow_provider_ehpc.compat import AirflowNotFoundException, aread_connection, read_connection
from airflow_provider_ehpc.hooks.account import Account, key_text
from airflow_provider_ehpc.hooks.client import Client
from airflow_provider_ehpc.hooks.redaction import Redactor
from airflow_provider_ehpc.hooks.retry import retry_arguments

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

T = TypeVar("T")


class ApiHook(Client):
    """A hook for one API of one cloud.

    :param conn_id: the connection to the account.
    """

    conn_name_attr = "conn_id"
    conn_types: ClassVar[tuple[str, ...]]
    """Connection types that this hook accepts."""

    def __init__(self, conn_id: str) -> None:
        super().__init__(conn_id)
        self._account: Account | None = None

    # ------------------------------------------------------------------ the connection

    @abstractmethod
    def _understand(self, connection: Connection, extra: dict[str, Any]) -> Account:
        """Return the account that a connection of one of :attr:`conn_types` describes."""

    @property
    def account(self) -> Account:
        """Return the account. The connection is read once."""
        if self._account is None:
            self._account = self._read(*read_connection(self.conn_id))
        return self._account

    @property
    def api(self) -> JobApi:
        """Return the API. If it needs the account, :meth:`_api` makes it."""
        return self._api(self.account)

    def _api(self, account: Account) -> JobApi:
        """Return the API for an account."""
        raise NotImplementedError

    async def _aapi(self) -> JobApi:
        """Return the API, without blocking the event loop."""
        await self.aaccount()
        return self.api

    async def aaccount(self) -> Account:
        """Return the account, without blocking the event loop."""
        if self._account is None:
            self._account = self._read(*await aread_connection(self.conn_id))
        return self._account

    def _read(self, connection: Connection, extra: dict[str, Any]) -> Account:
        if connection.conn_type not in self.conn_types:
            raise InvalidArgument(
                f"connection {self.conn_id!r} is of type {connection.conn_type!r}; {type(self).__name__} "
                f"needs one of type {' or '.join(self.conn_types)}"
            )
        # If the text is not JSON, Airflow only logs an error and returns an empty dict.
        if not isinstance(extra, dict) or (not extra and (connection.extra or "").strip("{} \r\n\t")):
            raise InvalidArgument(
                f'connection {self.conn_id!r}: extra is not a JSON object such as {{"region": "cn-hangzhou"}}'
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
            key_text(self.conn_id, "password", password, chosen=user),
            key_text(self.conn_id, "security_token", extra.get("security_token"), ascii_only=True) or None,
        )
        names = ("IAM user", "password") if user else ("access key id", "secret")
        for value, what, name in zip(
            (key.access_key_id, key.secret), names, ("login", "password"), strict=True
        ):
            if not value:
                raise InvalidArgument(f"connection {self.conn_id!r} has no {what}: set its {name}")
        return key

    def _id(self, name: str, value: Any) -> str | None:
        """Return the ID in a connection's extra field; None if there is none.

        :raises InvalidArgument: naming the field, if it contains characters that no ID has.
        """
        return key_text(self.conn_id, name, value, ascii_only=True) or None

    # ------------------------------------------------------------------ calls

    def call(self, call: ApiCall[T]) -> T:
        """Send a call and return its typed response. Transient errors are retried (``hooks.retry``).

        If the key is refused, the connection is read again, and the call is sent once more if the key has
        changed: triggers and sensors live for weeks, and keys are replaced. The same key could get locked.

        :raises ApiError: of the kind that matches the failure.
        """
        account = self.account
        try:
            return self._try(account, call)
        except AuthenticationFailed:
            with contextlib.suppress(AirflowNotFoundException, InvalidArgument):
                if self._account is account:
                    self._account = self._read(*read_connection(self.conn_id))
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
                await self.arefresh(account)
            if self.account.key == account.key:
                raise
        return await self._atry(self.account, call)

    async def arefresh(self, outdated: Account) -> None:
        """Read the connection again, unless another call has replaced ``outdated`` meanwhile."""
        async with self._own_loop().reading:
            if self._account is outdated:
                self._account = self._read(*await aread_connection(self.conn_id))

    def _try(self, account: Account, call: ApiCall[T]) -> T:
        result: T = Retrying(**retry_arguments(call))(self._exchange, account, call)
        return result

    async def _atry(self, account: Account, call: ApiCall[T]) -> T:
        result: T = await AsyncRetrying(**retry_arguments(call))(self._aexchange, account, call)
        return result

    # ------------------------------------------------------------------ the common surface

    def require(self, capability: Capability, argument: str = "api") -> None:
        """Check that the API supports a capability.

        :param argument: the argument that requires it, for the message.
        :raises NotSupported: if it does not.
        """
        require(self.api.name, capability, argument)

    def job_ref(self, job_id: str, cluster_id: str | None = None, version_id: str | None = None) -> JobRef:
        """Return the address of a job, by default in the connection's default cluster.

        :raises InvalidArgument: if an ID is missing that the API needs, or one is given that it does not use.
        """
        return self.api.job_ref(job_id, cluster_id or self.account.cluster_id, version_id)

    def job_status(self, ref: JobRef) -> JobStatus:
        """Return the status of a job.

        :raises NotFound: if the job is unknown.
        """
        return self._zoned(self.drive(self.api.job_status(ref)))

    async def ajob_status(self, ref: JobRef) -> JobStatus:
        """Return the status of a job. See :meth:`job_status`."""
        return self._zoned(await self.adrive((await self._aapi()).job_status(ref)))

    def job_statuses(
        self, refs: Iterable[JobRef], deadline: float | None = None
    ) -> dict[JobRef, JobStatus | None]:
        """Return the statuses of many jobs with few requests; None for an unknown job.

        :param deadline: epoch seconds after which no other request is sent.
        :raises ServiceUnavailable: if the deadline passes first.
        """
        return self._all_zoned(self.drive(self.api.job_statuses(list(refs)), deadline=deadline))

    async def ajob_statuses(
        self, refs: Iterable[JobRef], publish: Callable[[PartialResult], Awaitable[None]] | None = None
    ) -> dict[JobRef, JobStatus | None]:
        """Return the statuses of many jobs. See :meth:`job_statuses`.

        :param publish: receives the statuses of each response before the others are there.
        """

        async def zoned(step: PartialResult) -> None:
            if publish:
                await publish(PartialResult(self._all_zoned(step.statuses)))

        return self._all_zoned(await self.adrive((await self._aapi()).job_statuses(list(refs)), zoned))

    def cluster_jobs(self, since: datetime, cluster_id: str | None = None) -> Mapping[str, ClusterJob]:
        """Return by ID a cluster's unfinished jobs, and its ended jobs submitted at or after ``since``.

        :param since: an aware time.
        :param cluster_id: default: the connection's.

        :raises NotSupported: if the API does not list jobs.
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
        """Return how many bytes one call may read of a log."""
        return self.api.log_limits

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> LogBatch:
        """Read a job's log from ``cursor`` on, at most ``size`` bytes per stream."""
        return self.drive(self.api.read_log(ref, cursor, size))

    async def aread_log(self, ref: JobRef, cursor: LogCursor, size: int) -> LogBatch:
        """Read a job's log from ``cursor`` on. See :meth:`read_log`."""
        return await self.adrive((await self._aapi()).read_log(ref, cursor, size))

    def log_tail(self, ref: JobRef, size: int) -> tuple[LogChunk, ...]:
        """Read the last ``size`` bytes of each stream of a job's log."""
        return self.drive(self.api.log_tail(ref, size))

    def submit(self, spec: JobSpec, cluster_id: str | None = None) -> JobRef:
        """Submit a job.

        After a :class:`ServiceUnavailable` other than :class:`NotReached` it may have been accepted: search
        for its name before you submit it again.
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
        secrets = Redactor((*self.account.secrets, spec.password or ""))
        if secrets.text(ref.job_id) != ref.job_id:
            raise UnexpectedResponse("the job id in the response repeats a secret of the request")
        return ref

    def jobs_named(self, name: str, cluster_id: str | None = None) -> list[JobRef]:
        """Return the jobs with exactly this name, by default in the connection's default cluster."""
        return self.drive(self.api.jobs_named(name, cluster_id or self.account.cluster_id))

    async def ajobs_named(self, name: str, cluster_id: str | None = None) -> list[JobRef]:
        """Return the jobs with exactly this name. See :meth:`jobs_named`."""
        account = await self.aaccount()
        return await self.adrive(self.api.jobs_named(name, cluster_id or account.cluster_id))

    def stop(self, ref: JobRef) -> None:
        """Request that a job is stopped. It may still run when this returns."""
        self.drive(self.api.stop(ref))

    async def astop(self, ref: JobRef) -> None:
        """Request that a job is stopped. See :meth:`stop`."""
        await self.adrive((await self._aapi()).stop(ref))

    def operation_source(self, cluster_id: str | None = None) -> OperationSource:
        """Return the source of operations for the audit (:mod:`airflow_provider_ehpc.audit`).

        :param cluster_id: a cluster; None for all clusters in the account's zone or region.
        :raises NotSupported: if the API has no such log.
        """
        raise unsupported(self.api.name, Capability.OPERATIONS)

    # ------------------------------------------------------------------ Airflow's connection test

    @abstractmethod
    def _check(self, account: Account) -> Flow[str]:
        """Check the account with few cheap reads; return a sentence about what it sees.

        :raises InvalidArgument: if the key is accepted, but a field of the connection is wrong.
        """

    def test_connection(self) -> tuple[bool, str]:
        """Test whether the endpoint responds, accepts the key and knows the cluster, without retries.

        Airflow's Test button and ``airflow connections test`` show the sentence.
        """
        try:
            account = self.account
            flow = self._check(account)
            call = next(flow)
            while True:
                try:
                    result = self._exchange(account, call)
                except ApiError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(result)
        except StopIteration as end:
            return True, str(end.value)
        except (ApiError, InvalidArgument) as error:
            # The button tests a copy of the connection, with a random ID.
            return False, str(error).replace(f"connection {self.conn_id!r}", "this connection")
        finally:
            self.close()

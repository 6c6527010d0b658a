# SPDX-License-Identifier: Apache-2.0
"""Run flows of calls. Send an attempt of a call: wait for the rate limit, sign, send, read the response.

Every decision is written once, for synchronous and asynchronous callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import uuid
from abc import abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.http.hooks.http import HttpHook

from airflow_provider_ehpc import __version__, metrics
from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    InvalidArgument,
    ServiceUnavailable,
    Throttled,
    Together,
)
from airflow_provider_ehpc.apis.job import JobApi
from airflow_provider_ehpc.hooks.account import Account, Attempt, TransportOptions
from airflow_provider_ehpc.hooks.exchange import Exchange
from airflow_provider_ehpc.hooks.limiter import RateLimiter, limiter_of
from airflow_provider_ehpc.hooks.mutex import Exclusive
from airflow_provider_ehpc.hooks.tokens import Blocking
from airflow_provider_ehpc.hooks.transport import asend, configure_session, new_async_session, send

if TYPE_CHECKING:
    import aiohttp
    import requests
    from airflow.providers.common.compat.sdk import Connection

T = TypeVar("T")


class _Loop:
    """The parts of a hook that belong to one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.sessions: dict[TransportOptions, aiohttp.ClientSession] = {}
        self.reading = asyncio.Lock()
        """Held while the connection is read again."""


class Client(HttpHook):
    """Sends the requests of a hook; the HTTP provider's hook supplies the session.

    Only the session of that hook is used: the hook itself would send unknown extra fields as headers and the
    key pair as Basic auth, and log whole responses.

    :param conn_id: the connection to the account.
    """

    def __init__(self, conn_id: str) -> None:
        super().__init__(http_conn_id=conn_id)
        self.conn_id = conn_id
        self.requests: Counter[str] = Counter()
        """Requests sent so far, by operation."""
        self.last_error: ApiError | None = None
        """The error of the last attempt; None if it succeeded."""
        self._session: requests.Session | None = None
        self._loop: _Loop | None = None

    @property
    @abstractmethod
    def account(self) -> Account:
        """Return the account that the connection describes."""

    @property
    @abstractmethod
    def api(self) -> JobApi:
        """Return the API."""

    @abstractmethod
    def call(self, call: ApiCall[T]) -> T:
        """Send a call and return its typed response."""

    @abstractmethod
    async def acall(self, call: ApiCall[T]) -> T:
        """Send a call and return its typed response, without blocking the event loop."""

    # ------------------------------------------------------------------ sessions

    def get_conn(self, headers: Any = None, extra_options: Any = None) -> requests.Session:
        """Return the session for synchronous calls. It is opened once."""
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

    def _own_loop(self) -> _Loop:
        # dag.test() makes a new loop at every deferral.
        if self._loop is None or self._loop.loop is not asyncio.get_running_loop():
            self._loop = _Loop()
        return self._loop

    def _get_async_session(self, account: Account) -> aiohttp.ClientSession:
        # Requests that are under way when a connection's proxy changes finish with the old one's session.
        sessions = self._own_loop().sessions
        if account.transport not in sessions:
            sessions[account.transport] = new_async_session(account.transport)
        return sessions[account.transport]

    def close(self) -> None:
        """Close the session of synchronous calls."""
        if self._session is not None:
            self._session.close()
            self._session = None

    async def aclose(self) -> None:
        """Close the sessions of asynchronous calls."""
        sessions = self._own_loop().sessions
        while sessions:
            await sessions.popitem()[1].close()

    # ------------------------------------------------------------------ flows

    def drive(
        self,
        flow: Generator[Any, Any, T],
        handle: Callable[[Any], Any] | None = None,
        deadline: float | None = None,
    ) -> T:
        """Run a flow and return its result.

        :param handle: performs the steps that are not calls (:mod:`airflow_provider_ehpc.logs.follow`).
        :param deadline: epoch seconds after which no other call is sent.
        :raises ServiceUnavailable: if the flow has not ended by the deadline.
        """
        try:
            step = next(flow)
            while True:
                _check(deadline, step)
                if not isinstance(step, ApiCall | Attempt | Blocking | Exclusive | Together):
                    step = flow.send(handle(step) if handle else None)
                    continue
                try:
                    result = self._perform(step, handle, deadline)
                except ApiError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            returned: T = end.value
            return returned
        except ApiError as error:
            # The flow itself may raise one, about a response.
            error.where = error.where or f"connection {self.conn_id!r}"
            raise

    async def adrive(
        self,
        flow: Generator[Any, Any, T],
        handle: Callable[[Any], Awaitable[Any]] | None = None,
        deadline: float | None = None,
    ) -> T:
        """Run a flow without blocking the event loop. See :meth:`drive`."""
        try:
            step = next(flow)
            while True:
                _check(deadline, step)
                if not isinstance(step, ApiCall | Attempt | Blocking | Exclusive | Together):
                    step = flow.send(await handle(step) if handle else None)
                    continue
                try:
                    result = await self._aperform(step, handle, deadline)
                except ApiError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            returned: T = end.value
            return returned
        except ApiError as error:
            # The flow itself may raise one, about a response.
            error.where = error.where or f"connection {self.conn_id!r}"
            raise

    def _perform(self, step: Any, handle: Callable[[Any], Any] | None, deadline: float | None) -> Any:
        match step:
            case ApiCall():
                return self.call(step)
            case Attempt():
                return self._attempt(step.account, step.call)
            case Blocking():
                return step.function()
            case Exclusive():
                with step.mutex.lock:
                    return self.drive(step.flow)
        return [self.drive(flow, handle, deadline) for flow in step.flows]

    async def _aperform(
        self, step: Any, handle: Callable[[Any], Awaitable[Any]] | None, deadline: float | None
    ) -> Any:
        match step:
            case ApiCall():
                return await self.acall(step)
            case Attempt():
                return await self._aattempt(step.account, step.call)
            case Blocking():
                return await asyncio.to_thread(step.function)
            case Exclusive():
                async with step.mutex.alock:
                    return await self.adrive(step.flow)
        if len(step.flows) == 1:
            return [await self.adrive(step.flows[0], handle, deadline)]
        results = await asyncio.gather(
            *(self.adrive(flow, handle, deadline) for flow in step.flows), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if not isinstance(result, BaseException)]

    # ------------------------------------------------------------------ attempts

    def _exchange(self, account: Account, call: ApiCall[T]) -> T:
        return self.drive(account.auth_flow(call))

    async def _aexchange(self, account: Account, call: ApiCall[T]) -> T:
        return await self.adrive(account.auth_flow(call))

    def _attempt(self, account: Account, call: ApiCall[T]) -> T:
        session = self.get_conn()
        limiter = limiter_of(account)
        with self._reported(account, call, limiter) as exchange:
            exchange.ticket = limiter.wait()
            exchange.request = self._sign(account, call)
            exchange.response = send(session, account, exchange.request)
            return exchange.read()

    async def _aattempt(self, account: Account, call: ApiCall[T]) -> T:
        session = self._get_async_session(account)
        limiter = limiter_of(account)
        with self._reported(account, call, limiter) as exchange:
            exchange.ticket = await limiter.await_ticket()
            exchange.request = self._sign(account, call)
            exchange.response = await asend(session, account, exchange.request)
            return exchange.read()

    def _sign(self, account: Account, call: ApiCall[Any]) -> ApiRequest:
        """Sign an attempt with its own time and nonce: a nonce is accepted once.

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
        return dataclasses.replace(signed, headers=headers)

    @contextlib.contextmanager
    def _reported(self, account: Account, call: ApiCall[T], limiter: RateLimiter) -> Iterator[Exchange[T]]:
        """Update the rate limit and the metrics after an attempt, and complete its error."""
        exchange = Exchange(account, call)
        try:
            yield exchange
        except ApiError as error:
            exchange.redactor.error(error)
            if exchange.ticket:
                limiter.failed(error, exchange.ticket)
            self._count(call, account, error)
            subject = f" of {call.subject}" if call.subject else ""
            error.where = f"{call.operation}{subject} (connection {self.conn_id!r}, {account.base_url})"
            error.hint = exchange.hint(error)
            self.last_error = error
            raise
        self.last_error = None
        limiter.succeeded()
        self._count(call, account)

    def _count(self, call: ApiCall[Any], account: Account, error: ApiError | None = None) -> None:
        if metrics.enabled():
            api = self.api.name
            metrics.request(api, call.operation, type(error).__name__ if error else "ok")
            if isinstance(error, Throttled):
                metrics.throttled(api, account.conn_id)


def _check(deadline: float | None, step: Any) -> None:
    if deadline is not None and time.time() >= deadline and isinstance(step, ApiCall | Together):
        what = f"before {step.operation} was sent" if isinstance(step, ApiCall) else "before all was read"
        raise ServiceUnavailable(f"the deadline of the wait passed {what}")

# SPDX-License-Identifier: Apache-2.0
"""Handle every request: check it, apply the injected faults, respond, and record it in the journal."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Protocol, TypeAlias

from aiohttp import web

from airflow_provider_ehpc.emulator.faults import Fault, FaultKind, Faults
from airflow_provider_ehpc.emulator.journal import Journal, RequestRecord

_HTML = b"<html><head><title>Bad gateway</title></head><body>The upstream server is gone.</body></html>\n"
_PADDING = b"x" * 65536
REQUEST_ID: ContextVar[str] = ContextVar("request_id")
"""The ID of the request being handled. aiohttp handles the requests of a connection one after the other."""


class Refused(Exception):
    """The API responds to a request with an error."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Target:
    """The operation, cluster and job of a request, for faults and the journal. Unknown parts are empty."""

    operation: str
    cluster_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, before it is sent."""

    status: int
    body: Any
    """JSON-ready; None for no body."""
    headers: Mapping[str, str] = field(default_factory=dict)


Act: TypeAlias = Callable[[], Awaitable[Any]]
"""Does the operation and returns its result for :meth:`Service.success`."""


class Service(Protocol):
    """Reads the requests of one cloud's API and writes its responses."""

    def target(self, request: web.Request) -> Target:
        """Return the operation, cluster and job of a request, without checking it."""

    async def admit(self, request: web.Request) -> Act:
        """Check a request and return the function that carries it out.

        :raises Refused: if the cloud rejects the request.
        """

    def success(self, result: Any, request_id: str) -> Reply:
        """Return the response of an operation that succeeded."""

    def error(self, refusal: Refused, request: web.Request, request_id: str) -> Reply:
        """Return the response for an error."""

    def default_error(self, kind: FaultKind) -> Refused:
        """Return the cloud's own error for an ERROR or THROTTLE fault that does not specify one."""


class Gateway:
    """Serves one cloud's API over HTTP."""

    def __init__(self, service: Service, faults: Faults, journal: Journal) -> None:
        self._service = service
        self._faults = faults
        self._journal = journal

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Respond to a request, or fail as a fault demands."""
        arrived = time.time()
        target = self._service.target(request)
        taken = self._faults.take(target.operation, target.job_id)
        fault = next((fault for fault in taken if fault.kind is not FaultKind.LATENCY), None)
        await asyncio.sleep(sum(f.seconds for f in taken if f.kind is FaultKind.LATENCY))

        def record(outcome: str, status: int | None) -> None:
            self._journal.add(
                RequestRecord(arrived, target.operation, target.cluster_id, target.job_id, outcome, status)
            )

        kind = fault.kind if fault else None
        if fault and kind is FaultKind.HTML:
            record(kind, fault.status or 200)
            return web.Response(body=_HTML, content_type="text/html", status=fault.status or 200)
        if fault and kind is FaultKind.RESET and not fault.effect:
            record(kind, None)
            return _reset(request)
        reply, outcome = await self._reply(request, fault)
        if kind is FaultKind.RESET:
            record(kind, None)
            return _reset(request)
        record(kind if kind is FaultKind.TRUNCATE else outcome, reply.status)
        body = b""
        if reply.body is not None:
            text = json.dumps(reply.body, ensure_ascii=False, separators=(",", ":"))
            # A lone surrogate is sent as its JSON escape, as by a cloud that writes ASCII.
            body = text.encode(errors="backslashreplace")
        headers = {**reply.headers, "Date": self._date()}
        if fault and kind is FaultKind.HUGE:
            return await _send_huge(request, reply.status, headers, body, fault.size)
        if kind is FaultKind.TRUNCATE:
            return await _send_half(request, reply.status, headers, body)
        return web.Response(body=body, content_type="application/json", status=reply.status, headers=headers)

    async def _reply(self, request: web.Request, fault: Fault | None) -> tuple[Reply, str]:
        request_id = str(uuid.uuid4()).upper()
        REQUEST_ID.set(request_id)
        try:
            act = await self._service.admit(request)
            if fault and fault.kind in (FaultKind.ERROR, FaultKind.THROTTLE):
                raise _injected(fault, self._service.default_error(fault.kind))
            return self._service.success(await act(), request_id), "ok"
        except Refused as refusal:
            return self._service.error(refusal, request, request_id), refusal.code

    def _date(self) -> str:
        now = time.time() + self._faults.clock_shift
        return format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)


def _injected(fault: Fault, default: Refused) -> Refused:
    """Return the error of a fault, with the default for what the fault leaves out."""
    headers = {}
    if fault.retry_after_ms is not None:
        headers["x-acs-retry-after"] = str(fault.retry_after_ms)
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return Refused(
        fault.status or default.status, fault.code or default.code, fault.message or default.message, headers
    )


def _reset(request: web.Request) -> web.StreamResponse:
    """Reset the connection. aiohttp finds it closed and does not send the returned response."""
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
    return web.Response()


async def _send_half(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = "application/json"
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport:
        request.transport.close()
    return response


async def _send_huge(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes, size: int
) -> web.StreamResponse:
    """Send ``body`` with a field of ``size`` bytes in it, without ever holding that field."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = "application/json"
    await response.prepare(request)
    try:
        await response.write(body[:-1] + b',"Padding":"')
        for start in range(0, size, len(_PADDING)):
            await response.write(_PADDING[: size - start])
        await response.write(b'"}')
    except ConnectionError:
        return response  # the client has stopped reading
    return response

"""The way of every request: check it, let it suffer the faults asked for, answer it, note it."""

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
"""The id of the request that is being answered. A connection's requests are answered one after the other."""


class Refused(Exception):
    """A request gets an error for an answer."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request is about, as far as faults and the journal care."""

    operation: str
    cluster_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, before it is sent."""

    status: int
    body: Any
    """JSON-ready; None where there is no body."""
    headers: Mapping[str, str] = field(default_factory=dict)


Act: TypeAlias = Callable[[], Awaitable[Any]]
"""Does what was asked, and returns what :meth:`Service.granted` words."""


class Service(Protocol):
    """How one cloud's API reads requests and words answers."""

    def asked(self, request: web.Request) -> Asked:
        """Say what a request is about, without judging it."""

    async def admit(self, request: web.Request) -> Act:
        """Check a request and return what does it.

        :raises Refused: where the cloud would not do it.
        """

    def granted(self, told: Any, request_id: str) -> Reply:
        """Word the answer of an operation."""

    def refused(self, refusal: Refused, request: web.Request, request_id: str) -> Reply:
        """Word an error."""

    def usual(self, kind: FaultKind) -> Refused:
        """Return what the cloud says of an ERROR or a THROTTLE for which the fault itself has no words."""


class Gateway:
    """Serves one cloud's API over HTTP."""

    def __init__(self, service: Service, faults: Faults, journal: Journal) -> None:
        self._service = service
        self._faults = faults
        self._journal = journal

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or fail to, as asked."""
        arrived = time.time()
        asked = self._service.asked(request)
        struck = self._faults.take(asked.operation, asked.job_id)
        fault = next((fault for fault in struck if fault.kind is not FaultKind.LATENCY), None)
        await asyncio.sleep(sum(f.seconds for f in struck if f.kind is FaultKind.LATENCY))

        def note(outcome: str, status: int | None) -> None:
            record = RequestRecord(arrived, asked.operation, asked.cluster_id, asked.job_id, outcome, status)
            self._journal.add(record)

        kind = fault.kind if fault else None
        if fault and kind is FaultKind.HTML:
            note(kind, fault.status or 200)
            return web.Response(body=_HTML, content_type="text/html", status=fault.status or 200)
        if fault and kind is FaultKind.RESET and not fault.effect:
            note(kind, None)
            return _reset(request)
        reply, outcome = await self._reply(request, fault)
        if kind is FaultKind.RESET:
            note(kind, None)
            return _reset(request)
        note(kind if kind is FaultKind.TRUNCATE else outcome, reply.status)
        body = b""
        if reply.body is not None:
            text = json.dumps(reply.body, ensure_ascii=False, separators=(",", ":"))
            # A lone surrogate leaves as its JSON escape, as from a cloud that writes ASCII.
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
                raise _as_refusal(fault, self._service.usual(fault.kind))
            return self._service.granted(await act(), request_id), "ok"
        except Refused as refusal:
            return self._service.refused(refusal, request, request_id), refusal.code

    def _date(self) -> str:
        now = time.time() + self._faults.clock_shift
        return format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)


def _as_refusal(fault: Fault, usual: Refused) -> Refused:
    headers = {}
    if fault.retry_after_ms is not None:
        headers["x-acs-retry-after"] = str(fault.retry_after_ms)
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return Refused(
        fault.status or usual.status, fault.code or usual.code, fault.message or usual.message, headers
    )


def _reset(request: web.Request) -> web.StreamResponse:
    """Cut the connection; aiohttp finds it closed and sends nothing of what is returned."""
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
        return response  # the client has read as much as it wanted
    return response

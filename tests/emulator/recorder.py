# SPDX-License-Identifier: Apache-2.0
"""An emulator that records what clients send, to compare our hooks with the vendors' clients."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from airflow_provider_ehpc.emulator.platform import Platform
from airflow_provider_ehpc.emulator.server import Emulator

_AUTHENTICATION = frozenset(
    {
        "access_key_id",
        "signature",
        "signature_method",
        "signature_version",
        "timestamp",
        "version",
    }
)


@dataclass
class Sent:
    """A request as it arrived."""

    method: str
    path: str
    raw_query: str
    query: dict[str, str]
    """Decoded, without the parameters that authenticate the request."""
    body: Any


@dataclass
class RecordingEmulator(Emulator):
    """Stores every request in :attr:`sent`."""

    sent: list[Sent] = field(default_factory=list)
    jobs: str = "timetable"
    """The scheduler."""

    def __post_init__(self) -> None:
        super().__init__(scheduler=self.jobs)

    def _application(self, platform: Platform) -> web.Application:
        app = super()._application(platform)

        @web.middleware
        async def record(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            body = await request.read()
            raw = request.rel_url.raw_query_string
            query = {
                name: value
                for name, value in parse_qsl(raw, keep_blank_values=True)
                if name not in _AUTHENTICATION
            }
            content = json.loads(body) if body else None
            self.sent.append(Sent(request.method, request.path, raw, query, content))
            return await handler(request)

        app.middlewares.append(record)
        return app


@pytest.fixture
def recording() -> Iterator[RecordingEmulator]:
    with RecordingEmulator() as emulator:
        yield emulator

"""Endpoints for whoever runs the emulator: make faults, see requests and operations, change a job's log.

They ask for no key and serve only this machine. A body must be JSON by its content type, which a web page
of another origin cannot send without asking first.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from airflow_provider_ehpc.emulator.accounts import Account
from airflow_provider_ehpc.emulator.faults import Fault
from airflow_provider_ehpc.emulator.operations import CLOUDS, Operation

if TYPE_CHECKING:
    from airflow_provider_ehpc.emulator.server import Emulator

PREFIX = "/_emulator"


class Admin:
    """The endpoints under ``/_emulator``."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get(PREFIX + "/faults", self.list_faults)
        app.router.add_post(PREFIX + "/faults", self.add_fault)
        app.router.add_delete(PREFIX + "/faults", self.clear_faults)
        app.router.add_get(PREFIX + "/requests", self.list_requests)
        app.router.add_delete(PREFIX + "/requests", self.clear_requests)
        app.router.add_post(PREFIX + "/accounts", self.add_account)
        app.router.add_post(PREFIX + "/tokens", self.issue_token)
        app.router.add_post(PREFIX + "/logs", self.change_log)
        app.router.add_get(PREFIX + "/operations", self.list_operations)
        app.router.add_post(PREFIX + "/operations", self.add_operations)

    async def list_faults(self, request: web.Request) -> web.Response:
        """Tell the faults that may still happen."""
        _local_only(request)
        return web.json_response([dataclasses.asdict(fault) for fault in self._emulator.faults.pending()])

    async def add_fault(self, request: web.Request) -> web.Response:
        """Let a fault happen: the fields of :class:`~airflow_provider_ehpc.emulator.faults.Fault`."""
        told = await _body(request)
        try:
            fault = Fault(**told)
        except (TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        self._emulator.faults.add(fault)
        return web.json_response(dataclasses.asdict(fault), status=201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Forget all faults."""
        _local_only(request)
        self._emulator.faults.clear()
        return web.Response(status=204)

    async def list_requests(self, request: web.Request) -> web.Response:
        """Tell counts by operation and outcome, and the last requests."""
        _local_only(request)
        journal = self._emulator.requests
        recent = [dataclasses.asdict(record) for record in journal.recent]
        return web.json_response({"counts": journal.counts, "recent": recent})

    async def clear_requests(self, request: web.Request) -> web.Response:
        """Forget all requests."""
        _local_only(request)
        self._emulator.requests.clear()
        return web.Response(status=204)

    async def add_account(self, request: web.Request) -> web.Response:
        """Make an access key that is denied the operations in ``denied``."""
        told = await _body(request)
        return _key(self._emulator.accounts.add(denied=tuple(told.get("denied", ()))))

    async def issue_token(self, request: web.Request) -> web.Response:
        """Make a temporary key for ``seconds``, denied the operations in ``denied``."""
        told = await _body(request)
        seconds, denied = float(told.get("seconds", 3600)), tuple(told.get("denied", ()))
        return _key(self._emulator.accounts.issue_token(seconds=seconds, denied=denied))

    async def change_log(self, request: web.Request) -> web.Response:
        """Change the log of ``job_id``: ``change`` is append (of ``text``), truncate or rotate."""
        told = await _body(request)
        try:
            self._emulator.change_log(
                told["job_id"], told["change"], told.get("text", "").encode(), told.get("stream", "stdout")
            )
        except (KeyError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        return web.Response(status=204)

    async def list_operations(self, request: web.Request) -> web.Response:
        """Tell what was done, by any cloud's API, as far as the clouds' logs show it now."""
        _local_only(request)
        log = self._emulator.operation_log
        return web.json_response([dataclasses.asdict(row) for cloud in CLOUDS for row in log.read(cloud)])

    async def add_operations(self, request: web.Request) -> web.Response:
        """Write ``operations`` into the log: each the fields of an
        :class:`~airflow_provider_ehpc.emulator.operations.Operation`.
        """
        told = await _body(request)
        try:
            rows = [Operation(**fields) for fields in told["operations"]]
        except (KeyError, TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        added = self._emulator.operation_log.add(rows)
        return web.json_response([row.id for row in added], status=201)


def _key(account: Account) -> web.Response:
    told = {
        "access_key_id": account.access_key_id,
        "secret": account.secret,
        "security_token": account.security_token,
    }
    return web.json_response(told, status=201)


def _local_only(request: web.Request) -> None:
    # None is a Unix socket's peer, which cannot be elsewhere; the emulator opens none.
    if request.remote is None or not ipaddress.ip_address(request.remote.split("%")[0]).is_loopback:
        raise web.HTTPForbidden(text="only this machine may ask for that\n")


async def _body(request: web.Request) -> dict[str, Any]:
    _local_only(request)
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send application/json\n")
    try:
        told = json.loads(await request.text() or "{}")
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise web.HTTPBadRequest(text="send a JSON object\n")
    return told

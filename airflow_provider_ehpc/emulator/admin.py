# SPDX-License-Identifier: Apache-2.0
"""Serve the admin endpoints: inject faults, read requests and operations, change the log of a job.

Every request must send the secret that the emulator prints at its start: ``Authorization: Bearer <secret>``.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from airflow_provider_ehpc.emulator.accounts import Accounts, CloudAccount
from airflow_provider_ehpc.emulator.faults import Fault, Faults
from airflow_provider_ehpc.emulator.journal import Journal
from airflow_provider_ehpc.emulator.operation_log import OperationLog
from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.records import read_record, read_value

PREFIX = "/_emulator"
_MAX_LIFE = 10 * 366 * 86_400
"""The largest lifetime of a temporary key in seconds, and the largest time since it expired."""
_Body = dict[str, Any]
_Result = tuple[int, Any]
"""HTTP status and JSON-ready body; None for no body."""


class Admin:
    """The endpoints under ``/_emulator``.

    :param secret: required in every request.
    :param change_log: see :meth:`~airflow_provider_ehpc.emulator.server.Emulator.change_log`.
    """

    def __init__(
        self,
        secret: str,
        *,
        faults: Faults,
        journal: Journal,
        accounts: Accounts,
        operation_log: OperationLog,
        change_log: Callable[[str, str, bytes, str], None],
    ) -> None:
        self._secret = secret
        self._faults = faults
        self._journal = journal
        self._accounts = accounts
        self._operation_log = operation_log
        self._change_log = change_log

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        for method, path, endpoint in (
            ("GET", "faults", self.list_faults),
            ("POST", "faults", self.add_fault),
            ("DELETE", "faults", self.clear_faults),
            ("GET", "requests", self.list_requests),
            ("DELETE", "requests", self.clear_requests),
            ("POST", "accounts", self.add_account),
            ("POST", "tokens", self.issue_token),
            ("POST", "logs", self.change_log),
            ("GET", "operations", self.list_operations),
            ("POST", "operations", self.add_operations),
        ):
            app.router.add_route(method, f"{PREFIX}/{path}", self._guarded(endpoint))

    def list_faults(self, body: _Body) -> _Result:
        """List the active faults."""
        return 200, [dataclasses.asdict(fault) for fault in self._faults.pending()]

    def add_fault(self, body: _Body) -> _Result:
        """Inject a fault with the fields of :class:`~airflow_provider_ehpc.emulator.faults.Fault`."""
        fault = read_record(Fault, body)
        self._faults.add(fault)
        return 201, dataclasses.asdict(fault)

    def clear_faults(self, body: _Body) -> _Result:
        """Remove all faults."""
        self._faults.clear()
        return 204, None

    def list_requests(self, body: _Body) -> _Result:
        """Return counts by operation and outcome, and the last requests."""
        recent = [dataclasses.asdict(record) for record in self._journal.recent]
        return 200, {"counts": self._journal.counts, "recent": recent}

    def clear_requests(self, body: _Body) -> _Result:
        """Clear the journal of requests."""
        self._journal.clear()
        return 204, None

    def add_account(self, body: _Body) -> _Result:
        """Create an access key that may not call the operations in ``denied``."""
        return 201, _key(self._accounts.add(denied=_denied(body, {"denied"})))

    def issue_token(self, body: _Body) -> _Result:
        """Create a temporary key for ``seconds`` that may not call the operations in ``denied``."""
        denied = _denied(body, {"seconds", "denied"})
        seconds = read_value(float, body, "seconds", 3600)
        if abs(seconds) > _MAX_LIFE:
            raise ValueError(f"seconds: {seconds} is out of range; use -{_MAX_LIFE} to {_MAX_LIFE}")
        return 201, _key(self._accounts.issue_token(seconds=seconds, denied=denied))

    def change_log(self, body: _Body) -> _Result:
        """Change the log of ``job_id``. ``change`` is append (adds ``text``), truncate or rotate."""
        _only(body, {"job_id", "change", "text", "stream"})
        job_id, change, text, stream = (
            read_value(str, body, name, default)
            for name, default in (("job_id", ""), ("change", ""), ("text", ""), ("stream", "stdout"))
        )
        self._change_log(job_id, change, text.encode(), stream)
        return 204, None

    def list_operations(self, body: _Body) -> _Result:
        """List the visible operations of all clouds."""
        log = self._operation_log
        return 200, [dataclasses.asdict(row) for cloud in log.clouds for row in log.read(cloud)]

    def add_operations(self, body: _Body) -> _Result:
        """Add ``operations`` to the log, each with the fields of
        :class:`~airflow_provider_ehpc.emulator.operations.EmulatedOperation`.
        """
        _only(body, {"operations"})
        rows = [read_record(EmulatedOperation, fields) for fields in read_value(list, body, "operations", [])]
        return 201, [row.id for row in self._operation_log.add(rows)]

    def _guarded(
        self, endpoint: Callable[[_Body], _Result]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Return a handler that checks the secret, reads the body and turns errors into responses."""

        async def handle(request: web.Request) -> web.Response:
            sent = request.headers.get("Authorization", "").encode(errors="replace")
            if not hmac.compare_digest(sent, f"Bearer {self._secret}".encode()):
                raise web.HTTPUnauthorized(
                    text="send the secret that the emulator printed when it started, as "
                    '"Authorization: Bearer <secret>"\n',
                    headers={"WWW-Authenticate": "Bearer"},
                )
            body = await _body(request) if request.method == "POST" else {}
            try:
                status, result = endpoint(body)
            except KeyError as error:
                raise web.HTTPBadRequest(text=f"job_id: unknown job {error}\n") from None
            except ValueError as error:
                raise web.HTTPBadRequest(text=f"{error}\n".encode(errors="replace").decode()) from None
            except OSError as error:
                raise web.HTTPBadRequest(text=f"{error.filename}: {error.strerror}\n") from None
            return web.Response(status=204) if result is None else web.json_response(result, status=status)

        return handle


def _key(account: CloudAccount) -> dict[str, str | None]:
    return {
        "access_key_id": account.access_key_id,
        "secret": account.secret,
        "security_token": account.security_token,
    }


def _denied(body: _Body, names: set[str]) -> tuple[str, ...]:
    _only(body, names)
    denied: tuple[str, ...] = read_value(tuple[str, ...], body, "denied", ())
    return denied


def _only(body: _Body, names: set[str]) -> None:
    if unknown := sorted(body.keys() - names):
        raise ValueError(f"unknown field {', '.join(unknown)}; the fields are {', '.join(sorted(names))}")


async def _body(request: web.Request) -> _Body:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="expected Content-Type: application/json\n")
    try:
        body = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"invalid JSON in the body: {type(error).__name__}\n") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="expected a JSON object as the body\n")
    return body

# SPDX-License-Identifier: Apache-2.0
"""Reading a connection must not hold up the event loop: a thousand triggers share it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import compat
from airflow_provider_ehpc.compat import AirflowNotFoundException
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from tests.conftest import Connect

if TYPE_CHECKING:
    import pytest


async def test_a_slow_secrets_backend_does_not_stop_the_loop(
    ehpc_emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vault that answers late is asked in a thread; only a running loop can set ``ticked``."""
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    ticked = threading.Event()
    waited: list[bool] = []
    # The one that a real installation has always, before the vault of another.
    (backend,) = {type(b) for b in ensure_secrets_backend_loaded() if "Environment" in type(b).__name__}
    original = backend.get_connection

    def slow(self: Any, conn_id: str, *args: Any, **kwargs: Any) -> Any:
        waited.append(ticked.wait(10))
        return original(self, conn_id, *args, **kwargs)

    monkeypatch.setattr(backend, "get_connection", slow)

    async def tick() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        ticked.set()

    hook = EhpcHook(connect(ehpc_emulator.connection))
    _, account = await asyncio.gather(tick(), hook.aaccount())
    assert waited
    assert all(waited)
    assert account.base_url == ehpc_emulator.url


async def test_a_connection_that_only_synchronous_look_ups_find_is_found(
    ehpc_emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``dag.test()`` answers only those for connections in the metadata database."""
    import airflow.providers.common.compat.connection as compat_connection

    async def not_found(conn_id: str, hook: Any = None) -> Any:
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(compat_connection, "get_async_connection", not_found)
    thread: list[int] = []
    original = compat.read_connection

    def read(conn_id: str) -> Any:
        thread.append(threading.get_ident())
        return original(conn_id)

    monkeypatch.setattr(compat, "read_connection", read)
    account = await EhpcHook(connect(ehpc_emulator.connection)).aaccount()
    assert account.base_url == ehpc_emulator.url
    assert thread != [threading.get_ident()]


def test_a_connection_is_read_once_for_many_calls(
    ehpc_emulator: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_ehpc.hooks import base

    read: list[str] = []

    def counted(conn_id: str, original: Any = base.read_connection) -> Any:
        read.append(conn_id)
        return original(conn_id)

    monkeypatch.setattr(base, "read_connection", counted)
    hook = EhpcHook(connect(ehpc_emulator.connection))
    for _ in range(3):
        hook.list_jobs(ehpc_emulator.cluster_id)
    hook.close()
    assert len(read) == 1

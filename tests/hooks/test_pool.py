# SPDX-License-Identifier: Apache-2.0
"""Hooks that live long: one for all users in an event loop, with a connection that may change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import AuthenticationFailed, InvalidArgument
from airflow_provider_ehpc.compat import AirflowNotFoundException
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import base, client, pool
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.hooks.huawei import ModelArtsHook
from airflow_provider_ehpc.hooks.pool import HookPool
from tests.conftest import Connect

CONN = "ehpc_test"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The readings of connections."""
    read: list[str] = []

    async def counted(conn_id: str, original: Any = base.aread_connection) -> Any:
        read.append(conn_id)
        await asyncio.sleep(0.01)
        return await original(conn_id)

    monkeypatch.setattr(base, "aread_connection", counted)
    return read


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sessions that hooks open."""
    opened: list[Any] = []

    def saved(options: Any, original: Any = client.new_async_session) -> Any:
        opened.append(original(options))
        return opened[-1]

    monkeypatch.setattr(client, "new_async_session", saved)
    return opened


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection be too old."""
    monkeypatch.setattr(pool, "CONNECTION_LIFETIME", 0.0)


@pytest.fixture
async def shared(ehpc_emulator: Emulator, connect: Connect) -> AsyncIterator[pool.SharedHook]:
    connect(ehpc_emulator.connection)
    async with HookPool().share(CONN, "ehpc") as shared:
        yield shared


async def test_users_share_a_hook_and_the_last_one_closes_it(
    ehpc_emulator: Emulator, connect: Connect, reads: list[str], sessions: list[Any]
) -> None:
    connect(ehpc_emulator.connection)
    hooks = HookPool()
    leave = asyncio.Event()

    async def use() -> EhpcHook:
        async with hooks.share(CONN, "ehpc") as shared:
            hook = await shared.get()
            assert isinstance(hook, EhpcHook)
            await hook.alist_jobs(ehpc_emulator.cluster_id)
            await leave.wait()
            return hook

    users = [asyncio.create_task(use()) for _ in range(20)]
    async with hooks.share(CONN, "ehpc-classic") as other:
        assert type(await other.get()) is not EhpcHook
    while ehpc_emulator.requests.count() < 20:
        await asyncio.sleep(0.01)
    users[0].cancel()
    await asyncio.wait(users[:1])
    assert (len(reads), len(sessions)) == (2, 1)
    assert not sessions[0].closed, "others still use it"
    leave.set()
    used = await asyncio.gather(*users[1:])
    assert len(set(map(id, used))) == 1
    assert sessions[0].closed
    assert not hooks._hooks


async def test_a_connection_is_read_again_only_after_its_lifetime(
    shared: pool.SharedHook, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await shared.get()
    for _ in range(5):
        await shared.get()
    assert len(reads) == 1
    monkeypatch.setattr(pool, "CONNECTION_LIFETIME", 0.0)
    assert await shared.get() is hook
    assert len(reads) == 2


async def test_a_request_under_way_finishes_when_the_connection_changes(
    ehpc_emulator: Emulator, connect: Connect, shared: pool.SharedHook, sessions: list[Any], aged: None
) -> None:
    hook = await shared.get()
    assert isinstance(hook, EhpcHook)
    ehpc_emulator.fault("latency", seconds=1.5, times=1)
    slow = asyncio.create_task(hook.alist_jobs(ehpc_emulator.cluster_id))
    while ehpc_emulator.faults.pending():
        await asyncio.sleep(0.01)
    connect(ehpc_emulator.connection, extra={"timeout": 7})
    renewed = await shared.get()
    assert renewed.account.transport.read_timeout == 7
    await hook.alist_jobs(ehpc_emulator.cluster_id)
    assert not slow.done()
    assert (await slow).jobs == []
    assert len(sessions) == 2


async def test_a_connection_that_cannot_be_read_for_a_while_stays_in_use(
    shared: pool.SharedHook,
    aged: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook = await shared.get()

    async def broken(conn_id: str) -> None:
        raise ConnectionError("the supervisor is busy")

    monkeypatch.setattr(base, "aread_connection", broken)
    assert await shared.get() is hook
    assert "cannot read connection 'ehpc_test' again" in caplog.text


async def test_a_connection_that_is_gone_is_an_error_until_it_is_back(
    ehpc_emulator: Emulator, connect: Connect, shared: pool.SharedHook, aged: None, monkeypatch: Any
) -> None:
    await shared.get()
    monkeypatch.delenv("AIRFLOW_CONN_EHPC_TEST")
    for _ in range(2):
        with pytest.raises(AirflowNotFoundException):
            await shared.get()
    connect(ehpc_emulator.connection)
    await (await shared.get()).aaccount()


async def test_a_connection_may_come_back_with_another_type(
    ehpc_emulator: Emulator, connect: Connect, sessions: list[Any], aged: None
) -> None:
    connect(ehpc_emulator.connection)
    async with HookPool().share(CONN, None) as shared:
        first = await shared.get()
        assert isinstance(first, EhpcHook)
        await first.alist_jobs(ehpc_emulator.cluster_id)
        connect(ehpc_emulator.connections["huawei_modelarts"])
        with pytest.raises(InvalidArgument, match="huawei_modelarts"):
            await shared.get()
        assert isinstance(await shared.get(), ModelArtsHook)
        assert not sessions[0].closed, "the first hook may still be in use"
    assert sessions[0].closed


async def test_a_refused_key_is_read_again_once_for_all(
    ehpc_emulator: Emulator, connect: Connect, reads: list[str]
) -> None:
    """Five hundred readers of logs would keep the triggerer's supervisor busy for ten seconds."""
    connect(ehpc_emulator.connection, password="wrong")
    async with HookPool().share(CONN, "ehpc") as shared:
        hook = await shared.get()
        assert isinstance(hook, EhpcHook)
        refused = hook.account
        requests = (hook.alist_jobs(ehpc_emulator.cluster_id) for _ in range(20))
        results = await asyncio.gather(*requests, return_exceptions=True)
        assert {type(result) for result in results} == {AuthenticationFailed}
        assert ehpc_emulator.requests.count() == 20, "no request is repeated with the same key"
        assert len(reads) == 2
        assert not await shared.has_new_key(refused)
        assert len(reads) == 3
        connect(ehpc_emulator.connection)
        assert await shared.has_new_key(refused)
        await hook.alist_jobs(ehpc_emulator.cluster_id)


def test_every_loop_has_its_own_and_a_closed_one_leaves_nothing_behind(
    ehpc_emulator: Emulator, connect: Connect
) -> None:
    """``dag.test()`` makes a new loop at every deferral, and may close it with tasks pending."""
    connect(ehpc_emulator.connection)
    hooks = HookPool()

    async def enter() -> Any:
        using = hooks.share(CONN, "ehpc")
        return using, await (await using.__aenter__()).get()

    loops = [asyncio.new_event_loop() for _ in range(3)]
    left = [loop.run_until_complete(enter()) for loop in loops]
    assert len({id(hook) for _, hook in left}) == 3
    for loop in loops[:2]:
        loop.close()
    last = loops[2]
    last.run_until_complete(enter())
    assert [key[0] for key in hooks._hooks] == [last]
    last.close()

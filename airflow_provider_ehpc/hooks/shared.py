"""A hook for all who ask an API of an account in an event loop.

Reading a connection costs the triggerer's supervisor 20 ms, and each hook has connections of its own to the
cloud: what is nothing for one log is much for five hundred.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias

from airflow_provider_ehpc.hooks import ajob_hook
from airflow_provider_ehpc.hooks.base import ApiHook

LIFETIME = 300.0
"""Seconds after which a newcomer gets a new hook, for the connection may have changed; others keep theirs."""

_Key: TypeAlias = tuple[asyncio.AbstractEventLoop, str, str]


@dataclass(slots=True, eq=False)
class _Shared:
    made_at: float
    users: int = 0
    hook: ApiHook | None = None
    making: asyncio.Lock = field(default_factory=asyncio.Lock)


_hooks: dict[_Key, _Shared] = {}


@contextlib.asynccontextmanager
async def shared_hook(conn_id: str, api: str) -> AsyncIterator[ApiHook]:
    """Use the hook that others of this event loop use; the last one closes it."""
    loop = asyncio.get_running_loop()
    key = (loop, conn_id, api)
    shared = _hooks.get(key)
    if shared is None or loop.time() - shared.made_at >= LIFETIME:
        # A loop that was closed with its tasks still pending took no leave.
        for old in [old for old in _hooks if old[0].is_closed()]:
            del _hooks[old]
        shared = _hooks[key] = _Shared(loop.time())
    shared.users += 1
    try:
        async with shared.making:
            if shared.hook is None:
                shared.hook = await ajob_hook(conn_id, api)
        yield shared.hook
    finally:
        shared.users -= 1
        if not shared.users:
            if _hooks.get(key) is shared:
                del _hooks[key]
            if shared.hook is not None:
                await shared.hook.aclose()

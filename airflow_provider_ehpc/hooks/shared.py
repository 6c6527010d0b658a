"""One hook for everything in an event loop that uses an API of an account.

Reading a connection costs the triggerer's supervisor 20 ms, and each hook has its own connections to the
cloud: little for one log, much for five hundred.
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
"""Seconds after which new users get a new hook, as the connection may have changed; others use theirs on."""

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
    """Use the hook that this event loop shares; its last user closes it."""
    loop = asyncio.get_running_loop()
    key = (loop, conn_id, api)
    shared = _hooks.get(key)
    if shared is None or loop.time() - shared.made_at >= LIFETIME:
        # A loop that was closed with tasks still pending removed nothing.
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

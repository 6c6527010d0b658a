# SPDX-License-Identifier: Apache-2.0
"""Own the long-lived hooks: those of pollers, event watchers and triggers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TypeAlias

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.compat import AirflowNotFoundException
from airflow_provider_ehpc.hooks import ajob_hook
from airflow_provider_ehpc.hooks.account import Account
from airflow_provider_ehpc.hooks.base import ApiHook

CONNECTION_LIFETIME = 300.0
"""Seconds after which a connection is read again. Each reading costs the triggerer's supervisor 20 ms."""

log = logging.getLogger(__name__)

_Key: TypeAlias = tuple[asyncio.AbstractEventLoop, str, str | None]


class SharedHook:
    """A hook and its users. It is opened when it is first needed."""

    def __init__(self, conn_id: str, api: str | None) -> None:
        self.users = 0
        self._conn_id = conn_id
        self._api = api
        self._hook: ApiHook | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._opened = contextlib.AsyncExitStack()

    async def get(self) -> ApiHook:
        """Return the hook. Its connection was read at most :data:`CONNECTION_LIFETIME` seconds ago.

        If reading it again fails for another reason than those below, a warning is logged and the hook stays
        as it is.

        :raises AirflowNotFoundException: if the connection is gone.
        :raises InvalidArgument: if it is invalid.
        """
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if self._hook is None:
                self._hook = await ajob_hook(self._conn_id, self._api)
                self._opened.push_async_callback(self._hook.aclose)
                self._read_at = now
            elif now - self._read_at >= CONNECTION_LIFETIME:
                try:
                    await self._hook.arefresh(self._hook.account)
                except (AirflowNotFoundException, InvalidArgument):
                    # The connection may come back with another type. Current users can finish with this hook.
                    self._hook = None
                    raise
                except Exception:
                    log.warning(
                        "cannot read connection %r again; continuing with what was read before",
                        self._conn_id,
                        exc_info=True,
                    )
                self._read_at = now
            return self._hook

    async def has_new_key(self, refused: Account) -> bool:
        """Read the connection again; return True if its key differs from the one that was refused.

        The same key must not be sent again: the cloud may lock it.
        """
        self._read_at = float("-inf")
        return (await self.get()).account.key != refused.key

    async def aclose(self) -> None:
        """Close the connections to the cloud."""
        await self._opened.aclose()


class HookPool:
    """Share one hook among all users of an event loop, a connection and an API.

    The last user closes it. A connection that has changed does not disturb requests that are under way.
    """

    def __init__(self) -> None:
        self._hooks: dict[_Key, SharedHook] = {}

    @contextlib.asynccontextmanager
    async def share(self, conn_id: str, api: str | None) -> AsyncIterator[SharedHook]:
        """Use the shared hook."""
        # A loop that was closed with tasks still pending removed nothing.
        for old in [key for key in self._hooks if key[0].is_closed()]:
            del self._hooks[old]
        key = (asyncio.get_running_loop(), conn_id, api)
        shared = self._hooks.setdefault(key, SharedHook(conn_id, api))
        shared.users += 1
        try:
            yield shared
        finally:
            shared.users -= 1
            if not shared.users:
                # Before the first await: no new user may get a hook that is being closed.
                self._hooks.pop(key, None)
                await shared.aclose()


POOL = HookPool()

"""A long-lived hook that follows changes of its connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.compat import AirflowNotFoundException
from airflow_provider_ehpc.hooks.base import ApiHook

CONNECTION_LIFETIME = 300.0
"""Seconds after which a connection is read again. Each reading costs the triggerer's supervisor 20 ms."""

log = logging.getLogger(__name__)

OpenHook: TypeAlias = Callable[[], Awaitable[ApiHook]]


class HookKeeper:
    """Holds a hook, with its session, and reads its connection anew now and then.

    :param open_hook: reads the connection and makes a hook.
    """

    def __init__(self, open_hook: OpenHook) -> None:
        self._open_hook = open_hook
        self._hook: ApiHook | None = None
        self._read_at = float("-inf")

    async def get(self) -> ApiHook:
        """Return the hook.

        :raises AirflowNotFoundException: if the connection is gone.
        :raises InvalidArgument: if it is invalid.
        """
        now = asyncio.get_running_loop().time()
        if self._hook is None or now - self._read_at >= CONNECTION_LIFETIME:
            try:
                hook = await self._open_hook()
            except (AirflowNotFoundException, InvalidArgument):
                raise
            except Exception:
                if self._hook is None:
                    raise
                log.warning("cannot read the connection again; the previous one stays in use", exc_info=True)
            else:
                await self.aclose()
                self._hook = hook
            self._read_at = now
        return self._hook

    async def has_new_key(self, refused: ApiHook) -> bool:
        """Read the connection again; return True if its key differs from the one that was refused.

        The same is not sent again: refused keys can be locked.
        """
        self._read_at = float("-inf")
        hook = await self.get()
        return hook.account.confidential != refused.account.confidential

    async def aclose(self) -> None:
        """Close the hook's connections."""
        hook, self._hook = self._hook, None
        if hook is not None:
            await hook.aclose()

# SPDX-License-Identifier: Apache-2.0
"""Run parts of flows one at a time, in threads and in event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class Mutex:
    """A lock for threads, and one for the tasks of each event loop."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @property
    def alock(self) -> asyncio.Lock:
        """Return the lock of the running event loop."""
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


@dataclass(frozen=True, slots=True)
class Exclusive(Generic[T]):
    """A step of a flow: run another flow while nobody else holds the mutex, and return its result."""

    flow: Generator[Any, Any, T]
    mutex: Mutex

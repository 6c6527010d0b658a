# SPDX-License-Identifier: Apache-2.0
"""End a poll on time, whatever delays it: a slow server, a rate limit, a name server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from airflow_provider_ehpc.apis.call import ApiError, ServiceUnavailable

T = TypeVar("T")

LONGEST_CALL = 600.0
"""Seconds that a poll takes at most, including retries and pauses for the rate limit."""


def by_deadline(deadline: float, poll: Callable[[], T], last_error: Callable[[], ApiError | None]) -> T:
    """Return the result of a poll, or stop waiting for it at the deadline.

    Near the deadline, the poll runs in a thread, which is abandoned if it is late. The poll must not write
    anything.

    :param deadline: epoch seconds.
    :param last_error: returns the error of the last attempt, after which the poll is being retried.
    :raises ApiError: the error of the poll. If there is no result by the deadline: the last error if it is
        transient, otherwise :class:`ServiceUnavailable`.
    """
    left = deadline - time.time()
    if left > LONGEST_CALL:
        return poll()
    results: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((poll(), None))
        except BaseException as error:
            results.put((None, error))

    # Unlike a thread of a pool, a daemon thread does not delay the end of the process.
    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = results.get(timeout=max(0.0, left))
    except Empty:
        if (cause := last_error()) and cause.transient:
            raise cause.with_traceback(None) from None
        raise ServiceUnavailable("the API did not respond before the deadline of the wait") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]

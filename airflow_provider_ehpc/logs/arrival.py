# SPDX-License-Identifier: Apache-2.0
"""Delay a worker's checkpoints, and the end of its wait, until the lines before them are in the task log.

Airflow sends a process's lines and its requests to its supervisor through two channels. The supervisor reads
4 KiB of lines between two requests (Airflow 3.3.2, ``make_buffered_socket_reader``). So a cursor that is sent
right after some hundred lines is in the database before the lines are in a file. If the supervisor is killed
at that moment, the lines are lost: no later process reads them again. A trigger's event is a request, too;
:mod:`airflow_provider_ehpc.logs.saver` does the same for triggers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.logs.steps import Checkpoint, Emit, Pause, Step, Steps
from airflow_provider_ehpc.waiting.verdict import Verdict

ARRIVAL = 3.0
"""Seconds until written lines are in the log. The channel holds 208 KiB, which the supervisor reads in about
fifty rounds; each took 5 to 20 ms on one busy machine and 50 ms on another."""
SPACING = 1.0
"""Seconds between two checkpoints in the middle of a backlog, at least: each is a request to Airflow's API
server."""


def arrived(steps: Steps, clock: Callable[[], float]) -> Steps:
    """Yield a follower's steps, but its checkpoints and its end only when their lines are in the log.

    The end seldom has to wait: only for the last line of a log that ends without LF.

    :param clock: returns epoch seconds.
    """
    held: deque[tuple[float, Checkpoint]] = deque()
    result: Any = None
    error: ApiError | None = None
    arrival = -math.inf
    """When the newest line will be in the log."""
    earliest = -math.inf
    """When the next checkpoint of a backlog may be yielded."""
    while True:
        try:
            step = steps.throw(error) if error else steps.send(result)
        except StopIteration as end:
            while clock() < arrival:
                yield Pause(arrival - clock())
            if held:
                yield held[-1][1]
            verdict: Verdict = end.value
            return verdict
        result = error = None
        if isinstance(step, Checkpoint):
            held.append((arrival, step))
        if clock() >= earliest and (due := _due(held, clock())):
            earliest = clock() + SPACING
            yield due
        if isinstance(step, Checkpoint):
            continue
        if isinstance(step, Pause):
            yield from _pause(step.seconds, held, clock)
        else:
            try:
                result = yield step
            except ApiError as thrown:
                error = thrown
        if isinstance(step, Emit):
            arrival = clock() + ARRIVAL


def _due(held: deque[tuple[float, Checkpoint]], now: float) -> Checkpoint | None:
    """Remove the checkpoints that are due; return the newest of them."""
    due = None
    while held and held[0][0] <= now:
        due = held.popleft()[1]
    return due


def _pause(
    seconds: float, held: deque[tuple[float, Checkpoint]], clock: Callable[[], float]
) -> Generator[Step, Any, None]:
    """Pause, and yield the newest checkpoint that comes due meanwhile."""
    end = clock() + seconds
    due = [at for at, _ in held if at < end]
    if due:
        if due[-1] > clock():
            yield Pause(due[-1] - clock())
        if checkpoint := _due(held, max(clock(), due[-1])):
            yield checkpoint
    if end > clock():
        yield Pause(end - clock())

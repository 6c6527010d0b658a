"""Lines that were written are not in the log yet: a checkpoint waits until they are, and so does the end.

Airflow carries a process's lines and its requests to its supervisor in two channels, and the supervisor takes
4 KiB of lines between two requests (Airflow 3.3.2, ``make_buffered_socket_reader``). So a cursor that is sent
right behind some hundred lines is in the database before they are in a file, and if the supervisor is killed
then (a triggerer's, a node's), they are lost: nobody reads them again. A trigger's event is a request, too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, Pause, Step, Steps
from airflow_provider_ehpc.waiting.verdict import Verdict

ARRIVAL = 3.0
"""Seconds from writing lines to their being in the log. The channel holds 208 KiB, some fifty turns of the
supervisor, of which each took 5 to 20 ms on one busy machine and 50 on another."""


def arrived(steps: Steps, clock: Callable[[], float]) -> Steps:
    """Pass on a follower's steps, but its checkpoints and its end only when the lines that they count are in
    the log. The end seldom has to wait: what it brings late is the last line of a log that ends without LF.

    :param clock: epoch seconds.
    """
    held: deque[tuple[float, Checkpoint]] = deque()
    answer: Any = None
    error: ApiError | None = None
    arrival = -math.inf
    """When the newest line will be there."""
    while True:
        try:
            step = steps.throw(error) if error else steps.send(answer)
        except StopIteration as end:
            while clock() < arrival:
                yield Pause(arrival - clock())
            if held:
                yield held[-1][1]
            verdict: Verdict = end.value
            return verdict
        answer = error = None
        if isinstance(step, Checkpoint):
            held.append((arrival, step))
        yield from _due(held, clock())
        if isinstance(step, Checkpoint):
            continue
        if isinstance(step, Pause):
            yield from _pause(step.seconds, held, clock)
        else:
            try:
                answer = yield step
            except ApiError as thrown:
                error = thrown
        if isinstance(step, Emit):
            arrival = clock() + ARRIVAL


def _due(held: deque[tuple[float, Checkpoint]], now: float) -> Generator[Step, Any, None]:
    due = None
    while held and held[0][0] <= now:
        due = held.popleft()[1]
    if due:
        yield due


def _pause(
    seconds: float, held: deque[tuple[float, Checkpoint]], clock: Callable[[], float]
) -> Generator[Step, Any, None]:
    """Pause, with a break for the newest of the checkpoints that come due meanwhile."""
    now = clock()
    due = [at for at, _ in held if at < now + seconds]
    if due:
        yield Pause(max(0.01, due[-1] - now))
        # A trigger's pause ends early when there is news of the job.
        if clock() < due[-1] - 0.01:
            return
        yield from _due(held, max(clock(), due[-1]))
        seconds = now + seconds - clock()
    if seconds > 0:
        yield Pause(seconds)

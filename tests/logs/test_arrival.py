# SPDX-License-Identifier: Apache-2.0
"""Lines are on their way to the log for a while; a process that dies takes with it those that are."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.aliyun.ehpc import get_job
from airflow_provider_ehpc.apis.call import ServiceUnavailable
from airflow_provider_ehpc.logs.arrival import ARRIVAL, SPACING, arrived
from airflow_provider_ehpc.logs.cursor import SavedCursor
from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, Pause, Step
from airflow_provider_ehpc.waiting.watch import Note, Outcome, Verdict
from tests.logs.cloud import Clock

END = Verdict(Outcome.REACHED, "over")
CALL = get_job("c1", "7")


def counted(number: int) -> Checkpoint:
    """A checkpoint that counts so many lines."""
    return Checkpoint(SavedCursor("fake", {"lines": str(number)}))


def follower(steps: list[tuple[str, float]]) -> Generator[Step, Any, Verdict]:
    """Do what a test says: write a line, note the lines so far, or pause."""
    lines = 0
    for what, seconds in steps:
        if what == "line":
            lines += 1
            yield Emit("stdout", [str(lines)])
        elif what == "note":
            yield counted(lines)
        else:
            yield Pause(seconds)
    return END


STEPS = st.lists(
    st.tuples(st.sampled_from(["line", "note", "pause"]), st.sampled_from([0.1, 0.7, 1.9, 2.0, 5.0])),
    max_size=30,
)


@given(steps=STEPS, cost=st.sampled_from([0.0, 0.3, 3.0]), rest=st.sampled_from([0.5, 60.0]))
def test_no_place_is_noted_before_its_lines_are_in_the_log(
    steps: list[tuple[str, float]], cost: float, rest: float
) -> None:
    """A triggerer that is killed then would lose the lines in between: nobody reads them again."""
    clock = Clock()
    written: list[float] = []
    noted, paused = 0, 0.0
    for step in arrived(follower([*steps, ("pause", rest)]), clock):
        if isinstance(step, Pause):
            assert step.seconds > 0
            clock.now += step.seconds
            paused += step.seconds
        elif isinstance(step, Emit):
            clock.now += cost
            written.append(clock.now)
        elif isinstance(step, Checkpoint):
            lines = int(step.cursor.job["lines"])
            assert lines >= noted
            assert all(at <= clock.now - ARRIVAL for at in written[:lines])
            noted = lines
    kinds = [what for what, _ in steps]
    last = max((n for n, what in enumerate(kinds) if what == "note"), default=0)
    assert noted == kinds[:last].count("line")
    assert all(at <= clock.now - ARRIVAL for at in written), "the end is a request as well"
    asked = rest + sum(seconds for what, seconds in steps if what == "pause")
    assert asked - 1e-6 <= paused <= asked + ARRIVAL


def test_a_backlog_without_a_pause_is_noted_as_well() -> None:
    """Else a crash in the middle of a large log would repeat all of it."""
    clock = Clock()
    noted = checkpoints = 0
    for step in arrived(follower([("line", 0.0), ("note", 0.0)] * 100), clock):
        if isinstance(step, Emit):
            clock.now += 0.5
        elif isinstance(step, Pause):
            clock.now += step.seconds
        elif isinstance(step, Checkpoint):
            noted = int(step.cursor.job["lines"])
            checkpoints += 1
            assert clock.passed - noted * 0.5 <= ARRIVAL + SPACING + 0.5
    assert noted == 100
    assert checkpoints <= 50 / SPACING + 1, "each is a request to Airflow's API server"


def test_a_place_without_new_lines_is_noted_at_once() -> None:
    """The first comes before any line: a retry must know that there was a try before it, and mark lines."""
    flow = arrived(
        follower([("note", 0.0), ("line", 0.0), ("note", 0.0), ("pause", 9.0), ("note", 0.0)]), Clock()
    )
    assert next(flow) == counted(0)
    assert next(flow) == Emit("stdout", ["1"])
    assert isinstance(next(flow), Pause)


def test_the_last_place_is_noted_when_all_is_over() -> None:
    """And not before the last line is in the log: a trigger that is killed when Airflow has its event and not
    that line takes it along."""
    clock = Clock()
    flow = arrived(follower([("line", 0.0), ("note", 0.0)]), clock)
    assert next(flow) == Emit("stdout", ["1"])
    for _ in range(3):
        # The pause of a trigger ends early when there is news.
        assert isinstance(next(flow), Pause)
        clock.now += ARRIVAL / 2.9
    assert next(flow) == counted(1)
    with pytest.raises(StopIteration):
        next(flow)


def test_answers_and_errors_reach_the_follower() -> None:
    """It decides by them; a fault that did not reach it would end the wait."""

    def asking() -> Generator[Any, Any, Verdict]:
        reported = yield CALL
        with pytest.raises(ServiceUnavailable):
            yield CALL
        yield Note(reported)
        return END

    flow = arrived(asking(), Clock())
    assert next(flow) is CALL
    assert flow.send("the answer") is CALL
    assert flow.throw(ServiceUnavailable("gone")) == Note("the answer")
    with pytest.raises(StopIteration):
        next(flow)

# SPDX-License-Identifier: Apache-2.0
"""A follower that dies at any moment, and another that goes on from its last checkpoint."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.call import Flow
from airflow_provider_ehpc.apis.job import JobRef, LogBatch, LogChunk, LogCursor, LogLimits
from airflow_provider_ehpc.logs.cursor import SavedCursor
from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, Pause
from airflow_provider_ehpc.logs.lines import LineAssembler
from tests.logs.cloud import REF, Cloud, Followed, follow


class OpaqueCloud(Cloud):
    """Gives positions that only it understands, as ModelArts does."""

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        positions = {name: int(str(position).lstrip("@")) for name, position in cursor.positions.items()}
        batch = yield from super().read_log(ref, LogCursor(positions), size)
        chunks = tuple(LogChunk(chunk.stream, chunk.data, f"@{chunk.next}") for chunk in batch.chunks)
        return LogBatch(chunks, batch.more)


CLOUDS = pytest.mark.parametrize("kind", [Cloud, OpaqueCloud])


def stored(cursor: SavedCursor) -> SavedCursor:
    """Send a cursor through Airflow's database."""
    read = SavedCursor.read(json.loads(json.dumps(cursor.as_dict())), "fake", REF)
    assert read == cursor
    return read


def lines_at_checkpoint(cut: Followed, stream: str) -> int:
    """How many lines were written before the last checkpoint."""
    last = max(n for n, step in enumerate(cut.steps) if isinstance(step, Checkpoint))
    return len(Followed(None, cut.steps[:last], cut.follower).lines(stream))


def expected(data: bytes) -> list[str]:
    whole = LineAssembler()
    return whole.feed(data) + whole.flush()


def growing(kind: type[Cloud], pieces: list[tuple[int, bytes]], size: int) -> Cloud:
    cloud = kind(states=[(0, "RUNNING"), (205, "SUCCEEDED")], log_limits=LogLimits(size, 1))
    for at, data in pieces:
        cloud.write(at, data)
        cloud.write(at, data[::-1], "stderr")
    return cloud


PIECES = st.lists(
    st.tuples(st.integers(0, 200), st.text("ab\n数", max_size=30).map(str.encode)), max_size=15
).map(lambda pieces: sorted(pieces, key=lambda piece: piece[0]))


@given(
    kind=st.sampled_from([Cloud, OpaqueCloud]),
    pieces=PIECES,
    size=st.integers(1, 60),
    cuts=st.lists(st.integers(1, 60), max_size=4),
)
@example(kind=Cloud, pieces=[(181, b"\n"), (191, b"\na")], size=1, cuts=[24, 33])
def test_no_line_is_lost_wherever_it_dies(
    kind: type[Cloud], pieces: list[tuple[int, bytes]], size: int, cuts: list[int]
) -> None:
    """And what comes twice is what was written behind the last checkpoint, no more."""
    cloud = growing(kind, pieces, size)
    done: dict[str, list[str]] = {"stdout": [], "stderr": []}
    start: SavedCursor | None = None
    for cut_after in [*cuts, 50_000]:
        seen = follow(cloud, start=start, cut_after=cut_after)
        for stream in done:
            kept = None if seen.verdict else lines_at_checkpoint_or_none(seen, stream)
            done[stream] += seen.lines(stream)[:kept]
            if not seen.verdict:
                # An incomplete last line is written at the end, but no checkpoint counts it: more may follow.
                del done[stream][cloud.files[stream].count(b"\n") :]
        if seen.verdict:
            break
        if any(isinstance(step, Checkpoint) for step in seen.steps):
            start = stored(seen.cursor)
    assert done["stdout"] == expected(cloud.files["stdout"])
    assert done["stderr"] == expected(cloud.files["stderr"])
    assert seen.notes(warning=True) == []


def lines_at_checkpoint_or_none(cut: Followed, stream: str) -> int:
    if not any(isinstance(step, Checkpoint) for step in cut.steps):
        return 0
    return lines_at_checkpoint(cut, stream)


@CLOUDS
def test_at_most_one_turn_is_repeated(kind: type[Cloud]) -> None:
    """At every step of a run: between the last checkpoint and the end of the process there is no pause."""
    pieces = [(n, b"line %d\nhalf %d" % (n, n)) for n in range(200)]
    for cut_after in range(1, 90):
        cut = follow(growing(kind, pieces, 40), cut_after=cut_after, interval=5)
        unsaved = False
        for step in cut.steps:
            if isinstance(step, Emit):
                unsaved = True
            elif isinstance(step, Checkpoint):
                unsaved = False
            elif isinstance(step, Pause):
                assert not unsaved


def test_it_says_where_it_goes_on() -> None:
    """A mark shows where the task log may contain lines of the file twice."""
    cloud = Cloud()
    cloud.files = {"stdout": b"x" * 12_339 + b"\nline\nhalf", "stderr": b""}
    cut = follow(cloud, cut_after=20)
    assert follow(cloud, start=stored(cut.cursor), cut_after=1).notes() == [
        "--- resumed at byte 12,345 of stdout; up to one cycle (about 10 s) may be repeated ---"
    ]


def test_a_restart_before_the_first_line_is_reported_too() -> None:
    """The first lines may have been written and not noted."""
    cut = follow(Cloud(), cut_after=1)
    assert cut.cursor.streams == {}
    assert follow(Cloud(), start=stored(cut.cursor), cut_after=1).notes() == [
        "--- resumed at the beginning of the log; up to one cycle (about 10 s) may be repeated ---"
    ]


def test_the_mark_shows_the_cycle_of_the_dead_follower() -> None:
    """In a crowded triggerer turns are long; another may be empty when it takes the stream over."""
    cloud = Cloud()
    cloud.files["stdout"] = b"line\n"
    cut = follow(cloud, cut_after=20, interval=7, save_delay=100)
    (note,) = follow(Cloud(), start=stored(cut.cursor), cut_after=1).notes()
    assert "; up to one cycle (about 105 s) may be repeated ---" in note


def test_a_place_behind_which_nobody_knows_what_was_written_is_reported_as_such() -> None:
    """The worker that should have copied the trigger's cursor died before: the whole deferral comes again."""
    lost = SavedCursor("fake", REF.as_dict(), cycle=None)
    assert follow(Cloud(), start=stored(lost), cut_after=1).notes() == [
        "--- resumed at the beginning of the log; all lines written after it may be repeated ---"
    ]


@pytest.mark.parametrize("interval", [0.5, 7, 45])
def test_every_line_is_counted_before_anything_that_takes_time(interval: float) -> None:
    """The next reading of a backlog, or the next poll, may have to wait for minutes; a kill comes then."""
    cloud = Cloud(states=[(0, "RUNNING"), (50, "SUCCEEDED")], log_limits=LogLimits(400_000, 1))
    cloud.files["stdout"] = b"twenty bytes a line\n" * 100_000
    for second in range(0, 50, 3):
        cloud.write(second, b"error\n", "stderr")
    seen = follow(cloud, interval=interval, emit_cost=1.7)
    assert len(seen.lines()) == 100_000
    for step, then in pairwise(seen.steps):
        if isinstance(step, Emit):
            assert isinstance(then, Checkpoint)


def test_a_restart_is_no_reason_for_a_checkpoint() -> None:
    """A triggerer that restarts with a thousand streams would write a thousand at once."""
    before = Cloud()
    before.files["stdout"] = b"line\n"
    start = stored(follow(before, cut_after=20).cursor)
    seen = follow(before, start=start, cut_after=30)
    assert not [step for step in seen.steps if isinstance(step, Checkpoint)]


OLD = b"".join(b"old %d\n" % n for n in range(100))
LIMIT = 300
BEHIND = len(OLD) // LIMIT * LIMIT
"""Where the last piece of it begins."""


def resumed_on(kind: type[Cloud], new: bytes, **how: Any) -> Followed:
    """Cut a follower behind OLD; let another go on when the file is ``new``."""
    before = kind(log_limits=LogLimits(LIMIT, 1))
    before.files["stdout"] = OLD
    cursor = stored(follow(before, cut_after=20).cursor)
    assert cursor.streams["stdout"].position not in (0, "0")
    after = kind(states=[(0, "SUCCEEDED")])
    after.files["stdout"] = new
    return follow(after, start=cursor, **how)


@CLOUDS
def test_the_same_file_goes_on(kind: type[Cloud]) -> None:
    seen = resumed_on(kind, OLD + b"new\n")
    assert seen.lines() == ["new"]
    assert (seen.follower.totals.bytes, seen.follower.totals.lines) == (len(OLD) + 4, 101)
    assert seen.notes(warning=True) == []


def test_the_totals_are_those_of_the_log_though_it_was_written_by_two() -> None:
    """Half a line that the first had read is read again by the second."""
    before = Cloud()
    before.files["stdout"] = b"x" * 20_000 + b"\nhalf"
    start = stored(follow(before, cut_after=30).cursor)
    after = Cloud(states=[(0, "SUCCEEDED")])
    after.files["stdout"] = b"x" * 20_000 + b"\nhalf a line\n"
    totals = follow(after, start=start).follower.totals
    assert (totals.bytes, totals.lines, totals.cut_lines) == (20_013, 2, 1)


@pytest.mark.parametrize("settle", [0, 5])
@pytest.mark.parametrize("new", [b"", b"short\n", OLD[:-1] + b"!\n", OLD.replace(b"99", b"77") + b"more\n"])
def test_another_file_is_read_from_its_beginning(new: bytes, settle: float) -> None:
    """A job that was requeued writes its file anew: going on in its middle would lose the beginning."""
    seen = resumed_on(Cloud, new, settle=settle)
    assert seen.lines() == expected(new)
    (warning,) = seen.notes(warning=True)
    assert warning == (
        "--- stdout differs from what was read before the restart: it was truncated or replaced, perhaps by "
        "a rerun of the job, and is read again from the beginning ---"
    )


@pytest.mark.parametrize("new", [b"short\n", OLD[:-10], OLD.replace(b"99", b"77") + b"more\n"])
def test_what_cannot_be_recognised_is_written_and_marked(new: bytes) -> None:
    """The beginning of a log with opaque positions may be gone; nothing that is there is dropped."""
    seen = resumed_on(OpaqueCloud, new)
    assert seen.lines() == expected(new[BEHIND:])
    (warning,) = seen.notes(warning=True)
    assert "stdout differs from what was read before the restart: lines may be missing" in warning


def test_an_old_size_that_is_shown_for_a_moment_is_no_truncation() -> None:
    """A file system on the network may do that after a restart as at any time."""
    before = Cloud()
    before.files["stdout"] = OLD
    cursor = stored(follow(before, cut_after=10).cursor)
    after = Cloud(states=[(0, "RUNNING"), (60, "SUCCEEDED")])
    after.files["stdout"] = OLD[:50]
    after.at(5, lambda cloud: cloud.files.update(stdout=OLD + b"new\n"))
    seen = follow(after, start=cursor)
    assert seen.lines() == ["new"]
    assert seen.notes(warning=True) == []


def test_short_pieces_are_recognised_by_what_precedes_them() -> None:
    """A line feed alone is at the end of every file."""
    cloud = Cloud()
    for second in range(0, 900, 10):
        cloud.write(second, b"%d\n" % second)
    mark = follow(cloud, cut_after=80).cursor.streams["stdout"]
    assert mark.written >= 64


def test_the_cursor_holds_no_text() -> None:
    """It lies open in Airflow's database; a log may hold what only the task's readers may see."""
    cloud = Cloud()
    cloud.files["stdout"] = b"password is hunter2\n"
    cursor = follow(cloud, cut_after=10).cursor
    assert cursor.streams
    assert "hunter" not in json.dumps(cursor.as_dict())


@pytest.mark.parametrize(
    "data", [None, 7, [], {}, {"api": "fake"}, {"api": "fake", "job": REF.as_dict(), "streams": {"a": {}}}]
)
def test_a_cursor_that_cannot_be_understood_is_none(data: Any) -> None:
    """Another version's, or a user's: the log is then read from its beginning."""
    assert SavedCursor.read(data, "fake", REF) is None


def test_a_cursor_of_another_job_is_none() -> None:
    """A cleared task may watch another job than before."""
    data = SavedCursor("fake", REF.as_dict()).as_dict()
    assert SavedCursor.read(data, "fake", JobRef("8", "c1")) is None
    assert SavedCursor.read(data, "other", REF) is None
    assert SavedCursor.read(data, "fake", REF) is not None

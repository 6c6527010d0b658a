# SPDX-License-Identifier: Apache-2.0
"""Servers that answer anything: following a log ends, says why, and repeats no lines as if they were new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.call import ApiError, Flow, InvalidRequest, ServiceUnavailable
from airflow_provider_ehpc.apis.job import JobRef, LogBatch, LogChunk, LogCursor, LogLimits, LogPosition
from airflow_provider_ehpc.logs.follow import Checkpoint, Emit
from airflow_provider_ehpc.waiting.watch import Outcome
from tests.logs.cloud import Cloud, follow

LINES = b"".join(b"line %d of the job\n" % n for n in range(40))


@dataclass
class Server(Cloud):
    """Answers readings as ``answer`` says: of a stream, its position and the size asked for."""

    answer: Callable[[Server, str, LogPosition, int], LogChunk] = lambda *_: LogChunk("stdout", b"", 0)
    more: bool = False
    read_cost: float = 0.05
    seen: list[LogPosition] = field(default_factory=list)

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        self.made.append("log")
        self.clock.now += self.read_cost
        self.happen()
        chunks = tuple(self.answer(self, stream, cursor.position(stream), size) for stream in self.files)
        return LogBatch(chunks, self.more)
        yield


def running(answer: Callable[..., LogChunk], **more: Any) -> Server:
    return Server(states=[(0, "RUNNING"), (300, "SUCCEEDED")], answer=answer, **more)


def ignores_offset(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
    assert isinstance(position, int)
    data = server.files[stream][:size]
    reported = server.reported_size(stream, len(server.files[stream]))
    return LogChunk(stream, data, position + len(data), reported)


SIZES = pytest.mark.parametrize(
    "reported",
    [lambda stream, size: size, lambda stream, size: None, lambda stream, size: 0],
    ids=["right", "none", "0"],
)


@SIZES
@pytest.mark.parametrize("content", [LINES, b"x\n" * 400, b"0" * 300, b"a\n" * 20, b"short\n"])
@pytest.mark.parametrize("more", [False, True])
def test_an_ignored_offset_repeats_nothing(content: bytes, reported: Any, more: bool) -> None:
    """13,524 records for 40 lines, and the task succeeded: seen with a server that takes no Offset."""
    server = running(ignores_offset, reported_size=reported, more=more)
    server.files = {"stdout": content, "stderr": b""}
    seen = follow(server)
    assert seen.verdict.outcome is Outcome.REACHED
    assert seen.lines() == content.decode().splitlines()
    stopped = [note for note in seen.notes(warning=True) if "--- reading " in note]
    assert len(stopped) == (len(content) > 64)
    assert all("ignores the offset" in note for note in stopped)
    assert server.made.count("log") < 40


def test_an_ignored_offset_of_a_log_that_grows() -> None:
    server = running(ignores_offset)
    server.files = {"stdout": LINES, "stderr": b""}
    for second in range(0, 300, 7):
        server.write(second, b"more %d\n" % second)
    seen = follow(server)
    assert max(Counter(seen.lines()).values()) == 1
    assert len(seen.notes(warning=True)) == 1


@SIZES
def test_an_honest_log_of_equal_lines_is_whole(reported: Any) -> None:
    """It looks like its own beginning everywhere; a single request far behind its end settles that."""
    cloud = Cloud(states=[(0, "RUNNING"), (300, "SUCCEEDED")], reported_size=reported)
    for second in range(0, 300, 7):
        cloud.write(second, b"same\n" * 30)
    seen = follow(cloud)
    assert seen.lines() == ["same"] * 30 * 43
    assert seen.notes(warning=True) == []
    assert cloud.made.count("log") <= 30 + 2 + 5


def test_a_refused_probe_is_no_fault() -> None:
    """An API may refuse an offset behind the end."""

    def answer(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
        assert isinstance(position, int)
        if position > len(server.files[stream]):
            raise InvalidRequest("Offset is not valid")
        data = server.files[stream][position : position + size]
        return LogChunk(stream, data, position + len(data))

    server = running(answer)
    for second in range(0, 290, 7):
        server.write(second, b"same\n" * 30)
    assert follow(server).lines() == ["same"] * 30 * 42


def same_chunk(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
    return LogChunk(stream, LINES, 0 if isinstance(position, int) else position)


def opaque(name: str) -> Callable[..., LogChunk]:
    return lambda server, stream, position, size: LogChunk(stream, LINES, name)


def cycle(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
    return LogChunk(stream, LINES, {0: "a", "a": "b", "b": "c", "c": "a"}[position])


def going_back(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
    assert isinstance(position, int)
    return LogChunk(stream, LINES, max(0, position - 10))


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("answer", [same_chunk, opaque("here"), cycle, going_back])
def test_a_position_that_does_not_go_on(answer: Callable[..., LogChunk], more: bool) -> None:
    server = running(answer, more=more)
    seen = follow(server)
    assert seen.verdict.outcome is Outcome.REACHED
    assert len(seen.lines()) <= 4 * 40
    assert len([note for note in seen.notes(warning=True) if "--- reading " in note]) == 2
    assert server.made.count("log") < 50


def nothing(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
    return LogChunk(stream, b"", position, size=10**25)


def test_more_of_nothing() -> None:
    server = running(nothing, more=True)
    follow(server)
    assert server.made.count("log") <= 30 + 4


def endless(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
    assert isinstance(position, int)
    if stream == "stderr":
        return LogChunk(stream, b"", position)
    data = b"".join(b"%09d\n" % n for n in range(position // 10, position // 10 + size // 10 + 1))
    data = data[position % 10 :][:size]
    return LogChunk(stream, data, position + len(data))


@pytest.mark.parametrize("ends", [1000, 5])
@pytest.mark.parametrize("interval", [10, 3600])
def test_an_endless_log_ends_with_the_wait(ends: float, interval: float) -> None:
    server = Server(states=[(0, "RUNNING"), (ends, "SUCCEEDED")], answer=endless, more=True)
    seen = follow(server, deadline=server.clock() + 60, interval=interval)
    assert server.clock.passed < 60 + 35
    assert seen.lines()[:3] == ["000000000", "000000001", "000000002"]
    if seen.verdict.outcome is Outcome.REACHED:
        assert any("still growing at the timeout" in note for note in seen.notes(warning=True))


def test_random_answers_are_given_up() -> None:
    count = iter(range(10**6))

    def other_each_time(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
        data = b"".join(b"%d-%d\n" % (next(count), n) for n in range(50)) if stream == "stdout" else b""
        assert isinstance(position, int)
        return LogChunk(stream, data, position + len(data))

    server = running(other_each_time, more=True)
    seen = follow(server)
    assert any("each reading returns another log" in note for note in seen.notes(warning=True))
    assert server.made.count("log") < 100


def test_streams_without_number_take_no_memory() -> None:
    count = iter(range(10**6))

    def other_name(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
        return LogChunk(f"task-{next(count)}", b"x\n", 2)

    server = Server(states=[(0, "RUNNING"), (10_000, "SUCCEEDED")], answer=other_name)
    server.files = {str(n): b"" for n in range(50)}
    assert len(follow(server).lines("task-7")) == 1
    assert len([step for step in follow(server).steps if isinstance(step, Emit)]) <= 1000


def test_a_stream_that_is_named_twice_is_read_once() -> None:
    def twice(server: Server, stream: str, position: LogPosition, size: int) -> LogChunk:
        assert isinstance(position, int)
        return LogChunk("task", LINES[position : position + size], min(len(LINES), position + size))

    assert follow(running(twice)).lines("task") == LINES.decode().splitlines()


def any_position() -> st.SearchStrategy[LogPosition]:
    return st.one_of(
        st.integers(-5, 200),
        st.sampled_from([2**31, 10**25, "", "a", "b", "c", "preview:5:1:00", "\u00b2", "12", "7" * 5000]),
    )


CHUNKS = st.builds(
    LogChunk,
    stream=st.sampled_from(["stdout", "stderr", "worker-0", "../../x"]),
    data=st.one_of(st.binary(max_size=80), st.sampled_from([LINES, b"", b"\n", b"x\n", b"\r1%\r2%"])),
    next=any_position(),
    size=st.one_of(st.none(), st.integers(-1, 500), st.just(10**25)),
)
ANSWERS = st.one_of(
    st.builds(
        LogBatch, chunks=st.lists(CHUNKS, max_size=4).map(tuple), more=st.booleans(), notes=st.just(("note",))
    ),
    st.sampled_from([ServiceUnavailable("away"), InvalidRequest("no"), ApiError("odd")]),
)
STATES = st.lists(
    st.sampled_from(["RUNNING", "PENDING", "QUEUED", "SUSPENDED", "odd", "SUCCEEDED", "FAILED", None]),
    max_size=8,
)


class Arbitrary(Cloud):
    answers: list[Any]

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        self.made.append("log")
        self.clock.now += 0.05
        answer = self.answers[len(self.made) % len(self.answers)]
        if isinstance(answer, Exception):
            raise answer
        return answer
        yield


@settings(max_examples=300)
@given(
    answers=st.lists(ANSWERS, min_size=1, max_size=6),
    states=STATES,
    encoding=st.sampled_from(["utf-8", "gbk"]),
)
def test_any_server_comes_to_an_end(answers: list[Any], states: list[str | None], encoding: str) -> None:
    """By the deadline and a little more, with checkpoints that can be saved, and never by an exception."""
    cloud = Arbitrary(
        states=[(0, "RUNNING"), *((20 + 15 * n, word) for n, word in enumerate(states))],  # type: ignore[arg-type]
        details={},
    )
    cloud.answers = answers
    seen = follow(cloud, deadline=cloud.clock() + 200, encoding=encoding)
    assert cloud.clock.passed < 200 + 350
    assert len(cloud.made) < 20_000
    assert all(step.cursor.as_dict() for step in seen.steps if isinstance(step, Checkpoint))


@given(
    writes=st.lists(
        st.tuples(st.integers(0, 200), st.text("ab\n数\r", max_size=40).map(str.encode)), max_size=15
    ).map(lambda writes: sorted(writes, key=lambda write: write[0])),
    size=st.integers(2, 90),
    short=st.lists(st.integers(0, 50), min_size=1, max_size=5),
    faults=st.lists(st.integers(0, 250), max_size=6),
    reported=st.sampled_from(["right", "none", "zero", "half", "double", "huge", "late"]),
    more=st.sampled_from([True, False, None]),
)
def test_an_honest_server_loses_and_repeats_nothing(
    writes: list[tuple[int, bytes]],
    size: int,
    short: list[int],
    faults: list[int],
    reported: str,
    more: bool | None,
) -> None:
    """Random pieces, stalls, faults, and sizes that are wrong: each line once and in order."""
    reads = iter(range(10**6))

    def answer(server: Server, stream: str, position: LogPosition, asked: int) -> LogChunk:
        assert isinstance(position, int)
        if int(server.clock.passed) in faults:
            raise ServiceUnavailable("away")
        data = server.files[stream]
        # At least what is read again: less of it would be a file that became shorter.
        most = 64 + short[next(reads) % len(short)]
        piece = data[position : position + min(asked, most)]
        length = len(data)
        sizes = {"right": length, "none": None, "zero": 0, "half": length // 2, "double": 2 * length,
                 "huge": 10**25, "late": max(0, length - 7)}  # fmt: skip
        return LogChunk(stream, piece, position + len(piece), sizes[reported])

    server = Server(states=[(0, "RUNNING"), (260, "SUCCEEDED")], answer=answer, log_limits=LogLimits(size, 1))
    server.more = True if more is None else more
    for at, data in writes:
        server.write(at, data)
        server.write(at, data[::-1] + b"e", "stderr")
    seen = follow(server, interval=5, settle=12)
    for stream in ("stdout", "stderr"):
        shown = [
            line.rstrip("\r") for line in server.files[stream].decode(errors="backslashreplace").split("\n")
        ]
        got = [line.rstrip("\r") for line in seen.lines(stream)]
        complete = server.files[stream].endswith(b"\n") or not server.files[stream]
        assert got == (shown[:-1] if complete else shown)
    assert not [note for note in seen.notes(warning=True) if note.startswith("---")]

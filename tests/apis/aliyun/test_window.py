# SPDX-License-Identifier: Apache-2.0
"""Reading two files through one window: a wrong offset loses or repeats lines of a job's log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.aliyun.window import LARGEST, read_on, tail
from airflow_provider_ehpc.apis.call import Flow

STREAMS = ("stdout", "stderr")


class Files:
    """The two files, with a record of all reads through the window."""

    def __init__(self, stdout: bytes = b"", stderr: bytes = b"", fill: str = "") -> None:
        self.stdout, self.stderr = stdout, stderr
        self.reads: list[tuple[int, int]] = []

    def window(self, offset: int, size: int) -> Flow[Mapping[str, bytes]]:
        assert 0 < size <= LARGEST
        self.reads.append((offset, size))
        return {s: getattr(self, s)[offset : offset + size] for s in STREAMS}
        yield

    def run(self, flow: Flow[Any]) -> Any:
        try:
            next(flow)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("the window makes no calls")

    def read_on(self, offsets: Mapping[str, int], size: int = LARGEST) -> Any:
        return self.run(read_on(self.window, offsets, size))

    def tail(self, size: int) -> Any:
        return self.run(tail(self.window, size))


def bytes_of(length: int, salt: int = 7) -> bytes:
    """Return bytes in which no two longer pieces are equal."""
    return b"".join((n * salt).to_bytes(4, "big") for n in range(length // 4 + 1))[:length]


class Reader:
    """Reader that reads to the end, as the layer above does."""

    def __init__(self, files: Files, positions: tuple[int, int] = (0, 0)) -> None:
        self.files = files
        self.offsets = dict(zip(STREAMS, positions, strict=True))
        self.read = dict.fromkeys(STREAMS, b"")
        self.rounds = 0

    def drain(self, size: int = LARGEST) -> None:
        more = True
        while more:
            self.rounds += 1
            assert self.rounds < 1000, "reading does not end"
            batch = self.files.read_on(self.offsets, size)
            for chunk in batch.chunks:
                assert len(chunk.data) <= size
                assert chunk.next == self.offsets[chunk.stream] + len(chunk.data)
                self.read[chunk.stream] += chunk.data
                self.offsets[chunk.stream] = chunk.next
            more = batch.more


@given(
    stdout=st.integers(0, 60_000),
    stderr=st.integers(0, 60_000),
    growth=st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)),
    positions=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    size=st.integers(100, 20_000),
)
def test_every_byte_once_and_in_order(stdout, stderr, growth, positions, size):
    """For all lengths and resumed offsets, also if the files grow between two polls."""
    out, err = bytes_of(stdout + growth[0]), bytes_of(stderr + growth[1], salt=13)
    start = int(stdout * positions[0]), int(stderr * positions[1])
    files = Files(out[:stdout], err[:stderr])
    reader = Reader(files, start)
    reader.drain(size)
    assert reader.read == {"stdout": out[start[0] : stdout], "stderr": err[start[1] : stderr]}
    files.stdout, files.stderr = out, err
    reader.drain(size)
    assert reader.read == {"stdout": out[start[0] :], "stderr": err[start[1] :]}


def test_the_first_read_is_one_call():
    files = Files(bytes_of(5000), bytes_of(100))
    files.read_on({"stdout": 0, "stderr": 0})
    assert files.reads == [(0, LARGEST)]


def test_idle_small_logs_cost_one_call_per_poll():
    """Most jobs write only a few kilobytes to each file: polling them must not cost two calls."""
    files = Files(bytes_of(3000), bytes_of(200))
    batch = files.read_on({"stdout": 3000, "stderr": 200})
    assert [chunk.data for chunk in batch.chunks] == [b"", b""]
    assert not batch.more
    assert len(files.reads) == 1


def test_the_stream_ahead_is_not_fetched_repeatedly():
    """With a stderr that ended early, each poll would fetch 400 KiB of stdout that was read long ago."""
    files = Files(bytes_of(3_000_000), bytes_of(200))
    files.read_on({"stdout": 3_000_000, "stderr": 200})
    again = sum(
        max(0, min(offset + size, 3_000_000) - offset) for offset, size in files.reads if offset < 3_000_000
    )
    assert again <= 4096
    assert len(files.reads) == 2


def test_a_long_stdout_beside_a_short_stderr_is_read_in_large_pieces():
    files = Files(bytes_of(3_000_000), bytes_of(200))
    reader = Reader(files)
    reader.drain()
    assert reader.rounds == -(-3_000_000 // LARGEST)
    assert len(files.reads) <= 2 * reader.rounds


def test_a_stream_that_was_far_behind_catches_up_in_large_pieces():
    """A cursor with an offset for stdout only must not read a long stderr in small steps."""
    files = Files(bytes_of(2_000_000), bytes_of(1_000_000, salt=13))
    reader = Reader(files, (2_000_000, 0))
    reader.drain()
    assert reader.read["stderr"] == files.stderr
    assert reader.rounds <= 4


def test_a_busy_stream_does_not_starve_the_other():
    """Even if stdout always has more, new bytes of stderr must be read in the same poll."""
    files = Files(bytes_of(5_000_000), bytes_of(100))
    offsets = {"stdout": LARGEST, "stderr": 100}
    files.stderr += b"Traceback"
    batch = files.read_on(offsets)
    assert batch.more
    assert next(chunk.data for chunk in batch.chunks if chunk.stream == "stderr") == b"Traceback"


@pytest.mark.parametrize("requested", [1024, LARGEST, 10 * LARGEST])
def test_no_piece_is_larger_than_requested_or_allowed(requested):
    files = Files(bytes_of(1_000_000), bytes_of(1_000_000, salt=13))
    for offsets in (
        {"stdout": 0, "stderr": 0},
        {"stdout": 500_000, "stderr": 0},
        {"stdout": 3000, "stderr": 0},
    ):
        batch = files.read_on(offsets, requested)
        assert all(0 < len(chunk.data) <= min(requested, LARGEST) for chunk in batch.chunks)
        assert batch.more


def test_a_shared_window_reports_more_of_the_stream_ahead():
    """The API limits the shared window: the rest must be read in this poll, not in the next."""
    files = Files(bytes_of(1_000_000), b"")
    batch = files.read_on({"stdout": 3000, "stderr": 0})
    assert batch.chunks[0].next < 1_000_000
    assert batch.more


@pytest.mark.parametrize(
    "length",
    [0, 1, 1000, LARGEST - 1, LARGEST, LARGEST + 1, LARGEST + 500, 2 * LARGEST, 5_000_000],
)
@pytest.mark.parametrize("size", [1000, 100_000])
def test_tail_is_the_end(length, size):
    """The failure message shows these lines: other parts of the log would mislead."""
    files = Files(bytes_of(length), b"oops\n")
    stdout, stderr = files.tail(size)
    assert (stdout.stream, stdout.data, stdout.next) == ("stdout", files.stdout[-size:], length)
    assert (stderr.stream, stderr.data, stderr.next, stderr.size) == ("stderr", b"oops\n", 5, 5)


def test_tail_of_two_long_files():
    files = Files(bytes_of(900_000), bytes_of(4_000_000, salt=13))
    stdout, stderr = files.tail(2000)
    assert stdout.data == files.stdout[-2000:]
    assert stderr.data == files.stderr[-2000:]


class Sparse:
    """A file that is too long for memory: every byte is an x."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __getitem__(self, part: slice) -> bytes:
        return b"x" * max(0, min(part.stop, self.length) - part.start)


@pytest.mark.parametrize(
    ("length", "calls"), [(1_000_000, 6), (10 * 2**20, 12), (2**30, 22), (2**40, 40), (2**60, 60)]
)
def test_tail_costs_few_calls(length, calls):
    """Reading 1 GiB window by window takes 2,600 calls; an endless file must not hang a task."""
    files = Files()
    files.stdout = Sparse(length)  # type: ignore[assignment]
    stdout, _ = files.tail(4096)
    if length < 2**50:
        assert stdout.next == length
    assert len(stdout.data) == 4096
    assert len(files.reads) <= calls

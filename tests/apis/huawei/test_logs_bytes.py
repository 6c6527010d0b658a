# SPDX-License-Identifier: Apache-2.0
"""Reading a log by bytes from servers that treat a cut character in each of the three ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.call import ApiCall, ApiRequest, ApiResponse, Flow
from airflow_provider_ehpc.apis.huawei.common import read_streams
from airflow_provider_ehpc.apis.huawei.logs_bytes import SLICE, read_slices
from airflow_provider_ehpc.apis.huawei.modelarts_v1 import show_log_slice
from airflow_provider_ehpc.apis.job import JobRef, LogBatch, LogChunk
from tests.apis.huawei.drive import drive, response

REF = JobRef("10", version_id="10")
MANY = 10**6


def slice_call(start: int, length: int) -> ApiCall[Any]:
    return show_log_slice("p", REF, "f.0", start_byte=start, offset=length)


def replaced(data: bytes) -> tuple[str, int]:
    return data.decode(errors="replace"), len(data)


def ignored(data: bytes) -> tuple[str, int]:
    return data.decode(errors="ignore"), len(data)


def aligned(data: bytes) -> tuple[str, int]:
    """Move the cut to the start of an incomplete character; replace other bytes that are not text."""
    for cut in range(min(3, len(data)) + 1):
        try:
            return data[: len(data) - cut].decode(), len(data) - cut
        except UnicodeDecodeError:
            continue
    return replaced(data)


class LogServer:
    """The /log of API v1, for bytes to which a test may append."""

    def __init__(self, data: bytes, cut: Callable[[bytes], tuple[str, int]], *, counts: bool = True) -> None:
        self.data = data
        self.cut = cut
        self.counts = counts
        self.calls = 0

    def __call__(self, request: ApiRequest) -> ApiResponse:
        self.calls += 1
        start, length = int(request.query["start_byte"]), int(request.query["offset"])
        assert start >= 0
        assert 1 <= length <= SLICE
        log, count = self.cut(self.data[start : start + length])
        body: dict[str, Any] = {"is_success": True, "log": log, "end_byte": str(min(start, MANY) + count)}
        if self.counts:
            body["count"] = str(count)
        return response(body)

    def read(self, start: int = 0, size: int = MANY) -> tuple[bytes, int, bool]:
        return drive(read_slices(slice_call, start, size), self)


SERVERS = pytest.mark.parametrize("cut", [replaced, ignored, aligned])
TEXTS = {
    "ascii": "step 1 loss 0.25\n" * 500,
    "three bytes": "训练作业正在运行\n" * 400,
    "three bytes, other seams": "x" + "训练作业正在运行\n" * 400,
    "four bytes": "🚀" * 2000,
    "four bytes, other seams": "ab" + "🚀" * 2000 + "\n",
    "mixed": ("é训🚀a\n" * 1000),
    "replacement characters of the job's own": "\ufffd" * 3000 + "\n",
}


@SERVERS
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_text_arrives_as_it_was_written(cut: Callable[[bytes], tuple[str, int]], text: str) -> None:
    """Read naively, a Chinese log has a broken character every 2 KiB, and two of the servers lose bytes."""
    data = text.encode()
    assert LogServer(data, cut).read() == (data, len(data), False)


@SERVERS
@settings(max_examples=100, deadline=None)
@given(
    ascii_first=st.integers(2000, 2100),
    text=st.text(alphabet="aé训🚀\ufffd", max_size=60),
    times=st.integers(1, 60),
    counts=st.booleans(),
)
def test_any_text_arrives(
    cut: Callable[[bytes], tuple[str, int]], ascii_first: int, text: str, times: int, counts: bool
) -> None:
    """The pieces may end anywhere in the text."""
    data = ("a" * ascii_first + text * times + "\n").encode()
    assert LogServer(data, cut, counts=counts).read() == (data, len(data), False)


@SERVERS
@settings(max_examples=100, deadline=None)
@example(piece=b"\x00\x80\x00\x00\x00", times=1)
@given(piece=st.binary(max_size=100), times=st.integers(0, 70))
def test_garbage_ends(cut: Callable[[bytes], tuple[str, int]], piece: bytes, times: int) -> None:
    """A job that writes a picture to its log must not hang the task or its trigger."""
    data = piece * times
    server = LogServer(data, cut)
    _, end, more = server.read()
    assert not more
    assert len(data) - 3 <= end <= len(data)
    # Each slice is requested at most four times, and advances by at least all but three bytes.
    assert server.calls <= 4 * (len(data) // (SLICE - 3) + 2)


@SERVERS
def test_text_after_garbage_arrives(cut: Callable[[bytes], tuple[str, int]]) -> None:
    """A bad byte must not damage the text after it."""
    server = LogServer(b"\xff" * 3000 + b"a" * 3000 + b"the end\n", cut)
    data, end, _ = server.read()
    assert data.endswith(b"a" * 1000 + b"the end\n")
    assert end == len(server.data)


@pytest.mark.parametrize("cut", [replaced, aligned])
@pytest.mark.parametrize("text", ["训练作业正在运行\n", "é训🚀a\n"])
def test_text_beside_garbage_arrives(cut: Callable[[bytes], tuple[str, int]], text: str) -> None:
    """A bad byte in every piece must not remove a good character at each piece's end.

    If a server omits bytes that it cannot decode, the two cases cannot be distinguished.
    """
    log = (b"\xff\xfe bad\n" + text.encode() * 20) * 60
    data, end, _ = LogServer(log, cut).read()
    assert data.decode() == log.decode(errors="replace")
    assert end == len(log)


@SERVERS
def test_a_character_that_is_half_written_waits_for_its_rest(cut: Callable[[bytes], tuple[str, int]]) -> None:
    """Programs flush their buffers every 8 KiB, often in the middle of a character."""
    whole = "进度 🚀\n".encode()
    for split in range(1, len(whole)):
        server = LogServer(whole[:split], cut)
        first, position, more = server.read()
        assert not more
        server.data = whole
        second, end, _ = server.read(position)
        assert first + second == whole, split
        assert end == len(whole)


@SERVERS
def test_ascii_costs_no_call_more_than_needed(cut: Callable[[bytes], tuple[str, int]]) -> None:
    """At 2 KiB per call, a megabyte takes 512 calls: each unnecessary one counts."""
    server = LogServer(b"x" * 10 * SLICE, cut)
    server.read()
    assert server.calls == 11


def test_size_bounds_a_reading() -> None:
    """A job with a large log must not hold up the others: the rest is read later."""
    server = LogServer(b"x" * 10 * SLICE, replaced)
    assert server.read(size=3 * SLICE) == (b"x" * 3 * SLICE, 3 * SLICE, True)
    assert server.calls == 3
    assert server.read(start=3 * SLICE, size=1) == (b"x" * SLICE, 4 * SLICE, True)


@pytest.mark.parametrize(
    "body",
    [
        {"log": "", "end_byte": 100},
        {"log": None, "end_byte": "100", "count": "0"},
        {"log": "", "end_byte": "2148", "count": "0"},
        {"log": "", "end_byte": "2148"},
        {"log": "x", "end_byte": "100"},
        {"is_success": True},
    ],
)
def test_nothing_new(body: dict[str, object]) -> None:
    """The response at the end of a log is not documented: no progress means that there is nothing new."""
    assert drive(read_slices(slice_call, 100, MANY), lambda request: response(body)) == (b"", 100, False)


def test_end_byte_may_be_missing() -> None:
    """The length of the text is enough."""
    server = LogServer("训练\n".encode(), replaced)

    def without_end(request: ApiRequest) -> ApiResponse:
        return response({"log": server.cut(server.data[int(request.query["start_byte"]) :])[0]})

    assert drive(read_slices(slice_call, 0, MANY), without_end) == (server.data, len(server.data), False)


def quiet(end: int | None, text: str = "x" * 10) -> Callable[[ApiRequest], ApiResponse]:
    """Return a server that responds to all requests with the same piece."""
    calls = []

    def server(request: ApiRequest) -> ApiResponse:
        calls.append(request)
        assert len(calls) < 200, "the reading does not end"
        return response({"is_success": True, "log": text, **({} if end is None else {"end_byte": end})})

    return server


@pytest.mark.parametrize("end", [None, 0, -5, 7, 10**25])
@pytest.mark.parametrize("text", ["", "x", "x" * 2048, "训" * 600])
@pytest.mark.parametrize("start", [0, 5, 10**6])
def test_positions_that_make_no_sense(end: int | None, text: str, start: int) -> None:
    """A reading ends, and the position advances by the returned bytes: never back, and never over a gap."""
    data, at, _ = drive(read_slices(slice_call, start, 32 * SLICE), quiet(end, text))
    assert at >= start
    assert at - start <= 32 * SLICE
    assert bool(data) == (at > start)


def test_small_pieces_are_read_with_a_bounded_number_of_calls() -> None:
    def server(request: ApiRequest) -> ApiResponse:
        server.calls += 1  # type: ignore[attr-defined]
        return response({"is_success": True, "log": "x" * 1024})

    server.calls = 0  # type: ignore[attr-defined]
    data, at, more = drive(read_slices(slice_call, 0, 32 * SLICE), server)
    assert (len(data), at, more) == (32 * 1024, 32 * 1024, True)
    assert server.calls == 32  # type: ignore[attr-defined]


def test_the_last_bytes_again_cost_one_request() -> None:
    """A follower reads a few known bytes again in each poll. That must not take a second request."""
    server = LogServer(b"x" * 5000, replaced)
    assert server.read(4950) == (b"x" * 50, 5000, False)
    assert server.calls == 1


def test_a_log_that_is_listed_twice_is_read_once() -> None:
    """Otherwise its lines would be shown twice."""
    read: list[str] = []

    def one(stream: str) -> Flow[LogBatch]:
        read.append(stream)
        return LogBatch((LogChunk(stream, b"x\n", 2),), more=False)
        yield

    batch = drive(read_streams(["a", "b", "a"], one), quiet(None))
    assert read == ["a", "b"]
    assert [chunk.stream for chunk in batch.chunks] == ["a", "b"]

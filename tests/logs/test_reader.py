# SPDX-License-Identifier: Apache-2.0
"""What is read again to recognize a log, of APIs that return bytes and of those that return text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.job import LogBatch, LogChunk, LogCursor, LogLimits
from airflow_provider_ehpc.logs.reader import REREAD_BYTES, LogReader, LogReading
from tests.logs.cloud import REF, Cloud


class Files(Cloud):
    """Records where readings began."""

    positions: list[Any]

    def read_log(self, ref: Any, cursor: LogCursor, size: int) -> Any:
        self.positions = [*getattr(self, "positions", []), cursor.position("stdout")]
        batch = yield from super().read_log(ref, cursor, size)
        return batch


class TextFiles(Files):
    """Returns text, as ModelArts v1 does: what is no character at either end is replaced."""

    def read_log(self, ref: Any, cursor: LogCursor, size: int) -> Any:
        batch: LogBatch = yield from super().read_log(ref, cursor, size)
        chunks = (
            LogChunk(c.stream, c.data.decode(errors="replace").encode(), c.next, c.size) for c in batch.chunks
        )
        return LogBatch(tuple(chunks), batch.more)


def read(reader: LogReader, **how: bool) -> LogReading:
    flow = reader.read(**how)
    try:
        next(flow)
    except StopIteration as end:
        found: LogReading = end.value
        return found
    raise AssertionError


def cloud_of(kind: type[Files], data: bytes, *, text: bool) -> tuple[Files, LogReader]:
    cloud = kind(files={"stdout": data}, log_limits=LogLimits(1000, 10, text=text))
    return cloud, LogReader(cloud, REF)


def test_a_reading_begins_a_little_before_the_place() -> None:
    cloud, reader = cloud_of(Files, b"x" * 500 + b"0123456789" * 10, text=False)
    read(reader)
    cloud.files["stdout"] += b"new"
    (piece,) = read(reader).pieces
    assert (piece.data, piece.position) == (b"new", 600)
    assert cloud.positions == [0, 600 - REREAD_BYTES]


def test_bytes_that_are_no_text_are_compared_as_well() -> None:
    """A log in GBK, or a binary one: no byte of it may be taken for the middle of a character."""
    data = b"\xbf" * 100
    cloud, reader = cloud_of(Files, data, text=False)
    read(reader)
    cloud.files["stdout"] = b"\xbe" * 120
    assert read(reader).pieces[0].changed == "has different content"


@given(text=st.text("aé训🚀\ufffd\n", max_size=90), more=st.text("aé训🚀", max_size=40))
def test_text_is_read_again_from_the_beginning_of_a_character(text: str, more: str) -> None:
    """What an API puts in the place of half a character is nothing that was read before."""
    cloud, reader = cloud_of(TextFiles, text.encode(), text=True)
    got = read(reader).pieces[0].data
    cloud.files["stdout"] += more.encode()
    (piece,) = read(reader).pieces
    assert not piece.changed
    assert got + piece.data == (text + more).encode()


def test_text_that_stands_for_something_else_is_not_compared() -> None:
    """Its bytes are not those of the file, so there is no telling where it would begin."""
    cloud, reader = cloud_of(TextFiles, b"\xff\xfe binary " * 20, text=True)
    read(reader)
    cloud.files["stdout"] += b"more\n"
    (piece,) = read(reader).pieces
    assert (piece.changed, piece.data) == ("", b"more\n")
    assert cloud.positions == [0, 200]


def test_a_file_that_seems_shorter_once_is_the_same() -> None:
    """A file system on the network shows an old end for a moment."""
    cloud, reader = cloud_of(Files, b"line 1\nline 2\n", text=False)
    read(reader)
    cloud.files["stdout"] = b"line 1\n"
    assert [(p.unsettled, p.changed) for p in read(reader).pieces] == [(True, "")]
    cloud.files["stdout"] = b"line 1\nline 2\nline 3\n"
    assert [piece.data for piece in read(reader).pieces] == [b"line 3\n"]
    cloud.files["stdout"] = b"line 1\n"
    assert [piece.changed for piece in read(reader).pieces] == [""]
    assert [piece.changed for piece in read(reader).pieces] == ["is shorter"]
    assert [piece.data for piece in read(reader).pieces] == [b"line 1\n"]


@pytest.mark.parametrize("how", [{"rerun": True}, {"waiting": True}, {"rerun": True, "waiting": True}])
def test_after_a_rerun_a_shorter_file_is_another_but_not_while_the_job_waits(how: dict[str, bool]) -> None:
    cloud, reader = cloud_of(Files, b"line 1\nline 2\n", text=False)
    read(reader)
    cloud.files["stdout"] = b""
    (piece,) = read(reader, **how).pieces
    assert bool(piece.changed) == ("waiting" not in how)


def test_what_stands_for_half_a_character_is_not_compared() -> None:
    """Three bytes of four were there, and the API returned U+FFFD, which is as long."""
    cloud, reader = cloud_of(TextFiles, b"a" * 10 + "🚀".encode()[:3], text=True)
    read(reader)
    cloud.files["stdout"] = b"a" * 10 + "🚀b\n".encode()
    (piece,) = read(reader).pieces
    assert not piece.changed
    assert piece.data.endswith(b"b\n")

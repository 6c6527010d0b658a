"""The last lines that stand in the message of a failure."""

from __future__ import annotations

from airflow_provider_ehpc.apis.job import LogChunk
from airflow_provider_ehpc.logs.tail import LINES, LONGEST, TAIL_SIZE, last_lines


def chunk(data: bytes, stream: str = "stdout") -> LogChunk:
    return LogChunk(stream, data, len(data))


def test_each_stream_under_its_name() -> None:
    assert last_lines([chunk(b"a\nb\n"), chunk(b"Traceback\n", "stderr")]) == [
        *("stdout:", "  a", "  b"),
        *("stderr:", "  Traceback"),
    ]


def test_empty_streams_are_left_out() -> None:
    assert last_lines([chunk(b""), chunk(b"\n \r\n", "stderr")]) == []


def test_only_the_last_lines() -> None:
    told = last_lines([chunk(b"".join(b"%d\n" % n for n in range(50)))])
    assert told[1:] == [f"  {n}" for n in range(50 - LINES, 50)]


def test_a_line_whose_beginning_was_not_read_is_not_shown() -> None:
    """Half a line looks like another message."""
    data = (b"x" * TAIL_SIZE + b"\nlast line\n")[-TAIL_SIZE:]
    assert last_lines([chunk(data)]) == ["stdout:", "  last line"]


def test_one_long_line_is_better_than_none() -> None:
    told = last_lines([chunk(b"x" * TAIL_SIZE)])
    assert told == ["stdout:", "  " + "x" * LONGEST]


def test_a_character_cut_at_the_border_does_no_harm() -> None:
    assert last_lines([chunk("数据\nok\n".encode()[1:])])[-1] == "  ok"


def test_progress_bars_are_lines() -> None:
    assert last_lines([chunk(b"10%\r50%\r100%\r\n")])[1:] == ["  10%", "  50%", "  100%"]

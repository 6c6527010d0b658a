# SPDX-License-Identifier: Apache-2.0
"""The last lines that stand in the message of a failure."""

from __future__ import annotations

from airflow_provider_ehpc.apis.job import LogChunk
from airflow_provider_ehpc.logs.tail import LONGEST_TAIL_LINE, TAIL_LINES, TAIL_SIZE, last_lines


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
    reported = last_lines([chunk(b"".join(b"%d\n" % n for n in range(50)))])
    assert reported[1:] == [f"  {n}" for n in range(50 - TAIL_LINES, 50)]


def test_a_line_whose_beginning_was_not_read_is_not_shown() -> None:
    """Half a line looks like another message."""
    data = (b"x" * TAIL_SIZE + b"\nlast line\n")[-TAIL_SIZE:]
    assert last_lines([chunk(data)]) == ["stdout:", "  last line"]


def test_one_long_line_is_better_than_none() -> None:
    reported = last_lines([chunk(b"x" * TAIL_SIZE)])
    assert reported == [
        "stdout:",
        "  " + "x" * (LONGEST_TAIL_LINE - LONGEST_TAIL_LINE // 4) + " … " + "x" * (LONGEST_TAIL_LINE // 4),
    ]


def test_the_end_of_a_long_line_is_shown() -> None:
    """An exception's message stands at the end of a line with a long path."""
    (_, line) = last_lines([chunk(b"begin " + b"x" * 1000 + b" No space left on device\n")])
    assert line.startswith("  begin ")
    assert line.endswith(" No space left on device")


def test_streams_in_one_file_are_shown_once() -> None:
    assert last_lines([chunk(b"killed\n"), chunk(b"killed\n", "stderr")]) == ["stdout:", "  killed"]


def test_lines_in_another_encoding() -> None:
    assert last_lines([chunk("内存不足\n".encode("gbk"))], "gbk")[1:] == ["  内存不足"]


def test_last_lines_fold_nothing() -> None:
    assert last_lines([chunk(b"::group::x\n::endgroup::\n")])[1:] == ["  :: group::x", "  :: endgroup::"]


def test_a_character_cut_at_the_border_does_no_harm() -> None:
    assert last_lines([chunk("数据\nok\n".encode()[1:])])[-1] == "  ok"


def test_progress_bars_are_lines() -> None:
    assert last_lines([chunk(b"10%\r50%\r100%\r\n")])[1:] == ["  10%", "  50%", "  100%"]

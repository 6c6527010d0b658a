# SPDX-License-Identifier: Apache-2.0
"""Reading a log by lines: each line is read once, for each variant of the undocumented properties."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiCall, UnexpectedResponse
from airflow_provider_ehpc.apis.huawei.logs_lines import LinesRead, LogLines, _later, newest_lines, read_lines
from airflow_provider_ehpc.apis.huawei.modelarts import show_log_lines
from airflow_provider_ehpc.apis.job import LogPosition
from tests.apis.huawei.aom import CREATED_MS, FIRST, AomLog
from tests.apis.huawei.drive import Cloud, drive, response

CREATED = datetime.fromtimestamp(CREATED_MS / 1000, UTC)
MANY = 10**6


def after(base_line: str, lines: int) -> ApiCall[Any]:
    return show_log_lines("p", "j", "worker-0", base_line=base_line, lines=lines, order="asc")


def newest(lines: int) -> ApiCall[Any]:
    return show_log_lines("p", "j", "worker-0", base_line=None, lines=lines, order="desc")


def read(cloud: Cloud, position: LogPosition = 0, size: int = MANY) -> LinesRead | None:
    return drive(read_lines(after, newest, position, CREATED, size), cloud)


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("count", [1, 2, 499, 500, 501, 1000, 1003])
def test_every_line_is_read_once(inclusive: bool, doubled: bool, count: int) -> None:
    """If a page includes the base line, that line must not be repeated on every page and in every poll."""
    log = AomLog([f"line {n}" for n in range(count)], inclusive=inclusive, doubled=doubled)
    first = read(log)
    assert first == LinesRead(text(*log.lines), str(FIRST + 10 * (count - 1)), more=False)
    assert read(log, first.next) == LinesRead(b"", first.next, more=False)
    log.lines += ["训练完成", "", "last"]
    assert read(log, first.next).data == text("训练完成", "", "last")


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("lines", [["", "a", ""], ["a", "", "", "b"], ["", ""], ["a\tb ", "  c"]])
def test_empty_lines_and_white_space_are_the_jobs_own(lines: list[str], doubled: bool) -> None:
    """Empty lines must not be taken for the joins between lines, nor joins for empty lines."""
    assert read(AomLog(lines, doubled=doubled)).data == text(*lines)


def test_content_without_a_last_line_feed() -> None:
    """The documented sample has none. The last line of a page must not be joined with the next page."""
    cloud = response({"start_line": "5", "end_line": "6", "lines": 2, "content": "a\nb"})
    assert read(lambda request: cloud, "4").data == b"a\nb\n"


def test_content_without_a_useful_count() -> None:
    """Without a count, joins cannot be recognized, so all lines are shown."""
    page = LogLines(content="a\n\nb\n")
    assert page.records() == ["a", "", "b"]
    assert LogLines(content="a\n\nb\n", lines=7).records() == ["a", "", "b"]
    assert LogLines(content="").records() == []


def test_reading_starts_before_the_jobs_creation() -> None:
    """Without a base line, the API starts at the newest line, and the log's beginning would be missed."""
    log = AomLog(["first"])
    read(log)
    assert log.requests[0].query == {
        "base_line": str((CREATED_MS - 3600_000) * 10**6),
        "lines": "500",
        "order": "asc",
    }
    assert len(log.requests[0].query["base_line"]) == 19


def test_empty_log_stays_at_its_beginning() -> None:
    """The job has not written anything yet: its first line must not be missed later."""
    log = AomLog()
    assert read(log) == LinesRead(b"", 0, more=False)
    log.lines.append("first")
    assert read(log, 0).data == text("first")


def test_a_beginning_that_the_api_does_not_understand_is_recognized() -> None:
    """Otherwise the task log would stay empty although the job's log is not."""
    assert read(AomLog(["a", "b"], knows_any_base=False)) is None
    assert read(AomLog(["a", "b"], reversed_words=True)) is None


def test_lines_that_are_written_between_the_two_calls() -> None:
    """They are the log's first lines, and do not mean that the API does not understand the beginning."""
    log = AomLog()

    def cloud(request: Any) -> Any:
        if "base_line" not in request.query:
            log.lines.append("first")
        return log(request)

    assert read(cloud) == LinesRead(b"", 0, more=False)
    assert read(cloud).data == text("first")


def test_lines_of_the_wrong_direction_are_not_shown_again() -> None:
    """If the words for the direction mean the opposite, each poll would return the page before."""
    log = AomLog([f"line {n}" for n in range(20)], reversed_words=True)
    base = str(FIRST + 100)
    assert read(log, base) == LinesRead(b"", base, more=False)


def test_page_with_the_newest_line_first_is_reversed() -> None:
    """Otherwise a traceback would be upside down."""
    body = {"start_line": "12", "end_line": "10", "lines": 3, "content": "c\nb\na\n"}
    assert drive(
        read_lines(lambda b, n: after(b, 500), newest, "9", None, 100), lambda request: response(body)
    ) == LinesRead(b"a\nb\nc\n", "12", more=False)


def test_size_bounds_a_reading() -> None:
    """A task may be one of many, or its channel narrow: the rest is read later."""
    log = AomLog(["x" * 127] * 2000)
    first = read(log, size=64_000)
    assert (len(first.data), first.more) == (64_000, True)
    assert len(log.requests) == 1
    second = read(log, first.next, size=128_000)
    assert (len(second.data), second.more) == (128_000, True)
    third = read(log, second.next, size=128_000)
    assert (len(third.data), third.more) == (64_000, False)


@pytest.mark.parametrize(("size", "lines"), [(1, "10"), (1280, "10"), (12_800, "100"), (MANY, "500")])
def test_smaller_sizes_ask_for_fewer_lines(size: int, lines: str) -> None:
    """If a page is too long to be read, a smaller request must help."""
    log = AomLog(["x"])
    read(log, size=size)
    assert log.requests[0].query["lines"] == lines


def test_empty_page_that_names_its_base_line() -> None:
    """A server that always sets all fields may report nothing new in this form."""
    body = {"start_line": "4", "end_line": "4", "lines": 0, "content": ""}
    assert read(lambda request: response(body), "4") == LinesRead(b"", "4", more=False)


def test_lines_without_an_end_are_an_error() -> None:
    """Reading could not continue from there: every poll would return the same lines."""
    with pytest.raises(UnexpectedResponse, match="end_line"):
        read(lambda request: response({"content": "x\n", "lines": 1}))


@pytest.mark.parametrize("newest_first", [False, True])
def test_newest_lines(newest_first: bool) -> None:
    """The message of a failure shows the last lines, in their original order."""
    log = AomLog([f"line {n}" for n in range(2000)], newest_first=newest_first)
    found = drive(newest_lines(newest, 64), log)
    assert found == LinesRead(text(*log.lines[-10:])[-64:], str(FIRST + 10 * 1999), more=False)
    assert drive(newest_lines(newest, 100), AomLog()) == LinesRead(b"", 0, more=False)


def test_the_number_of_pages_in_a_reading_is_bounded() -> None:
    """With lines of one byte, a reading without a limit would take hundreds of requests."""
    calls = 0

    def server(request: Any) -> Any:
        nonlocal calls
        calls += 1
        first = FIRST + calls * 1000
        return response(
            {"content": "\n" * 500, "lines": 500, "start_line": str(first), "end_line": str(first + 999)}
        )

    found = read(server)
    assert found is not None
    assert found.more
    assert calls <= 20


@pytest.mark.parametrize(
    ("one", "other", "later"),
    [
        ("10", "9", True),
        ("9", "10", False),
        ("7" * 5000, "6" * 5000, True),
        ("6" * 5000, "7" * 4999, True),
        ("010", "9", True),
        ("\u00b2", "1", False),
        ("\u0662", "1", False),
        ("", "1", False),
        ("abc", "1", False),
    ],
)
def test_line_numbers_of_any_form_are_compared(one: str, other: str, later: bool) -> None:
    assert _later(one, other) == later

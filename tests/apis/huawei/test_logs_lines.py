"""Reading a log by lines: what is undocumented may be either way, and each line comes once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiCall, UnexpectedResponse
from airflow_provider_ehpc.apis.huawei.logs_lines import LinesRead, LogLines, _later, newest_lines, read_lines
from airflow_provider_ehpc.apis.huawei.modelarts import show_log_lines
from airflow_provider_ehpc.apis.job import LogPosition
from tests.apis.huawei.aom import CREATED_MS, FIRST, AomLog
from tests.apis.huawei.drive import Cloud, answer, drive

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
def test_every_line_comes_once(inclusive: bool, doubled: bool, count: int) -> None:
    """A base line that comes again would repeat a line at every page and every look."""
    log = AomLog([f"line {n}" for n in range(count)], inclusive=inclusive, doubled=doubled)
    first = read(log)
    assert first == LinesRead(text(*log.lines), str(FIRST + 10 * (count - 1)), more=False)
    assert read(log, first.next) == LinesRead(b"", first.next, more=False)
    log.lines += ["训练完成", "", "last"]
    assert read(log, first.next).data == text("训练完成", "", "last")


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("lines", [["", "a", ""], ["a", "", "", "b"], ["", ""], ["a\tb ", "  c"]])
def test_empty_lines_and_white_space_are_the_jobs_own(lines: list[str], doubled: bool) -> None:
    """Taken for the joins between lines, they would vanish, or joins would show as empty lines."""
    assert read(AomLog(lines, doubled=doubled)).data == text(*lines)


def test_content_without_a_last_line_feed() -> None:
    """The documented sample has none: two pages would run into one line."""
    cloud = answer({"start_line": "5", "end_line": "6", "lines": 2, "content": "a\nb"})
    assert read(lambda request: cloud, "4").data == b"a\nb\n"


def test_content_whose_count_says_nothing() -> None:
    """Without a count nothing is known of joins, and all of it is shown."""
    page = LogLines(content="a\n\nb\n")
    assert page.records() == ["a", "", "b"]
    assert LogLines(content="a\n\nb\n", lines=7).records() == ["a", "", "b"]
    assert LogLines(content="").records() == []


def test_reading_starts_before_the_job_was_made() -> None:
    """Without a base line the API starts at the newest line, and the log's beginning is never seen."""
    log = AomLog(["first"])
    read(log)
    assert log.requests[0].query == {
        "base_line": str((CREATED_MS - 3600_000) * 10**6),
        "lines": "500",
        "order": "asc",
    }
    assert len(log.requests[0].query["base_line"]) == 19


def test_empty_log_stays_at_its_beginning() -> None:
    """The job has not written yet: its first line must not be missed later."""
    log = AomLog()
    assert read(log) == LinesRead(b"", 0, more=False)
    log.lines.append("first")
    assert read(log, 0).data == text("first")


def test_beginning_that_is_not_understood_is_told() -> None:
    """Else the task log stays empty for a log that is there."""
    assert read(AomLog(["a", "b"], knows_any_base=False)) is None
    assert read(AomLog(["a", "b"], reversed_words=True)) is None


def test_lines_that_arrive_between_the_two_looks() -> None:
    """They are the log's first, and no sign that its beginning is not understood."""
    log = AomLog()

    def cloud(request: Any) -> Any:
        if "base_line" not in request.query:
            log.lines.append("first")
        return log(request)

    assert read(cloud) == LinesRead(b"", 0, more=False)
    assert read(cloud).data == text("first")


def test_lines_of_the_wrong_direction_are_not_shown_again() -> None:
    """Where the words for the direction mean the opposite, each look would show the page before."""
    log = AomLog([f"line {n}" for n in range(20)], reversed_words=True)
    base = str(FIRST + 100)
    assert read(log, base) == LinesRead(b"", base, more=False)


def test_page_with_the_newest_line_first_is_turned() -> None:
    """A traceback upside down."""
    told = {"start_line": "12", "end_line": "10", "lines": 3, "content": "c\nb\na\n"}
    assert drive(
        read_lines(lambda b, n: after(b, 500), newest, "9", None, 100), lambda request: answer(told)
    ) == LinesRead(b"a\nb\nc\n", "12", more=False)


def test_size_bounds_a_reading() -> None:
    """One task of many, or a narrow channel: the rest comes with the next reading."""
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
    """Where pages are too long to be read, asking for less has to help."""
    log = AomLog(["x"])
    read(log, size=size)
    assert log.requests[0].query["lines"] == lines


def test_empty_page_that_names_its_base_line() -> None:
    """Nothing new, in the words of a server that always fills its fields."""
    told = {"start_line": "4", "end_line": "4", "lines": 0, "content": ""}
    assert read(lambda request: answer(told), "4") == LinesRead(b"", "4", more=False)


def test_lines_without_an_end_are_an_error() -> None:
    """Reading could not go on from there: the same lines would be shown at every look."""
    with pytest.raises(UnexpectedResponse, match="end_line"):
        read(lambda request: answer({"content": "x\n", "lines": 1}))


@pytest.mark.parametrize("newest_first", [False, True])
def test_newest_lines(newest_first: bool) -> None:
    """For a failure's message: the last lines, in the order they were written."""
    log = AomLog([f"line {n}" for n in range(2000)], newest_first=newest_first)
    told = drive(newest_lines(newest, 64), log)
    assert told == LinesRead(text(*log.lines[-10:])[-64:], str(FIRST + 10 * 1999), more=False)
    assert drive(newest_lines(newest, 100), AomLog()) == LinesRead(b"", 0, more=False)


def test_a_page_of_empty_lines_is_read_within_bounds() -> None:
    """Pages of one-byte lines: without a limit, one reading would take hundreds of requests."""
    calls = 0

    def server(request: Any) -> Any:
        nonlocal calls
        calls += 1
        first = FIRST + calls * 1000
        return answer(
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
def test_numbers_of_lines_are_compared_whatever_they_are(one: str, other: str, later: bool) -> None:
    assert _later(one, other) == later

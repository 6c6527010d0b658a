# SPDX-License-Identifier: Apache-2.0
"""Following a log by previews, which contain only its end."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from airflow_provider_ehpc.apis.huawei.logs_preview import LogPreview, NewPart, is_preview, new_part
from airflow_provider_ehpc.apis.job import LogPosition


@dataclass
class Log:
    """A log of which a preview holds the last ``limit`` bytes."""

    data: bytes = b""
    limit: int = 5000
    sizes_lie: bool = False

    def preview(self) -> LogPreview:
        end = self.data[-self.limit :]
        # Previews are text: a character that the limit cuts is replaced.
        content = end.decode(errors="replace")
        if self.sizes_lie:
            return LogPreview(content=content, current_size=126548, full_size=5242880)
        return LogPreview(content=content, current_size=len(end), full_size=len(self.data))

    def read(self, position: LogPosition) -> NewPart:
        return new_part(position, self.preview(), "worker-0")


def lines(first: int, count: int) -> bytes:
    return b"".join(b"step %06d\n" % n for n in range(first, first + count))


@pytest.mark.parametrize("sizes_lie", [False, True])
def test_each_byte_is_read_once(sizes_lie: bool) -> None:
    """While the preview contains the whole log, when it starts to drop the beginning, and afterwards."""
    log = Log(sizes_lie=sizes_lie)
    position: LogPosition = 0
    read = b""
    for poll in range(60):
        log.data += lines(poll * 30, 30)[: -5 if poll % 3 == 0 else None]
        part = log.read(position)
        assert part.note == ""
        assert is_preview(part.next)
        read += part.data
        position = part.next
        assert log.read(position).data == b""
    assert read == log.data


@pytest.mark.parametrize("sizes_lie", [False, True])
def test_half_lines_are_continued(sizes_lie: bool) -> None:
    """The known part of a progress bar without line feeds is not shown again."""
    log = Log(b"start\n10% ", sizes_lie=sizes_lie)
    part = log.read(0)
    log.data += b"20% "
    second = log.read(part.next)
    log.data += b"done\nend\n"
    third = log.read(second.next)
    assert (part.data, second.data, third.data) == (b"start\n10% ", b"20% ", b"done\nend\n")


@pytest.mark.parametrize("sizes_lie", [False, True])
def test_a_log_of_equal_lines_is_not_skipped(sizes_lie: bool) -> None:
    """Each piece equals the one before. Recognized only by its end, the new one would count as known."""
    log = Log(b"tick\n" * 300, sizes_lie=sizes_lie)
    part = log.read(0)
    log.data += b"tick\n" * 300
    second = log.read(part.next)
    assert (len(part.data), len(second.data)) == (1500, 1500)


def test_nearly_all_of_a_preview_is_new() -> None:
    """The rest of the old part is too short to be recognized, but the sizes show that nothing is missing."""
    log = Log(lines(0, 1000))
    part = log.read(0)
    log.data += lines(1000, 400)
    second = log.read(part.next)
    assert (second.data, second.note) == (lines(1000, 400), "")


def test_the_size_of_a_gap_is_noted() -> None:
    """If a job writes much between two polls, lines are missing, and the reader of the log must know."""
    log = Log(lines(0, 100))
    part = log.read(0)
    log.data += lines(100, 1000)
    second = log.read(part.next)
    assert second.data == log.data[-5000:]
    assert second.note == "7,000 bytes of worker-0 are missing here: the preview holds the last 5,000"
    assert log.read(second.next).data == b""


def test_a_missing_beginning_is_noted() -> None:
    """A task that starts to read late must not seem to have the whole log."""
    log = Log(lines(0, 1000))
    assert log.read(0).note == "7,000 bytes of worker-0 are missing here: the preview holds the last 5,000"


def test_a_gap_is_noted_even_if_sizes_are_wrong() -> None:
    """Only the size of the gap is then unknown."""
    log = Log(lines(0, 100), sizes_lie=True)
    part = log.read(0)
    log.data += lines(100, 1000)
    second = log.read(part.next)
    assert second.data == log.data[-5000:]
    assert "may be missing or repeated" in second.note
    log.data += b"more\n"
    third = log.read(second.next)
    assert (third.data, third.note) == (b"more\n", "")


def test_a_log_that_was_started_again_is_read_from_its_beginning() -> None:
    """Fault tolerance may start a job again, and its log may start again with it."""
    log = Log(lines(0, 400))
    part = log.read(0)
    log.data = b"second attempt\n"
    second = log.read(part.next)
    assert second.data == b"second attempt\n"
    assert second.note == "the log of worker-0 is shorter than before: it was started again"


def test_characters_cut_at_the_previews_beginning() -> None:
    """The limit cuts anywhere. Sizes then differ from the content, and lines are recognized instead."""
    log = Log("训练作业\n".encode() * 100, limit=1000)
    part = log.read(0)
    for _ in range(20):
        log.data += "下一步 🚀\n".encode()
        part = log.read(part.next)
        assert (part.data, part.note) == ("下一步 🚀\n".encode(), "")


def test_an_empty_preview_does_not_change_the_position() -> None:
    """Before the job writes, the response is 204. The next poll starts at the beginning."""
    part = new_part(0, LogPreview(), "worker-0")
    assert part.data == b""
    assert is_preview(part.next)
    assert Log(b"first\n").read(part.next).data == b"first\n"


def test_positions_contain_nothing_of_the_log() -> None:
    """They are saved in XCom and the task state store, which must not contain text of the log."""
    part = Log(b"password=hunter2\nkey").read(0)
    assert isinstance(part.next, str)
    assert "hunter2" not in part.next
    assert len(part.next) < 60
    assert not is_preview(0)
    assert not is_preview("1609121886518240330")


@pytest.mark.parametrize("sizes_lie", [False, True])
def test_a_character_that_is_half_written_waits_for_its_rest(sizes_lie: bool) -> None:
    """Programs flush their buffers every 8 KiB, often in the middle of a character."""
    whole = "进度 🚀\n步".encode()
    for split in range(1, len(whole)):
        log = Log(whole[:split], sizes_lie=sizes_lie)
        first = log.read(0)
        assert log.read(first.next).data == b""
        log.data = whole
        second = log.read(first.next)
        assert first.data + second.data == whole, split
        assert (first.note, second.note) == ("", "")

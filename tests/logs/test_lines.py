# SPDX-License-Identifier: Apache-2.0
"""Lines are the same whatever the borders of the pieces, and no job can fill the memory."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.logs import lines
from airflow_provider_ehpc.logs.lines import LONGEST_LINE, LineAssembler, line_encoding, stream_prefix

# Ends of lines, beginnings and rests of characters, and bytes that are no UTF-8 lie close together.
_PIECES = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"\r",
        b"a",
        b" ",
        "é".encode(),
        "数据".encode(),
        "🚀".encode(),
        b"\xff",
        b"\xe6\x95",
        b"\x80",
    ]
)
_BYTES = st.one_of(st.binary(max_size=300), st.lists(_PIECES, max_size=60).map(b"".join))


def assembled(pieces: list[bytes]) -> tuple[list[str], int]:
    assembler = LineAssembler()
    reported = [line for piece in pieces for line in assembler.feed(piece)]
    return reported + assembler.flush(), assembler.cut


def pieces_of(data: bytes, borders: list[int]) -> list[bytes]:
    ends = sorted({min(border, len(data)) for border in borders} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


def expected(data: bytes, longest: int) -> list[str]:
    """Say independently what should be shown, from the whole data at once."""
    *ended, rest = data.split(b"\n")
    reported = []
    for line in ended + ([rest] if rest else []):
        line = line.removesuffix(b"\r")
        if len(line) <= longest:
            reported.append(line.decode(errors="backslashreplace"))
            continue
        begin, end = line[: longest - longest // 4], line[-(longest // 4) :]
        begun = next((n for n in (1, 2, 3) if _begins_character(begin[-n:])), 0)
        begin = begin[: len(begin) - begun]
        end = end[next((n for n in range(3) if end[n : n + 1] and end[n] & 0xC0 != 0x80), 3) :]
        missing = len(line) - len(begin) - len(end)
        reported.append(f"{_text(begin)} …[+{missing} bytes]… {_text(end)}")
    return reported


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def _begins_character(tail: bytes) -> bool:
    """Whether ``tail`` is the proper beginning of one UTF-8 character."""
    try:
        tail.decode()
    except UnicodeDecodeError as error:
        return error.start == 0 and error.reason == "unexpected end of data"
    return False


@given(data=_BYTES, borders=st.lists(st.integers(0, 400), max_size=20))
def test_any_chunking_gives_the_same_lines(data: bytes, borders: list[int]) -> None:
    """A border inside a character or between CR and LF must neither lose nor double anything."""
    assert assembled(pieces_of(data, borders)) == assembled([data])


@given(data=_BYTES, borders=st.lists(st.integers(0, 400), max_size=20), longest=st.integers(4, 40))
def test_lines_are_what_the_job_wrote(data: bytes, borders: list[int], longest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LONGEST_LINE", longest)
        reported, cut = assembled(pieces_of(data, borders))
        assert reported == expected(data, longest)
        assert cut == sum("…[+" in line for line in reported)


@given(
    text=st.text(alphabet=st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=60)
)
def test_valid_text_is_shown_unchanged(text: str) -> None:
    data = text.encode() + b"\n"
    assert assembled([data[i : i + 1] for i in range(len(data))]) == ([text.removeprefix("\ufeff")], 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_byte_order_mark_is_no_text(encoding: str) -> None:
    """A file that was appended to another brings its own."""
    long = "x" * (lines.LONGEST_LINE + 1)
    data = f"\ufeffone\ntwo\n\ufeffthree\n\ufeff{long}\n".encode(encoding.removesuffix("-sig"))
    assembler = LineAssembler(line_encoding(encoding))
    reported = [line for i in range(len(data)) for line in assembler.feed(data[i : i + 1])]
    assert reported[:3] == ["one", "two", "three"]
    assert reported[3].startswith("xxx")


@pytest.mark.parametrize(
    ("data", "reported"),
    [
        (b"a\nb\r\nc", ["a", "b", "c"]),
        (b"\n\r\n\n", ["", "", ""]),
        (b"50%\r100%\r\n", ["50%\r100%"]),
        (b"\xff\xfe ok\n", ["\\xff\\xfe ok"]),
        ("数据".encode()[:-1] + b"\n", ["数\\xe6\\x8d"]),
        (b"no end", ["no end"]),
        (b"", []),
        (b"\x1b[31mred\x1b[0m\x00\n", ["\x1b[31mred\x1b[0m\x00"]),
        ("a\u2028b\x85c\x0bd\n".encode(), ["a\u2028b\x85c\x0bd"]),
    ],
)
def test_ends_and_strange_bytes(data: bytes, reported: list[str]) -> None:
    assert assembled([data])[0] == reported


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_the_longest_line_is_whole(end: bytes) -> None:
    line = b"x" * LONGEST_LINE
    assert assembled([line + end]) == ([line.decode()], 0)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_longer_line_is_cut_visibly(end: bytes) -> None:
    """The number says how many bytes of the line are missing; the line's end is none of them."""
    (line,), cut = assembled([b"x" * (LONGEST_LINE + 5) + end])
    begin, end = "x" * (LONGEST_LINE - LONGEST_LINE // 4), "x" * (LONGEST_LINE // 4)
    assert line == f"{begin} …[+5 bytes]… {end}"
    assert cut == 1


@pytest.mark.parametrize("character", ["é", "数", "🚀"])
@pytest.mark.parametrize("shift", range(4))
def test_a_line_is_cut_between_characters(character: str, shift: int) -> None:
    text = "x" * shift + character * LONGEST_LINE
    (line,), _ = assembled([text.encode() + b"\n"])
    begin, _, rest = line.partition(" …[+")
    missing, _, end = rest.partition(" bytes]… ")
    assert set(begin.lstrip("x")) == set(end) == {character}
    shown = len(begin.encode()) + len(end.encode())
    assert shown + int(missing) == len(text.encode())
    assert shown > LONGEST_LINE - 7


def test_pending_counts_what_has_no_end_yet() -> None:
    assembler = LineAssembler()
    assembler.feed(b"a\nbcd")
    assert assembler.pending == 3
    assembler.feed(b"\n")
    assert assembler.pending == 0


def test_a_line_without_end_takes_no_memory() -> None:
    """A job that draws a progress bar for a week, or writes a binary file to its output."""
    assembler = LineAssembler()
    piece = b"#" * 1024 * 1024
    for _ in range(40):
        assert assembler.feed(piece) == []
    held = sum(sys.getsizeof(value) for value in vars(assembler).values())
    assert held < 4 * LONGEST_LINE
    (line,) = assembler.flush()
    assert f"# …[+{40 * len(piece) - LONGEST_LINE} bytes]… #" in line


def test_an_assembler_can_go_on_after_a_flush() -> None:
    """A file that was replaced begins with a whole line."""
    assembler = LineAssembler()
    assembler.feed(b"half\r")
    assert assembler.flush() == ["half"]
    assert assembler.feed(b"new\n") == ["new"]
    assert assembler.flush() == []


def test_the_end_of_a_cut_line_is_shown() -> None:
    """Of a progress bar that was one line for an hour, the last state is what counts."""
    bar = b"".join(b"\repoch 1: %3d%%|%s|" % (percent, b"#" * 300) for percent in range(101))
    (line,) = LineAssembler().feed(bar + b"\n")
    assert line.startswith("\repoch 1:   0%")
    assert line.rpartition("\r")[2].startswith("epoch 1: 100%")


def test_progress_is_the_last_state() -> None:
    assembler = LineAssembler()
    assembler.feed(b"first line\n")
    assert assembler.progress() is None
    assembler.feed(b"10%")
    assert assembler.progress() is None, "not redrawn yet: it may be any line"
    assembler.feed(b"\r")
    assert assembler.progress() is None, "the CR may belong to a CRLF"
    assembler.feed(b"20%\r30%")
    assert assembler.progress() == "30%"
    assert assembler.progress() is None, "nothing new"
    assembler.feed(b"\r40%\r")
    assert assembler.progress() == "40%"
    assert assembler.feed(b"100%\r\nnext\r\n") == ["10%\r20%\r30%\r40%\r100%", "next"]


def test_progress_of_a_line_longer_than_is_shown() -> None:
    assembler = LineAssembler()
    for percent in range(100):
        assembler.feed(b"\r%d%% %s" % (percent, b"#" * 1000))
    assert assembler.progress() is None, "it may just have been cut by the reading"
    state = assembler.progress()
    assert state is not None
    assert state.startswith("99% #")
    assert assembler.feed(b"\r100%\n")[0].endswith("\r100%")


@given(data=_BYTES, borders=st.lists(st.integers(0, 300), max_size=20))
def test_progress_changes_no_line(data: bytes, borders: list[int]) -> None:
    """A bare CR may also stand in a line that is no progress bar: each line appears whole."""
    assembler, reported = LineAssembler(), []
    for piece in pieces_of(data, borders):
        reported += assembler.feed(piece)
        assembler.progress()
    assert reported + assembler.flush() == assembled([data])[0]


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "big5", "shift_jis", "euc_kr", "euc_jp", "cp1252"])
def test_other_encodings(encoding: str) -> None:
    text = {"euc_kr": "계산 완료", "cp1252": "für"}.get(
        encoding, "計算 終了" if "j" in encoding else "計算 完成"
    )
    data = f"{text} 100\r\n{text}\n".encode(encoding)
    assembler = LineAssembler(line_encoding(encoding))
    assert [x for n in range(len(data)) for x in assembler.feed(data[n : n + 1])] == [f"{text} 100", text]


@pytest.mark.parametrize("shift", range(2))
def test_a_long_line_in_another_encoding_is_cut_between_characters(shift: int) -> None:
    text = "x" * shift + "算" * LONGEST_LINE + " 100%"
    (line,) = LineAssembler("gbk").feed(text.encode("gbk") + b"\n")
    assert set(line.partition(" …")[0]) <= {"x", "算"}
    assert line.endswith("算 100%")


def test_bytes_that_the_encoding_does_not_know_are_shown() -> None:
    assert LineAssembler("gbk").feed(b"\xff ok\n") == ["\\xff ok"]


@pytest.mark.parametrize("name", ["GBK", "utf8", "UTF-8", "latin-1", "cp936", "GB18030"])
def test_encodings_that_python_knows(name: str) -> None:
    assert line_encoding(name)


@pytest.mark.parametrize(
    "name",
    [
        "utf-16",
        "UTF-16LE",
        "utf_32",
        "cp037",
        "hz",
        "base64",
        "rot13",
        "nope",
        "",
        "u\0",
        None,
        8,
    ],
)
def test_encodings_in_which_lines_cannot_be_found(name: str) -> None:
    """At parse time, for the log would be rubbish."""
    with pytest.raises(InvalidArgument, match=r"^encoding: "):
        line_encoding(name)


def test_a_stream_name_stays_in_its_line() -> None:
    assert stream_prefix("stdout") == ""
    assert stream_prefix("worker\n::group::") == "worker ::group:: | "

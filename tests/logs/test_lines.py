"""Lines are the same whatever the borders of the pieces, and no job can fill the memory."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.logs import lines
from airflow_provider_ehpc.logs.lines import LONGEST_LINE, LineAssembler

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
    told = [line for piece in pieces for line in assembler.feed(piece)]
    return told + assembler.flush(), assembler.cut


def pieces_of(data: bytes, borders: list[int]) -> list[bytes]:
    ends = sorted({min(border, len(data)) for border in borders} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


def expected(data: bytes, longest: int) -> list[str]:
    """Say independently what should be shown, from the whole data at once."""
    *ended, rest = data.split(b"\n")
    told = []
    for line in ended + ([rest] if rest else []):
        line = line.removesuffix(b"\r")
        if len(line) <= longest:
            told.append(line.decode(errors="backslashreplace"))
            continue
        shown = line[:longest]
        begun = next((n for n in (1, 2, 3) if _begins_character(shown[-n:])), 0)
        shown = shown[: len(shown) - begun]
        told.append(f"{shown.decode(errors='backslashreplace')} …[+{len(line) - len(shown)} bytes]")
    return told


def _begins_character(tail: bytes) -> bool:
    """Whether ``tail`` is the proper beginning of one UTF-8 character."""
    if not tail or not all(byte & 0xC0 == 0x80 for byte in tail[1:]):
        return False
    first = tail[0]
    length = 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2 if first >= 0xC0 else 1
    return len(tail) < length


@given(data=_BYTES, borders=st.lists(st.integers(0, 400), max_size=20))
def test_any_chunking_gives_the_same_lines(data: bytes, borders: list[int]) -> None:
    """A border inside a character or between CR and LF must neither lose nor double anything."""
    assert assembled(pieces_of(data, borders)) == assembled([data])


@given(data=_BYTES, borders=st.lists(st.integers(0, 400), max_size=20), longest=st.integers(4, 40))
def test_lines_are_what_the_job_wrote(data: bytes, borders: list[int], longest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "LONGEST_LINE", longest)
        told, cut = assembled(pieces_of(data, borders))
        assert told == expected(data, longest)
        assert cut == sum("…[+" in line for line in told)


@given(
    text=st.text(alphabet=st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=60)
)
def test_valid_text_is_shown_unchanged(text: str) -> None:
    data = text.encode() + b"\n"
    assert assembled([data[i : i + 1] for i in range(len(data))]) == ([text], 0)


@pytest.mark.parametrize(
    ("data", "told"),
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
def test_ends_and_strange_bytes(data: bytes, told: list[str]) -> None:
    assert assembled([data])[0] == told


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_the_longest_line_is_whole(end: bytes) -> None:
    line = b"x" * LONGEST_LINE
    assert assembled([line + end]) == ([line.decode()], 0)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_longer_line_is_cut_visibly(end: bytes) -> None:
    """The number says how many bytes of the line are missing; the line's end is none of them."""
    (line,), cut = assembled([b"x" * (LONGEST_LINE + 5) + end])
    assert line == "x" * LONGEST_LINE + " …[+5 bytes]"
    assert cut == 1


@pytest.mark.parametrize("character", ["é", "数", "🚀"])
@pytest.mark.parametrize("shift", range(4))
def test_a_line_is_cut_between_characters(character: str, shift: int) -> None:
    text = "x" * shift + character * LONGEST_LINE
    (line,), _ = assembled([text.encode() + b"\n"])
    shown, _, rest = line.partition(" …[+")
    assert set(shown.lstrip("x")) == {character}
    assert len(shown.encode()) + int(rest.removesuffix(" bytes]")) == len(text.encode())
    assert len(shown.encode()) > LONGEST_LINE - 4


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
    assert assembler.flush() == ["#" * LONGEST_LINE + f" …[+{40 * len(piece) - LONGEST_LINE} bytes]"]


def test_an_assembler_can_go_on_after_a_flush() -> None:
    """A file that was replaced begins with a whole line."""
    assembler = LineAssembler()
    assembler.feed(b"half\r")
    assert assembler.flush() == ["half"]
    assert assembler.feed(b"new\n") == ["new"]
    assert assembler.flush() == []

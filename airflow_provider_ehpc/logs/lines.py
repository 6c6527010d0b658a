"""From pieces of a byte stream to lines of text, with nothing lost at the seams.

Lines are cut out of the bytes and decoded whole: a newline byte is never a part of another UTF-8 character,
so a piece may end anywhere. Memory is bounded by the longest line that is shown, whatever the job writes.
"""

from __future__ import annotations

LONGEST_LINE = 16 * 1024
"""Bytes of a line that are shown. Records of megabytes get lost on Airflow's way to the log (GH-66158)."""


class LineAssembler:
    """Assembles the lines of one stream.

    A line ends with LF or CRLF. Bytes that are no UTF-8 are shown as ``\\xff``. A lone CR stays where it
    is, as do all other control characters: what is shown is what the job wrote.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._length = 0
        self._last = b""
        self.cut = 0
        """Lines shown in part only."""

    @property
    def pending(self) -> int:
        """Bytes of the line that has not ended yet."""
        return self._length

    def feed(self, data: bytes) -> list[str]:
        """Take the next piece and return the lines that it completes."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._take(end)
            lines.append(self._line())
        self._take(rest)
        return lines

    def flush(self) -> list[str]:
        """Return the line that never got its end, if there is one."""
        return [self._line()] if self._length else []

    def _take(self, piece: bytes) -> None:
        self._head += piece[: LONGEST_LINE - len(self._head)]
        self._length += len(piece)
        self._last = piece[-1:] or self._last

    def _line(self) -> str:
        head, length = bytes(self._head), self._length
        if self._last == b"\r":
            length -= 1
            head = head[:length]
        self._head.clear()
        self._length, self._last = 0, b""
        if length <= LONGEST_LINE:
            return head.decode(errors="backslashreplace")
        self.cut += 1
        shown = _whole_characters(head)
        return f"{shown.decode(errors='backslashreplace')} …[+{length - len(shown)} bytes]"


def _whole_characters(data: bytes) -> bytes:
    """Return ``data`` without the beginning of a UTF-8 character at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:  # the first byte of a character
            wanted = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return data if wanted <= back else data[:-back]
    return data

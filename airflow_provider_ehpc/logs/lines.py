# SPDX-License-Identifier: Apache-2.0
"""Split pieces of a byte stream into lines of text, without loss at the seams.

Bytes are split into lines before they are decoded: in the accepted encodings, a newline byte is never part of
another character, so a piece may end anywhere. Memory is bounded by the longest line that is shown, whatever
the job writes.
"""

from __future__ import annotations

import codecs
import contextlib

from airflow_provider_ehpc.apis.call import InvalidArgument

LONGEST_LINE = 16 * 1024
"""Bytes of a line to show, at most. Airflow loses records of megabytes (GH-66158)."""
_END = 4
"""Of the bytes shown of a longer line, one in this many is from its end, with a progress bar's last state."""
_BYTE_ORDER_MARK = "\ufeff"

STDERR_LEVELS = ("debug", "info", "warning", "error")
"""The levels of Airflow's log that the lines of a standard error can have."""
STDERR_LEVEL = "warning"


class LineAssembler:
    """Assemble the lines of one stream.

    A line ends with LF or CRLF. Bytes that are invalid in the encoding are shown as ``\\xff``. A byte order
    mark before a line is left out: a program on Windows writes one at the beginning of each file. A lone CR
    and all other control characters stay as the job wrote them.

    :param encoding: an encoding that :func:`line_encoding` accepts.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._encoding = encoding
        self._head = bytearray()
        self._end = b""
        self._length = 0
        self._waited = False
        self._shown: str | None = None
        """The progress of the pending line that was returned last."""
        self.cut = 0
        """The number of lines that were shortened."""

    @property
    def pending(self) -> int:
        """The number of bytes of the incomplete line."""
        return self._length

    def feed(self, data: bytes) -> list[str]:
        """Add the next piece; return the lines that it completes."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            if not self._length and len(end) <= LONGEST_LINE:
                lines.append(self._decode(end.removesuffix(b"\r")))
                continue
            self._take(end)
            lines.append(self._line())
        self._take(rest)
        return lines

    def flush(self) -> list[str]:
        """Return the incomplete line, if there is one."""
        return [self._line()] if self._length else []

    def progress(self) -> str | None:
        """Return the last state of an incomplete line that is redrawn with CR; None if it has not changed.

        Call it once per cycle. A line that was not pending in the previous cycle may only be incomplete
        because the reading ended there.
        """
        waited, self._waited = self._waited, self._length > 0
        if not waited or not self._length:
            return None
        known = bytes(self._head) if self._length <= len(self._head) else self._end
        _, drawn, end = known.rstrip(b"\r").rpartition(b"\r")
        state = self._decode(end)
        if not drawn or not state or state == self._shown:
            return None
        self._shown = state
        return state

    def _take(self, piece: bytes) -> None:
        if piece:
            # One byte more than is shown, for the CR before the LF.
            self._head += piece[: LONGEST_LINE + 1 - len(self._head)]
            kept = LONGEST_LINE // _END + 1
            self._end = (self._end + piece[-kept:])[-kept:]
            self._length += len(piece)

    def _line(self) -> str:
        head, end, length = bytes(self._head), self._end, self._length
        self._head.clear()
        self._end, self._length, self._waited, self._shown = b"", 0, False, None
        if end.endswith(b"\r"):
            head, end, length = head[: length - 1], end[:-1], length - 1
        if length <= LONGEST_LINE:
            return self._decode(head)
        self.cut += 1
        end = self._whole_end(end[-(LONGEST_LINE // _END) :] if LONGEST_LINE >= _END else b"")
        begin, shown = self._whole_begin(head[: LONGEST_LINE - LONGEST_LINE // _END])
        return f"{begin} …[+{length - shown - len(end)} bytes]… {self._decode(end)}"

    def _decode(self, data: bytes) -> str:
        return data.decode(self._encoding, errors="backslashreplace").removeprefix(_BYTE_ORDER_MARK)

    def _whole_begin(self, data: bytes) -> tuple[str, int]:
        """Return the text of ``data`` without an incomplete character at its end, and its length in bytes."""
        decoder = codecs.getincrementaldecoder(self._encoding)("backslashreplace")
        text = decoder.decode(data).removeprefix(_BYTE_ORDER_MARK)
        return text, len(data) - len(decoder.getstate()[0])

    def _whole_end(self, data: bytes) -> bytes:
        """Return ``data`` without an incomplete character at its beginning, as far as this can be known."""
        if self._encoding == "utf-8":
            begun = next((n for n, byte in enumerate(data[:3]) if byte & 0xC0 != 0x80), 3)
            return data[begun:]
        # In other encodings, no byte is known to be a character's first.
        for begun in range(min(4, len(data))):
            with contextlib.suppress(UnicodeDecodeError):
                data[begun:].decode(self._encoding)
                return data[begun:]
        return data


def line_encoding(name: str) -> str:
    """Return an encoding's canonical name.

    :raises InvalidArgument: if the encoding is unknown, or its text cannot be split into lines at the LF
        byte, as in UTF-16.
    """
    try:
        encoding = codecs.lookup(name).name.removesuffix("-sig")
        usable = "a\r\n".encode(encoding) == b"a\r\n" and all(
            _leaves_newline(byte, encoding) for byte in range(0x20, 0x100)
        )
        codecs.getincrementaldecoder(encoding)("backslashreplace").decode(b"a")
    except (LookupError, TypeError, ValueError):
        raise InvalidArgument(
            f"encoding: {name!r} is not a text encoding that Python knows; try 'utf-8', 'gbk' or 'latin-1'"
        ) from None
    if not usable:
        raise InvalidArgument(
            f"encoding: a log in {name} cannot be split into lines at line feeds; write the log in UTF-8"
        )
    return encoding


def line_level(level: str) -> str:
    """Read ``stderr_level``.

    :raises InvalidArgument: if it is not one of :data:`STDERR_LEVELS`.
    """
    if isinstance(level, str) and level.lower() in STDERR_LEVELS:
        return level.lower()
    raise InvalidArgument(f"stderr_level: expected {', '.join(STDERR_LEVELS)}, not {level!r}")


def _leaves_newline(byte: int, encoding: str) -> bool:
    """Return True if an LF after ``byte`` is never part of the same character."""
    try:
        return bytes((byte, 0x0A)).decode(encoding).endswith("\n")
    except UnicodeDecodeError:
        return True


def stream_prefix(stream: str) -> str:
    """Return the prefix of a stream's lines; empty for the standard output."""
    return "" if stream == "stdout" else f"{' '.join(stream.split())} | "

# SPDX-License-Identifier: Apache-2.0
"""Read a log by bytes with API v1's ``/log``, which returns up to 2 KiB per call as JSON text.

Offsets count the bytes of the file, but the response is text, so it cannot contain a character that is cut at
its end. It is not documented if the server replaces that character by U+FFFD, omits it or moves the cut. This
module works in all three cases. A reading starts at the beginning of a character. A piece is accepted if its
text is as long as its offsets say and does not end in U+FFFD. Otherwise up to three bytes less are requested.
If none of these pieces is accepted either, the log contains bytes that are not text, and the first piece is
used.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import AliasChoices, Field

from airflow_provider_ehpc.apis.call import ApiCall, Flow
from airflow_provider_ehpc.apis.huawei.common import Content
from airflow_provider_ehpc.apis.response import Flag, Number, ResponseModel

SLICE = 2048
"""Maximum number of bytes per call."""
_LONGEST_REST = 3
"""Maximum number of bytes of an incomplete UTF-8 character."""
_REPLACEMENT = "\ufffd"


class LogSlice(ResponseModel):
    """Response of v1's ``/log``: a piece of a log file.

    The length of the piece is ``log_byte_count`` in the documentation's table and ``count`` in its sample,
    where numbers are in quotes. ``end_byte`` is the next ``start_byte``: from 0 on, the ten bytes
    ``Log string`` end at 10.
    """

    log_fields = frozenset({"log"})

    is_success: Flag = None
    log: Content = ""
    end_byte: Number = None
    log_byte_count: Number = Field(default=None, validation_alias=AliasChoices("log_byte_count", "count"))

    @property
    def data(self) -> bytes:
        """The text in UTF-8."""
        return self.log.encode()

    def end(self, start: int) -> int:
        """Return the offset of the piece's end; ``start`` if it is empty, or if it ends before ``start``.

        A reported end that a piece cannot reach is ignored: otherwise, the log up to there would be lost.
        """
        count = self.log_byte_count or len(self.data)
        if count <= 0:
            return start
        if self.end_byte is not None and self.end_byte <= start + SLICE:
            return max(start, self.end_byte)
        return start + min(count, SLICE)

    def whole(self, start: int) -> bool:
        """Return True if the text is as long as its offsets say."""
        return len(self.data) == self.end(start) - start

    @property
    def ends_replaced(self) -> bool:
        """True if the last character may replace one that was cut: three bytes of four are as long."""
        return self.log.endswith(_REPLACEMENT)


SliceCall = Callable[[int, int], ApiCall[LogSlice]]
"""Returns the call for a number of bytes from an offset on."""


def read_slices(slice_call: SliceCall, start: int, size: int) -> Flow[tuple[bytes, int, bool]]:
    """Read ``size`` bytes from ``start`` on, but at least one slice and at most to the end of the log.

    A slice that is less than half full ends the reading: a follower reads the log's last bytes again in each
    poll, and should not need a second request to find that nothing follows them.

    :return: the bytes, the next position, and True if more can possibly be read at once.
    """
    data = bytearray()
    for _ in range(max(1, size // SLICE)):
        piece, known_end = yield from _read_slice(slice_call, start)
        if piece is None:
            return bytes(data), start, False
        data += piece.data
        before, start = start, piece.end(start)
        if start - before < SLICE // 2 and start >= known_end:
            return bytes(data), start, False
    return bytes(data), start, True


def _read_slice(slice_call: SliceCall, start: int) -> Flow[tuple[LogSlice | None, int]]:
    """Return the next slice, or None if there is none yet, and the known end of the log."""
    first: LogSlice = yield slice_call(start, SLICE)
    end = first.end(start)
    length = end - start
    if length <= 0:
        return None, end
    if first.whole(start) and not first.ends_replaced:
        return first, end
    for cut in range(1, min(_LONGEST_REST, length - 1) + 1):
        shorter: LogSlice = yield slice_call(start, length - cut)
        # A U+FFFD at the end of an accepted shorter piece is the job's own: if it replaced a cut character,
        # that character would have been complete in the longer piece.
        # If the piece also contains bytes that are not text, no text is as long as its offsets say. Then only
        # the end of the text shows that no character is cut.
        mended = not first.whole(start) and first.ends_replaced and shorter.log and not shorter.ends_replaced
        if shorter.end(start) > start and (shorter.whole(start) or mended):
            return shorter, end
    if length <= _LONGEST_REST and (not first.log or first.ends_replaced):
        # The log ends in an incomplete character, whose rest the job has not written yet.
        return None, end
    return first, end

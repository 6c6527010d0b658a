"""Reading a log by bytes, as API v1's ``/log`` gives them: 2 KiB a call, cut anywhere, as JSON text.

Offsets count the file's bytes, but what comes is text, so a character that a cut went through cannot
arrive. No page says whether the server puts U+FFFD in its place, leaves it out or moves the cut. The rule
here is right for all three: a reading starts at the beginning of a character, and a piece counts only if it
is as long as its offsets say and does not end in U+FFFD; else up to three bytes less are asked for, and
where none of these pieces is whole, the log holds no text there and the first piece is taken.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import AliasChoices, Field

from airflow_provider_ehpc.apis.call import ApiCall, Flow
from airflow_provider_ehpc.apis.huawei.common import Content
from airflow_provider_ehpc.apis.response import Flag, Number, ResponseModel

SLICE = 2048
"""Bytes: the most that one call gives."""
_LONGEST_REST = 3
"""Bytes of a UTF-8 character that can be there while its last one is not."""
_REPLACEMENT = "\ufffd"


class LogSlice(ResponseModel):
    """Answer of v1's ``/log``: a piece of a log file.

    The table calls the piece's length ``log_byte_count``, the sample ``count``; the sample has numbers in
    quotes. ``end_byte`` is the next ``start_byte``: from 0, the ten bytes ``Log string`` end at 10.
    """

    log_fields = frozenset({"log"})

    is_success: Flag = None
    log: Content = ""
    end_byte: Number = None
    log_byte_count: Number = Field(default=None, validation_alias=AliasChoices("log_byte_count", "count"))

    @property
    def data(self) -> bytes:
        """The text as the bytes of its encoding."""
        return self.log.encode()

    def end(self, start: int) -> int:
        """Return where the piece ends; ``start`` if it is empty, or ends before it begins.

        A reported end further ahead than a piece can reach is not believed: all up to there would be missing.
        """
        count = self.log_byte_count or len(self.data)
        if count <= 0:
            return start
        if self.end_byte is not None and self.end_byte <= start + SLICE:
            return max(start, self.end_byte)
        return start + min(count, SLICE)

    def whole(self, start: int) -> bool:
        """Whether the text is as long as the bytes it stands for."""
        return len(self.data) == self.end(start) - start

    @property
    def ends_replaced(self) -> bool:
        """Whether the last character may stand for one that was cut: three bytes of four are as long."""
        return self.log.endswith(_REPLACEMENT)


AskSlice = Callable[[int, int], ApiCall[LogSlice]]
"""Makes the call for the bytes from a start on, at most so many."""


def read_slices(ask: AskSlice, start: int, size: int) -> Flow[tuple[bytes, int, bool]]:
    """Read ``size`` bytes from ``start`` on, one slice at least, or as many as there are.

    A slice that is less than half full is the last one for the moment: a follower reads the log's last bytes
    again each time, and should not need a second request to see that nothing follows them.

    :return: the bytes, where to read on, and whether more may lie ready.
    """
    data = bytearray()
    for _ in range(max(1, size // SLICE)):
        piece, known_end = yield from _read_slice(ask, start)
        if piece is None:
            return bytes(data), start, False
        data += piece.data
        begun, start = start, piece.end(start)
        if start - begun < SLICE // 2 and start >= known_end:
            return bytes(data), start, False
    return bytes(data), start, True


def _read_slice(ask: AskSlice, start: int) -> Flow[tuple[LogSlice | None, int]]:
    """Return the next slice, None if there is none yet, and up to where the log is known to go."""
    first: LogSlice = yield ask(start, SLICE)
    end = first.end(start)
    length = end - start
    if length <= 0:
        return None, end
    if first.whole(start) and not first.ends_replaced:
        return first, end
    for cut in range(1, min(_LONGEST_REST, length - 1) + 1):
        shorter: LogSlice = yield ask(start, length - cut)
        # A U+FFFD at this end is the job's own: with the byte that was left out, a cut character would
        # have been whole.
        # Bytes that are no text, further ahead, make every piece of another length than its text; then the
        # end of the text is all there is to go by.
        mended = not first.whole(start) and first.ends_replaced and shorter.log and not shorter.ends_replaced
        if shorter.end(start) > start and (shorter.whole(start) or mended):
            return shorter, end
    if length <= _LONGEST_REST and (not first.log or first.ends_replaced):
        # The log's last bytes so far are the beginning of a character: its rest is yet to be written.
        return None, end
    return first, end

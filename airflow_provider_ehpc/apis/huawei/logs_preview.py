"""Following a log by its preview: the newest 5 MB at most, of which the part not yet seen has to be found.

The preview is what older regions and Open Telekom Cloud have in place of lines. Its sizes would do, but
those of the documentation's own sample are wrong (``current_size`` is not the content's, ``full_size`` is the
limit), so they count only where they agree with the content; what was read last is recognised by a digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydantic import AliasChoices, Field

from airflow_provider_ehpc.apis.huawei.common import Content
from airflow_provider_ehpc.apis.job import LogPosition
from airflow_provider_ehpc.apis.response import Number, ResponseModel

_PREFIX = "preview"
_REPLACEMENT = "\ufffd"
_WINDOW = 512
"""Bytes before the end of the last line that are recognised."""


class LogPreview(ResponseModel):
    """Answer of ShowTrainingJobLogsPreview."""

    log_fields = frozenset({"content", "context"})

    # Named context before 2022-03-01.
    content: Content = Field(default="", validation_alias=AliasChoices("content", "context"))
    current_size: Number = None
    """Bytes of the content."""
    full_size: Number = None
    """Bytes of the whole log."""


@dataclass(frozen=True, slots=True)
class NewPart:
    """What a preview has that was not seen before."""

    data: bytes
    next: LogPosition
    note: str = ""
    """What is missing before it, in words."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far a log was read.

    ``seen`` bytes of it; ``rest`` of them behind the end of the last whole line, of whose end ``digest`` is.
    """

    seen: int = 0
    rest: int = 0
    digest: str = ""

    @classmethod
    def parse(cls, position: LogPosition) -> _Mark:
        words = str(position).split(":")
        if words[0] != _PREFIX or len(words) != 4:
            return cls()
        return cls(int(words[1]), int(words[2]), words[3])

    def __str__(self) -> str:
        return f"{_PREFIX}:{self.seen}:{self.rest}:{self.digest}"

    def is_at(self, data: bytes, end: int) -> bool:
        """Whether what was read last is what stands before ``end``."""
        return 0 <= end - self.rest <= end <= len(data) and _digest(data, end - self.rest) == self.digest


def is_preview(position: LogPosition) -> bool:
    """Whether a stream that stands at ``position`` is followed by its preview."""
    return str(position).startswith(f"{_PREFIX}:")


def new_part(position: LogPosition, preview: LogPreview, stream: str) -> NewPart:
    """Return what is new behind ``position``, and what to know of it."""
    mark = _Mark.parse(position)
    content = preview.content.encode()
    # What stands for the last character may stand for the half of it that the job has written so far; it is
    # read when something follows. Of a log that ends in bytes that are no text, only their mark is lost.
    data = preview.content.rstrip(_REPLACEMENT).encode()
    if not data:
        return NewPart(b"", str(mark))
    full = preview.full_size
    exact = full is not None and len(content) == preview.current_size and full >= len(content)
    if exact and full is not None:
        full -= len(content) - len(data)
    unseen = full - mark.seen if exact and full is not None else None
    start, note = _seam(mark, data, unseen, stream)
    line_end = data.rfind(b"\n") + 1
    seen = full if exact and full is not None else mark.seen + len(data) - start
    return NewPart(data[start:], str(_Mark(seen, len(data) - line_end, _digest(data, line_end))), note)


def _seam(mark: _Mark, data: bytes, unseen: int | None, stream: str) -> tuple[int, str]:
    """Return where in ``data`` the new part starts, and a note where it does not follow on the old one."""
    if unseen is not None and 0 <= unseen <= len(data):
        start = len(data) - unseen
        # Too little stands before it to be recognised when nearly all of the preview is new.
        if mark.is_at(data, start) or start - mark.rest < _WINDOW:
            return start, ""
    if mark.digest:
        # As long as the whole log is shorter than a preview, the old part is the preview's beginning.
        if mark.is_at(data, mark.seen):
            return mark.seen, ""
        found = _recognise(mark, data)
        if found is not None:
            return found, ""
    if unseen is not None and unseen < 0:
        return 0, f"the log of {stream} is shorter than what was read of it: it was begun anew"
    if unseen is not None and unseen > len(data):
        missing = unseen - len(data)
        return 0, f"{missing:,} bytes of {stream} are missing here: the preview holds the last {len(data):,}"
    if mark.digest:
        return 0, f"lines of {stream} may be missing or repeated here: its preview lacks what was read last"
    return 0, ""


def _recognise(mark: _Mark, data: bytes) -> int | None:
    line_end = len(data)
    while (line_end := data.rfind(b"\n", 0, line_end) + 1) > 0:
        if mark.is_at(data, line_end + mark.rest):
            return line_end + mark.rest
        line_end -= 1
    return None


def _digest(data: bytes, end: int) -> str:
    return hashlib.blake2b(data[max(0, end - _WINDOW) : end], digest_size=8).hexdigest()

# SPDX-License-Identifier: Apache-2.0
"""Follow a log by its preview, which contains at most the last 5 MB: find the part that is new.

Older regions and Open Telekom Cloud have previews instead of lines. The sizes in a preview would be enough to
find the new part, but those in the documentation's own sample are wrong (``current_size`` is not the size of
the content, ``full_size`` is the limit). They are therefore used only if they agree with the content.
Otherwise, a digest recognizes the data that was read last.
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
"""Number of bytes in the digest: those before the end of the last whole line."""


class LogPreview(ResponseModel):
    """Response of ShowTrainingJobLogsPreview."""

    log_fields = frozenset({"content", "context"})

    # Before 2022-03-01, the name was context.
    content: Content = Field(default="", validation_alias=AliasChoices("content", "context"))
    current_size: Number = None
    """Number of bytes of the content."""
    full_size: Number = None
    """Number of bytes of the whole log."""


@dataclass(frozen=True, slots=True)
class NewPart:
    """The part of a preview that was not read before."""

    data: bytes
    next: LogPosition
    note: str = ""
    """A description of data that is missing before it."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A position in a log.

    ``seen`` is the number of bytes that were read, ``rest`` the number of those after the last whole line.
    ``digest`` is the digest of that line's end.
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
        """Return True if the data before ``end`` is the data that was read last."""
        return 0 <= end - self.rest <= end <= len(data) and _digest(data, end - self.rest) == self.digest


def is_preview(position: LogPosition) -> bool:
    """Return True if the stream with this position is followed by its preview."""
    return str(position).startswith(f"{_PREFIX}:")


def new_part(position: LogPosition, preview: LogPreview, stream: str) -> NewPart:
    """Return the part of ``preview`` after ``position``."""
    mark = _Mark.parse(position)
    content = preview.content.encode()
    # U+FFFD at the end may be a character of which the job has written only a part so far. It is read when
    # something follows it. If a log ends in bytes that are not text, only this replacement is lost.
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
    """Return the start of the new part in ``data``, and a note if it does not directly follow the old one."""
    if unseen is not None and 0 <= unseen <= len(data):
        start = len(data) - unseen
        # If nearly all of the preview is new, the rest before it is too short to be recognized.
        if mark.is_at(data, start) or start - mark.rest < _WINDOW:
            return start, ""
    if mark.digest:
        # While the whole log is shorter than a preview, the old part is the preview's beginning.
        if mark.is_at(data, mark.seen):
            return mark.seen, ""
        found = _recognize(mark, data)
        if found is not None:
            return found, ""
    if unseen is not None and unseen < 0:
        return 0, f"the log of {stream} is shorter than before: it was started again"
    if unseen is not None and unseen > len(data):
        missing = unseen - len(data)
        return 0, f"{missing:,} bytes of {stream} are missing here: the preview holds the last {len(data):,}"
    if mark.digest:
        return 0, f"lines of {stream} may be missing or repeated here: its preview lacks the lines read last"
    return 0, ""


def _recognize(mark: _Mark, data: bytes) -> int | None:
    line_end = len(data)
    while (line_end := data.rfind(b"\n", 0, line_end) + 1) > 0:
        if mark.is_at(data, line_end + mark.rest):
            return line_end + mark.rest
        line_end -= 1
    return None


def _digest(data: bytes, end: int) -> str:
    return hashlib.blake2b(data[max(0, end - _WINDOW) : end], digest_size=8).hexdigest()

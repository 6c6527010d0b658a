# SPDX-License-Identifier: Apache-2.0
"""Mask secrets in texts that a server may have sent back.

Servers quote a request in many ways: as JSON inside JSON, percent-encoded, as HTML, in Base64, in another
character set. So text and secrets are compared in simple forms, in which all spellings of a secret are the
same, and matches are masked in the text itself. A secret that the server has cut is not recognized.
"""

from __future__ import annotations

import base64
import functools
import html
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

from airflow_provider_ehpc.apis.call import ApiError

MASK = "***"
SHORTEST = 4
"""Characters. Shorter texts occur by chance in most sentences; masking them would show where they are."""
LONGEST = 4096
"""Characters of a response that an error shows. To search megabytes takes minutes and gigabytes of memory."""
_SPELT = 12
"""Characters that a server may write for one character of a secret, such as ``%5Cu0041``."""
_NESTED = 5
"""Nested spellings that are decoded, such as JSON in JSON in a form."""
_ESCAPE = re.compile(
    r"(?P<percent>(?:%[0-9a-fA-F]{2})+)"
    r"|(?P<html>&(?:\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8});)"
    r"|(?P<units>(?:\\++u[0-9a-fA-F]{4})+)"
    r"|\\++(?:[xX](?P<byte>[0-9a-fA-F]{2})|U(?P<point>[0-9a-fA-F]{8})|(?P<letter>[nrtbf])|)"
)
_BACKSLASHES = re.compile(r"\\+")
_SPACE = re.compile(r"[\s+]+")
_DAMAGED = re.compile(r"[^\x00-\x7f?]*\?*[^\x00-\x7f]+[^\x00-\x7f?]*\?*|\?+")


class _Form(NamedTuple):
    """A text in another form, and for each of its characters the position of the original."""

    text: str
    spans: list[tuple[int, int]]

    def rewritten(self, pattern: re.Pattern[str], plain: Callable[[re.Match[str]], str]) -> _Form:
        texts: list[str] = []
        spans: list[tuple[int, int]] = []
        at = 0
        for match in pattern.finditer(self.text):
            begin, end = match.span()
            new = plain(match)
            texts += self.text[at:begin], new
            spans += self.spans[at:begin]
            spans += [(self.spans[begin][0], self.spans[end - 1][1])] * len(new)
            at = end
        if not at:
            return self
        return _Form("".join((*texts, self.text[at:])), spans + self.spans[at:])


class Redactor:
    """Masks secrets in texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = {secret for secret in secrets if len(secret) >= SHORTEST}

    @functools.cached_property
    def _wanted(self) -> list[set[str]]:
        """Return the secrets in each form. Most requests succeed and never need them."""
        spelt = self._secrets.union(*map(_base64, self._secrets))
        forms = ([form.text.strip() for form in _forms(secret)] for secret in spelt)
        return [{text for text in texts if _long(text)} for texts in zip(*forms, strict=True)]

    def text(self, text: str) -> str:
        """Return the text with ``***`` for every secret in it."""
        masked = [
            (form.spans[at][0], form.spans[at + len(secret) - 1][1])
            for form, secrets in zip(_forms(text), self._wanted, strict=False)
            for secret in secrets
            for at in _found(secret, form.text)
        ]
        pieces: list[str] = []
        at = 0
        for begin, end in sorted(masked):
            if begin >= at:
                pieces += text[at:begin], MASK
            at = max(at, end)
        return "".join((*pieces, text[at:]))

    def error(self, error: ApiError) -> None:
        """Mask the secrets in all that an error shows of a response."""
        error.message = self._shortened(error.message)
        error.args = (error.message,)
        error.code = error.code and self._shortened(error.code)
        error.request_id = error.request_id and self._shortened(error.request_id)
        error.hint = self.text(error.hint)
        # Its cause, such as an error of pydantic, shows the response.
        error.__cause__ = error.__context__ = None

    def _shortened(self, text: str) -> str:
        """Return the text, or its beginning if it is long, with the secrets masked."""
        # The cut may divide a secret, which is then not recognized, so the end of the text is not shown.
        divided = _SPELT * max(map(len, self._secrets), default=0)
        if len(text) <= LONGEST + divided:
            return self.text(text)
        masked = self.text(text[: LONGEST + divided])
        return masked[: max(0, len(masked) - divided)] + "…"


def _forms(text: str) -> Iterator[_Form]:
    """Return a text in the forms in which spellings do not differ."""
    form = _Form(text, [(at, at + 1) for at in range(len(text))])
    yield form
    # The text may only be quoted: an apparent escape may be a backslash and other characters of the secret.
    yield form.rewritten(_BACKSLASHES, lambda match: "").rewritten(_SPACE, lambda match: " ")
    for _ in range(_NESTED):
        decoded = form.rewritten(_ESCAPE, _decoded)
        if decoded.text == form.text:
            break
        form = decoded
    form = form.rewritten(_SPACE, lambda match: " ")
    yield form
    # UTF-8 that was read as Latin-1, or in a character set without these characters.
    yield form.rewritten(_DAMAGED, lambda match: "?")


def _decoded(match: re.Match[str]) -> str:
    text = match[0]
    match match.lastgroup:
        case "percent":
            return unquote(text)
        case "html":
            return html.unescape(text)
        case "units":
            return bytes.fromhex(re.sub(r"\\+u", "", text)).decode("utf-16-be", "replace")
        case "byte" | "point":
            code = int(match["byte"] or match["point"], 16)
            return chr(code) if code < 0x110000 else ""
        case "letter":
            return " "
    return ""


def _long(text: str) -> bool:
    """Return True if a form of a secret is long enough to recognize it. Some forms leave little of Chinese
    text.
    """
    return len(text.replace("?", "")) >= SHORTEST - 1


def _found(secret: str, text: str) -> Iterator[int]:
    at = text.find(secret)
    while at >= 0:
        yield at
        at = text.find(secret, at + 1)


def _base64(secret: str) -> Iterator[str]:
    """Yield the part of a secret's Base64 that is the same in every text, for the three alignments."""
    encoded = secret.encode(errors="replace")
    for before in range(3):
        text = base64.b64encode(bytes(before) + encoded).decode()
        # Characters that also hold bits of the text before or behind are left out.
        inner = text[(before * 8 + 5) // 6 : (before + len(encoded)) * 8 // 6]
        if len(inner) >= 2 * SHORTEST:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")

# SPDX-License-Identifier: Apache-2.0
"""Make text from a cloud safe to write: as a file name, and as a line of a task log."""

from __future__ import annotations

import hashlib
import re

_LONGEST_NAME = 100
"""Bytes of a file name, without its suffix. File systems allow 255."""
_PLAIN = re.compile(r"[\w][\w.-]*", re.ASCII)
_UNSAFE = re.compile(r"[^\w.-]+")
# Windows opens a device, whatever the suffix (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_GROUP = re.compile(r"::(?=(?:end)?group::)")


def file_name(name: str) -> str:
    """Return ``name`` if it is a plain file name, else a similar one that is.

    The result never contains a path separator and never begins with a dot, so it stays in the folder it is
    joined to. A changed name ends with a digest of the original: two names never share a file.
    """
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST_NAME and not _DEVICE.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
    similar = _UNSAFE.sub("-", name).encode(errors="ignore")[:_LONGEST_NAME].decode(errors="ignore")
    similar = similar.strip(".-")
    if _DEVICE.fullmatch(similar):
        similar = f"_{similar}"
    return "-".join(part for part in (similar, digest) if part)


def unfold(text: str) -> str:
    """Return ``text`` without the words that fold lines in Airflow's log view.

    Airflow 3 opens and closes a group at ``::group::`` and ``::endgroup::`` anywhere in a record
    (``parseLogs`` in its user interface), so a job's output could hide what follows. A space separates the
    colons from the word.
    """
    return _GROUP.sub(":: ", text) if "group::" in text else text

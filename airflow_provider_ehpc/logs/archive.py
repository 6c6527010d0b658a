# SPDX-License-Identifier: Apache-2.0
"""Archive the raw bytes of a log in the user's storage."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.logs.reader import LogReader
from airflow_provider_ehpc.text import file_name, unfold

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_ehpc.hooks.base import ApiHook

log = logging.getLogger(__name__)

LONGEST_COPY = 1800.0
"""Seconds for copying a log, at most."""
SHORTEST_COPY = 60.0
"""Seconds for copying a log, at least, even after the wait's deadline."""
GROWTH_MARGIN = 64 * 2**20
"""Bytes by which a log may have grown since it was followed or its size was reported."""
UNKNOWN_SIZE = 64 * 2**30
"""Bytes to copy, at most, of a log whose size is unknown."""


def archive_log(
    hook: ApiHook, ref: JobRef, folder: str, *, followed: int | None = None, deadline: float | None = None
) -> list[str]:
    """Copy the raw bytes of a job's log to ``<folder>/<stream>.log``; return the files' addresses.

    Read the log once more from the beginning: object storages cannot append, and the copy is then complete
    whatever happened while the log was followed. Memory holds one piece at a time. If the log does not end,
    or changes meanwhile, copying stops with one warning.

    :param followed: bytes of the log that were read before; the log cannot be much longer.
    :param deadline: the wait's deadline in epoch seconds.
    :raises ApiError: if the log cannot be read; the folder then contains nothing of it.
    """
    from airflow.sdk import ObjectStoragePath

    base = ObjectStoragePath(folder)
    base.mkdir(parents=True, exist_ok=True)
    paths: dict[str, ObjectStoragePath] = {}
    now = time.time()
    until = (
        now + LONGEST_COPY
        if deadline is None
        else min(max(deadline, now + SHORTEST_COPY), now + LONGEST_COPY)
    )
    try:
        stopped = _copy(hook, LogReader(hook.api, ref), base, paths, followed, until)
    except Exception:
        # The part that was written would look like the whole log.
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise
    saved = [str(path) for path in paths.values()]
    if stopped:
        log.warning("the copy of the log of %s in %s is incomplete: %s", ref, folder, unfold(stopped))
    log.info("saved the log of %s at %s", ref, ", ".join(saved) or "no file: it is empty")
    return saved


def _copy(
    hook: ApiHook,
    reader: LogReader,
    base: ObjectStoragePath,
    paths: dict[str, ObjectStoragePath],
    followed: int | None,
    until: float,
) -> str:
    """Copy each stream to its own file; return why copying stopped early, or an empty text."""
    files: dict[str, IO[bytes]] = {}
    sizes: dict[str, int] = {}
    names: set[str] = set()
    copied, stopped = 0, ""
    with ExitStack() as stack:
        while True:
            reading = hook.drive(reader.read())
            if reading.error:
                raise reading.error
            for piece in reading.pieces:
                if piece.changed or piece.stopped:
                    stopped = stopped or f"{piece.stream}: {piece.stopped or piece.changed + ' than before'}"
                if not piece.data or piece.changed:
                    continue
                if piece.stream not in files:
                    paths[piece.stream] = base / f"{_unique(piece.stream, names)}.log"
                    files[piece.stream] = stack.enter_context(paths[piece.stream].open("wb"))
                files[piece.stream].write(piece.data)
                copied += len(piece.data)
                sizes[piece.stream] = max(sizes.get(piece.stream, 0), piece.size or 0)
            if any(piece.changed for piece in reading.pieces):
                return stopped
            if not any(piece.data or piece.unsettled for piece in reading.pieces):
                return stopped
            known = sum(sizes.values())
            limit = (
                UNKNOWN_SIZE if followed is None and not known else max(known, followed or 0) + GROWTH_MARGIN
            )
            if copied > limit:
                return stopped or f"it continues after {copied:,} bytes, beyond its expected size"
            if time.time() > until:
                return stopped or f"time ran out after {copied:,} bytes"


def _unique(stream: str, names: set[str]) -> str:
    """Return a file name for a stream; some file systems do not distinguish the case of letters."""
    name = file_name(stream)
    if name.casefold() in names:
        name = file_name(f"{name}/{len(names)}")
    names.add(name.casefold())
    return name

"""Keeping the raw bytes of a log in a storage of the user's."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.logs.reader import LogReader

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_ehpc.hooks.base import ApiHook

log = logging.getLogger(__name__)


def keep_log(hook: ApiHook, ref: JobRef, folder: str) -> list[str]:
    """Copy a job's log, as the bytes it is, to ``<folder>/<stream>.log``; return the files' addresses.

    The log is read once more from its beginning: object storages cannot be appended to, and only so is the
    copy whole whatever happened while the log was followed. Memory holds one piece at a time.
    """
    from airflow.sdk import ObjectStoragePath

    base = ObjectStoragePath(folder)
    base.mkdir(parents=True, exist_ok=True)
    paths: list[ObjectStoragePath] = []
    try:
        _copy(hook, LogReader(hook.api, ref), base, paths)
    except Exception:
        # What was written so far would look like the whole log.
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    kept = [str(path) for path in paths]
    log.info("kept the log of %s at %s", ref, ", ".join(kept) or "no file: it is empty")
    return kept


def _copy(hook: ApiHook, reader: LogReader, base: ObjectStoragePath, paths: list[ObjectStoragePath]) -> None:
    files: dict[str, IO[bytes]] = {}
    with ExitStack() as stack:
        while True:
            batch = hook.drive(reader.read())
            for chunk in batch.chunks:
                if chunk.data:
                    if chunk.stream not in files:
                        paths.append(base / f"{chunk.stream}.log")
                        files[chunk.stream] = stack.enter_context(paths[-1].open("wb"))
                    files[chunk.stream].write(chunk.data)
                reader.cursor = reader.cursor.moved(chunk.stream, chunk.next)
            if not any(chunk.data for chunk in batch.chunks):
                return

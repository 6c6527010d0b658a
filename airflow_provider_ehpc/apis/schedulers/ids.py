# SPDX-License-Identifier: Apache-2.0
"""Job IDs of Slurm and PBS: arrays, their sub-jobs, heterogeneous jobs.

Slurm writes ``123``, ``123_4``, ``123_[5-9%2]`` and, for the parts of a heterogeneous job, ``123+1``. PBS
writes ``123.server``, ``123[].server``, ``123[4].server`` and ``123[5-9].server``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow_provider_ehpc.apis.response import same_id

_ID = re.compile(
    r"(?P<number>\d+)(?:_?\[(?P<range>[^\]]*)\]|_(?P<index>\d+))?(?:\+(?P<part>\d+))?"
    r"(?:\.(?P<server>\S+))?"
)
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?")
_MAX_INDEXES = 100_000
"""Maximum number of sub-jobs in one entry that are counted. Slurm's default MaxArraySize is 1,001."""


def job_number(job_id: str) -> str:
    """Return the number that an array shares with its sub-jobs: ``12`` for ``12_3`` and ``12[].manager``."""
    match = _ID.fullmatch(job_id.strip())
    return match["number"] if match else job_id.strip()


def whole_array_id(job_id: str) -> str:
    """Return the ID of the array that a job belongs to: ``5[].manager`` for ``5[2].manager`` (PBS), ``12``
    for ``12_3`` and ``12_[1-5]`` (Slurm).
    """
    return re.sub(r"^(\d+)_.*$", r"\1", re.sub(r"^(\d+)\[[^\]]*\]", r"\1[]", job_id.strip()))


def equal_ids(one: str, other: str) -> bool:
    """Return True if two IDs are equal, ignoring a missing server name, its domain and an array's ``[]``."""
    (first, first_server), (second, second_server) = _parts(one), _parts(other)
    return first == second and (not first_server or not second_server or first_server == second_server)


def _parts(job_id: str) -> tuple[str, str]:
    """Split an ID into the ID without its server, and the server's name without its domain."""
    own, _, server = job_id.strip().partition(".")
    return own.removesuffix("[]"), _without_domain(server)


def _without_domain(server: str) -> str:
    # Documented samples mask the server's name: 1.scheduler****
    return server.partition(".")[0].rstrip("*")


def same_job(one: str, other: str) -> bool:
    """Return True if two IDs may name the same job.

    One of them may omit the server, its domain, or the index in an array: for a waiting sub-job, a scheduler
    describes the array.
    """
    first, second = (_ID.fullmatch(text.strip().casefold()) for text in (one, other))
    if not first or not second:
        return same_id(one, other)
    indexes = [match["range"] or match["index"] or match["part"] or "" for match in (first, second)]
    servers = [_without_domain(match["server"] or "") for match in (first, second)]
    return (
        first["number"] == second["number"]
        and (indexes[0] == indexes[1] or not all(index.isdigit() for index in indexes))
        and (servers[0] == servers[1] or not all(servers))
    )


def is_job_id(text: str) -> bool:
    """Return True if the text is a job ID of Slurm or PBS."""
    return _ID.fullmatch(text.strip()) is not None


def is_whole_array(job_id: str) -> bool:
    """Return True if an ID may name a whole array rather than one of its sub-jobs."""
    match = _ID.fullmatch(job_id.strip())
    return match is not None and match["index"] is None and not match["range"]


def member_id(array_id: str, index: int | str) -> str:
    """Return the ID of an array's sub-job: ``12_3`` in ``12`` (Slurm), ``12[3].manager`` in ``12[].manager``
    and ``12.manager`` (PBS).
    """
    number, dot, server = array_id.strip().replace("[]", "", 1).partition(".")
    if dot or "[]" in array_id:
        return f"{number}[{index}]{dot}{server}"
    return f"{number}_{index}" if str(index).isdigit() else f"{number}_[{index}]"


def member_indexes(job_id: str, index: str = "") -> Sequence[int]:
    """Return the indexes of the sub-jobs that an ID names; none if the job is not a sub-job.

    :param index: the index, if it is reported separately from the ID; it may be a range of waiting sub-jobs.
    """
    match = _ID.fullmatch(job_id.strip())
    text = index.strip() or (match and (match["index"] or match["range"])) or ""
    indexes = array_indexes(text) or ()
    return indexes if len(indexes) <= _MAX_INDEXES else ()


def array_indexes(request: str) -> Sequence[int] | None:
    """Return the indexes of an array request in order; None if its form is unknown.

    The known forms are ``X-Y:Z``, lists such as ``1,3,5-7``, and a limit of simultaneous sub-jobs (``%2``).
    """
    text = re.sub(r"\s+", "", request).strip("[]")
    found: list[range] = []
    for item in re.sub(r"%\d+$", "", text).split(","):
        match = _RANGE.fullmatch(item)
        if not match:
            return None
        first = int(match[1])
        found.append(range(first, int(match[2] or first) + 1, int(match[3] or 1) or 1))
    if len(found) == 1:
        return found[0]
    if sum(map(len, found)) > _MAX_INDEXES:
        return None
    return sorted({index for each in found for index in each})

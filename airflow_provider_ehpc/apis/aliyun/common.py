"""What the E-HPC APIs share beside the protocol: addresses of jobs, spellings of values, pages of jobs."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BeforeValidator

from airflow_provider_ehpc.apis.call import (
    Flow,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import JobRef, JobStatus

PAGE_SIZE = 50
"""The most jobs that one page of ListJobs may hold, in both versions."""

T = TypeVar("T")


def _items(value: Any) -> Any:
    if value in (None, "", {}):
        return []
    if isinstance(value, dict) and len(value) == 1 and isinstance(inner := next(iter(value.values())), list):
        return inner  # 2018-04-12 wraps some lists: {"Jobs": {"JobInfo": [..]}}
    return value if isinstance(value, list) else [value]


Items = Annotated[list[T], BeforeValidator(_items)]
"""A list, also where one item stands for itself; empty where the answer has null or an empty text."""
Part = Annotated[T | None, BeforeValidator(lambda value: value or None)]
"""An object; None where the answer has null, an empty text or an empty object."""


def cluster_job_ref(api: str, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
    """Return the address of a job, which the API called ``api`` knows by its cluster and its id.

    :raises InvalidArgument: naming the argument that is missing, or that the API does not know.
    """
    if version_id:
        raise InvalidArgument(f"version_id: the API {api!r} knows no job versions; leave it out")
    if not job_id.strip():
        raise InvalidArgument("job_id: an empty text names no job")
    return JobRef(job_id.strip(), named_cluster(api, cluster_id, f"the cluster of job {job_id}"))


def named_cluster(api: str, cluster_id: str | None, what: str) -> str:
    """Return the cluster that is named.

    :param what: which cluster is needed, for the error.
    :raises InvalidArgument: where none is.
    """
    if not cluster_id:
        raise InvalidArgument(
            f"cluster_id: the API {api!r} needs {what}; give cluster_id, or set the connection's default "
            "cluster id"
        )
    return cluster_id.strip()


def cluster_of(ref: JobRef) -> str:
    """Return the cluster of a job's address.

    :raises InvalidArgument: where it has none.
    """
    if ref.cluster_id is None:
        raise InvalidArgument(f"cluster_id: {ref} names no cluster")
    return ref.cluster_id


def some_job_ids(job_ids: list[str]) -> list[str]:
    """Return the list as it is.

    :raises InvalidArgument: for an empty one, which the operations that stop jobs do not refuse and do not
        explain.
    """
    if not job_ids:
        raise InvalidArgument("job_ids: name at least one job to stop")
    return job_ids


def compact_json(value: Any) -> str:
    """Write JSON as the vendor's SDK does: no spaces, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parameter(value: Any) -> str | None:
    """Write a value as a query parameter: lists and objects as JSON, None as none."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return compact_json(value) if isinstance(value, Mapping | list | tuple) else str(value)


def with_options(fields: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job's own fields say together with its :attr:`~.job.JobSpec.options`.

    :raises InvalidArgument: where both give the same parameter another value.
    """
    for name, value in options.items():
        if fields.get(name) not in (None, value):
            raise InvalidArgument(f"options: {name} contradicts what the job's own fields say; give it once")
    return {**fields, **options}


def clock(seconds: int) -> str:
    """Write a duration as ``hh:mm:ss``."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def node_names(text: str) -> tuple[str, ...]:
    """Split ``compute000``, ``compute[002,005-007]`` and ``['compute2', 'compute3']`` into names."""
    nodes: list[str] = []
    stripped = text.strip()
    if stripped.startswith("["):
        stripped = stripped.strip("[]").replace("'", "").replace('"', "")
    for item in re.findall(r"[^,\s\[\]]+(?:\[[^\]]*\])?", stripped):
        head, _, ranges = item.rstrip("]").partition("[")
        for part in ranges.split(",") if ranges else [""]:
            first, dash, last = part.strip().partition("-")
            if dash and first.isdigit() and last.isdigit():
                nodes += [f"{head}{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
            else:
                nodes.append(head + part.strip())
    return tuple(nodes)


def log_bytes(content: str, stream: str, request_id: str) -> bytes:
    """Decode the Base64 that GetJobLog gives of a stream.

    :raises UnexpectedResponse: where it is something else.
    """
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except binascii.Error:
        raise UnexpectedResponse(f"GetJobLog's {stream} is not Base64", request_id=request_id) from None


def job_is_unknown(error: NotFound) -> bool:
    """Whether the job is what was not found, and not its whole cluster."""
    return error.code != "ClusterNotFound"


JobsPage: TypeAlias = tuple[Mapping[str, JobStatus], int]
"""What a page of a cluster's jobs tells by job id, and how many there are; 0 ends the paging."""
AskPage: TypeAlias = Callable[[str, int], Flow[JobsPage]]
"""Asks for a page of the jobs of a cluster, by its number from 1 on."""

_FEW = 3
"""Jobs that are better asked for one by one than looked for on pages."""


def statuses_by_page_or_job(
    refs: list[JobRef],
    unfinished: AskPage,
    job_status: Callable[[JobRef], Flow[JobStatus]],
    finished: AskPage | None = None,
) -> Flow[dict[JobRef, JobStatus | None]]:
    """Page through a cluster's jobs where that is cheaper, and ask for the others one by one.

    :param job_status: asks for one job.
    :param finished: given where a page tells as much of an ended job as asking for it does.
    """
    found: dict[JobRef, JobStatus | None] = {}
    by_cluster: dict[str, dict[str, JobRef]] = {}
    for ref in refs:
        by_cluster.setdefault(cluster_of(ref), {})[ref.job_id] = ref
    for cluster_id, wanted in by_cluster.items():
        if len(wanted) >= _FEW:
            try:
                told, whole = yield from _unfinished(wanted, cluster_id, unfinished)
                found.update(told)
                if finished and whole and len(wanted) > _FEW:
                    found.update((yield from _finished(wanted, cluster_id, finished)))
            except PermissionDenied:
                # A key may be allowed to ask for a job and not for all of them.
                pass
    for ref in refs:
        if ref not in found:
            try:
                found[ref] = yield from job_status(ref)
            except NotFound as error:
                if not job_is_unknown(error):
                    raise
                found[ref] = None
    return found


def _unfinished(
    wanted: dict[str, JobRef], cluster_id: str, page: AskPage
) -> Flow[tuple[dict[JobRef, JobStatus], bool]]:
    """Take out of ``wanted`` and return what pages tell, and whether all were read: not where more of them
    would cost more calls than the jobs that are left.
    """
    found: dict[JobRef, JobStatus] = {}
    number = 1
    while True:
        told, total = yield from page(cluster_id, number)
        _take(wanted, told, found)
        pages = -(-total // PAGE_SIZE)
        if number >= pages or pages - number > len(wanted):
            return found, number >= pages
        number += 1


def _finished(wanted: dict[str, JobRef], cluster_id: str, page: AskPage) -> Flow[dict[JobRef, JobStatus]]:
    """Take out of ``wanted`` and return what pages of ended jobs tell, as long as a page tells of several.

    There may be years of them; but those that ended since the last look are among the first pages.
    """
    found: dict[JobRef, JobStatus] = {}
    number = 1
    while True:
        told, total = yield from page(cluster_id, number)
        taken = _take(wanted, told, found)
        if taken < 2 or len(wanted) <= _FEW or number * PAGE_SIZE >= total:
            return found
        number += 1


def _take(wanted: dict[str, JobRef], told: Mapping[str, JobStatus], found: dict[JobRef, JobStatus]) -> int:
    """Move the jobs that a page tells of from ``wanted`` to ``found``; return how many there were."""
    ids = [job_id for job_id in told if job_id in wanted]
    for job_id in ids:
        found[wanted.pop(job_id)] = told[job_id]
    return len(ids)

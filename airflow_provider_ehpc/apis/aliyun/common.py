"""What the E-HPC APIs share beside the protocol: addresses of jobs, spellings of values."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.apis.answer import same_id
from airflow_provider_ehpc.apis.call import InvalidArgument, NotFound, UnexpectedResponse
from airflow_provider_ehpc.apis.job import ClusterJob, JobRef

PAGE_SIZE = 50
"""The most jobs that one page of ListJobs may hold, in both versions."""


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


_MOST_NODES = 10_000
"""Names of one node list that are written out: more than an E-HPC cluster has nodes."""
_LONGEST_NODE_LIST = 100_000
"""Characters of a node list that is read."""
_LONGEST_NAME = 255
"""Characters of a host's name (RFC 1123 2.1)."""
_NODE = re.compile(r"(?:[^,\s\[\]]|\[[^\[\]]*\])++")
_RANGES = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def node_names(text: str) -> tuple[str, ...]:
    """Split ``compute000``, ``compute[002,005-007]``, ``rack[0-1]n[1-4]`` and ``['compute2', 'compute3']``
    into names. If there are too many, the rest of the list stays as it is.
    """
    # Long lists are rare, and a thousand of them need not stay in memory.
    return _cached_node_names(text) if len(text) <= 200 else _node_names(text)


def _node_names(text: str) -> tuple[str, ...]:
    stripped = text.strip()
    if len(stripped) > _LONGEST_NODE_LIST:
        return ()
    if stripped.startswith("["):
        stripped = stripped.strip("[]").replace("'", "").replace('"', "")
    nodes: list[str] = []
    too_many = False
    for item in _NODE.findall(stripped):
        names = [item] if too_many else _expanded(item)
        too_many = too_many or names is None or len(nodes) + len(names) > _MOST_NODES
        nodes += [item] if names is None or too_many else names
    return tuple(nodes[:_MOST_NODES])


_cached_node_names = functools.lru_cache(maxsize=1024)(_node_names)


def _expanded(item: str) -> list[str] | None:
    """Return the names that ``rack[0-1]n[002,005-007]`` stands for; None if they are too many or too long."""
    # Literals and ranges alternate: rack, 0-1, n, 1-4, and nothing.
    parts = [_numbers(part) if index % 2 else [part] for index, part in enumerate(_RANGES.split(item, 4))]
    if math.prod(map(len, parts)) > _MOST_NODES or sum(max(map(len, part)) for part in parts) > _LONGEST_NAME:
        return None
    return ["".join(name) for name in itertools.product(*parts)]


def _numbers(ranges: str) -> list[str]:
    """Return the numbers of ``002,005-007`` as they are written, one more than the most if there are more."""
    numbers: list[str] = []
    for part in ranges.split(","):
        bounds = _RANGE.fullmatch(part.strip())
        first, last = (int(bounds[1]), int(bounds[2])) if bounds else (0, -1)
        if bounds and first <= last:
            last = min(last, first + _MOST_NODES - len(numbers))
            numbers += [f"{number:0{len(bounds[1])}}" for number in range(first, last + 1)]
        else:
            numbers.append(part.strip())
    return numbers


_SCHEDULER_ID = re.compile(r"([0-9]+)(?:\[([^\]]*)\]|_([^.]*)|\+([0-9]+))?(?:\.(.*))?", re.DOTALL)
"""``5``, ``5.manager``, ``5[].manager`` and ``5[2].manager`` (PBS); ``12_3``, ``12_[1-5%2]`` and ``12+1``
(Slurm's sub-jobs, those that wait together, and the parts of a heterogeneous job)."""


def same_job(one: str, other: str) -> bool:
    """Return whether two ids may name the same job of PBS or Slurm.

    One of them may leave out the server or its domain, or the index in an array: asked for a sub-job that
    waits, a scheduler describes its array.
    """
    first, second = (_SCHEDULER_ID.fullmatch(text.strip().casefold()) for text in (one, other))
    if not first or not second:
        return same_id(one, other)
    indexes = [match[2] or match[3] or match[4] or "" for match in (first, second)]
    # Documented samples mask the server's name: 1.scheduler****
    servers = [(match[5] or "").partition(".")[0].rstrip("*") for match in (first, second)]
    return (
        first[1] == second[1]
        and (indexes[0] == indexes[1] or not all(index.isdigit() for index in indexes))
        and (servers[0] == servers[1] or not all(servers))
    )


def add_listed(jobs: dict[str, ClusterJob], listed: ClusterJob, *, in_array: bool) -> None:
    """Add a row of a list to the cluster's jobs; the unfinished rows come first.

    The end of a job takes the place of what was told before; the end of a part of an array does not.
    """
    known = jobs.get(listed.status.job_id)
    if known is None or known.ended or not in_array:
        jobs[listed.status.job_id] = listed


def log_bytes(content: str, stream: str, request_id: str) -> bytes:
    """Decode the Base64 that GetJobLog gives of a stream.

    :raises UnexpectedResponse: where it is something else.
    """
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except ValueError:
        raise UnexpectedResponse(f"GetJobLog's {stream} is not Base64", request_id=request_id) from None


def job_is_unknown(error: NotFound) -> bool:
    """Whether the job is what was not found, and not its whole cluster."""
    return error.code != "ClusterNotFound"

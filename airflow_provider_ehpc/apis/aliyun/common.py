"""What the E-HPC APIs share beside the protocol: addresses of jobs, spellings of values."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

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

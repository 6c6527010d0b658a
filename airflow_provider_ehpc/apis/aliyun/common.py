# SPDX-License-Identifier: Apache-2.0
"""Helpers that the E-HPC APIs share besides the protocol: job references and formats of values."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.apis.call import InvalidArgument, NotFound, UnexpectedResponse
from airflow_provider_ehpc.apis.job import ClusterJob, JobRef

PAGE_SIZE = 50
"""Maximum number of jobs on one page of ListJobs, in both versions."""


def cluster_job_ref(api: str, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
    """Return the reference of a job, which consists of its cluster and its ID in the API named ``api``.

    :raises InvalidArgument: if an argument is missing, or if the API does not support it.
    """
    if version_id:
        raise InvalidArgument(f"version_id: the API {api!r} has no job versions; leave it out")
    if not job_id.strip():
        raise InvalidArgument("job_id: must not be empty")
    return JobRef(job_id.strip(), named_cluster(api, cluster_id, f"the cluster of job {job_id}"))


def named_cluster(api: str, cluster_id: str | None, what: str) -> str:
    """Return the cluster's ID without blanks around it.

    :param what: description of the cluster for the error.
    :raises InvalidArgument: if there is no ID.
    """
    if not cluster_id:
        raise InvalidArgument(
            f"cluster_id: the API {api!r} needs {what}; pass cluster_id, or set the connection's default "
            "cluster id"
        )
    return cluster_id.strip()


def cluster_of(ref: JobRef) -> str:
    """Return the cluster of a job's reference.

    :raises InvalidArgument: if it has none.
    """
    if ref.cluster_id is None:
        raise InvalidArgument(f"cluster_id: missing for {ref}")
    return ref.cluster_id


def some_job_ids(job_ids: list[str]) -> list[str]:
    """Return the list unchanged.

    :raises InvalidArgument: if it is empty: the operations that stop jobs accept an empty list, and no page
        documents what it means.
    """
    if not job_ids:
        raise InvalidArgument("job_ids: name at least one job to stop")
    return job_ids


def compact_json(value: Any) -> str:
    """Write JSON as the vendor's SDK does: without spaces, and with non-ASCII characters unescaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parameter(value: Any) -> str | None:
    """Write a value as a query parameter: lists and objects as JSON; None stays None."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return compact_json(value) if isinstance(value, Mapping | list | tuple) else str(value)


def with_options(fields: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Combine the parameters from a job's own fields with its :attr:`~.job.JobSpec.options`.

    :raises InvalidArgument: if both set a parameter, to different values.
    """
    for name, value in options.items():
        if fields.get(name) not in (None, value):
            raise InvalidArgument(f"options: {name} contradicts the job's own fields; set it only once")
    return {**fields, **options}


def variables(environment: Mapping[str, str]) -> str | None:
    """Write environment variables as the JSON list that both versions accept; None if there are none."""
    return compact_json([{"Name": n, "Value": v} for n, v in environment.items()]) if environment else None


def clock(seconds: int) -> str:
    """Write a duration as ``hh:mm:ss``."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def add_listed(jobs: dict[str, ClusterJob], listed: ClusterJob, *, in_array: bool) -> None:
    """Add a row of a list to the cluster's jobs; the rows of unfinished jobs must come first.

    The row of an ended job replaces an earlier row, unless it is about only a part of an array.
    """
    known = jobs.get(listed.status.job_id)
    if known is None or known.ended or not in_array:
        jobs[listed.status.job_id] = listed


def log_bytes(content: str, stream: str, request_id: str) -> bytes:
    """Decode a stream of GetJobLog from Base64.

    :raises UnexpectedResponse: if it is not Base64.
    """
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except ValueError:
        raise UnexpectedResponse(f"GetJobLog's {stream} is not Base64", request_id=request_id) from None


def job_is_unknown(error: NotFound) -> bool:
    """Return True if the job was not found, False if its whole cluster was not."""
    return error.code != "ClusterNotFound"

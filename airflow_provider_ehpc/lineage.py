# SPDX-License-Identifier: Apache-2.0
"""Describe a task's job to OpenLineage, if Airflow's OpenLineage provider is installed.

The OpenLineage provider calls a task's ``get_openlineage_facets_on_…`` methods. Without it, nothing here is
imported. It calls them in a fork of the task's process, whose connection to the supervisor belongs to the
parent. So they only read what the task already knows, and send no requests.

The OpenLineage provider itself adds the task's run, its parents and, on failure, the exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.exceptions import JobFailure

FACET = "ehpc_job"
"""The name of the run facet with the job's state and cost."""


def job_lineage(task: Any, *, failed: bool = False) -> Any:
    """Return the facets of a task that has one job. They identify the job and describe its outcome.

    :param failed: True if the task failed.
    :returns: an ``OperatorLineage``; without facets if the job is unknown, or if there are several.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.facet_v2 import error_message_run, external_query_run

    ref, api = _known_ref(task), _known_api(task)
    if ref is None or api is None:
        return OperatorLineage()
    # IDs are unique only within a cluster.
    source = f"{api}://{ref.cluster_id}" if ref.cluster_id else api
    facets: dict[str, Any] = {
        "externalQuery": external_query_run.ExternalQueryRunFacet(externalQueryId=ref.job_id, source=source)
    }
    job, failure = getattr(task, "ended_jobs", None) or [{}], getattr(task, "failure", None)
    facets[FACET] = _job_facet()(**_described(ref, api, job[0], failure))
    if failed and failure is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=str(failure), programmingLanguage="python"
        )
    return OperatorLineage(run_facets=facets)


def _known_ref(task: Any) -> JobRef | None:
    """Return the address of the task's only job, without reading the connection; None if there is none."""
    known = vars(task)
    if refs := known.get("refs"):
        return refs[0] if len(refs) == 1 else None
    if found := known.get("ref") or known.get("_ref"):
        ref: JobRef = found
        return ref
    job_id = known.get("job_id")
    return (
        JobRef(job_id, known.get("cluster_id"), known.get("version_id")) if isinstance(job_id, str) else None
    )


def _known_api(task: Any) -> str | None:
    """Return the name of the API; None if the task does not set it and the connection was not read yet."""
    hook = vars(task).get("hook")
    return hook.api.name if hook else task.api or None


def _described(ref: JobRef, api: str, job: Mapping[str, Any], failure: JobFailure | None) -> dict[str, Any]:
    summary = job.get("summary") or {}
    diagnosis = failure.diagnosis if failure else None
    return {
        "api": api,
        "jobId": ref.job_id,
        "clusterId": ref.cluster_id,
        "state": job.get("state"),
        "exitCode": job.get("exit_code"),
        "reason": job.get("reason"),
        "cause": diagnosis.cause.value if diagnosis else None,
        "queue": job.get("queue"),
        "nodes": summary.get("nodes"),
        "queueSeconds": summary.get("queue_seconds"),
        "runSeconds": summary.get("run_seconds"),
        "nodeHours": summary.get("node_hours"),
    }


@cache
def _job_facet() -> Any:
    """Return the class of the run facet, which can be defined only if OpenLineage is installed."""
    import attr
    from openlineage.client.facet_v2 import RunFacet

    @attr.define
    class HpcJobRunFacet(RunFacet):  # type: ignore[misc,unused-ignore]
        """Describe the job of a task on an HPC cluster. Fields that the cloud does not report are null."""

        api: str
        jobId: str
        clusterId: str | None = None
        state: str | None = None
        exitCode: int | None = None
        reason: str | None = None
        cause: str | None = None
        queue: str | None = None
        nodes: int | None = None
        queueSeconds: float | None = None
        runSeconds: float | None = None
        nodeHours: float | None = None

    return HpcJobRunFacet

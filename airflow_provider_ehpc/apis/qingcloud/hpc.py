# SPDX-License-Identifier: Apache-2.0
"""QingCloud HPC: jobs of HPC and E-HPC clusters.

:class:`QingCloudHpcApi` puts the operations (:mod:`.hpc_calls`) behind the interface that all APIs share. The
API has no job log: a job's output is in two files of the cluster's file system, whose paths it returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    Flow,
    InvalidArgument,
    NotFound,
    NotSupported,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.job import (
    ClusterJob,
    JobApi,
    JobRef,
    JobSpec,
    JobState,
    JobStatus,
    StatusesFlow,
)
from airflow_provider_ehpc.apis.listing import all_pages, submitted_since
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job
from airflow_provider_ehpc.apis.qingcloud.hpc_calls import (
    HpcJob,
    HpcListJobsResponse,
    HpcStopJobsResponse,
    HpcSubmitJobResponse,
    JobDetailResponse,
    job_detail,
    list_jobs,
    stop_jobs,
    submit_job,
)
from airflow_provider_ehpc.apis.qingcloud.operations import HpcOperation, find_operation
from airflow_provider_ehpc.apis.qingcloud.protocol import PAGE_SIZE
from airflow_provider_ehpc.apis.qingcloud.states import job_state, operation_state
from airflow_provider_ehpc.apis.response import same_id

__all__ = [
    "HpcJob",
    "HpcListJobsResponse",
    "HpcStopJobsResponse",
    "HpcSubmitJobResponse",
    "JobDetailResponse",
    "QingCloudHpcApi",
    "job_detail",
    "list_jobs",
    "stop_jobs",
    "submit_job",
]

_ID = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)


class QingCloudHpcApi(JobApi):
    """The common interface for QingCloud HPC in one zone.

    An asynchronous call (start a cluster, add nodes, stop jobs) returns the ID of an operation (``j-…``). A
    task can wait for it like for a job; it needs no cluster.
    """

    name = "qingcloud"

    def __init__(self, zone: str) -> None:
        self._zone = zone

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        if version_id:
            raise InvalidArgument(f"version_id: the API {self.name!r} has no job versions; leave it out")
        ref = JobRef(job_id.strip(), cluster_id.strip() if cluster_id else None)
        if not ref.job_id:
            raise InvalidArgument("job_id: must not be empty")
        if not _ID.fullmatch(ref.job_id):
            # In a path, other characters may be signed differently: the API would reject the key.
            raise InvalidArgument(
                f"job_id: {ref.job_id!r} is not an ID of the API {self.name!r}, such as hpcjob-cz8ngntp"
            )
        if not ref.cluster_id and not _is_operation(ref):
            raise InvalidArgument(
                f"cluster_id: the API {self.name!r} needs the cluster of job {ref.job_id}; pass cluster_id, "
                "or set the connection's default cluster id"
            )
        return ref

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Request job/jobdetail, or /operation for the ID of an operation."""
        if _is_operation(ref):
            operation = yield from find_operation(self._zone, ref.job_id)
            return _from_operation(ref, operation)
        detail = yield job_detail(self._zone, _cluster(ref), ref.job_id)
        # A row without an ID is only used if no row has the job's ID.
        for job in sorted(detail.hpc_job_set, key=lambda job: not job.hpcjob_uuid):
            if same_id(job.hpcjob_uuid or ref.job_id, ref.job_id):
                return _from_job(ref, job)
        raise NotFound(f"unknown {ref}")

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """List the unfinished jobs if that takes fewer requests, and request the others one by one."""
        found: dict[JobRef, JobStatus | None] = yield from statuses_by_page_or_job(
            (ref for ref in refs if not _is_operation(ref)), self._lists, self.job_status
        )
        operations = filter(_is_operation, refs)
        found.update((yield from statuses_by_page_or_job(operations, lambda _ref: [], self.job_status)))
        return found

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Read the whole job/list, a hundred jobs per call.

        It has no filter by time, and its order is not documented.
        """
        if not cluster_id:
            raise InvalidArgument(
                f"cluster_id: the API {self.name!r} needs a cluster; pass cluster_id, or set the "
                "connection's default cluster id"
            )
        return self._cluster_jobs(cluster_id, since)

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Submit a job with job/submitJob.

        :raises InvalidArgument: before any request, if ``spec`` lacks a field that the API needs.
        :raises NotSupported: before any request, if ``spec`` has a field that the API does not support.
        """
        if not cluster_id:
            raise InvalidArgument(
                f"cluster_id: the API {self.name!r} needs the cluster to submit to; pass cluster_id, or set "
                "the connection's default cluster id"
            )
        call = submit_job(self._zone, cluster_id, **_submission(spec))
        return self._submitted(call, cluster_id)

    def jobs_named(self, name: str, cluster_id: str | None) -> Flow[list[JobRef]]:
        """Read the whole job/list: how its search word matches is not documented."""
        if not cluster_id:
            raise InvalidArgument(
                f"cluster_id: the API {self.name!r} needs the cluster whose jobs are searched; give "
                "cluster_id, or set the connection's default cluster id"
            )
        rows = yield from all_pages(partial(self._rows, cluster_id), lambda job: job.hpcjob_uuid, PAGE_SIZE)
        return [JobRef(job_id, cluster_id) for job_id, job in rows.items() if job_id and job.job_name == name]

    def stop(self, ref: JobRef) -> Flow[None]:
        """Stop the job with job/stopJobs.

        :raises NotSupported: before any request, for an operation, which cannot be stopped.
        """
        if _is_operation(ref):
            raise NotSupported(f"job_id: {ref.job_id} is an operation, which cannot be stopped")
        return self._stopped(ref)

    def _submitted(self, call: ApiCall[HpcSubmitJobResponse], cluster_id: str) -> Flow[JobRef]:
        job = yield call
        if not job.hpcjob_uuid:
            raise UnexpectedResponse(
                "job/submitJob returned no hpcjob_uuid; search for the job by its name before submitting it "
                "again"
            )
        return JobRef(job.hpcjob_uuid, cluster_id)

    def _stopped(self, ref: JobRef) -> Flow[None]:
        yield stop_jobs(self._zone, _cluster(ref), [ref.job_id])

    def _lists(self, ref: JobRef) -> list[JobsList]:
        # Only a job's details contain the reason of its end.
        return [
            JobsList(partial(self._page, _cluster(ref), word), PAGE_SIZE) for word in ("running", "pending")
        ]

    def _cluster_jobs(self, cluster_id: str, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        rows = yield from all_pages(partial(self._rows, cluster_id), lambda job: job.hpcjob_uuid, PAGE_SIZE)
        jobs = {}
        for job_id, job in rows.items():
            status = _from_job(JobRef(job_id, cluster_id), job)
            if job_id and (not status.state.terminal or submitted_since(status, since)):
                jobs[job_id] = ClusterJob(status, status.state.terminal, whole=False)
        return jobs

    def _rows(self, cluster_id: str, number: int) -> Flow[tuple[list[HpcJob], int | None]]:
        page = yield list_jobs(self._zone, cluster_id, offset=(number - 1) * PAGE_SIZE)
        return page.hpc_job_set, page.total_count

    def _page(self, cluster_id: str, jobs_status: str, number: int) -> Flow[JobsPage]:
        page = yield list_jobs(self._zone, cluster_id, jobs_status=jobs_status, offset=number * PAGE_SIZE)
        # The filter's words differ from those of the response, which determine the states.
        statuses = {
            (ref := JobRef(job.hpcjob_uuid, cluster_id)): _from_job(ref, job)
            for job in page.hpc_job_set
            if job.hpcjob_uuid
        }
        return JobsPage(statuses, len(page.hpc_job_set), page.total_count)


def _is_operation(ref: JobRef) -> bool:
    return ref.job_id.startswith("j-")


def _cluster(ref: JobRef) -> str:
    if ref.cluster_id is None:
        raise InvalidArgument(f"cluster_id: missing for {ref}")
    return ref.cluster_id


def _submission(spec: JobSpec) -> dict[str, Any]:
    """Return the arguments of :func:`submit_job` for ``spec``."""
    refused = {
        "password": spec.password,
        "gpus": spec.gpus,
        "array": spec.array,
        "environment": spec.environment,
        "nodes": spec.nodes if spec.nodes and spec.nodes > 1 else None,
        # Whole numbers in undocumented units.
        "memory": spec.memory,
        "wall_time": spec.wall_time,
    }
    given = [name for name, value in refused.items() if value]
    if given:
        raise NotSupported(f"{', '.join(given)}: QingCloud HPC does not support it; leave it out")
    if not spec.user:
        raise InvalidArgument("user: QingCloud HPC needs the cluster user to run the job as")
    by_id = bool(spec.queue and spec.queue.startswith(("hpcq-", "ehpcq-")))
    return {
        "name": spec.name,
        "cmd_line": spec.command,
        "run_user": spec.user,
        "core_limit": spec.cores or 1,
        "hpcqueue_id": spec.queue if by_id else None,
        "scheduler_queue_name": None if by_id else spec.queue,
        "priority": spec.priority,
        "stdout_redirect_path": spec.stdout_path,
        "stderr_redirect_path": spec.stderr_path,
        "options": spec.options,
    }


def _nodes(text: str) -> tuple[str, ...]:
    """Split ``[]``, ``["node1", "node2"]`` and ``node1,node2`` into names."""
    return tuple(text.translate(str.maketrans("[]\"',", "     ")).split())


def _reason(job: HpcJob, state: JobState) -> str:
    # A running job still has its pend_reason.
    if state is JobState.QUEUED:
        return job.pend_reason or job.reason
    if state is JobState.SUSPENDED:
        return job.suspend_reson
    return job.end_reason if state.terminal else ""


def _from_job(ref: JobRef, job: HpcJob) -> JobStatus:
    state = job_state(job.job_status)
    resources = {"cores": job.core_limit, "memory": job.mem_limit}
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=job.job_status,
        name=job.job_name or None,
        user=job.run_user or None,
        queue=job.scheduler_queue_name or job.queue_name or job.hpcqueue_id or None,
        reason=_reason(job, state) or None,
        submitted_at=job.submitted_time,
        started_at=job.started_time,
        ended_at=job.end_time,
        modified_at=job.modified_time,
        nodes=_nodes(job.job_node_list),
        resources={name: value for name, value in resources.items() if value},
        stdout_path=job.stdout_redirect_path or None,
        stderr_path=job.stderr_redirect_path or None,
    )


def _from_operation(ref: JobRef, operation: HpcOperation) -> JobStatus:
    state = operation_state(operation.status)
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=operation.status,
        name=operation.job_action or None,
        user=operation.owner or None,
        reason=operation.error_codes or None,
        submitted_at=operation.create_time,
        ended_at=operation.status_time if state.terminal else None,
        modified_at=operation.status_time,
    )

# SPDX-License-Identifier: Apache-2.0
"""E-HPC API version 2018-04-12: serverless jobs, which run in containers.

:class:`EhpcServerlessApi` uses the operations in :mod:`.serverless_calls` to implement the interface that all
APIs share.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from airflow_provider_ehpc.apis.aliyun.common import (
    cluster_job_ref,
    cluster_of,
    job_is_unknown,
    named_cluster,
)
from airflow_provider_ehpc.apis.aliyun.containers import exit_code, reason, resources
from airflow_provider_ehpc.apis.aliyun.serverless_calls import (
    NAME,
    PAGE_SIZE,
    VERSION,
    ArrayProperties,
    DescribeServerlessJobsResponse,
    ListedServerlessJob,
    ListServerlessJobsResponse,
    ServerlessJob,
    StopServerlessJobsResponse,
    SubmitServerlessJobResponse,
    describe_serverless_jobs,
    list_serverless_jobs,
    stop_serverless_jobs,
    submit_serverless_job,
)
from airflow_provider_ehpc.apis.aliyun.states import serverless_state
from airflow_provider_ehpc.apis.array import array_status
from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    Flow,
    InvalidRequest,
    NotFound,
    UnexpectedResponse,
    some_at_once,
)
from airflow_provider_ehpc.apis.job import (
    ClusterJob,
    JobApi,
    JobRef,
    JobSpec,
    JobState,
    JobStatus,
    PartialResult,
    StatusesFlow,
)
from airflow_provider_ehpc.apis.listing import all_pages, one_pass
from airflow_provider_ehpc.apis.response import about
from airflow_provider_ehpc.apis.schedulers.ids import same_job

__all__ = [
    "PAGE_SIZE",
    "VERSION",
    "ArrayProperties",
    "DescribeServerlessJobsResponse",
    "EhpcServerlessApi",
    "ListServerlessJobsResponse",
    "ListedServerlessJob",
    "ServerlessJob",
    "StopServerlessJobsResponse",
    "SubmitServerlessJobResponse",
    "describe_serverless_jobs",
    "list_serverless_jobs",
    "stop_serverless_jobs",
    "submit_serverless_job",
]


_SUB_TASK = re.compile(r"\d+_\d+")
"""ID of an array job's sub-task (DescribeServerlessJobs)."""


class EhpcServerlessApi(JobApi):
    """The :class:`~airflow_provider_ehpc.apis.job.JobApi` of E-HPC 2018-04-12 for serverless jobs."""

    name = NAME

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        return cluster_job_ref(self.name, job_id, cluster_id, version_id)

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Call DescribeServerlessJobs; for an array job, which it rejects, call ListServerlessJobs."""
        try:
            response = yield describe_serverless_jobs(cluster_of(ref), [ref.job_id])
        except (NotFound, InvalidRequest) as error:
            # No page documents the error code for an array job or for an unknown job.
            if not _may_be_an_array(error):
                raise
        else:
            for job in response.job_infos:
                if job.job_id == ref.job_id and not job.is_array_job:
                    return _from_describe(ref, job)
        status = (yield from self._listed([ref])).get(ref)
        if status is None:
            raise NotFound(f"unknown {ref}")
        return status

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Call ListServerlessJobs once per hundred jobs, then read the details of the jobs that failed."""
        found: dict[JobRef, JobStatus | None] = dict.fromkeys(refs)
        by_cluster: dict[str, list[JobRef]] = {}
        for ref in found:
            by_cluster.setdefault(cluster_of(ref), []).append(ref)

        def read_group(group: list[JobRef]) -> Generator[ApiCall[Any] | PartialResult, Any, None]:
            listed = yield from self._listed(group)
            found.update(listed)
            yield PartialResult(
                {ref: listed.get(ref) for ref in group if not _lacks_details(listed.get(ref))}
            )

        def read_details(
            ref: JobRef, status: JobStatus
        ) -> Generator[ApiCall[Any] | PartialResult, Any, None]:
            found[ref] = yield from self._with_details(ref, status)
            yield PartialResult({ref: found[ref]})

        yield from some_at_once(
            read_group(group[start : start + PAGE_SIZE])
            for group in by_cluster.values()
            for start in range(0, len(group), PAGE_SIZE)
        )
        yield from some_at_once(
            read_details(ref, status)
            for ref, status in list(found.items())
            if status and _lacks_details(status)
        )
        return found

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Call ListServerlessJobs for pending and running jobs, then for all jobs by submission time.

        Jobs that are being initialised cannot be listed by state. If one was submitted before ``since``, it
        is missing here; reading that job shows that it has not ended.
        """
        cluster = named_cluster(self.name, cluster_id, "the cluster whose jobs to list")
        submitted_from = int(since.timestamp())
        jobs: dict[str, ClusterJob] = {}
        for word, earliest in (("Pending", None), ("Running", None), ("All", submitted_from)):
            rows = yield from all_pages(
                partial(_rows, cluster, word, earliest), lambda row: row.job_id, PAGE_SIZE
            )
            for job_id, row in rows.items():
                # 10_3 is a sub-task of 10, which is also listed.
                if job_id and not _SUB_TASK.fullmatch(job_id):
                    jobs[job_id] = _cluster_job(cluster, row)
        return jobs

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Call SubmitServerlessJob."""
        cluster = named_cluster(self.name, cluster_id, "the cluster to submit to")
        response = yield submit_serverless_job(cluster, spec)
        if not response.job_id:
            raise UnexpectedResponse(
                "SubmitServerlessJob returned no job id; search for the job by its name before submitting it "
                "again",
                request_id=response.request_id,
            )
        return JobRef(response.job_id, cluster)

    def jobs_named(self, name: str, cluster_id: str | None) -> Flow[list[JobRef]]:
        """Search ListServerlessJobs."""
        cluster = named_cluster(self.name, cluster_id, "the cluster whose jobs are searched")
        rows = yield from all_pages(
            partial(_rows, cluster, "All", None, job_names=[name]), lambda row: row.job_id, PAGE_SIZE
        )
        # 10_3 is a sub-task of 10, which is listed, too.
        return [
            JobRef(job_id, cluster)
            for job_id, row in rows.items()
            if row.job_name == name and job_id and not _SUB_TASK.fullmatch(job_id)
        ]

    def stop(self, ref: JobRef) -> Flow[None]:
        """Call StopServerlessJobs."""
        yield stop_serverless_jobs(cluster_of(ref), [ref.job_id])

    def _listed(self, refs: list[JobRef]) -> Flow[dict[JobRef, JobStatus]]:
        """Return the statuses that ListServerlessJobs reports for at most a hundred jobs of one cluster."""

        def page(number: int) -> Flow[tuple[list[ListedServerlessJob], int | None]]:
            ids = [ref.job_id for ref in refs]
            call = list_serverless_jobs(cluster_of(refs[0]), job_ids=ids, page_number=number)
            response = yield about(
                call,
                ", ".join(ids),
                lambda response: [row.job_id for row in response.jobs],
                lambda _ids, returned: any(same_job(job_id, returned) for job_id in ids),
            )
            return response.jobs, response.total_count

        entries = yield from one_pass(page, lambda row: row.job_id, PAGE_SIZE)
        requested = {ref.job_id for ref in refs}
        return {
            ref: _with_subtasks(_from_listed(ref, entries[ref.job_id]), entries, requested)
            for ref in refs
            if ref.job_id in entries
        }

    def _with_details(self, ref: JobRef, listed: JobStatus) -> Flow[JobStatus]:
        """Return the job's detailed status, or the listed one if the details cannot be read."""
        try:
            return (yield from self.job_status(ref))
        except ApiError:
            return listed


def _rows(
    cluster_id: str,
    state: str,
    submitted_from: int | None,
    number: int,
    *,
    job_names: Sequence[str] = (),
) -> Flow[tuple[list[ListedServerlessJob], int | None]]:
    response = yield list_serverless_jobs(
        cluster_id,
        job_names=job_names,
        state=state,
        submitted_from=submitted_from,
        page_number=number,
    )
    return response.jobs, response.total_count


def _cluster_job(cluster_id: str, row: ListedServerlessJob) -> ClusterJob:
    status = _from_listed(JobRef(row.job_id, cluster_id), row)
    # Only the details have a failed job's reason and exit code, or the states of an array's sub-tasks.
    whole = status.state is JobState.SUCCEEDED and not row.is_array_job
    return ClusterJob(status, status.state.terminal, whole)


def _may_be_an_array(error: ApiError) -> bool:
    return isinstance(error, InvalidRequest) or (isinstance(error, NotFound) and job_is_unknown(error))


def _from_listed(ref: JobRef, job: ListedServerlessJob) -> JobStatus:
    state = serverless_state(job.state)
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=job.state,
        name=job.job_name or None,
        user=job.user or None,
        queue=job.queue or None,
        submitted_at=job.submit_time,
        started_at=job.start_time,
        ended_at=job.end_time if state.terminal else None,
    )


def _with_subtasks(
    parent: JobStatus, entries: Mapping[str, ListedServerlessJob], requested: set[str]
) -> JobStatus:
    """Return ``parent`` with the states of its sub-tasks, if they are listed with it.

    No page documents whether they are, so only sub-tasks that were not requested count as such a list. Nor is
    it documented that a sub-task is listed before it starts: the array is unfinished as long as its own state
    is not terminal.
    """
    subtasks = {job_id: job for job_id, job in entries.items() if job_id.startswith(f"{parent.job_id}_")}
    if subtasks.keys() <= requested:
        return parent
    states = {job_id: serverless_state(job.state) for job_id, job in subtasks.items()}
    whole = array_status(parent, states, len(states))
    return whole if parent.state.terminal else dataclasses.replace(parent, array=whole.array)


def _from_describe(ref: JobRef, job: ServerlessJob) -> JobStatus:
    status = _from_listed(ref, job)
    return dataclasses.replace(
        status,
        exit_code=exit_code(job.container_groups, status.state),
        reason=reason(job.container_groups, status.state),
        modified_at=job.last_modify_time,
        resources=resources(job.container_groups),
    )


def _lacks_details(status: JobStatus | None) -> bool:
    """Return True if the job's details contain more than the list: why the job failed."""
    return bool(status and status.state in (JobState.FAILED, JobState.CANCELLED) and not status.array)

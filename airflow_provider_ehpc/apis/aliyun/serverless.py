"""E-HPC API version 2018-04-12: serverless jobs, which run in containers.

:class:`EhpcServerlessApi` puts the operations (:mod:`.serverless_calls`) behind the interface that all APIs
share.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Generator, Mapping
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
"""The id of an array job's sub-task (DescribeServerlessJobs)."""


class EhpcServerlessApi(JobApi):
    """The common surface over E-HPC 2018-04-12 for serverless jobs."""

    name = NAME

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        return cluster_job_ref(self.name, job_id, cluster_id, version_id)

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Ask DescribeServerlessJobs; for an array job, which it does not take, ListServerlessJobs."""
        try:
            answer = yield describe_serverless_jobs(cluster_of(ref), [ref.job_id])
        except (NotFound, InvalidRequest) as error:
            # Which code it has for an array job is not documented, nor for a job that does not exist.
            if not _may_be_an_array(error):
                raise
        else:
            for job in answer.job_infos:
                if job.job_id == ref.job_id and not job.is_array_job:
                    return _from_describe(ref, job)
        status = (yield from self._listed([ref])).get(ref)
        if status is None:
            raise NotFound(f"the cluster knows no {ref}")
        return status

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Ask ListServerlessJobs for a hundred jobs a call, then for the details of those that failed."""
        found: dict[JobRef, JobStatus | None] = dict.fromkeys(refs)
        by_cluster: dict[str, list[JobRef]] = {}
        for ref in found:
            by_cluster.setdefault(cluster_of(ref), []).append(ref)

        def ask(group: list[JobRef]) -> Generator[ApiCall[Any] | PartialResult, Any, None]:
            listed = yield from self._listed(group)
            found.update(listed)
            yield PartialResult(
                {ref: listed.get(ref) for ref in group if not _lacks_details(listed.get(ref))}
            )

        def ask_details(ref: JobRef, status: JobStatus) -> Generator[ApiCall[Any] | PartialResult, Any, None]:
            found[ref] = yield from self._with_details(ref, status)
            yield PartialResult({ref: found[ref]})

        yield from some_at_once(
            ask(group[start : start + PAGE_SIZE])
            for group in by_cluster.values()
            for start in range(0, len(group), PAGE_SIZE)
        )
        yield from some_at_once(
            ask_details(ref, status)
            for ref, status in list(found.items())
            if status and _lacks_details(status)
        )
        return found

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Ask ListServerlessJobs for those that wait or run, then for all by the time of their submission.

        One that is being initialised cannot be listed by its state: where it was submitted before ``since``
        it is missing here, and asking for it tells that it goes on.
        """
        cluster = named_cluster(self.name, cluster_id, "the cluster whose jobs are meant")
        submitted_from = int(since.timestamp())
        jobs: dict[str, ClusterJob] = {}
        for word, earliest in (("Pending", None), ("Running", None), ("All", submitted_from)):
            rows = yield from all_pages(
                partial(_rows, cluster, word, earliest), lambda row: row.job_id, PAGE_SIZE
            )
            for job_id, row in rows.items():
                # 10_3 is a sub-task of 10, which is listed, too.
                if job_id and not _SUB_TASK.fullmatch(job_id):
                    jobs[job_id] = _cluster_job(cluster, row)
        return jobs

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Ask SubmitServerlessJob."""
        cluster = named_cluster(self.name, cluster_id, "the cluster to submit to")
        answer = yield submit_serverless_job(cluster, spec)
        if not answer.job_id:
            raise UnexpectedResponse(
                "SubmitServerlessJob told no job id; look the job up by its name before submitting it again",
                request_id=answer.request_id,
            )
        return JobRef(answer.job_id, cluster)

    def stop(self, ref: JobRef) -> Flow[None]:
        """Ask StopServerlessJobs."""
        yield stop_serverless_jobs(cluster_of(ref), [ref.job_id])

    def _listed(self, refs: list[JobRef]) -> Flow[dict[JobRef, JobStatus]]:
        """Return what ListServerlessJobs reports of at most a hundred jobs of one cluster."""

        def page(number: int) -> Flow[tuple[list[ListedServerlessJob], int | None]]:
            ids = [ref.job_id for ref in refs]
            call = list_serverless_jobs(cluster_of(refs[0]), job_ids=ids, page_number=number)
            answer = yield about(
                call,
                ", ".join(ids),
                lambda answer: [row.job_id for row in answer.jobs],
                lambda asked, given: any(same_job(job_id, given) for job_id in ids),
            )
            return answer.jobs, answer.total_count

        entries = yield from one_pass(page, lambda row: row.job_id, PAGE_SIZE)
        asked = {ref.job_id for ref in refs}
        return {
            ref: _with_subtasks(_from_listed(ref, entries[ref.job_id]), entries, asked)
            for ref in refs
            if ref.job_id in entries
        }

    def _with_details(self, ref: JobRef, listed: JobStatus) -> Flow[JobStatus]:
        """Return the job's described status; where it cannot be had, the listed one says how it ended."""
        try:
            return (yield from self.job_status(ref))
        except ApiError:
            return listed


def _rows(
    cluster_id: str, state: str, submitted_from: int | None, number: int
) -> Flow[tuple[list[ListedServerlessJob], int | None]]:
    answer = yield list_serverless_jobs(
        cluster_id, state=state, submitted_from=submitted_from, page_number=number
    )
    return answer.jobs, answer.total_count


def _cluster_job(cluster_id: str, row: ListedServerlessJob) -> ClusterJob:
    status = _from_listed(JobRef(row.job_id, cluster_id), row)
    # Why it failed, and with which code, only its details tell; of an array, what its sub-tasks do.
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
    parent: JobStatus, entries: Mapping[str, ListedServerlessJob], asked: set[str]
) -> JobStatus:
    """Return ``parent`` with the states of its sub-tasks, where they are listed beside it.

    Whether they are is not documented, so only ones that nobody asked for count as a listing. Nor is it
    documented that a sub-task is listed before it starts: the array goes on for as long as its own state
    says so.
    """
    subtasks = {job_id: job for job_id, job in entries.items() if job_id.startswith(f"{parent.job_id}_")}
    if subtasks.keys() <= asked:
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
    """Whether asking for the job tells more than the list does: how it failed."""
    return bool(status and status.state in (JobState.FAILED, JobState.CANCELLED) and not status.array)

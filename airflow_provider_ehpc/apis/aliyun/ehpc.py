# SPDX-License-Identifier: Apache-2.0
"""E-HPC API version 2024-07-30: jobs of Standard Edition clusters on PBS Pro or Slurm.

:class:`EhpcApi` uses the operations in :mod:`.ehpc_calls` to implement the interface that all APIs share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial

from airflow_provider_ehpc.apis.aliyun.common import (
    PAGE_SIZE,
    add_listed,
    cluster_job_ref,
    cluster_of,
    job_is_unknown,
    log_bytes,
    named_cluster,
)
from airflow_provider_ehpc.apis.aliyun.ehpc_calls import (
    VERSION,
    CreateJobResponse,
    GetJobLogResponse,
    GetJobResponse,
    JobInfo,
    ListClustersResponse,
    ListedJob,
    ListedJobSpec,
    ListJobsResponse,
    Resources,
    StopJobsResponse,
    create_job,
    get_job,
    get_job_log,
    list_clusters,
    list_jobs,
    stop_jobs,
)
from airflow_provider_ehpc.apis.aliyun.states import may_rerun, outcome_unreported, scheduler_state
from airflow_provider_ehpc.apis.aliyun.window import tail
from airflow_provider_ehpc.apis.array import array_size, with_members
from airflow_provider_ehpc.apis.call import ApiError, Flow, NotFound, ServiceUnavailable, UnexpectedResponse
from airflow_provider_ehpc.apis.job import (
    ClusterJob,
    JobRef,
    JobSpec,
    JobStatus,
    LogBatch,
    LogChunk,
    LogCursor,
    LogLimits,
    StatusesFlow,
)
from airflow_provider_ehpc.apis.listing import all_pages, one_pass
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job
from airflow_provider_ehpc.apis.schedulers.ids import (
    is_whole_array,
    job_number,
    member_id,
    member_indexes,
    whole_array_id,
)
from airflow_provider_ehpc.apis.schedulers.nodes import node_names

__all__ = [
    "VERSION",
    "CreateJobResponse",
    "EhpcApi",
    "GetJobLogResponse",
    "GetJobResponse",
    "JobInfo",
    "ListClustersResponse",
    "ListJobsResponse",
    "ListedJob",
    "ListedJobSpec",
    "Resources",
    "StopJobsResponse",
    "create_job",
    "get_job",
    "get_job_log",
    "list_clusters",
    "list_jobs",
    "stop_jobs",
]


_STREAMS = ("stdout", "stderr")


class EhpcApi:
    """The :class:`~airflow_provider_ehpc.apis.job.JobApi` of E-HPC 2024-07-30."""

    name = "ehpc"
    # The upper limit is that of the 2018 version, the lower one is this version's default.
    log_limits = LogLimits(largest=400 * 1024, smallest=10240)

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        return cluster_job_ref(self.name, job_id, cluster_id, version_id)

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Call GetJob; for an array job, also count its sub-jobs with ListJobs."""
        response = yield get_job(cluster_of(ref), ref.job_id)
        job = response.job_info
        if job is None or not (job.job_id or job.state):
            raise NotFound(f"unknown {ref}", request_id=response.request_id)
        status = _from_get_job(ref, job)
        if job.array_request and not job.array_job_sub_id:
            members = yield from self._array_members(ref, job)
            status = with_members(status, members, array_size(job.array_request))
        return status

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Read pages of jobs if that takes fewer requests, and read the other jobs one by one."""
        return statuses_by_page_or_job(refs, _lists, self.job_status, unknown=job_is_unknown)

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Call ListJobs for the unfinished jobs, then for the finished jobs by creation time.

        In this order, a job that ends in between is listed twice, and its terminal state wins.
        """
        cluster = named_cluster(self.name, cluster_id, "the cluster whose jobs to list")
        jobs: dict[str, ClusterJob] = {}
        for word, created_from in (("notfinish", None), ("finished", int(since.timestamp()))):
            rows = yield from all_pages(partial(_rows, cluster, word, created_from), _row_key, PAGE_SIZE)
            for row in rows.values():
                if row.job_spec.id:
                    listed = _cluster_job(cluster, row, ended=created_from is not None)
                    add_listed(jobs, listed, in_array=bool(row.job_spec.array_request))
        return jobs

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Read each stream from its own offset; the two files are independent."""
        positions = [cursor.position(stream) for stream in _STREAMS]
        offsets = [position if isinstance(position, int) else 0 for position in positions]
        chunks, failed = yield from _readable(
            self._read_stream(ref, stream, offset, size)
            for stream, offset in zip(_STREAMS, offsets, strict=True)
        )
        return LogBatch(tuple(chunks), more=any(_goes_on(chunk, size) for chunk in chunks), error=failed)

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Read the end of each file."""
        chunks, _ = yield from _readable(self._stream_tail(ref, stream, size) for stream in _STREAMS)
        return tuple(chunks)

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Call CreateJob."""
        cluster = named_cluster(self.name, cluster_id, "the cluster to submit to")
        response = yield create_job(cluster, spec)
        if not response.job_id:
            raise UnexpectedResponse(
                "CreateJob returned no job id; search for the job by its name before submitting it again",
                request_id=response.request_id,
            )
        return JobRef(response.job_id, cluster)

    def jobs_named(self, name: str, cluster_id: str | None) -> Flow[list[JobRef]]:
        """Search ListJobs, whose filter finds parts of names."""
        cluster = named_cluster(self.name, cluster_id, "the cluster whose jobs are searched")
        rows = yield from all_pages(partial(_rows, cluster, None, None, job_name=name), _row_key, PAGE_SIZE)
        found = [
            whole_array_id(row.job_spec.id) if row.job_spec.array_request else row.job_spec.id
            for row in rows.values()
            if row.job_name == name and row.job_spec.id
        ]
        return [JobRef(job_id, cluster) for job_id in dict.fromkeys(found)]

    def stop(self, ref: JobRef) -> Flow[None]:
        """Call StopJobs."""
        yield stop_jobs(cluster_of(ref), [ref.job_id])

    def _read_stream(self, ref: JobRef, stream: str, offset: int, size: int) -> Flow[LogChunk]:
        response = yield get_job_log(cluster_of(ref), ref.job_id, log_type=stream, offset=offset, size=size)
        content, total = (
            (response.stdout_log, response.stdout_log_size)
            if stream == "stdout"
            else (response.stderr_log, response.stderr_log_size)
        )
        data = log_bytes(content, stream, response.request_id)
        return LogChunk(stream, data, offset + len(data), total)

    def _stream_tail(self, ref: JobRef, stream: str, size: int) -> Flow[LogChunk]:
        chunk = yield from self._read_stream(ref, stream, 0, size)
        if len(chunk.data) < size:
            return chunk
        return (yield from self._end_of_stream(ref, stream, size, chunk.size or 0))

    def _end_of_stream(self, ref: JobRef, stream: str, size: int, reported: int) -> Flow[LogChunk]:
        """Read a long file's end at the position that the reported size gives, or search for it.

        The documented sample reports a size of 0 for a log that is not empty.
        """
        if reported > size:
            chunk = yield from self._read_stream(ref, stream, reported - size, size)
            if chunk.data:
                return chunk

        def window(offset: int, length: int) -> Flow[dict[str, bytes]]:
            return {stream: (yield from self._read_stream(ref, stream, offset, length)).data}

        (chunk,) = yield from tail(window, size)
        return chunk

    def _array_members(self, ref: JobRef, job: JobInfo) -> Flow[dict[str, JobStatus]]:
        """Return the sub-jobs of an array that ListJobs reports, by their IDs."""
        named = partial(_rows, cluster_of(ref), None, None, job_name=job.job_name or None)
        rows = yield from one_pass(named, _row_key, PAGE_SIZE)
        members = (_member(ref, row) for row in rows.values())
        return {member.job_id: member for member in members if member}


def _lists(ref: JobRef) -> list[JobsList]:
    return [JobsList(partial(_page, cluster_of(ref), word), PAGE_SIZE) for word in ("notfinish", "finished")]


def _page(cluster_id: str, job_status: str, number: int) -> Flow[JobsPage]:
    response = yield list_jobs(cluster_id, page_number=number + 1, job_status=job_status)
    statuses = {
        (ref := JobRef(job.job_spec.id, cluster_id)): _from_list_jobs(ref, job)
        for job in response.jobs
        # A row with an array request may be only one sub-job; GetJob reports the whole array.
        if job.job_spec.id and not job.job_spec.array_request
    }
    return JobsPage(statuses, len(response.jobs), response.total_count)


def _rows(
    cluster_id: str,
    job_status: str | None,
    created_from: int | None,
    number: int,
    *,
    job_name: str | None = None,
) -> Flow[tuple[list[ListedJob], int | None]]:
    response = yield list_jobs(
        cluster_id,
        page_number=number,
        job_name=job_name,
        job_status=job_status,
        created_from=created_from,
    )
    return response.jobs, response.total_count


def _row_key(row: ListedJob) -> str:
    # No page documents that the sub-jobs of an array have their own IDs.
    return f"{row.job_spec.id}/{row.job_spec.array_job_sub_id}"


def _cluster_job(cluster_id: str, row: ListedJob, *, ended: bool) -> ClusterJob:
    """Convert a row to its job, or to the array that the row is a part of."""
    spec = row.job_spec
    in_array = bool(spec.array_request)
    ref = JobRef(whole_array_id(spec.id) if in_array else spec.id, cluster_id)
    return ClusterJob(_from_list_jobs(ref, row), ended, whole=not in_array)


def _readable(reads: Iterable[Flow[LogChunk]]) -> Flow[tuple[list[LogChunk], ApiError | None]]:
    """Return the streams that can be read, and the error of one that cannot.

    An AgentError comes from the agent on the cluster that reads the files. It may concern only one of them,
    for example a file that it is not allowed to read.

    :raises ApiError: if no stream can be read, or for a reason that concerns them all.
    """
    chunks: list[LogChunk] = []
    failed: ApiError | None = None
    for read in reads:
        try:
            chunks.append((yield from read))
        except ServiceUnavailable as error:
            if failed or not (error.code or "").startswith("AgentError"):
                raise
            failed = error
    return chunks, failed


def _goes_on(chunk: LogChunk, size: int) -> bool:
    """Return True if more bytes may be ready: the piece is full, or it ends before the reported size."""
    known_end = chunk.size or 0
    return bool(chunk.data) and (len(chunk.data) >= size or known_end > int(chunk.next))


def _member(array: JobRef, row: ListedJob) -> JobStatus | None:
    """Return the sub-job of an array, or the waiting sub-jobs, that a row describes; None for other jobs."""
    spec = row.job_spec
    index = spec.array_job_sub_id
    number = job_number(spec.array_job_id or spec.id)
    if number != job_number(array.job_id) or not member_indexes(spec.id, index):
        return None
    # No page documents that the sub-jobs of an array have their own IDs.
    own_id = spec.id if not is_whole_array(spec.id) else member_id(array.job_id, index)
    return _from_list_jobs(JobRef(own_id, array.cluster_id), row)


def _from_get_job(ref: JobRef, job: JobInfo) -> JobStatus:
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=scheduler_state(job.state),
        raw_state=job.state,
        outcome_assumed=outcome_unreported(job.state),
        may_rerun=may_rerun(job.state),
        name=job.job_name or None,
        user=job.runas_user or None,
        queue=job.job_queue or None,
        submitted_at=job.create_time,
        started_at=job.start_time,
        modified_at=job.last_modify_time,
        nodes=node_names(job.node_list),
        resources=job.resources.reported() if job.resources else {},
        resources_used=job.resources_used.reported() if job.resources_used else {},
        stdout_path=job.output_log or None,
        stderr_path=job.error_log or None,
    )


def _from_list_jobs(ref: JobRef, job: ListedJob) -> JobStatus:
    spec = job.job_spec
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=scheduler_state(spec.state),
        raw_state=spec.state,
        reason=spec.comment or None,
        outcome_assumed=outcome_unreported(spec.state),
        may_rerun=may_rerun(spec.state),
        name=job.job_name or None,
        user=spec.runas_user or None,
        queue=spec.job_queue or None,
        submitted_at=spec.submit_time,
        started_at=spec.start_time,
        modified_at=spec.last_modify_time,
        nodes=node_names(spec.node_list),
        resources=spec.resources.reported() if spec.resources else {},
        resources_used=spec.resources_actual_occupied.reported() if spec.resources_actual_occupied else {},
        stdout_path=spec.stdout_path or None,
        stderr_path=spec.stderr_path or None,
    )


# Former names of these models, for programs that still import them.
GetJobAnswer, ListJobsAnswer = GetJobResponse, ListJobsResponse

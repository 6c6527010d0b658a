# SPDX-License-Identifier: Apache-2.0
"""E-HPC API version 2018-04-12: jobs of E-HPC 1.0 clusters, mostly on PBS.

:class:`EhpcClassicApi` uses the operations in :mod:`.classic_calls` to implement the interface that all APIs
share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from functools import partial

from airflow_provider_ehpc.apis.aliyun import window
from airflow_provider_ehpc.apis.aliyun.classic_calls import (
    VERSION,
    ClassicGetJobLogResponse,
    ClassicListedJob,
    ClassicListJobsResponse,
    ClassicStopJobsResponse,
    ClassicSubmitJobResponse,
    DescribedJobs,
    DescribeJobResponse,
    FilteredJob,
    ListJobsWithFiltersResponse,
    describe_job,
    get_job_log,
    list_jobs,
    list_jobs_with_filters,
    stop_jobs,
    submit_job,
)
from airflow_provider_ehpc.apis.aliyun.common import (
    PAGE_SIZE,
    add_listed,
    cluster_job_ref,
    cluster_of,
    job_is_unknown,
    log_bytes,
    named_cluster,
)
from airflow_provider_ehpc.apis.aliyun.states import may_rerun, outcome_unreported, scheduler_state
from airflow_provider_ehpc.apis.array import with_members
from airflow_provider_ehpc.apis.call import ApiError, Flow, NotFound, UnexpectedResponse
from airflow_provider_ehpc.apis.job import (
    ClusterJob,
    JobRef,
    JobSpec,
    JobState,
    JobStatus,
    LogBatch,
    LogChunk,
    LogCursor,
    LogLimits,
    StatusesFlow,
)
from airflow_provider_ehpc.apis.listing import all_pages, one_pass
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job
from airflow_provider_ehpc.apis.schedulers.described import Description, describe
from airflow_provider_ehpc.apis.schedulers.ids import member_id, whole_array_id
from airflow_provider_ehpc.apis.schedulers.nodes import node_names

__all__ = [
    "VERSION",
    "ClassicGetJobLogResponse",
    "ClassicListJobsResponse",
    "ClassicListedJob",
    "ClassicStopJobsResponse",
    "ClassicSubmitJobResponse",
    "DescribeJobResponse",
    "DescribedJobs",
    "EhpcClassicApi",
    "FilteredJob",
    "ListJobsWithFiltersResponse",
    "describe_job",
    "get_job_log",
    "list_jobs",
    "list_jobs_with_filters",
    "stop_jobs",
    "submit_job",
]


_NOT_STARTED = frozenset({JobState.PENDING, JobState.QUEUED})
_STREAMS = ("stdout", "stderr")
_MAX_MEMBERS = 200
"""Maximum number of a failed array's sub-jobs that are read, with one request each."""


class EhpcClassicApi:
    """The :class:`~airflow_provider_ehpc.apis.job.JobApi` of E-HPC 2018-04-12 for jobs of a scheduler."""

    name = "ehpc-classic"
    log_limits = LogLimits(largest=window.LARGEST, smallest=window.SMALLEST)

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        return cluster_job_ref(self.name, job_id, cluster_id, version_id)

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Call DescribeJob; if it reports no state, search the pages of ListJobs.

        Only DescribeJob reports a job's outcome, and it reads a single job, while ListJobs has no filter by
        ID. But its response is the scheduler's own, of which only a fragment for PBS is documented, and a
        scheduler forgets its jobs.
        """
        return (yield from self._with_members(ref, (yield from self._description(ref))))

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Read pages of unfinished jobs if that takes fewer requests, and read the other jobs one by one."""
        return statuses_by_page_or_job(
            refs,
            # Pages of ended jobs do not report outcomes.
            lambda ref: [JobsList(partial(_unfinished, cluster_of(ref)), PAGE_SIZE)],
            self.job_status,
            unknown=job_is_unknown,
        )

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Call ListJobsWithFilters for the unfinished jobs, then for the finished jobs by submission time.

        ListJobs has no filter by time and would return years of ended jobs.
        """
        cluster = named_cluster(self.name, cluster_id, "the cluster whose jobs to list")
        jobs: dict[str, ClusterJob] = {}
        for word, created_from in (("notfinish", None), ("finished", int(since.timestamp()))):
            rows = yield from all_pages(
                partial(_rows, cluster, word, created_from), lambda row: row.id, PAGE_SIZE
            )
            for row in rows.values():
                if row.id:
                    listed = _cluster_job(cluster, row, ended=created_from is not None)
                    add_listed(jobs, listed, in_array=bool(row.array_request))
        return jobs

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Read new bytes of both streams, each from its own position; nothing before the job starts."""
        positions = {stream: cursor.position(stream) for stream in _STREAMS}
        offsets = {s: position if isinstance(position, int) else 0 for s, position in positions.items()}
        status = yield from self._known_status(ref)
        # A job that waits for its rerun still has the log of its last run.
        if status and status.state in _NOT_STARTED and not any(offsets.values()):
            return LogBatch(tuple(LogChunk(s, b"", offset) for s, offset in offsets.items()), more=False)
        return (yield from window.read_on(_log_window(ref, status), offsets, size))

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Search for the end of each file and read it; nothing before the job starts."""
        status = yield from self._known_status(ref)
        if status and status.state in _NOT_STARTED:
            return tuple(LogChunk(stream, b"", 0) for stream in _STREAMS)
        return (yield from window.tail(_log_window(ref, status), size))

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Call SubmitJob."""
        cluster = named_cluster(self.name, cluster_id, "the cluster to submit to")
        response = yield submit_job(cluster, spec)
        if not response.job_id:
            raise UnexpectedResponse(
                "SubmitJob returned no job id; search for the job by its name before submitting it again",
                request_id=response.request_id,
            )
        return JobRef(response.job_id, cluster)

    def jobs_named(self, name: str, cluster_id: str | None) -> Flow[list[JobRef]]:
        """Search ListJobsWithFilters, whose filter finds parts of names."""
        cluster = named_cluster(self.name, cluster_id, "the cluster whose jobs are searched")
        rows = yield from all_pages(
            partial(_rows, cluster, None, None, job_name=name), lambda row: row.id, PAGE_SIZE
        )
        found = [
            whole_array_id(row.id) if row.array_request else row.id
            for row in rows.values()
            if row.name == name and row.id
        ]
        return [JobRef(job_id, cluster) for job_id in dict.fromkeys(found)]

    def stop(self, ref: JobRef) -> Flow[None]:
        """Call StopJobs."""
        yield stop_jobs(cluster_of(ref), [ref.job_id])

    def _description(self, ref: JobRef) -> Flow[Description]:
        try:
            response = yield describe_job(cluster_of(ref), ref.job_id)
        except ApiError as error:
            # ExecFail: the scheduler's command failed. qstat fails for a job that is only in its history.
            if not (isinstance(error, NotFound) and job_is_unknown(error)) and error.code != "ExecFail":
                raise
            doubt = f"DescribeJob: {error}"
        else:
            jobs = response.jobs
            if jobs and (description := describe(ref, jobs)):
                return description
            doubt = (
                "cannot read the scheduler's response (DescribeJob)"
                if jobs is None
                else "the scheduler's response (DescribeJob) does not contain the job's state"
            )
        status = yield from self._listed_status(ref)
        return Description(dataclasses.replace(status, reason=doubt) if status.outcome_assumed else status)

    def _with_members(self, ref: JobRef, description: Description) -> Flow[JobStatus]:
        """Return a job's status; if it is an array that may have failed, read its sub-jobs to name those
        that did.
        """
        status, array_id, indexes = description
        if status.state not in (JobState.FAILED, JobState.CANCELLED) and not status.outcome_assumed:
            return status
        members: dict[str, JobStatus] = {}
        for index in indexes[:_MAX_MEMBERS]:
            member = JobRef(member_id(array_id, index), ref.cluster_id)
            try:
                response = yield describe_job(cluster_of(member), member.job_id)
                described = describe(member, response.jobs or {})
            except ApiError:
                # The array's outcome is known; its sub-jobs only explain it.
                break
            if described:
                members[member.job_id] = described.status
        if len(members) < len(indexes):
            # Counts of some sub-jobs would be mistaken for counts of all.
            return dataclasses.replace(with_members(status, members), array={}, members={})
        # All sub-jobs were read. The outcome is now assumed only if that of a sub-job is.
        assumed = status.outcome_assumed and not members
        return with_members(dataclasses.replace(status, outcome_assumed=assumed), members)

    def _listed_status(self, ref: JobRef) -> Flow[JobStatus]:
        def page(number: int) -> Flow[tuple[list[ClassicListedJob], int | None]]:
            response = yield list_jobs(cluster_of(ref), page_number=number, state="all")
            return response.jobs, response.total_count

        rows = yield from one_pass(
            page,
            lambda row: row.id,
            PAGE_SIZE,
            enough=lambda rows: any(row.id == ref.job_id for row in rows),
        )
        if ref.job_id not in rows:
            raise NotFound(f"unknown {ref}")
        return _from_list_jobs(ref, rows[ref.job_id])

    def _known_status(self, ref: JobRef) -> Flow[JobStatus | None]:
        """Return the job's status; None if the scheduler has forgotten the job, whose files may remain."""
        try:
            return (yield from self._description(ref)).status
        except NotFound as error:
            if not job_is_unknown(error):
                raise
            return None


def _log_window(ref: JobRef, status: JobStatus | None) -> window.LogWindow:
    # Only while the job runs: later, its node may be gone, and its files are on the cluster's disk.
    running = status is not None and not status.state.terminal
    exec_host = next(iter(status.nodes), None) if status and running else None

    def read(offset: int, size: int) -> Flow[Mapping[str, bytes]]:
        response = yield get_job_log(
            cluster_of(ref), ref.job_id, exec_host=exec_host, offset=offset, size=size
        )
        contents = zip(_STREAMS, (response.output_log, response.error_log), strict=True)
        return {stream: log_bytes(content, stream, response.request_id) for stream, content in contents}

    return read


def _from_list_jobs(ref: JobRef, job: ClassicListedJob) -> JobStatus:
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=scheduler_state(job.state),
        raw_state=job.state,
        outcome_assumed=outcome_unreported(job.state),
        may_rerun=may_rerun(job.state),
        name=job.name or None,
        user=job.owner or None,
        submitted_at=job.submit_time,
        started_at=job.start_time,
        modified_at=job.last_modify_time,
        nodes=node_names(job.node_list),
        resources=job.resources.reported() if job.resources else {},
        stdout_path=job.stdout or None,
        stderr_path=job.stderr or None,
    )


def _unfinished(cluster_id: str, number: int) -> Flow[JobsPage]:
    response = yield list_jobs(cluster_id, page_number=number + 1, state="notfinish")
    refs = [(JobRef(job.id, cluster_id), job) for job in response.jobs if job.id]
    return JobsPage(
        {ref: _from_list_jobs(ref, job) for ref, job in refs}, len(response.jobs), response.total_count
    )


def _rows(
    cluster_id: str,
    job_status: str | None,
    created_from: int | None,
    number: int,
    *,
    job_name: str | None = None,
) -> Flow[tuple[list[FilteredJob], int | None]]:
    response = yield list_jobs_with_filters(
        cluster_id,
        page_number=number,
        job_name=job_name,
        job_status=job_status,
        created_from=created_from,
    )
    return response.jobs, response.total_count


def _cluster_job(cluster_id: str, row: FilteredJob, *, ended: bool) -> ClusterJob:
    """Convert a row to its job, or to the array that it is a part of; a row never reports the outcome."""
    ref = JobRef(whole_array_id(row.id) if row.array_request else row.id, cluster_id)
    status = dataclasses.replace(_from_list_jobs(ref, row), queue=row.queue or None)
    return ClusterJob(status, ended, whole=False)


# Former names of these models, for programs that still import them.
DescribeJobAnswer, ListJobsAnswer = DescribeJobResponse, ClassicListJobsResponse

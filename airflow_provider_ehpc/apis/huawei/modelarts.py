# SPDX-License-Identifier: Apache-2.0
"""ModelArts API v2: training jobs and their logs.

:class:`ModelArtsApi` puts the operations (:mod:`.modelarts_calls`) behind the interface that all APIs share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    Flow,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.huawei.common import ProjectApi, read_streams, stop_unless_ended
from airflow_provider_ehpc.apis.huawei.logs_lines import LogLines, newest_lines, read_lines
from airflow_provider_ehpc.apis.huawei.logs_preview import is_preview, new_part
from airflow_provider_ehpc.apis.huawei.modelarts_calls import (
    PAGE_SIZE,
    EventsResponse,
    SearchResponse,
    TasksResponse,
    create_training_job,
    list_training_job_events,
    list_training_job_tasks,
    search_training_jobs,
    show_log_lines,
    show_log_preview,
    show_training_job,
    terminate_training_job,
)
from airflow_provider_ehpc.apis.huawei.states import UNFINISHED_PHASES
from airflow_provider_ehpc.apis.huawei.submission import job_body
from airflow_provider_ehpc.apis.huawei.training_job import TrainingJob
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
    LogPosition,
    StatusesFlow,
)
from airflow_provider_ehpc.apis.listing import all_pages, newest_pages, submitted_since
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job

__all__ = [
    "PAGE_SIZE",
    "EventsResponse",
    "ModelArtsApi",
    "SearchResponse",
    "TasksResponse",
    "create_training_job",
    "list_training_job_events",
    "list_training_job_tasks",
    "search_training_jobs",
    "show_log_lines",
    "show_log_preview",
    "show_training_job",
    "terminate_training_job",
]


class ModelArtsApi(ProjectApi):
    """The common interface for ModelArts API v2. A job's streams are its tasks, such as ``worker-0``."""

    name = "modelarts"
    # Sizes are converted to numbers of lines: from ten lines to some pages of 500.
    log_limits = LogLimits(largest=256 * 1024, smallest=1280, text=True)

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        self.refuse_cluster(cluster_id)
        if version_id:
            raise InvalidArgument(
                f"version_id: the API {self.name!r} has no job versions; leave it out, or set "
                "api='modelarts-v1'"
            )
        # HTTP clients remove "." and ".." from a path, and the signature no longer matches.
        if job_id.strip() in ("", ".", ".."):
            raise InvalidArgument(f"job_id: {job_id!r} is not an ID of the API {self.name!r}")
        return JobRef(job_id.strip())

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Request the job with ShowTrainingJobDetails."""
        job = yield show_training_job(self.project_id, ref.job_id)
        status: JobStatus = job.job_status(ref)
        return status

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Search the jobs if that takes fewer requests, and request the others one by one."""
        # Only a job's details contain the reason of a failure.
        lists = [
            JobsList(partial(self._page, phases), PAGE_SIZE) for phases in (UNFINISHED_PHASES, ["Completed"])
        ]
        return statuses_by_page_or_job(refs, lambda _ref: lists, self.job_status)

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Search the project's unfinished jobs, then all jobs from the newest on."""
        self.refuse_cluster(cluster_id)
        unfinished = yield from all_pages(partial(self._rows, UNFINISHED_PHASES), _job_id, PAGE_SIZE)
        newest = yield from newest_pages(
            partial(self._rows, ()),
            _job_id,
            PAGE_SIZE,
            lambda job: submitted_since(job.job_status(JobRef(job.metadata.id)), since),
        )
        return {job_id: _cluster_job(job) for job_id, job in {**unfinished, **newest}.items() if job_id}

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Read each task's log by lines, or by previews if the endpoint has no lines.

        Pages of lines are read until ``size`` is reached. A preview, of up to 5 MB, is read whole.
        """
        job = yield show_training_job(self.project_id, ref.job_id)
        batch: LogBatch = yield from read_streams(
            filter(None, job.status.tasks),
            lambda task: self._read_task(ref, task, cursor.position(task), job.metadata.create_time, size),
        )
        return batch

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Read the newest lines of the tasks that failed, or of all if the cloud does not report which."""
        job = yield show_training_job(self.project_id, ref.job_id)
        chunks = []
        for task in filter(None, job.failed_tasks or job.status.tasks):
            try:
                read = yield from newest_lines(partial(self._newest, ref, task), size)
                chunks.append(LogChunk(task, read.data, read.next))
            except (InvalidRequest, NotFound):
                chunk = (yield from self._preview(ref, task, 0)).chunks[0]
                chunks.append(LogChunk(task, chunk.data[-size:], chunk.next))
        return tuple(chunks)

    def submit(self, spec: JobSpec, cluster_id: str | None) -> Flow[JobRef]:
        """Submit a job with CreateTrainingJob."""
        self.refuse_cluster(cluster_id)
        job = yield create_training_job(self.project_id, job_body(spec, self.name))
        if not job.metadata.id:
            raise UnexpectedResponse(
                "CreateTrainingJob returned no job id; search for the job by its name before submitting it "
                "again"
            )
        return JobRef(job.metadata.id)

    def jobs_named(self, name: str, cluster_id: str | None) -> Flow[list[JobRef]]:
        """Search the project's jobs, by a filter that finds parts of names."""
        self.refuse_cluster(cluster_id)
        rows = yield from all_pages(partial(self._rows, (), name=name), _job_id, PAGE_SIZE)
        return [JobRef(job_id) for job_id, job in rows.items() if job_id and job.metadata.name == name]

    def stop(self, ref: JobRef) -> Flow[None]:
        """Stop the job with StopTrainingJob."""
        return stop_unless_ended(terminate_training_job(self.project_id, ref.job_id), self.job_status(ref))

    def _page(self, phases: Sequence[str], number: int) -> Flow[JobsPage]:
        page = yield search_training_jobs(self.project_id, page=number, phases=phases)
        refs = [(JobRef(job.metadata.id), job) for job in page.items if job.metadata.id]
        return JobsPage({ref: job.job_status(ref) for ref, job in refs}, len(page.items), page.count)

    def _rows(
        self, phases: Sequence[str], number: int, *, name: str | None = None
    ) -> Flow[tuple[list[TrainingJob], int | None]]:
        page = yield search_training_jobs(self.project_id, page=number - 1, phases=phases, name=name)
        return page.items, page.count

    def _read_task(
        self, ref: JobRef, task: str, position: LogPosition, created_at: datetime | None, size: int
    ) -> Flow[LogBatch]:
        if is_preview(position):
            return (yield from self._preview(ref, task, position))
        try:
            read = yield from read_lines(
                partial(self._after, ref, task), partial(self._newest, ref, task), position, created_at, size
            )
        except (InvalidRequest, NotFound):
            # Lines cannot be found again in a preview, so only a log that was not read yet can change to it.
            if position != 0:
                raise
            read = None
        if read is None:
            batch = yield from self._preview(ref, task, position)
            note = f"{task}: the endpoint has no log lines, so the log is followed by its last 5 MB"
            return LogBatch(batch.chunks, more=False, notes=(note, *batch.notes))
        return LogBatch((LogChunk(task, read.data, read.next),), read.more)

    def _preview(self, ref: JobRef, task: str, position: LogPosition) -> Flow[LogBatch]:
        preview = yield show_log_preview(self.project_id, ref.job_id, task)
        part = new_part(position, preview, task)
        return LogBatch(
            (LogChunk(task, part.data, part.next),), more=False, notes=(part.note,) if part.note else ()
        )

    def _after(self, ref: JobRef, task: str, base_line: str, lines: int) -> ApiCall[LogLines]:
        return show_log_lines(
            self.project_id, ref.job_id, task, base_line=base_line, lines=lines, order="asc"
        )

    def _newest(self, ref: JobRef, task: str, lines: int) -> ApiCall[LogLines]:
        return show_log_lines(self.project_id, ref.job_id, task, base_line=None, lines=lines, order="desc")


def _job_id(job: TrainingJob) -> str:
    return job.metadata.id


def _cluster_job(job: TrainingJob) -> ClusterJob:
    status = job.job_status(JobRef(job.metadata.id))
    return ClusterJob(status, status.state.terminal, whole=status.state is JobState.SUCCEEDED)

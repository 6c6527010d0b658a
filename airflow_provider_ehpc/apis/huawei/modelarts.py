"""ModelArts API v2: training jobs, their events, tasks and logs.

One function an operation, with its answer's model before it; :class:`ModelArtsApi` puts them behind the
surface that all APIs share. Sources: the operations' pages (ShowTrainingJobLogsFromAom last updated
2026-08-26), the request and response models of ``huaweicloudsdkmodelarts`` 3.1.219, and Open Telekom
Cloud's reference, which is the same API with fewer operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Unpack

from pydantic import Field

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    Flow,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    UnexpectedResponse,
)
from airflow_provider_ehpc.apis.huawei.flows import (
    ProjectApi,
    read_streams,
    stop_unless_over,
)
from airflow_provider_ehpc.apis.huawei.lines import LogLines, newest_lines, read_lines
from airflow_provider_ehpc.apis.huawei.preview import LogPreview, is_preview, new_part
from airflow_provider_ehpc.apis.huawei.protocol import LOG_NOT_READY, modelarts_call, project_path
from airflow_provider_ehpc.apis.huawei.search import Search, search_body
from airflow_provider_ehpc.apis.huawei.states import UNFINISHED_PHASES
from airflow_provider_ehpc.apis.huawei.submission import job_body
from airflow_provider_ehpc.apis.huawei.training_job import TaskIp, TrainingJob
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
    confidential_values,
)
from airflow_provider_ehpc.apis.listing import all_pages, newest_pages, submitted_since
from airflow_provider_ehpc.apis.moments import milliseconds
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job
from airflow_provider_ehpc.apis.response import Items, Number, ResponseModel, Text, Time, about

VERSION = "v2"
PAGE_SIZE = 50
"""The most jobs that one page of a search may hold."""


def _path(project_id: str, *segments: str) -> str:
    return project_path(VERSION, project_id, "training-jobs", *segments)


def show_training_job(project_id: str, job_id: str) -> ApiCall[TrainingJob]:
    """ShowTrainingJobDetails: one job."""
    call = modelarts_call(
        "ShowTrainingJobDetails",
        TrainingJob,
        "GET",
        _path(project_id, job_id),
        project_id=project_id,
        subject=str(JobRef(job_id)),
    )
    return about(call, job_id, lambda job: [job.metadata.id])


class SearchResponse(ResponseModel):
    """Answer of ListTrainingJobs: one page."""

    total: Number = None
    """Jobs the user has."""
    count: Number = None
    """Jobs of them that the search finds, on all pages."""
    limit: Number = None
    offset: Number = None
    sort_by: Text = ""
    order: Text = ""
    group_by: Text = ""
    workspace_id: Text = ""
    ai_project: Text = ""
    train_type: Text = ""
    items: Items[TrainingJob] = Field(default_factory=list)


def search_training_jobs(
    project_id: str, *, page: int = 0, page_size: int = PAGE_SIZE, **search: Unpack[Search]
) -> ApiCall[SearchResponse]:
    """ListTrainingJobs: a page of the project's jobs.

    :param page: the first is 0. The API calls it ``offset``, but it counts pages.
    :param page_size: at most 50.
    :param search: see :class:`~.search.Search`.
    :raises InvalidArgument: for a condition of another form.
    """
    return modelarts_call(
        "ListTrainingJobs",
        SearchResponse,
        "POST",
        project_path(VERSION, project_id, "training-job-searches"),
        project_id=project_id,
        body={
            "offset": page,
            "limit": page_size,
            **search_body(search),
        },
        subject=f"project {project_id}",
    )


def create_training_job(project_id: str, body: dict[str, Any]) -> ApiCall[TrainingJob]:
    """CreateTrainingJob: submit a job; :func:`~.submission.job_body` makes the body.

    There is no idempotency token, but a name can be used once in a project (``ModelArts.2751``).
    """
    return modelarts_call(
        "CreateTrainingJob",
        TrainingJob,
        "POST",
        _path(project_id),
        project_id=project_id,
        body=body,
        subject=f"job {body['metadata']['name']!r}",
        writes=True,
        confidential=confidential_values({**body, "metadata": None, "kind": None}),
    )


def terminate_training_job(project_id: str, job_id: str) -> ApiCall[TrainingJob]:
    """StopTrainingJob: stop a job that is being created, waits or runs; refused for others (409)."""
    call = modelarts_call(
        "StopTrainingJob",
        TrainingJob,
        "POST",
        _path(project_id, job_id, "actions"),
        project_id=project_id,
        body={"action_type": "terminate"},
        subject=str(JobRef(job_id)),
        writes=True,
    )
    return about(call, job_id, lambda job: [job.metadata.id])


class TrainingEvent(ResponseModel):
    """Something that happened to a job."""

    time: Time = None
    level: Text = ""
    """``Info``, ``Warning`` or ``Error``."""
    message: Text = ""
    source: Text = ""


class EventsResponse(ResponseModel):
    """Answer of ListTrainingJobEvents: one page."""

    total: Number = None
    limit: Number = None
    offset: Number = None
    order: Text = ""
    start_time: Time = None
    end_time: Time = None
    events: Items[TrainingEvent] = Field(default_factory=list)


def list_training_job_events(
    project_id: str,
    job_id: str,
    *,
    offset: int = 0,
    limit: int = 50,
    order: str = "desc",
    level: str | None = None,
    pattern: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ApiCall[EventsResponse]:
    """ListTrainingJobEvents: what happened to a job.

    :param limit: at most 100.
    :param level: ``Info``, ``Warning`` or ``Error``.
    :param pattern: a part of the message, of at most 256 characters.
    :param since: aware; given together with ``until`` or not at all.
    """
    if (since is None) != (until is None):
        raise InvalidArgument("since and until: give both or none; the API takes a window only whole")
    return modelarts_call(
        "ListTrainingJobEvents",
        EventsResponse,
        "GET",
        _path(project_id, job_id, "events"),
        project_id=project_id,
        query={
            "offset": offset,
            "limit": limit,
            "order": order,
            "level": level,
            "pattern": pattern,
            "start_time": milliseconds("since", since),
            "end_time": milliseconds("until", until),
        },
        subject=str(JobRef(job_id)),
    )


class TasksResponse(ResponseModel):
    """Answer of ListTrainingJobTasks, which is a bare list."""

    tasks: Items[TaskIp] = Field(default_factory=list)


def list_training_job_tasks(
    project_id: str, job_id: str, *, schedule_count: int | None = None
) -> ApiCall[TasksResponse]:
    """ListTrainingJobTasks: on which node each task was placed.

    :param schedule_count: only the placements of this scheduling; fault tolerance makes several.
    """
    return modelarts_call(
        "ListTrainingJobTasks",
        TasksResponse,
        "GET",
        _path(project_id, job_id, "tasks"),
        project_id=project_id,
        query={"schedule_count": schedule_count},
        subject=str(JobRef(job_id)),
        list_field="tasks",
    )


def show_log_lines(
    project_id: str, job_id: str, task: str, *, base_line: str | None, lines: int, order: str
) -> ApiCall[LogLines]:
    """ShowTrainingJobLogsFromAom: a page of a task's log.

    :param base_line: where the page starts; the newest line where None.
    :param lines: at most 500.
    :param order: ``asc`` goes from old to new, ``desc`` from new to old.
    """
    return modelarts_call(
        "ShowTrainingJobLogsFromAom",
        LogLines,
        "GET",
        _path(project_id, job_id, "logs", task),
        project_id=project_id,
        query={"base_line": base_line, "lines": lines, "order": order},
        subject=f"{JobRef(job_id)}, {task}",
        nothing=LOG_NOT_READY,
    )


def show_log_preview(project_id: str, job_id: str, task: str) -> ApiCall[LogPreview]:
    """ShowTrainingJobLogsPreview: the newest 5 MB, at most, of a task's log."""
    return modelarts_call(
        "ShowTrainingJobLogsPreview",
        LogPreview,
        "GET",
        _path(project_id, job_id, "tasks", task, "logs", "preview"),
        project_id=project_id,
        subject=f"{JobRef(job_id)}, {task}",
        nothing=LOG_NOT_READY,
    )


class ModelArtsApi(ProjectApi):
    """The common surface over ModelArts API v2. A job's streams are its tasks, such as ``worker-0``."""

    name = "modelarts"
    # Sizes stand for numbers of lines here: the least is ten lines, the most some pages of 500.
    log_limits = LogLimits(largest=256 * 1024, smallest=1280, text=True)

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        self.refuse_cluster(cluster_id)
        if version_id:
            raise InvalidArgument(
                f"version_id: the API {self.name!r} knows no job versions; leave it out, or set "
                "api='modelarts-v1'"
            )
        if not job_id.strip():
            raise InvalidArgument("job_id: an empty text names no job")
        return JobRef(job_id.strip())

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Ask ShowTrainingJobDetails."""
        job = yield show_training_job(self.project_id, ref.job_id)
        status: JobStatus = job.job_status(ref)
        return status

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Search the jobs where that is cheaper, and ask for the others one by one."""
        # Why a job failed only its details tell.
        lists = [
            JobsList(partial(self._page, phases), PAGE_SIZE) for phases in (UNFINISHED_PHASES, ["Completed"])
        ]
        return statuses_by_page_or_job(refs, lambda _ref: lists, self.job_status)

    def cluster_jobs(self, cluster_id: str | None, since: datetime) -> Flow[Mapping[str, ClusterJob]]:
        """Search the project's unfinished jobs, then all of them from the newest on."""
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
        """Read each task's log by lines; by previews where the endpoint has no lines to give.

        ``size`` is reached by whole pages of lines; a preview, of up to 5 MB, comes whole.
        """
        job = yield show_training_job(self.project_id, ref.job_id)
        batch: LogBatch = yield from read_streams(
            filter(None, job.status.tasks),
            lambda task: self._read_task(ref, task, cursor.position(task), job.metadata.create_time, size),
        )
        return batch

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Read the newest lines: of the tasks that failed where the cloud tells which, else of all."""
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
        """Ask CreateTrainingJob."""
        self.refuse_cluster(cluster_id)
        job = yield create_training_job(self.project_id, job_body(spec, self.name))
        if not job.metadata.id:
            raise UnexpectedResponse(
                "CreateTrainingJob told no job id; look the job up by its name before submitting it again"
            )
        return JobRef(job.metadata.id)

    def jobs_named(self, name: str, cluster_id: str | None) -> Flow[list[JobRef]]:
        """Search the project's jobs, by a filter that finds parts of names."""
        self.refuse_cluster(cluster_id)
        rows = yield from all_pages(partial(self._rows, (), name=name), _job_id, PAGE_SIZE)
        return [JobRef(job_id) for job_id, job in rows.items() if job_id and job.metadata.name == name]

    def stop(self, ref: JobRef) -> Flow[None]:
        """Ask StopTrainingJob."""
        return stop_unless_over(terminate_training_job(self.project_id, ref.job_id), self.job_status(ref))

    def _page(self, phases: Sequence[str], number: int) -> Flow[JobsPage]:
        answer = yield search_training_jobs(self.project_id, page=number, phases=phases)
        refs = [(JobRef(job.metadata.id), job) for job in answer.items if job.metadata.id]
        return JobsPage({ref: job.job_status(ref) for ref, job in refs}, len(answer.items), answer.count)

    def _rows(
        self, phases: Sequence[str], number: int, *, name: str | None = None
    ) -> Flow[tuple[list[TrainingJob], int | None]]:
        answer = yield search_training_jobs(self.project_id, page=number - 1, phases=phases, name=name)
        return answer.items, answer.count

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
            # From a preview it cannot be told what was read by lines, so only a beginning may change over.
            if position != 0:
                raise
            read = None
        if read is None:
            batch = yield from self._preview(ref, task, position)
            note = f"{task}: the endpoint gives no log lines, so the log is followed by its last 5 MB"
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

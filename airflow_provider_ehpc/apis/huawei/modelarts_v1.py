"""ModelArts API v1: job versions, and their logs by file.

The public cloud took it out of service on 2023-06-30; private clouds and Open Telekom Cloud still have it,
though not every operation of it everywhere. Sources: "Querying Training Job Logs (Old)" (modelarts_03_0055)
and the pages beside it, now under "Historical APIs", and the captured answers of modelarts_03_0401.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

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
from airflow_provider_ehpc.apis.huawei.job_version import JobVersion, ListedJobVersion
from airflow_provider_ehpc.apis.huawei.lines import LogLines, newest_lines, read_lines
from airflow_provider_ehpc.apis.huawei.protocol import modelarts_call, project_path
from airflow_provider_ehpc.apis.huawei.slices import SLICE, LogSlice, read_slices
from airflow_provider_ehpc.apis.job import (
    JobApi,
    JobRef,
    JobStatus,
    LogBatch,
    LogChunk,
    LogCursor,
    LogLimits,
    LogPosition,
    StatusesFlow,
)
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job
from airflow_provider_ehpc.apis.response import Flag, Items, Number, ResponseModel, Text, about

VERSION = "v1"
PAGE_SIZE = 1000
"""The most jobs that one page of the list may hold."""


def _path(project_id: str, ref: JobRef, *segments: str) -> str:
    if ref.version_id is None:
        raise InvalidArgument(f"version_id: {ref} names no version")
    return project_path(
        VERSION, project_id, "training-jobs", ref.job_id, "versions", ref.version_id, *segments
    )


def show_job_version(project_id: str, ref: JobRef) -> ApiCall[JobVersion]:
    """Query the details of a job version (modelarts_03_0047)."""
    call = modelarts_call(
        "ShowTrainingJobVersion",
        JobVersion,
        "GET",
        _path(project_id, ref),
        project_id=project_id,
        subject=str(ref),
    )
    call = about(call, ref.job_id, lambda version: [version.job_id])
    return about(call, ref.version_id or "", lambda version: [version.version_id])


class ListResponse(ResponseModel):
    """Answer of the list of jobs: one page."""

    is_success: Flag = None
    job_total_count: Number = None
    job_count_limit: Number = None
    quotas: Number = None
    jobs: Items[ListedJobVersion] = Field(default_factory=list)


def list_jobs(project_id: str, *, page: int = 1, page_size: int = PAGE_SIZE) -> ApiCall[ListResponse]:
    """Query the list of jobs, newest first (modelarts_03_0046).

    :param page: the first is 1.
    :param page_size: at most 1000.
    """
    return modelarts_call(
        "ListTrainingJobs",
        ListResponse,
        "GET",
        project_path(VERSION, project_id, "training-jobs"),
        project_id=project_id,
        query={"page": page, "per_page": page_size, "sortBy": "create_time", "order": "desc"},
        subject=f"project {project_id}",
    )


class LogFilesResponse(ResponseModel):
    """Answer of the query for log file names: one a node, none before the job runs."""

    is_success: Flag = None
    log_file_list: Items[Text] = Field(default_factory=list)


def list_log_files(project_id: str, ref: JobRef) -> ApiCall[LogFilesResponse]:
    """Obtain the names of a job version's log files (modelarts_03_0054)."""
    return modelarts_call(
        "ListTrainingJobLogFiles",
        LogFilesResponse,
        "GET",
        _path(project_id, ref, "log", "file-names"),
        project_id=project_id,
        subject=str(ref),
    )


def show_log_slice(
    project_id: str, ref: JobRef, log_file: str, *, start_byte: int = 0, offset: int = SLICE
) -> ApiCall[LogSlice]:
    """Query a job's log by bytes (modelarts_03_0055, "Old").

    The page puts the parameters into a body, its own sample into the query, where they belong: the sibling
    operation's page had the same heading and was corrected.

    :param start_byte: first byte to read; -1 for the last ``offset`` bytes of the file.
    :param offset: how many bytes, 1 to 2048. The page allows negative ones and does not explain them.
    """
    if not 1 <= offset <= SLICE or start_byte < -1:
        raise InvalidArgument(
            f"start_byte, offset: {start_byte} and {offset} are no slice; start_byte is at least -1, offset "
            f"1 to {SLICE}"
        )
    return modelarts_call(
        "ShowTrainingJobLog",
        LogSlice,
        "GET",
        _path(project_id, ref, "log"),
        project_id=project_id,
        query={"log_file": log_file, "start_byte": start_byte, "offset": offset},
        subject=f"{ref}, {log_file}",
    )


class AomLogResponse(LogLines):
    """Answer of the query by lines."""

    is_success: Flag = None


def show_log_lines(
    project_id: str, ref: JobRef, log_file: str, *, base_line: str | None, lines: int, order: str
) -> ApiCall[AomLogResponse]:
    """Query a job's log by lines (modelarts_03_0149, "New").

    :param base_line: where the page starts; the newest line where None.
    :param lines: at most 500.
    :param order: ``desc`` goes to the next, newer lines and ``asc`` to those before: the reverse of API v2.
    """
    return modelarts_call(
        "ShowTrainingJobAomLog",
        AomLogResponse,
        "GET",
        _path(project_id, ref, "aom-log"),
        project_id=project_id,
        query={"log_file": log_file, "base_line": base_line, "lines": lines, "order": order},
        subject=f"{ref}, {log_file}",
    )


class StopResponse(ResponseModel):
    """Answer of stopping a job version."""

    is_success: Flag = None


def stop_job_version(project_id: str, ref: JobRef) -> ApiCall[StopResponse]:
    """Stop a job version (modelarts_03_0051). It is not stopped yet when this is answered."""
    return modelarts_call(
        "StopTrainingJobVersion",
        StopResponse,
        "POST",
        _path(project_id, ref, "stop"),
        project_id=project_id,
        subject=str(ref),
        writes=True,
    )


class ModelArtsV1Api(ProjectApi, JobApi):
    """The common surface over ModelArts API v1. A job's streams are its log files, one a node."""

    name = "modelarts-v1"
    # 32 calls a reading, of 2 KiB each.
    log_limits = LogLimits(largest=32 * SLICE, smallest=SLICE, text=True)

    def job_ref(self, job_id: str, cluster_id: str | None, version_id: str | None) -> JobRef:
        """See :class:`~airflow_provider_ehpc.apis.job.JobApi`."""
        self.refuse_cluster(cluster_id)
        job, version = job_id.strip(), (version_id or "").strip()
        if not version:
            raise InvalidArgument(f"version_id: the API {self.name!r} needs the version of job {job_id}")
        for field, value in (("job_id", job), ("version_id", version)):
            if not value.isdigit():
                raise InvalidArgument(
                    f"{field}: the API {self.name!r} numbers jobs and versions, and {value!r} is no number; "
                    "a job of API v2 has api='modelarts'"
                )
        return JobRef(job, version_id=version)

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Ask for the version's details."""
        version = yield show_job_version(self.project_id, ref)
        status: JobStatus = version.job_status(ref)
        return status

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Page through the list where that is cheaper, and ask for the others one by one."""
        lists = [JobsList(self._page, PAGE_SIZE)]
        return statuses_by_page_or_job(refs, lambda _ref: lists, self.job_status)

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Read each log file by bytes; by lines where the endpoint has only those."""
        answer = yield list_log_files(self.project_id, ref)
        batch: LogBatch = yield from read_streams(
            filter(None, answer.log_file_list),
            lambda log_file: self._read_file(ref, log_file, cursor.position(log_file), size),
        )
        return batch

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Read the end of each log file, 2 KiB at most: one call a file."""
        answer = yield list_log_files(self.project_id, ref)
        chunks = []
        for log_file in filter(None, answer.log_file_list):
            try:
                piece: LogSlice = yield self._slice(ref, log_file, -1, min(size, SLICE))
            except (InvalidRequest, NotFound):
                read = yield from newest_lines(partial(self._newest, ref, log_file), size)
                chunks.append(LogChunk(log_file, read.data, read.next))
            else:
                # The first character may have lost its beginning.
                data = piece.log.lstrip("\ufffd").encode()
                chunks.append(LogChunk(log_file, data, piece.end_byte or 0))
        return tuple(chunks)

    def stop(self, ref: JobRef) -> Flow[None]:
        """Ask for the version to be stopped."""
        return stop_unless_over(stop_job_version(self.project_id, ref), self.job_status(ref))

    def _page(self, number: int) -> Flow[JobsPage]:
        answer = yield list_jobs(self.project_id, page=number + 1)
        # How a job ended, and why, only its details tell.
        statuses = {job.ref: job.job_status() for job in answer.jobs if job.job_id and job.version_id}
        running = {ref: status for ref, status in statuses.items() if not status.state.terminal}
        return JobsPage(running, len(answer.jobs), answer.job_total_count)

    def _read_file(self, ref: JobRef, log_file: str, position: LogPosition, size: int) -> Flow[LogBatch]:
        if isinstance(position, int):
            try:
                data, end, more = yield from read_slices(partial(self._slice, ref, log_file), position, size)
                return LogBatch((LogChunk(log_file, data, end),), more)
            except (InvalidRequest, NotFound):
                # Where /log is gone, aom-log is left. A byte offset cannot be turned into a line.
                if position != 0:
                    raise
        return (yield from self._read_lines(ref, log_file, position, size))

    def _read_lines(self, ref: JobRef, log_file: str, position: LogPosition, size: int) -> Flow[LogBatch]:
        created_at: datetime | None = None
        if position == 0:
            created_at = (yield show_job_version(self.project_id, ref)).create_time
        read = yield from read_lines(
            partial(self._after, ref, log_file),
            partial(self._newest, ref, log_file),
            position,
            created_at,
            size,
        )
        if read is None:
            raise UnexpectedResponse(f"the newest lines of {log_file} can be read, but not its beginning")
        return LogBatch((LogChunk(log_file, read.data, read.next),), read.more)

    def _slice(self, ref: JobRef, log_file: str, start: int, length: int) -> ApiCall[LogSlice]:
        return show_log_slice(self.project_id, ref, log_file, start_byte=start, offset=length)

    def _after(self, ref: JobRef, log_file: str, base_line: str, lines: int) -> ApiCall[AomLogResponse]:
        return show_log_lines(self.project_id, ref, log_file, base_line=base_line, lines=lines, order="desc")

    def _newest(self, ref: JobRef, log_file: str, lines: int) -> ApiCall[AomLogResponse]:
        # The captured request for a log's last lines has no base line, and desc for its order.
        return show_log_lines(self.project_id, ref, log_file, base_line=None, lines=lines, order="desc")

# SPDX-License-Identifier: Apache-2.0
"""ModelArts API v1: job versions and their log files.

The public cloud took it out of service on 2023-06-30. Private clouds and Open Telekom Cloud still have it,
but not all of its operations. Sources: "Querying Training Job Logs (Old)" (modelarts_03_0055) and the related
pages, now under "Historical APIs", and the captured responses of modelarts_03_0401.
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
from airflow_provider_ehpc.apis.huawei.common import (
    ProjectApi,
    read_streams,
    stop_unless_ended,
)
from airflow_provider_ehpc.apis.huawei.job_version import JobVersion, ListedJobVersion
from airflow_provider_ehpc.apis.huawei.logs_bytes import SLICE, LogSlice, read_slices
from airflow_provider_ehpc.apis.huawei.logs_lines import LogLines, newest_lines, read_lines
from airflow_provider_ehpc.apis.huawei.protocol import modelarts_call, project_path
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
"""Maximum number of jobs on a page of the list."""


def _path(project_id: str, ref: JobRef, *segments: str) -> str:
    if ref.version_id is None:
        raise InvalidArgument(f"version_id: missing for {ref}")
    return project_path(
        VERSION, project_id, "training-jobs", ref.job_id, "versions", ref.version_id, *segments
    )


def show_job_version(project_id: str, ref: JobRef) -> ApiCall[JobVersion]:
    """Show the details of a job version (modelarts_03_0047)."""
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
    """Response of the list of jobs: one page."""

    is_success: Flag = None
    job_total_count: Number = None
    job_count_limit: Number = None
    quotas: Number = None
    jobs: Items[ListedJobVersion] = Field(default_factory=list)


def list_jobs(project_id: str, *, page: int = 1, page_size: int = PAGE_SIZE) -> ApiCall[ListResponse]:
    """List jobs, newest first (modelarts_03_0046).

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
    """Response of the query for log file names: one per node, none before the job runs."""

    is_success: Flag = None
    log_file_list: Items[Text] = Field(default_factory=list)


def list_log_files(project_id: str, ref: JobRef) -> ApiCall[LogFilesResponse]:
    """List the names of a job version's log files (modelarts_03_0054)."""
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
    """Show a piece of a job's log by bytes (modelarts_03_0055, "Old").

    The page describes the parameters as those of a body. Its sample has them in the query, which is correct:
    the page of the sibling operation had the same heading and was corrected.

    :param start_byte: first byte to read; -1 for the last ``offset`` bytes of the file.
    :param offset: number of bytes, 1 to 2048. The page allows negative numbers without an explanation.
    :raises InvalidArgument: if one of the two is out of range.
    """
    if not 1 <= offset <= SLICE or start_byte < -1:
        raise InvalidArgument(
            f"start_byte, offset: {start_byte} and {offset} are out of range; start_byte must be at least "
            f"-1, and offset from 1 to {SLICE}"
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
    """Response of the query by lines."""

    is_success: Flag = None


def show_log_lines(
    project_id: str,
    ref: JobRef,
    log_file: str,
    *,
    base_line: str | None = None,
    lines: int = 50,
    order: str = "desc",
) -> ApiCall[AomLogResponse]:
    """Show a page of a job's log by lines (modelarts_03_0149, "New").

    :param base_line: the line at which the page starts; None for the newest line.
    :param lines: at most 500.
    :param order: ``desc`` for newer and ``asc`` for older lines than the base line: the reverse of API v2.
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
    """Response of stopping a job version."""

    is_success: Flag = None


def stop_job_version(project_id: str, ref: JobRef) -> ApiCall[StopResponse]:
    """Stop a job version (modelarts_03_0051). It may still run for a while after the response."""
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
    """The common interface for ModelArts API v1. A job's streams are its log files, one per node."""

    name = "modelarts-v1"
    # At most 32 calls of 2 KiB per reading.
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
                    f"{field}: {value!r} is not a number, as the API {self.name!r} requires; for a job of "
                    "API v2, set api='modelarts'"
                )
        return JobRef(job, version_id=version)

    def job_status(self, ref: JobRef) -> Flow[JobStatus]:
        """Request the version's details."""
        version = yield show_job_version(self.project_id, ref)
        status: JobStatus = version.job_status(ref)
        return status

    def job_statuses(self, refs: list[JobRef]) -> StatusesFlow:
        """Read the list if that takes fewer requests, and request the other versions one by one."""
        lists = [JobsList(self._page, PAGE_SIZE)]
        return statuses_by_page_or_job(refs, lambda _ref: lists, self.job_status)

    def read_log(self, ref: JobRef, cursor: LogCursor, size: int) -> Flow[LogBatch]:
        """Read each log file by bytes, or by lines if the endpoint has only those."""
        files = yield list_log_files(self.project_id, ref)
        batch: LogBatch = yield from read_streams(
            filter(None, files.log_file_list),
            lambda log_file: self._read_file(ref, log_file, cursor.position(log_file), size),
        )
        return batch

    def log_tail(self, ref: JobRef, size: int) -> Flow[tuple[LogChunk, ...]]:
        """Read at most the last 2 KiB of each log file, with one call per file."""
        files = yield list_log_files(self.project_id, ref)
        chunks = []
        for log_file in filter(None, files.log_file_list):
            try:
                piece: LogSlice = yield self._slice(ref, log_file, -1, min(size, SLICE))
            except (InvalidRequest, NotFound):
                read = yield from newest_lines(partial(self._newest, ref, log_file), size)
                chunks.append(LogChunk(log_file, read.data, read.next))
            else:
                # The first character may be cut.
                data = piece.log.lstrip("\ufffd").encode()
                chunks.append(LogChunk(log_file, data, piece.end_byte or 0))
        return tuple(chunks)

    def stop(self, ref: JobRef) -> Flow[None]:
        """Stop the version."""
        return stop_unless_ended(stop_job_version(self.project_id, ref), self.job_status(ref))

    def _page(self, number: int) -> Flow[JobsPage]:
        page = yield list_jobs(self.project_id, page=number + 1)
        # Only a version's details contain the reason of its end.
        statuses = {job.ref: job.job_status() for job in page.jobs if job.job_id and job.version_id}
        running = {ref: status for ref, status in statuses.items() if not status.state.terminal}
        return JobsPage(running, len(page.jobs), page.job_total_count)

    def _read_file(self, ref: JobRef, log_file: str, position: LogPosition, size: int) -> Flow[LogBatch]:
        if isinstance(position, int):
            try:
                data, end, more = yield from read_slices(partial(self._slice, ref, log_file), position, size)
                return LogBatch((LogChunk(log_file, data, end),), more)
            except (InvalidRequest, NotFound):
                # An endpoint without /log may have aom-log. A byte offset cannot be converted to a line.
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
        # The captured request for a log's last lines has no base line, and the order desc.
        return show_log_lines(self.project_id, ref, log_file, base_line=None, lines=lines, order="desc")

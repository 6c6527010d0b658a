# SPDX-License-Identifier: Apache-2.0
"""The operations of ModelArts API v2: one function each, with its response model before it.

Sources: the operations' pages (ShowTrainingJobLogsFromAom last updated 2026-08-26), the request and response
models of ``huaweicloudsdkmodelarts`` 3.1.219, and Open Telekom Cloud's reference, which is the same API with
fewer operations.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Unpack

from pydantic import Field

from airflow_provider_ehpc.apis.call import ApiCall, InvalidArgument
from airflow_provider_ehpc.apis.huawei.logs_lines import LogLines
from airflow_provider_ehpc.apis.huawei.logs_preview import LogPreview
from airflow_provider_ehpc.apis.huawei.protocol import LOG_NOT_READY, modelarts_call, project_path
from airflow_provider_ehpc.apis.huawei.search import Search, search_body
from airflow_provider_ehpc.apis.huawei.training_job import TaskIp, TrainingJob
from airflow_provider_ehpc.apis.job import JobRef, confidential_values
from airflow_provider_ehpc.apis.moments import milliseconds
from airflow_provider_ehpc.apis.response import Items, Number, ResponseModel, Text, Time, about

VERSION = "v2"
PAGE_SIZE = 50
"""Maximum number of jobs on a page of a search."""


def _path(project_id: str, *segments: str) -> str:
    return project_path(VERSION, project_id, "training-jobs", *segments)


def show_training_job(project_id: str, job_id: str) -> ApiCall[TrainingJob]:
    """Show one job (ShowTrainingJobDetails)."""
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
    """Response of ListTrainingJobs: one page."""

    total: Number = None
    """Number of all of the user's jobs."""
    count: Number = None
    """Number of jobs that the search finds, on all pages."""
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
    """Search the project's jobs (ListTrainingJobs).

    :param page: the first is 0. The API calls it ``offset``, but it counts pages.
    :param page_size: at most 50.
    :param search: see :class:`~.search.Search`.
    :raises InvalidArgument: for an invalid search.
    """
    return modelarts_call(
        "ListTrainingJobs",
        SearchResponse,
        "POST",
        project_path(VERSION, project_id, "training-job-searches"),
        project_id=project_id,
        body={"offset": page, "limit": page_size, **search_body(search)},
        subject=f"project {project_id}",
    )


def create_training_job(project_id: str, body: dict[str, Any]) -> ApiCall[TrainingJob]:
    """Submit a job (CreateTrainingJob); :func:`~.submission.job_body` returns the body.

    There is no idempotency token, but a name can be used only once in a project (``ModelArts.2751``).
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
    """Stop a job that is being created, waits or runs (StopTrainingJob). Others are rejected (409)."""
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
    """An event in the life of a job."""

    time: Time = None
    level: Text = ""
    """``Info``, ``Warning`` or ``Error``."""
    message: Text = ""
    source: Text = ""


class EventsResponse(ResponseModel):
    """Response of ListTrainingJobEvents: one page."""

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
    """List a job's events (ListTrainingJobEvents).

    :param limit: at most 100.
    :param level: ``Info``, ``Warning`` or ``Error``.
    :param pattern: a part of the message, of at most 256 characters.
    :param since: aware; requires ``until``.
    :param until: aware; requires ``since``.
    :raises InvalidArgument: if only one of the two is given, or if a time has no zone.
    """
    if (since is None) != (until is None):
        raise InvalidArgument("since and until: set both or none; the API accepts only a range")
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
    """Response of ListTrainingJobTasks, which is a bare list."""

    tasks: Items[TaskIp] = Field(default_factory=list)


def list_training_job_tasks(
    project_id: str, job_id: str, *, schedule_count: int | None = None
) -> ApiCall[TasksResponse]:
    """List a job's tasks and their nodes (ListTrainingJobTasks).

    :param schedule_count: number of a scheduling; fault tolerance may schedule a job several times.
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
    project_id: str,
    job_id: str,
    task: str,
    *,
    base_line: str | None = None,
    lines: int = 50,
    order: str = "desc",
) -> ApiCall[LogLines]:
    """Show a page of a task's log (ShowTrainingJobLogsFromAom).

    :param base_line: the line at which the page starts; None for the newest line.
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
    """Show at most the last 5 MB of a task's log (ShowTrainingJobLogsPreview)."""
    return modelarts_call(
        "ShowTrainingJobLogsPreview",
        LogPreview,
        "GET",
        _path(project_id, job_id, "tasks", task, "logs", "preview"),
        project_id=project_id,
        subject=f"{JobRef(job_id)}, {task}",
        nothing=LOG_NOT_READY,
    )

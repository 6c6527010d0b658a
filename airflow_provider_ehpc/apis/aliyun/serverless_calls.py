"""The operations of E-HPC API version 2018-04-12 on serverless jobs: one function each, with its response
model before it.

Sources: the operations' pages (DescribeServerlessJobs as changed 2023-07-21) and the request and response
models of ``alibabacloud-ehpc20180412`` 4.0.0. Unlike the version's other operations these are POSTs, and they
number the items of a list: ``JobIds.1``, ``JobIds.2``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import AliasChoices, Field

from airflow_provider_ehpc.apis.aliyun.common import parameter, some_job_ids, with_options
from airflow_provider_ehpc.apis.aliyun.containers import ContainerGroup
from airflow_provider_ehpc.apis.aliyun.rpc import rpc_call
from airflow_provider_ehpc.apis.call import ApiCall, InvalidArgument
from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.apis.moments import epoch_seconds
from airflow_provider_ehpc.apis.response import (
    Flag,
    Id,
    Items,
    Number,
    PascalResponseModel,
    Text,
    Time,
    about,
)
from airflow_provider_ehpc.apis.schedulers.ids import same_job

VERSION = "2018-04-12"
NAME = "ehpc-serverless"
PAGE_SIZE = 100
"""The most jobs that one page of ListServerlessJobs may hold, and the most ids that are asked for at once."""


class ListedServerlessJob(PascalResponseModel):
    """A serverless job, or a sub-task of an array job, as ListServerlessJobs reports it."""

    # Id, Name and Owner are what an earlier SDK called the first three.
    job_id: Id = Field("", validation_alias=AliasChoices("JobId", "Id", "job_id"))
    job_name: Text = Field("", validation_alias=AliasChoices("JobName", "Name", "job_name"))
    user: Text = Field("", validation_alias=AliasChoices("User", "Owner", "user"))
    state: Text = ""
    """Pending, Initing, Running, Succeeded, Canceled or Failed."""
    queue: Text = ""
    priority: Number = None
    is_array_job: Flag = None
    submit_time: Time = None
    start_time: Time = None
    end_time: Time = None
    """The documented sample of a running job has one: only the state says whether the job has ended."""


class ArrayProperties(PascalResponseModel):
    """The indexes of an array job, first and last included."""

    index_start: Number = None
    index_end: Number = None
    index_step: Number = None


class ServerlessJob(ListedServerlessJob):
    """A serverless job, or a sub-task of an array job, as DescribeServerlessJobs reports it."""

    last_modify_time: Time = None
    """In milliseconds, beside the other times' seconds."""
    array_properties: ArrayProperties | None = None
    """Reported in the documented sample of a job that is no array."""
    container_groups: Items[ContainerGroup] = Field(default_factory=list)


class DescribeServerlessJobsResponse(PascalResponseModel):
    """Answer of DescribeServerlessJobs."""

    request_id: Text = ""
    total_count: Number = None
    job_infos: Items[ServerlessJob] = Field(default_factory=list)


def describe_serverless_jobs(cluster_id: str, job_ids: list[str]) -> ApiCall[DescribeServerlessJobsResponse]:
    """DescribeServerlessJobs: the details of a job, with its containers.

    :param job_ids: exactly one, in spite of the list; for an array job the id of a sub-task, as in ``10_3``.
    """
    call = rpc_call(
        VERSION,
        "DescribeServerlessJobs",
        DescribeServerlessJobsResponse,
        {"ClusterId": cluster_id, **_numbered("JobIds", job_ids)},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
    )
    # Which sub-tasks come for the ID of an array is not documented.
    return about(call, job_ids[0], lambda answer: [job.job_id for job in answer.job_infos], same_job)


class ListServerlessJobsResponse(PascalResponseModel):
    """Answer of ListServerlessJobs: one page."""

    request_id: Text = ""
    page_number: Number = None
    page_size: Number = None
    total_count: Number = None
    jobs: Items[ListedServerlessJob] = Field(default_factory=list)


def list_serverless_jobs(
    cluster_id: str,
    *,
    job_ids: Iterable[str] = (),
    job_names: Iterable[str] = (),
    state: str | None = None,
    submitted_from: datetime | int | None = None,
    submitted_to: datetime | int | None = None,
    page_number: int = 1,
    page_size: int = PAGE_SIZE,
) -> ApiCall[ListServerlessJobsResponse]:
    """ListServerlessJobs: a page of a cluster's serverless jobs.

    :param job_ids: of jobs, or of sub-tasks.
    :param state: ``All``, ``Pending``, ``Running``, ``Succeeded``, ``Canceled`` or ``Failed``.
    :param submitted_from: an aware datetime or epoch seconds, like ``submitted_to``.
    :param page_size: at most 100.
    """
    return rpc_call(
        VERSION,
        "ListServerlessJobs",
        ListServerlessJobsResponse,
        {
            "ClusterId": cluster_id,
            **_numbered("JobIds", job_ids),
            **_numbered("JobNames", job_names),
            "PageNumber": page_number,
            "PageSize": page_size,
            "State": state,
            "SubmitTimeEnd": epoch_seconds("submitted_to", submitted_to),
            "SubmitTimeStart": epoch_seconds("submitted_from", submitted_from),
        },
        subject=f"cluster {cluster_id}",
    )


class SubmitServerlessJobResponse(PascalResponseModel):
    """Answer of SubmitServerlessJob."""

    essential = frozenset({"JobId"})

    request_id: Text = ""
    job_id: Id = ""


def submit_serverless_job(cluster_id: str, spec: JobSpec) -> ApiCall[SubmitServerlessJobResponse]:
    """SubmitServerlessJob: submit a job. There is no idempotency token: sent twice, it runs twice.

    The command runs in the container's ``/bin/sh``, or in the ``Command`` that the options name; an empty
    command leaves the image's own. ``spec.options`` are further parameters, of which ``Container`` with an
    ``Image`` is needed::

        options={"Container": {"Image": "...", "WorkingDir": "/data"}, "VSwitchId": ["vsw-..."]}

    :raises InvalidArgument: where there is no image, for a field of the spec that the API has no place for,
        or where an option contradicts another field.
    """
    spec.refuse(NAME, "queue", "user", "password", "nodes", "stdout_path", "stderr_path")
    parameters = {
        "ArrayProperties": _array_properties(spec.array) if spec.array else None,
        "ClusterId": cluster_id,
        "Cpu": None if spec.cores is None else float(spec.cores),
        "JobName": spec.name,
        "JobPriority": spec.priority,
        "Memory": None if spec.memory is None else _gib(spec.memory),
        "Timeout": spec.wall_time,
    }
    parameters = with_options(parameters, spec.options)
    parameters["Container"] = _container(spec)
    return rpc_call(
        VERSION,
        "SubmitServerlessJob",
        SubmitServerlessJobResponse,
        {name: parameter(value) for name, value in parameters.items()},
        subject=f"job {spec.name!r} in cluster {cluster_id}",
        writes=True,
        confidential=spec.confidential,
    )


def _container(spec: JobSpec) -> Mapping[str, Any]:
    environment = [{"Key": name, "Value": value} for name, value in spec.environment.items()]
    fields = {
        "Arg": [spec.command] if spec.command else None,
        "EnvironmentVar": environment or None,
        "Gpu": spec.gpus,
    }
    container = with_options(fields, spec.options.get("Container") or {})
    if not container.get("Image"):
        raise InvalidArgument(
            'options: a serverless job needs a container image, as in {"Container": {"Image": "..."}}'
        )
    if spec.command:
        container.setdefault("Command", ["/bin/sh", "-c"])
    return {name: value for name, value in sorted(container.items()) if value is not None}


def _array_properties(array: str) -> Mapping[str, int]:
    indexes = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?", array.strip())
    if not indexes:
        raise InvalidArgument(f"array: {array!r} is not of the form X-Y:Z")
    first, last, step = indexes.groups(default="1")
    return {"IndexEnd": int(last), "IndexStart": int(first), "IndexStep": int(step)}


def _gib(memory: str) -> float:
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mgt])i?b?", memory.strip().casefold())
    if not number:
        raise InvalidArgument(f"memory: {memory!r} is not a number with a unit, as in 4GB")
    return float(number[1]) * {"m": 1 / 1024, "g": 1, "t": 1024}[number[2]]


class StopServerlessJobsResponse(PascalResponseModel):
    """Answer of StopServerlessJobs."""

    request_id: Text = ""


def stop_serverless_jobs(cluster_id: str, job_ids: list[str]) -> ApiCall[StopServerlessJobsResponse]:
    """StopServerlessJobs: stop jobs or sub-tasks; the id of an array job stops all its sub-tasks.

    :raises InvalidArgument: for an empty list.
    """
    return rpc_call(
        VERSION,
        "StopServerlessJobs",
        StopServerlessJobsResponse,
        {"ClusterId": cluster_id, **_numbered("JobIds", some_job_ids(job_ids))},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
        writes=True,
    )


def _numbered(name: str, values: Iterable[str]) -> Mapping[str, str]:
    return {f"{name}.{number}": value for number, value in enumerate(values, 1)}

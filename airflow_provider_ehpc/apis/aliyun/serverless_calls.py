# SPDX-License-Identifier: Apache-2.0
"""Operations of E-HPC API version 2018-04-12 on serverless jobs: one function each, preceded by its response
model.

Sources: the operations' pages (DescribeServerlessJobs as changed 2023-07-21) and the request and response
models of ``alibabacloud-ehpc20180412`` 4.0.0. Unlike the version's other operations these are POSTs, and they
number the items of lists: ``JobIds.1``, ``JobIds.2``.
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
"""Maximum number of jobs on one page of ListServerlessJobs, and of IDs in one request."""


class ListedServerlessJob(PascalResponseModel):
    """A serverless job, or a sub-task of an array job, in the response of ListServerlessJobs."""

    # An earlier SDK named the first three Id, Name and Owner.
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
    """Even the documented sample of a running job has one: only the state shows that a job has ended."""


class ArrayProperties(PascalResponseModel):
    """Indexes of an array job, including the first and the last."""

    index_start: Number = None
    index_end: Number = None
    index_step: Number = None


class ServerlessJob(ListedServerlessJob):
    """A serverless job, or a sub-task of an array job, in the response of DescribeServerlessJobs."""

    last_modify_time: Time = None
    """In milliseconds, unlike the other times, which are in seconds."""
    array_properties: ArrayProperties | None = None
    """Also present in the documented sample of a job that is not an array."""
    container_groups: Items[ContainerGroup] = Field(default_factory=list)


class DescribeServerlessJobsResponse(PascalResponseModel):
    """Response of DescribeServerlessJobs."""

    request_id: Text = ""
    total_count: Number = None
    job_infos: Items[ServerlessJob] = Field(default_factory=list)


def describe_serverless_jobs(cluster_id: str, job_ids: list[str]) -> ApiCall[DescribeServerlessJobsResponse]:
    """Read the details of a job and its containers (DescribeServerlessJobs).

    :param job_ids: a list of exactly one ID; for an array job the ID of a sub-task, as in ``10_3``.
    """
    call = rpc_call(
        VERSION,
        "DescribeServerlessJobs",
        DescribeServerlessJobsResponse,
        {"ClusterId": cluster_id, **_numbered("JobIds", job_ids)},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
    )
    # No page documents which sub-tasks are returned for the ID of an array.
    return about(call, job_ids[0], lambda response: [job.job_id for job in response.job_infos], same_job)


class ListServerlessJobsResponse(PascalResponseModel):
    """Response of ListServerlessJobs: one page."""

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
    """List one page of a cluster's serverless jobs (ListServerlessJobs).

    :param job_ids: IDs of jobs or sub-tasks.
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
    """Response of SubmitServerlessJob."""

    essential = frozenset({"JobId"})

    request_id: Text = ""
    job_id: Id = ""


def submit_serverless_job(cluster_id: str, spec: JobSpec) -> ApiCall[SubmitServerlessJobResponse]:
    """Submit a job (SubmitServerlessJob). There is no idempotency token: two calls run two jobs.

    The command runs in the container's ``/bin/sh``, or in the ``Command`` from the options. If it is empty,
    the image's own command runs. ``spec.options`` are additional parameters; ``Container`` with an ``Image``
    is required::

        options={"Container": {"Image": "...", "WorkingDir": "/data"}, "VSwitchId": ["vsw-..."]}

    :raises InvalidArgument: if there is no image, if the API does not support a field of the spec, or if an
        option contradicts another field.
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
        raise InvalidArgument(f"array: {array!r} does not have the form X-Y:Z")
    first, last, step = indexes.groups(default="1")
    return {"IndexEnd": int(last), "IndexStart": int(first), "IndexStep": int(step)}


def _gib(memory: str) -> float:
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mgt])i?b?", memory.strip().casefold())
    if not number:
        raise InvalidArgument(f"memory: {memory!r} is not a number with a unit, as in 4GB")
    return float(number[1]) * {"m": 1 / 1024, "g": 1, "t": 1024}[number[2]]


class StopServerlessJobsResponse(PascalResponseModel):
    """Response of StopServerlessJobs."""

    request_id: Text = ""


def stop_serverless_jobs(cluster_id: str, job_ids: list[str]) -> ApiCall[StopServerlessJobsResponse]:
    """Stop jobs or sub-tasks (StopServerlessJobs). The ID of an array stops all its sub-tasks.

    :raises InvalidArgument: if the list is empty.
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

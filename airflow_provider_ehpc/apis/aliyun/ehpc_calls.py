# SPDX-License-Identifier: Apache-2.0
"""Operations of E-HPC API version 2024-07-30: one function each, preceded by its response model.

Sources: the operations' pages (GetJob last updated 2026-01-14) and the request and response models of
``alibabacloud-ehpc20240730`` 2.4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from pydantic import Field

from airflow_provider_ehpc.apis.aliyun.common import (
    PAGE_SIZE,
    clock,
    compact_json,
    some_job_ids,
    variables,
    with_options,
)
from airflow_provider_ehpc.apis.aliyun.filters import JobFilters, job_filter
from airflow_provider_ehpc.apis.aliyun.rpc import rpc_call
from airflow_provider_ehpc.apis.call import ApiCall
from airflow_provider_ehpc.apis.job import JobRef, JobSpec
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
from airflow_provider_ehpc.apis.schedulers.ids import is_whole_array, same_job

VERSION = "2024-07-30"


class Resources(PascalResponseModel):
    """Resources per node; memory with its unit, as in ``512mb``."""

    nodes: Text = ""
    cores: Text = ""
    gpus: Text = ""
    memory: Text = ""

    def reported(self) -> Mapping[str, str]:
        """Return the resources that the response contains."""
        fields = {"nodes": self.nodes, "cores": self.cores, "gpus": self.gpus, "memory": self.memory}
        return {name: value for name, value in fields.items() if value}


class JobInfo(PascalResponseModel):
    """A job in the response of GetJob. Times have no zone; there is no exit code and no end time."""

    job_id: Id = ""
    job_name: Text = ""
    runas_user: Text = ""
    state: Text = ""
    job_queue: Text = ""
    create_time: Time = None
    last_modify_time: Time = None
    start_time: Time = None
    output_log: Text = ""
    """Path of the standard output file (in the 2018 API's GetJobLog, ``OutputLog`` is its content)."""
    error_log: Text = ""
    priority: Text = ""
    command_line: Text = ""
    node_list: Text = ""
    array_request: Text = ""
    """``X-Y:Z`` for an array job; the page's "not in a queue" means "not an array job"."""
    array_job_id: Text = ""
    array_job_sub_id: Text = ""
    resources: Resources | None = None
    resources_used: Resources | None = None
    variables: Any = None
    """A list of objects with Name and Value; ListJobs has a JSON object in a string instead."""
    extra_info: Any = None


class GetJobResponse(PascalResponseModel):
    """Response of GetJob."""

    essential = frozenset({"JobInfo"})

    request_id: Text = ""
    success: Flag = None
    job_info: JobInfo | None = None


def get_job(cluster_id: str, job_id: str) -> ApiCall[GetJobResponse]:
    """Read one job (GetJob). No error code is documented for an unknown job."""
    call = rpc_call(
        VERSION,
        "GetJob",
        GetJobResponse,
        {"ClusterId": cluster_id, "JobId": job_id},
        subject=str(JobRef(job_id, cluster_id)),
    )

    def ids(response: GetJobResponse) -> tuple[str, ...]:
        job = response.job_info or JobInfo()
        # Slurm gives a sub-job its own number besides its index in the array.
        in_array = () if is_whole_array(job_id) else (f"{job.array_job_id}_{job.array_job_sub_id}",)
        return (job.job_id, *in_array)

    return about(call, job_id, ids, same_job)


class ListedJobSpec(PascalResponseModel):
    """A job in the response of ListJobs: the names differ from GetJob's, and times are epoch seconds."""

    id: Id = ""
    state: Text = ""
    runas_user: Text = ""
    job_queue: Text = ""
    submit_time: Time = None
    start_time: Time = None
    last_modify_time: Time = None
    stdout_path: Text = ""
    stderr_path: Text = ""
    priority: Text = ""
    node_list: Text = ""
    comment: Text = ""
    array_request: Text = ""
    array_job_id: Text = ""
    array_job_sub_id: Text = ""
    resources: Resources | None = None
    resources_actual_occupied: Resources | None = None
    variables: Any = None


class ListedJob(PascalResponseModel):
    """One entry of ListJobs."""

    job_name: Text = ""
    job_spec: ListedJobSpec = Field(default_factory=ListedJobSpec)


class ListJobsResponse(PascalResponseModel):
    """Response of ListJobs: one page."""

    request_id: Text = ""
    success: Flag = None
    page_number: Number = None
    page_size: Number = None
    total_count: Number = None
    jobs: Items[ListedJob] = Field(default_factory=list)


def list_jobs(
    cluster_id: str,
    *,
    page_number: int = 1,
    page_size: int = PAGE_SIZE,
    **filters: Unpack[JobFilters],
) -> ApiCall[ListJobsResponse]:
    """List one page of a cluster's jobs (ListJobs).

    :param page_size: at most 50.
    :param filters: see :class:`~.filters.JobFilters`.
    :raises InvalidArgument: if a filter has the wrong type.
    """
    return rpc_call(
        VERSION,
        "ListJobs",
        ListJobsResponse,
        {
            "ClusterId": cluster_id,
            "JobFilter": job_filter(filters),
            "PageNumber": page_number,
            "PageSize": page_size,
        },
        subject=f"cluster {cluster_id}",
    )


class GetJobLogResponse(PascalResponseModel):
    """Response of GetJobLog: pieces of both files in Base64, and the files' sizes in bytes.

    The sizes are documented, but the sample has 0 for a log that is not empty: do not rely on a size
    without checking it.
    """

    request_id: Text = ""
    success: Flag = None
    job_id: Id = ""
    stdout_log: Text = ""
    stderr_log: Text = ""
    stdout_log_size: Number = None
    stderr_log_size: Number = None


def get_job_log(
    cluster_id: str, job_id: str, *, log_type: str = "all", offset: int = 0, size: int = 10240
) -> ApiCall[GetJobLogResponse]:
    """Read bytes of a job's output files (GetJobLog).

    :param log_type: ``stdout``, ``stderr`` or ``all``, which applies one offset to both files.
    :param offset: the first byte to read.
    :param size: maximum number of bytes. No upper limit is documented (2018-04-12: 409,600).
    """
    call = rpc_call(
        VERSION,
        "GetJobLog",
        GetJobLogResponse,
        {"ClusterId": cluster_id, "JobId": job_id, "LogType": log_type, "Offset": offset, "Size": size},
        subject=str(JobRef(job_id, cluster_id)),
    )
    return about(call, job_id, lambda response: [response.job_id], same_job)


class CreateJobResponse(PascalResponseModel):
    """Response of CreateJob."""

    essential = frozenset({"JobId"})

    request_id: Text = ""
    success: Flag = None
    job_id: Id = ""


def create_job(cluster_id: str, spec: JobSpec) -> ApiCall[CreateJobResponse]:
    """Submit a job (CreateJob). There is no idempotency token: two calls run two jobs.

    ``spec.options`` are added to the parameter JobSpec, for instance ``PostCmdLine``.

    :raises InvalidArgument: if an option contradicts another field of the spec.
    """
    resources = {"Cores": spec.cores, "Gpus": spec.gpus, "Memory": spec.memory, "Nodes": spec.nodes}
    job_spec = {
        "ArrayRequest": spec.array,
        "CommandLine": spec.command,
        "JobQueue": spec.queue,
        "Priority": None if spec.priority is None else str(spec.priority),
        "Resources": {name: value for name, value in resources.items() if value is not None} or None,
        "RunasUser": spec.user,
        "RunasUserPassword": spec.password,
        "StderrPath": spec.stderr_path,
        "StdoutPath": spec.stdout_path,
        # A JSON array in a string, inside the JSON of JobSpec.
        "Variables": variables(spec.environment),
        "WallTime": None if spec.wall_time is None else clock(spec.wall_time),
    }
    fields = with_options(job_spec, spec.options)
    return rpc_call(
        VERSION,
        "CreateJob",
        CreateJobResponse,
        {
            "ClusterId": cluster_id,
            "JobName": spec.name,
            "JobSpec": compact_json({name: value for name, value in fields.items() if value is not None}),
        },
        subject=f"job {spec.name!r} in cluster {cluster_id}",
        writes=True,
        confidential=spec.confidential,
    )


class StopJobsResponse(PascalResponseModel):
    """Response of StopJobs."""

    request_id: Text = ""
    success: Flag = None


def stop_jobs(cluster_id: str, job_ids: list[str]) -> ApiCall[StopJobsResponse]:
    """Stop queued or running jobs (StopJobs).

    :raises InvalidArgument: if the list is empty.
    """
    return rpc_call(
        VERSION,
        "StopJobs",
        StopJobsResponse,
        {"ClusterId": cluster_id, "JobIds": compact_json(some_job_ids(job_ids))},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
        writes=True,
    )


class ListClustersResponse(PascalResponseModel):
    """Response of ListClusters, with the fields that a connection test needs."""

    request_id: Text = ""
    total_count: Number = None


def list_clusters(*, page_size: int, cluster_ids: Sequence[str] = ()) -> ApiCall[ListClustersResponse]:
    """List clusters (ListClusters): the cheapest read that needs no cluster.

    :param cluster_ids: only these; empty for all of the account in the region.
    """
    parameters = {
        "ClusterIds": compact_json(list(cluster_ids)) if cluster_ids else None,
        "PageNumber": 1,
        "PageSize": page_size,
    }
    return rpc_call(VERSION, "ListClusters", ListClustersResponse, parameters, subject="")

# SPDX-License-Identifier: Apache-2.0
"""Operations of E-HPC API version 2018-04-12 on jobs of a scheduler: one function each, preceded by its
response model.

Every operation here is a GET. Sources: the operations' pages (GetJobLog last updated 2025-07-31) and the
request and response models of ``alibabacloud-ehpc20180412`` 4.0.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from pydantic import Field

from airflow_provider_ehpc.apis.aliyun import window
from airflow_provider_ehpc.apis.aliyun.common import (
    PAGE_SIZE,
    clock,
    compact_json,
    parameter,
    some_job_ids,
    variables,
    with_options,
)
from airflow_provider_ehpc.apis.aliyun.ehpc_calls import Resources
from airflow_provider_ehpc.apis.aliyun.filters import ClassicFilters, classic_filters
from airflow_provider_ehpc.apis.aliyun.rpc import rpc_call
from airflow_provider_ehpc.apis.call import ApiCall, InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobSpec
from airflow_provider_ehpc.apis.response import Id, Items, Number, PascalResponseModel, Text, Time, about
from airflow_provider_ehpc.apis.schedulers.described import DescribedJob, read_jobs
from airflow_provider_ehpc.apis.schedulers.ids import same_job

VERSION = "2018-04-12"


class ClassicListedJob(PascalResponseModel):
    """A job in the response of ListJobs. Times have no zone; ``state`` is FINISHED, RUNNING or QUEUED."""

    id: Id = ""
    name: Text = ""
    owner: Text = ""
    state: Text = ""
    submit_time: Time = None
    start_time: Time = None
    last_modify_time: Time = None
    priority: Text = ""
    node_list: Text = ""
    resources: Resources | None = None
    stdout: Text = ""
    """Path of the standard output file."""
    stderr: Text = ""
    shell_path: Text = ""
    comment: Text = ""
    array_request: Text = ""
    """``X-Y:Z`` for an array job."""


class ClassicListJobsResponse(PascalResponseModel):
    """Response of ListJobs: one page."""

    request_id: Text = ""
    page_number: Number = None
    page_size: Number = None
    total_count: Number = None
    jobs: Items[ClassicListedJob] = Field(default_factory=list)


def list_jobs(
    cluster_id: str,
    *,
    page_number: int = 1,
    page_size: int = PAGE_SIZE,
    state: str | None = None,
    owner: str | None = None,
    rerunable: bool | None = None,
) -> ApiCall[ClassicListJobsResponse]:
    """List one page of a cluster's jobs (ListJobs). Their order is not documented.

    :param page_size: at most 50.
    :param state: ``all``, ``finished`` or ``notfinish``.
    :param owner: the cluster user whose jobs to list.
    :param rerunable: True for only the jobs that can be rerun.
    """
    return rpc_call(
        VERSION,
        "ListJobs",
        ClassicListJobsResponse,
        {
            "ClusterId": cluster_id,
            "Owner": owner,
            "PageNumber": page_number,
            "PageSize": page_size,
            "Rerunable": parameter(rerunable),
            "State": state,
        },
        subject=f"cluster {cluster_id}",
        method="GET",
    )


class FilteredJob(ClassicListedJob):
    """A job in the response of ListJobsWithFilters."""

    queue: Text = ""


class ListJobsWithFiltersResponse(PascalResponseModel):
    """Response of ListJobsWithFilters: one page."""

    request_id: Text = ""
    page_number: Number = None
    page_size: Number = None
    total_count: Number = None
    jobs: Items[FilteredJob] = Field(default_factory=list)


def list_jobs_with_filters(
    cluster_id: str,
    *,
    page_number: int = 1,
    page_size: int = PAGE_SIZE,
    **filters: Unpack[ClassicFilters],
) -> ApiCall[ListJobsWithFiltersResponse]:
    """List one page of a cluster's jobs that match filters (ListJobsWithFilters).

    :param page_size: at most 50.
    :param filters: see :class:`~.filters.ClassicFilters`.
    :raises InvalidArgument: if a filter has the wrong type.
    """
    return rpc_call(
        VERSION,
        "ListJobsWithFilters",
        ListJobsWithFiltersResponse,
        {
            "ClusterId": cluster_id,
            "PageNumber": page_number,
            "PageSize": page_size,
            **classic_filters(filters),
        },
        subject=f"cluster {cluster_id}",
        method="GET",
    )


class DescribedJobs(PascalResponseModel):
    """The only field in the response of DescribeJob."""

    job_info: Any = None
    """The scheduler's attributes by job ID: documented as a string, but an object in the sample."""


class DescribeJobResponse(PascalResponseModel):
    """Response of DescribeJob."""

    request_id: Text = ""
    message: DescribedJobs | None = None

    @property
    def jobs(self) -> Mapping[str, DescribedJob] | None:
        """Attributes of the job, and perhaps of others in its array, by job ID; None if unreadable."""
        return read_jobs(self.message.job_info if self.message else None)


def describe_job(cluster_id: str, job_id: str) -> ApiCall[DescribeJobResponse]:
    """Read a job's attributes as the cluster's scheduler reports them (DescribeJob)."""
    call = rpc_call(
        VERSION,
        "DescribeJob",
        DescribeJobResponse,
        {"ClusterId": cluster_id, "JobId": job_id},
        subject=str(JobRef(job_id, cluster_id)),
        method="GET",
    )
    # A key may also be a word, or contain more than the ID.
    return about(call, job_id, lambda response: filter(_is_id, response.jobs or ()), same_job)


def _is_id(key: str) -> bool:
    return key[:1].isdigit()


class ClassicGetJobLogResponse(PascalResponseModel):
    """Response of GetJobLog: pieces of both files in Base64. The lengths of the files are not reported."""

    request_id: Text = ""
    job_id: Id = ""
    output_log: Text = ""
    """Content of the standard output (in the 2024 API's GetJob, ``OutputLog`` is the file's path)."""
    error_log: Text = ""


def get_job_log(
    cluster_id: str,
    job_id: str,
    *,
    exec_host: str | None = None,
    offset: int = 0,
    size: int = window.SMALLEST,
) -> ApiCall[ClassicGetJobLogResponse]:
    """Read bytes of a job's two output files (GetJobLog). One offset applies to both files.

    The English page gives bits as the unit of ``offset`` and ``size``; the Chinese page gives bytes, as does
    the 2024 version.

    :param exec_host: the node that the job runs on; required while it runs, not afterwards.
    :param size: maximum number of bytes, up to 409,600.
    """
    call = rpc_call(
        VERSION,
        "GetJobLog",
        ClassicGetJobLogResponse,
        {"ClusterId": cluster_id, "ExecHost": exec_host, "JobId": job_id, "Offset": offset, "Size": size},
        subject=str(JobRef(job_id, cluster_id)),
        method="GET",
    )
    return about(call, job_id, lambda response: [response.job_id], same_job)


class ClassicSubmitJobResponse(PascalResponseModel):
    """Response of SubmitJob."""

    essential = frozenset({"JobId"})

    request_id: Text = ""
    job_id: Id = ""


def submit_job(cluster_id: str, spec: JobSpec) -> ApiCall[ClassicSubmitJobResponse]:
    """Submit a job (SubmitJob). There is no idempotency token: two calls run two jobs.

    ``spec.options`` are additional parameters, for instance ``Task``, ``PostCmdLine`` or ``JobRetry.Count``.

    :raises InvalidArgument: if the spec has no cluster user, or if an option contradicts another field.
    """
    if not spec.user:
        raise InvalidArgument("user: SubmitJob needs the cluster user to run the job as")
    # Without Node, "the Cpu, Task, Thread, Mem, and Gpu parameters become invalid" (the operation's page).
    nodes = 1 if spec.nodes is None and (spec.cores or spec.gpus or spec.memory) else spec.nodes
    parameters = {
        "ArrayRequest": spec.array,
        "ClockTime": None if spec.wall_time is None else clock(spec.wall_time),
        "ClusterId": cluster_id,
        "CommandLine": spec.command,
        "Cpu": spec.cores,
        "Gpu": spec.gpus,
        "JobQueue": spec.queue,
        "Mem": spec.memory,
        "Name": spec.name,
        "Node": nodes,
        "Priority": spec.priority,
        "RunasUser": spec.user,
        "RunasUserPassword": spec.password,
        "StderrRedirectPath": spec.stderr_path,
        "StdoutRedirectPath": spec.stdout_path,
        "Variables": variables(spec.environment),
    }
    return rpc_call(
        VERSION,
        "SubmitJob",
        ClassicSubmitJobResponse,
        {name: parameter(value) for name, value in with_options(parameters, spec.options).items()},
        subject=f"job {spec.name!r} in cluster {cluster_id}",
        method="GET",
        writes=True,
        confidential=spec.confidential,
    )


class ClassicStopJobsResponse(PascalResponseModel):
    """Response of StopJobs."""

    request_id: Text = ""


def stop_jobs(cluster_id: str, job_ids: list[str]) -> ApiCall[ClassicStopJobsResponse]:
    """Stop up to 100 jobs (StopJobs).

    :raises InvalidArgument: if the list is empty.
    """
    return rpc_call(
        VERSION,
        "StopJobs",
        ClassicStopJobsResponse,
        {"ClusterId": cluster_id, "Jobs": compact_json([{"Id": job_id} for job_id in some_job_ids(job_ids)])},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
        method="GET",
        writes=True,
    )

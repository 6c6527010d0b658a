# SPDX-License-Identifier: Apache-2.0
"""The operations of QingCloud HPC on jobs: one function each, with its response model before it.

Source: the pages on jobs of the HPC API reference (2023-09-06).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field

from airflow_provider_ehpc.apis.call import ApiCall, ApiResponse, InvalidArgument, percent_encode
from airflow_provider_ehpc.apis.job import JobRef, confidential_values
from airflow_provider_ehpc.apis.qingcloud.protocol import PAGE_SIZE, hpc_call, ret_code_error
from airflow_provider_ehpc.apis.response import (
    Id,
    Items,
    Number,
    ResponseModel,
    Text,
    Time,
    about,
    parse_json,
)


class HpcJob(ResponseModel):
    """A job of job/list, or with more fields of job/jobdetail. The list's times have no zone."""

    hpcjob_uuid: Id = ""
    """The job's ID in all calls."""
    job_id: Text = ""
    """The cluster's number of the job, sent as a number or a text."""
    job_name: Text = ""
    job_status: Text = ""
    cluster_id: Text = ""
    run_user: Text = ""
    queue_name: Text = ""
    scheduler_queue_name: Text = ""
    hpcqueue_id: Text = ""
    core_limit: Text = ""
    mem_limit: Text = ""
    job_node_list: Text = ""
    submitted_time: Time = None
    started_time: Time = None
    end_time: Time = None
    modified_time: Time = None
    end_reason: Text = ""
    pend_reason: Text = ""
    suspend_reson: Text = ""
    reason: Text = ""
    stdout_redirect_path: Text = ""
    stderr_redirect_path: Text = ""


class HpcListJobsResponse(ResponseModel):
    """Response of job/list: one page."""

    total_count: Number = None
    hpc_job_set: Items[HpcJob] = Field(default_factory=list)


def list_jobs(
    zone: str,
    cluster_id: str,
    *,
    jobs_status: str | None = None,
    queue_name: str | None = None,
    run_user: str | None = None,
    search_word: str | None = None,
    sort_key: str | None = None,
    reverse: int | None = None,
    offset: int = 0,
    limit: int = PAGE_SIZE,
) -> ApiCall[HpcListJobsResponse]:
    """List a cluster's jobs (job/list).

    :param jobs_status: ``pending``, ``running``, ``finished``, ``exited`` or ``cancelled``.
    :param sort_key: its values are not documented.
    :param limit: 1 to 100.
    """
    return hpc_call(
        "job/list",
        HpcListJobsResponse,
        {
            "zone": zone,
            "cluster_id": cluster_id,
            # The page has the first name. The vendor's client (qingcloud-hpc 0.0.1, generated from the
            # server's own description) has the second.
            "jobs_status": jobs_status,
            "job_status": jobs_status,
            "queue_name": queue_name,
            "run_user": run_user,
            "search_word": search_word,
            "sort_key": sort_key,
            "reverse": reverse,
            "offset": offset,
            "limit": limit,
        },
        subject=f"cluster {cluster_id}",
    )


class JobDetailResponse(ResponseModel):
    """Response of job/jobdetail: the job as a list of one."""

    essential = frozenset({"hpc_job_set"})

    hpc_job_set: Items[HpcJob] = Field(default_factory=list)


def job_detail(zone: str, cluster_id: str, job_uuid: str) -> ApiCall[JobDetailResponse]:
    """Show one job (job/jobdetail)."""
    call = hpc_call(
        "job/jobdetail",
        JobDetailResponse,
        {"zone": zone, "cluster_id": cluster_id},
        path=f"/{percent_encode(job_uuid, 'job_id')}",
        subject=str(JobRef(job_uuid, cluster_id)),
    )
    return about(call, job_uuid, lambda detail: [job.hpcjob_uuid for job in detail.hpc_job_set])


class HpcSubmitJobResponse(ResponseModel):
    """Response of job/submitJob."""

    essential = frozenset({"hpcjob_uuid"})

    hpcjob_uuid: Id = ""
    job_id: Text = ""
    job_status: Text = ""


def submit_job(
    zone: str,
    cluster_id: str,
    *,
    name: str,
    cmd_line: str,
    run_user: str,
    core_limit: int = 1,
    hpcqueue_id: str | None = None,
    scheduler_queue_name: str | None = None,
    priority: int | None = None,
    mem_limit: int | None = None,
    time_limit: int | None = None,
    stdout_redirect_path: str | None = None,
    stderr_redirect_path: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> ApiCall[HpcSubmitJobResponse]:
    """Submit a job (job/submitJob). There is no idempotency token: two calls run two jobs.

    :param core_limit: total number of cores.
    :param mem_limit: in an undocumented unit.
    :param time_limit: in an undocumented unit.
    :param options: other fields of the body, such as ``resource_limit``. Errors do not show their values.
    :raises InvalidArgument: if an option contradicts another argument.
    """
    body: dict[str, Any] = {
        "cluster_id": cluster_id,
        "zone": zone,
        "run_user": run_user,
        "name": name,
        "cmd_line": cmd_line,
        "cmd_line_type": "input",  # a command, not a file; only in the sample, not in the table
        "core_limit": core_limit,
        "submit_type": 1,  # 0 is the console, 1 a command line client
        "hpcqueue_id": hpcqueue_id,
        "scheduler_queue_name": scheduler_queue_name,
        "priority": priority,
        "mem_limit": mem_limit,
        "time_limit": time_limit,
        "stdout_redirect_path": stdout_redirect_path,
        "stderr_redirect_path": stderr_redirect_path,
    }
    for option, value in (options or {}).items():
        if body.get(option) not in (None, value):
            raise InvalidArgument(f"options: {option} contradicts the job's own fields; set it only once")
        body[option] = value
    call = hpc_call(
        "job/submitJob",
        HpcSubmitJobResponse,
        {"zone": zone},
        body=body,
        subject=f"job {name!r} in cluster {cluster_id}",
        writes=True,
    )
    return replace(call, confidential=confidential_values(options))


class HpcStopJobsResponse(ResponseModel):
    """Response of job/stopJobs."""

    job_uuid: Text = ""
    """ID of the operation (``j-…``), not of a job. A task can wait for it."""
    custom_cmd_result: Any = None


def stop_jobs(zone: str, cluster_id: str, job_ids: list[str]) -> ApiCall[HpcStopJobsResponse]:
    """Stop jobs (job/stopJobs). The response has the ID of the operation.

    If the response has a ``ret_code`` of 0, but reports an error for a single job, reading it raises that
    error.

    :raises InvalidArgument: for an empty list, which the documentation does not explain.
    """
    if not job_ids:
        raise InvalidArgument("job_ids: name at least one job to stop")
    call = hpc_call(
        "job/stopJobs",
        HpcStopJobsResponse,
        {"zone": zone},
        body={"cluster_id": cluster_id, "zone": zone, "job_ids": job_ids},
        subject=f"job {', '.join(job_ids)} in cluster {cluster_id}",
        writes=True,
    )

    def read(response: ApiResponse) -> HpcStopJobsResponse:
        stopped = call.read(response)
        for result in _command_results(stopped.custom_cmd_result):
            if str(result.get("ret_code", 0)).strip() != "0":
                raise ret_code_error(result["ret_code"], result.get("message"), response)
        return stopped

    return replace(call, read=read)


def _command_results(value: Any) -> list[dict[str, Any]]:
    """Return the objects in ``["{\\"job_ids\\": \\"5\\", \\"ret_code\\": 0}"]``, a list of JSON texts."""
    results = []
    for item in value if isinstance(value, list) else [value]:
        try:
            result = parse_json(item) if isinstance(item, str) else item
        except ValueError:
            continue  # even the sample is not JSON
        if isinstance(result, dict):
            results.append(result)
    return results

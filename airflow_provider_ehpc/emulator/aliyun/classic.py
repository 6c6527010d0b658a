# SPDX-License-Identifier: Apache-2.0
"""Emulate E-HPC API version 2018-04-12 for jobs of a scheduler.

Sources: the pages of the operations (GetJobLog last updated 2025-07-31) and the models of
``alibabacloud-ehpc20180412`` 4.0.0. Jobs and IDs are the same as in 2024-07-30.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.emulator.aliyun import pbs_attributes, slurm_attributes
from airflow_provider_ehpc.emulator.aliyun.classic_requests import (
    job_filter,
    log_window,
    rerunable,
    stopped_jobs,
    submission,
)
from airflow_provider_ehpc.emulator.aliyun.cluster_view import (
    ClusterView,
    check_cluster,
    local_time,
    read_piece,
)
from airflow_provider_ehpc.emulator.aliyun.dialect import PBS, SLURM
from airflow_provider_ehpc.emulator.aliyun.parameters import invalid, page, required
from airflow_provider_ehpc.emulator.aliyun.protocol import Operation
from airflow_provider_ehpc.emulator.aliyun.requests import list_filter
from airflow_provider_ehpc.emulator.gateway import Refused
from airflow_provider_ehpc.emulator.jobs import RETRY, EmulatedJob, Phase

VERSION = "2018-04-12"
_DESCRIPTIONS = {
    PBS.name: (pbs_attributes.describe, "job_state"),
    SLURM.name: (slurm_attributes.describe, "JobState"),
}
"""For each scheduler: the function that describes a job, and the attribute with its state."""


class EhpcClassic:
    """The operations on jobs of a scheduler. All of them accept GET only."""

    def __init__(self, view: ClusterView, default_queue: str) -> None:
        self._view = view
        self._default_queue = default_queue

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "DescribeJob": self.describe_job,
            "GetJobLog": self.get_job_log,
            "ListJobs": self.list_jobs,
            "ListJobsWithFilters": self.list_jobs_with_filters,
            "StopJobs": self.stop_jobs,
            "SubmitJob": self.submit_job,
        }

    async def submit_job(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """SubmitJob."""
        check_cluster(parameters)
        spec, post_command = submission(parameters, self._default_queue)
        if RETRY in spec.options and self._view.dialect is not PBS:
            # "You can only retry jobs that are run on the PBS clusters" (page of the operation).
            raise invalid("JobRetry.Count")
        # A relative path begins in the directory in which the job runs.
        spec = dataclasses.replace(
            spec, stdout_path=self._at_home(spec.stdout_path), stderr_path=self._at_home(spec.stderr_path)
        )
        job = await self._view.submit(spec, post_command)
        return {"JobId": self._view.dialect.job_id(job)}

    async def list_jobs(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """ListJobs, newest first."""
        check_cluster(parameters)
        number, size = page(parameters)
        selection = job_filter(parameters)
        jobs = [job for job in self._view.jobs() if selection.matches(job)]
        jobs.sort(key=lambda job: (-job.number, -1 if job.index is None else job.index))
        listed = [self._listed(job) for job in jobs[(number - 1) * size : number * size]]
        response = {
            "Jobs": {"JobInfo": listed},
            "PageNumber": number,
            "PageSize": size,
            "TotalCount": len(jobs),
        }
        drift = self._view.drift()
        return response if drift is None else _DRIFTS[drift](response)

    async def list_jobs_with_filters(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """ListJobsWithFilters: includes the queue, and has no wrapper around the list."""
        check_cluster(parameters)
        number, size = page(parameters)
        selection = list_filter(parameters)
        jobs = [job for job in self._view.jobs() if selection.matches(job)]
        jobs.sort(key=selection.order, reverse=selection.newest_first)
        listed = [
            {**self._listed(job), "Queue": job.spec.queue, "Rerunable": rerunable(job)}
            for job in jobs[(number - 1) * size : number * size]
        ]
        return {
            "Jobs": listed,
            "PageNumber": number,
            "PageSize": size,
            "TotalCount": len(jobs),
            "Success": True,
        }

    async def describe_job(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """DescribeJob."""
        check_cluster(parameters)
        job_id = required(parameters, "JobId")
        job = self._view.get(job_id)
        if job is None:
            raise self._exec_fail(403, job_id)
        info: Any = self._description(job)
        # An object in the sample of the page, a string in its table of fields.
        return {"Message": {"JobInfo": info if self._view.drift() is None else json.dumps(info)}}

    async def get_job_log(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """GetJobLog."""
        check_cluster(parameters)
        job_id = required(parameters, "JobId")
        offset, size = log_window(parameters)
        job = self._view.get(job_id)
        if job is None:
            raise self._exec_fail(406, job_id)
        self._check_host(job, parameters.get("ExecHost", ""))
        output, error = [
            (await asyncio.to_thread(read_piece, path, offset, size))[0]
            for path in (job.stdout_path, job.stderr_path)
        ]
        return {"JobId": job_id, "OutputLog": _base64(output), "ErrorLog": _base64(error)}

    async def stop_jobs(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """StopJobs: stops all jobs that can be stopped, then reports the first that cannot."""
        check_cluster(parameters)
        await self._view.stop(stopped_jobs(parameters))
        return {}

    def _check_host(self, job: EmulatedJob, host: str) -> None:
        """Reject a missing or wrong node while the job runs. The node of an ended job may be gone."""
        if job.phase is Phase.PENDING or job.phase.ended:
            return
        if not host:
            raise invalid("ExecHost")
        if host not in job.nodes:
            raise Refused(404, "ComputeNotFound", "The specified compute node does not exist.")

    def _exec_fail(self, status: int, job_id: str) -> Refused:
        """Return the error for an unknown job. The HTTP status depends on the operation."""
        message = self._view.dialect.unknown_job.format(job_id=job_id)
        return Refused(status, "ExecFail", f"Failed to execute the command: {message}.")

    def _description(self, job: EmulatedJob) -> Mapping[str, Any]:
        """Return the scheduler's attributes by job ID. scontrol shows an array as its sub-jobs only."""
        dialect, cluster = self._view.dialect, self._view.cluster
        jobs = [job]
        if job.whole_array and dialect is SLURM:
            jobs = [part for index in job.submission.indexes if (part := cluster.get(job.number, index))]
        return {dialect.job_id(each): self._attributes(each) for each in jobs}

    def _attributes(self, job: EmulatedJob) -> Mapping[str, Any]:
        describe, name = _DESCRIPTIONS[self._view.dialect.name]
        attributes = describe(self._view.cluster, job)
        word = self._view.injected_state(job)
        return {**attributes, name: word} if word else attributes

    def _listed(self, job: EmulatedJob) -> Mapping[str, Any]:
        spec = job.spec
        return {
            "Id": self._view.dialect.job_id(job),
            "Name": spec.name,
            "Owner": spec.user,
            "State": self._state(job),
            "Priority": str(spec.priority or 0),
            "SubmitTime": local_time(job.submission.submitted_at),
            "StartTime": local_time(job.started_at),
            "LastModifyTime": local_time(job.modified_at),
            "NodeList": str(list(job.nodes)) if job.nodes else "",
            "Resources": {"Nodes": spec.nodes or 1, "Cores": spec.cores or 1},
            "Stdout": str(job.stdout_path),
            "Stderr": str(job.stderr_path),
            "ShellPath": spec.command,
            "Comment": "",
            "ArrayRequest": spec.array or "",
        }

    def _state(self, job: EmulatedJob) -> str:
        """Return one of the three states of this version, which has none for a failed job."""
        injected = self._view.injected_state(job)
        if injected is not None:
            return injected
        if job.phase.ended:
            return "FINISHED"
        return "QUEUED" if job.phase is Phase.PENDING else "RUNNING"

    def _at_home(self, path: str | None) -> str | None:
        return path and str(self._view.cluster.home / Path(path))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _as_texts(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a page of jobs with numbers as strings, and with line ends after strings."""
    jobs = [
        {
            **job,
            **{name: f"{job[name]}\n" for name in ("Name", "State", "SubmitTime")},
            "Resources": {name: str(value) for name, value in job["Resources"].items()},
        }
        for job in response["Jobs"]["JobInfo"]
    ]
    return {**response, "Jobs": {"JobInfo": jobs}, "TotalCount": str(response["TotalCount"])}


def _without_wrapper(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a page of jobs without the wrapper of the list, as in ListJobsWithFilters."""
    return {**response, "Jobs": response["Jobs"]["JobInfo"]}


_DRIFTS = (_as_texts, _without_wrapper)

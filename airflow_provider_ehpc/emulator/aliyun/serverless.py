# SPDX-License-Identifier: Apache-2.0
"""Emulate E-HPC API version 2018-04-12 for serverless jobs.

Sources: the pages of the operations (DescribeServerlessJobs as changed 2023-07-21) and the models of
``alibabacloud-ehpc20180412`` 4.0.0. Not documented, and decided here: for an unknown job, reading returns an
empty list and stopping returns InvalidParams; the ID of an array job in ListServerlessJobs includes its
sub-tasks; the newest job comes first.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.aliyun.cluster_view import USER, ClusterView, check_cluster
from airflow_provider_ehpc.emulator.aliyun.containers import (
    ContainerAttempt,
    attempts,
    begun,
    container_groups,
    script,
    utc,
)
from airflow_provider_ehpc.emulator.aliyun.parameters import invalid, numbered, page
from airflow_provider_ehpc.emulator.aliyun.protocol import Operation
from airflow_provider_ehpc.emulator.aliyun.serverless_requests import (
    ListRequest,
    depends_on,
    list_request,
    submission,
)
from airflow_provider_ehpc.emulator.dependencies import OPTION
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

_TIMES = ("SubmitTime", "StartTime", "EndTime")
_DAY = 86_400


class EhpcServerless:
    """The operations on serverless jobs."""

    def __init__(self, view: ClusterView, default_queue: str) -> None:
        self._view = view
        self._default_queue = default_queue

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "DescribeServerlessJobs": self.describe_serverless_jobs,
            "ListServerlessJobs": self.list_serverless_jobs,
            "StopServerlessJobs": self.stop_serverless_jobs,
            "SubmitServerlessJob": self.submit_serverless_job,
        }

    async def submit_serverless_job(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """SubmitServerlessJob."""
        check_cluster(parameters)
        request = submission(parameters, self._default_queue, USER)
        command = script(self._view.cluster.home, request.container, request.retries)
        dependencies = []
        for kind, job_id in depends_on(parameters):
            other = self._view.get(job_id)
            if other is None:
                raise invalid("DependsOn.JobId")
            dependencies.append([kind, other.number, other.index])
        options = {**request.spec.options, **({OPTION: dependencies} if dependencies else {})}
        job = await self._view.submit(dataclasses.replace(request.spec, command=command, options=options))
        return {"JobId": self._view.dialect.job_id(job)}

    async def describe_serverless_jobs(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """DescribeServerlessJobs: accepts a list with one ID, but not the ID of an array job."""
        check_cluster(parameters)
        job_ids = numbered(parameters, "JobIds")
        if len(job_ids) != 1:
            raise invalid("JobIds")
        job = self._view.get(job_ids[0])
        if job is None:
            return {"TotalCount": 0, "JobInfos": []}
        if job.whole_array:
            raise invalid("JobIds")
        runs = await asyncio.to_thread(attempts, self._view.cluster.home, job)
        info = self._described(job, runs)
        drift = self._view.drift()
        if drift is not None:
            info = _like_the_sample(info) if drift == 0 else _in_other_units(info)
        return {"TotalCount": 1, "JobInfos": [info]}

    async def list_serverless_jobs(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """ListServerlessJobs."""
        check_cluster(parameters)
        number, size = page(parameters, default=20, largest=100)
        selection = list_request(parameters)
        jobs = [job for job in self._view.jobs() if self._matches(selection, job)]
        jobs.sort(key=selection.order)
        listed = [self._listed(job) for job in jobs[(number - 1) * size : number * size]]
        drift = self._view.drift()
        if drift is not None:
            listed = [_with_line_ends(job) if drift == 0 else _with_old_names(job) for job in listed]
        return {"Jobs": listed, "PageNumber": number, "PageSize": size, "TotalCount": len(jobs)}

    async def stop_serverless_jobs(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """StopServerlessJobs: ignores jobs that have ended."""
        check_cluster(parameters)
        jobs = [self._view.get(job_id) for job_id in numbered(parameters, "JobIds")]
        known = [job for job in jobs if job]
        if not known or len(known) < len(jobs):
            raise invalid("JobIds")
        for job in known:
            await self._view.cluster.stop(job)
        return {}

    def _state(self, job: EmulatedJob) -> str:
        """Return the state of a job: Initing until its container has started."""
        injected = self._view.injected_state(job)
        if injected is not None:
            return injected
        if job.phase is Phase.RUNNING and not job.whole_array and not begun(self._view.cluster.home, job):
            return "Initing"
        return self._view.dialect.state(job.phase)

    def _matches(self, selection: ListRequest, job: EmulatedJob) -> bool:
        submitted_at = int(job.submission.submitted_at)
        ids = {self._view.dialect.job_id(job), str(job.number)}
        return (
            (not selection.job_ids or not ids.isdisjoint(selection.job_ids))
            and (not selection.job_names or job.spec.name in selection.job_names)
            and (selection.submitted_from is None or submitted_at >= selection.submitted_from)
            and (selection.submitted_to is None or submitted_at <= selection.submitted_to)
            and selection.state in ("All", self._state(job))
        )

    def _listed(self, job: EmulatedJob) -> dict[str, Any]:
        """Return a job in the form of the list: times and priority as strings."""
        times = {name: str(at) for name, at in _times(job).items()}
        return {
            "JobId": self._view.dialect.job_id(job),
            "JobName": job.spec.name,
            "User": job.spec.user,
            "State": self._state(job),
            "Queue": job.spec.queue,
            "Priority": str(job.spec.priority or 0),
            "IsArrayJob": job.whole_array,
            **times,
        }

    def _described(self, job: EmulatedJob, runs: list[ContainerAttempt]) -> dict[str, Any]:
        info: dict[str, Any] = {
            "JobId": self._view.dialect.job_id(job),
            "JobName": job.spec.name,
            "User": job.spec.user,
            "State": self._state(job),
            "Queue": job.spec.queue,
            "Priority": job.spec.priority or 0,
            "IsArrayJob": False,
            **_times(job),
            # In milliseconds, unlike the other times, as in the sample of the page.
            "LastModifyTime": int(job.modified_at * 1000),
            "ContainerGroups": container_groups(job, runs),
        }
        if job.spec.array:
            info["ArrayProperties"] = _array_properties(job.spec)
        return info


def _array_properties(spec: JobSpec) -> Mapping[str, int]:
    indexes, _, step = (spec.array or "").partition(":")
    first, _, last = indexes.partition("-")
    return {"IndexStart": int(first), "IndexEnd": int(last), "IndexStep": int(step)}


def _times(job: EmulatedJob) -> dict[str, int]:
    """Return the known times, in epoch seconds."""
    times = (job.submission.submitted_at, job.started_at, job.ended_at)
    return {name: int(at) for name, at in zip(_TIMES, times, strict=True) if at is not None}


def _like_the_sample(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job with the oddities of the sample on the page.

    A running job has the times of a success and of a failure, and its container an exit code. Strings and
    times end with a newline. A job that is not an array has the properties of an array.
    """
    later = int(time.time()) + _DAY
    for group in job["ContainerGroups"]:
        group |= {"SucceededTime": utc(later), "FailedTime": utc(later - 1), "ExpiredTime": utc(later - 2)}
        for container in group["Containers"]:
            state = {"ExitCode": 0, "Signal": 1, "FinishTime": utc(later), **container["CurrentState"]}
            state["State"] += "\n"
            if "StartTime" in state:
                state["StartTime"] += "\n"
            container["CurrentState"] = state
        for event in group["Events"]:
            event["LastTimestamp"] += "\n"
    return {
        "EndTime": later,
        "ArrayProperties": {"IndexStart": 1, "IndexEnd": 5, "IndexStep": 2},
        **job,
        "JobName": f"{job['JobName']}\n",
        "State": f"{job['State']}\n",
    }


def _in_other_units(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job with seconds and milliseconds swapped, and with 0 for a missing time."""
    times = {name: job.get(name, 0) * 1000 for name in _TIMES}
    return {**job, **times, "LastModifyTime": str(job["LastModifyTime"] // 1000)}


def _with_line_ends(job: dict[str, Any]) -> dict[str, Any]:
    return {**dict.fromkeys(_TIMES, ""), **job, "State": f"{job['State']}\n"}


def _with_old_names(job: dict[str, Any]) -> dict[str, Any]:
    """Return a listed job with the field names of an older SDK, and with numbers for strings."""
    old = {"JobId": "Id", "JobName": "Name", "User": "Owner"}
    numbers = {name: int(job[name]) for name in (*_TIMES, "Priority") if name in job}
    return {old.get(name, name): value for name, value in {**job, **numbers}.items()}

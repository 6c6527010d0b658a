# SPDX-License-Identifier: Apache-2.0
"""Emulate E-HPC API version 2024-07-30.

Source: the pages of the operations (GetJob last updated 2026-01-14). As there, GetJob has numbers and times
without a zone; ListJobs has strings and epoch seconds.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.emulator.aliyun.cluster_view import (
    CLUSTER_ID,
    USER,
    ClusterView,
    check_cluster,
    local_time,
    read_piece,
)
from airflow_provider_ehpc.emulator.aliyun.parameters import page, required
from airflow_provider_ehpc.emulator.aliyun.protocol import Operation
from airflow_provider_ehpc.emulator.aliyun.requests import job_filter, job_spec, log_request, string_list
from airflow_provider_ehpc.emulator.faults import FaultKind
from airflow_provider_ehpc.emulator.jobs import EmulatedJob

VERSION = "2024-07-30"


class Ehpc:
    """The operations on jobs."""

    def __init__(self, view: ClusterView, default_queue: str) -> None:
        self._view = view
        self._dialect = view.dialect
        self._faults = view.faults
        self._default_queue = default_queue
        self._last_sizes: dict[Path, int] = {}
        self._cached_list: tuple[tuple[int, str], list[EmulatedJob]] = ((-1, ""), [])

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "CreateJob": self.create_job,
            "GetJob": self.get_job,
            "GetJobLog": self.get_job_log,
            "ListClusters": self.list_clusters,
            "ListJobs": self.list_jobs,
            "StopJobs": self.stop_jobs,
        }

    async def create_job(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """CreateJob."""
        check_cluster(parameters)
        spec, post_command = job_spec(parameters, self._default_queue, USER)
        job = await self._view.submit(spec, post_command)
        return self._drifted({"JobId": self._dialect.job_id(job), "Success": True})

    async def list_clusters(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """ListClusters, with which clients check their key."""
        number, size = page(parameters)
        cluster = {"ClusterId": CLUSTER_ID, "ClusterName": "emulator", "ClusterStatus": "running"}
        matches = all(
            name not in parameters or value in string_list(parameters, name)
            for name, value in (("ClusterIds", CLUSTER_ID), ("ClusterNames", cluster["ClusterName"]))
        )
        return self._drifted(
            {
                "Clusters": [cluster] if number == 1 and matches else [],
                "TotalCount": int(matches),
                "PageNumber": number,
                "PageSize": size,
                "Success": True,
            }
        )

    async def get_job(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """GetJob."""
        check_cluster(parameters)
        job = self._view.find(required(parameters, "JobId"))
        spec = job.spec
        resources = {
            "Nodes": spec.nodes or 1,
            "Cores": spec.cores or 1,
            "Memory": spec.memory or "",
            "Gpus": spec.gpus or 0,
        }
        info = {
            "JobId": self._dialect.job_id(job),
            "JobName": spec.name,
            "RunasUser": spec.user,
            "State": self._state(job),
            "JobQueue": spec.queue,
            "CreateTime": local_time(job.submission.submitted_at),
            "LastModifyTime": local_time(job.modified_at),
            "StartTime": local_time(job.started_at),
            "OutputLog": str(job.stdout_path),
            "ErrorLog": str(job.stderr_path),
            "Priority": spec.priority,
            "CommandLine": spec.command,
            "NodeList": _node_list(job.nodes),
            "Resources": resources,
            "ResourcesUsed": _resources_used(job),
            "Variables": [{"Name": name, "Value": value} for name, value in spec.environment.items()],
            "ExtraInfo": {},
            **_array_fields(job),
        }
        return self._drifted({"JobInfo": info, "Success": True})

    async def get_job_log(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """GetJobLog."""
        check_cluster(parameters)
        job_id = required(parameters, "JobId")
        job = self._view.find(job_id)
        request = log_request(parameters)
        response: dict[str, Any] = {"JobId": job_id, "Success": True}
        for stream, field in (("stdout", "Stdout"), ("stderr", "Stderr")):
            data, size = b"", 0
            if stream in request.streams:
                path = job.stdout_path if stream == "stdout" else job.stderr_path
                data, size = await asyncio.to_thread(read_piece, path, request.offset, request.size)
                size = self._reported_size(job_id, path, size)
            response[f"{field}Log"] = base64.b64encode(data).decode()
            response[f"{field}LogSize"] = str(size)
        return self._drifted(response)

    async def list_jobs(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """ListJobs."""
        check_cluster(parameters)
        number, size = page(parameters)
        jobs = self._list(parameters)
        listed = [self._listed(job) for job in jobs[(number - 1) * size : number * size]]
        return self._drifted(
            {
                "Jobs": listed,
                "PageNumber": number,
                "PageSize": size,
                "TotalCount": len(jobs),
                "Success": True,
            }
        )

    async def stop_jobs(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """StopJobs: stops all jobs that can be stopped, then reports the first that cannot."""
        check_cluster(parameters)
        await self._view.stop(string_list(parameters, "JobIds"))
        return self._drifted({"Success": True})

    def _list(self, parameters: Mapping[str, str]) -> Sequence[EmulatedJob]:
        """Return the jobs of all pages, in order.

        They are cached for the next pages. Otherwise two hundred pages of ten thousand jobs would check two
        million jobs.
        """
        selection = job_filter(parameters)
        key = (self._view.cluster.changes, parameters.get("JobFilter", ""))
        if key == self._cached_list[0] and not self._faults.hides_any:
            return self._cached_list[1]
        jobs = [job for job in self._view.jobs() if selection.matches(job)]
        jobs.sort(key=selection.order, reverse=selection.newest_first)
        # A hidden job becomes visible without a change of the cluster.
        self._cached_list = (-1, "") if self._faults.hides_any else key, jobs
        return jobs

    def _listed(self, job: EmulatedJob) -> Mapping[str, Any]:
        spec = job.spec
        resources = {
            "Nodes": str(spec.nodes or 1),
            "Cores": str(spec.cores or 1),
            "Memory": spec.memory or "",
            "Gpus": str(spec.gpus or 0),
        }
        occupied = {name: str(value) for name, value in _resources_used(job).items()}
        if occupied and spec.gpus:
            # Documented for this list, but not for GetJob.
            occupied["Gpus"] = str(spec.gpus)
        return {
            "JobName": spec.name,
            "JobSpec": {
                "Id": self._dialect.job_id(job),
                "State": self._state(job),
                "RunasUser": spec.user,
                "JobQueue": spec.queue,
                "SubmitTime": _epoch(job.submission.submitted_at),
                "StartTime": _epoch(job.started_at),
                "LastModifyTime": _epoch(job.modified_at),
                "StdoutPath": str(job.stdout_path),
                "StderrPath": str(job.stderr_path),
                "Priority": str(spec.priority),
                "NodeList": _node_list(job.nodes),
                "Comment": "",
                "Resources": resources,
                "ResourcesActualOccupied": occupied,
                "Variables": json.dumps(dict(spec.environment), ensure_ascii=False),
                **_array_fields(job),
            },
        }

    def _state(self, job: EmulatedJob) -> str:
        injected = self._view.injected_state(job)
        if injected is not None:
            return injected
        hidden = job.phase.ended and self._faults.active(FaultKind.FINISHED_HIDES_FAILURE)
        return "FINISHED" if hidden else self._dialect.state(job.phase)

    def _reported_size(self, job_id: str, path: Path, size: int) -> int:
        fault = self._faults.active(FaultKind.LOG_SIZE, job_id)
        if fault is None:
            return size
        before = self._last_sizes.get(path, 0)
        self._last_sizes[path] = size
        return before if fault.word == "stale" else 0

    def _drifted(self, response: dict[str, Any]) -> Mapping[str, Any]:
        """Return a response in one of the two forms of the DRIFT fault, or as it is without the fault."""
        drift = self._view.drift()
        if drift is None:
            return response
        drifted: Mapping[str, Any] = _as_numbers(response) if drift else _as_texts(response)
        return drifted


def _resources_used(job: EmulatedJob) -> dict[str, Any]:
    """Return what a job occupies, also after its end: no page says that the fields are left out then."""
    return {"Nodes": len(job.nodes), "Cores": job.spec.cores or 1, "Memory": "0mb"} if job.nodes else {}


def _array_fields(job: EmulatedJob) -> Mapping[str, str]:
    sub_job = job.index is not None
    return {
        "ArrayRequest": job.spec.array or "",
        "ArrayJobId": str(job.number) if job.spec.array else "",
        "ArrayJobSubId": str(job.index) if sub_job else "",
    }


def _epoch(at: float | None) -> str:
    return "" if at is None else str(int(at))


def _node_list(nodes: Sequence[str]) -> str:
    """Write ``compute[000,001]`` if the names differ only in their numbers, as in the sample."""
    heads = {node.rstrip("0123456789") for node in nodes}
    if len(nodes) < 2 or len(heads) > 1:
        return ",".join(nodes)
    head = heads.pop()
    return f"{head}[{','.join(node.removeprefix(head) for node in nodes)}]"


_NUMBERS = frozenset(
    {
        "ArrayJobId",
        "ArrayJobSubId",
        "Cores",
        "Gpus",
        "LastModifyTime",
        "Nodes",
        "Priority",
        "StderrLogSize",
        "StdoutLogSize",
        "SubmitTime",
    }
)


def _as_texts(value: Any, name: str = "") -> Any:
    """Return a response with all scalars as strings, and with a line end after names and states."""
    if isinstance(value, dict) and name == "ExtraInfo":
        return json.dumps(value)
    if isinstance(value, dict):
        return {key: _as_texts(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_texts(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    text = "" if value is None else str(value)
    return f"{text}\n" if name in ("JobName", "State") else text


def _as_numbers(value: Any, name: str = "") -> Any:
    """Return a response with numbers in all fields for which a page of the documentation has a number."""
    if isinstance(value, dict):
        return {key: _as_numbers(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_numbers(item) for item in value]
    return int(value) if name in _NUMBERS and isinstance(value, str) and value.isdigit() else value

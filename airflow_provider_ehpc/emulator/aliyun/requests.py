# SPDX-License-Identifier: Apache-2.0
"""Read the parameters of E-HPC 2024-07-30."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.aliyun.parameters import (
    MAX_LOG_SIZE,
    array_request,
    invalid,
    json_object,
    json_value,
    not_emulated,
    numbered,
    variables,
    whole,
)
from airflow_provider_ehpc.emulator.jobs import EmulatedJob


def string_list(parameters: Mapping[str, str], name: str) -> list[str]:
    """Read a JSON array of strings; empty if the parameter is missing."""
    return _strings(json_value(parameters[name], name), name) if name in parameters else []


@dataclass(frozen=True, slots=True)
class LogRequest:
    """The part of the logs that GetJobLog requests, in bytes."""

    streams: tuple[str, ...]
    offset: int
    size: int


def log_request(parameters: Mapping[str, str]) -> LogRequest:
    """Read the parameters of GetJobLog."""
    log_type = parameters.get("LogType", "all")
    if log_type not in ("all", "stdout", "stderr"):
        raise invalid("LogType")
    size = whole(parameters.get("Size", "10240"), "Size")
    if not 0 < size <= MAX_LOG_SIZE:
        raise invalid("Size")
    streams = ("stdout", "stderr") if log_type == "all" else (log_type,)
    return LogRequest(streams, whole(parameters.get("Offset", "0"), "Offset"), size)


def job_spec(parameters: Mapping[str, str], default_queue: str, default_user: str) -> tuple[JobSpec, str]:
    """Return the job of CreateJob, and its post-processing command."""
    fields = json_object(parameters.get("JobSpec", ""), "JobSpec")
    resources = fields.get("Resources") or {}
    if not isinstance(resources, dict):
        raise invalid("JobSpec.Resources")
    command = _text(fields, "CommandLine").strip()
    if not command.removeprefix("--").strip():
        raise invalid("JobSpec.CommandLine")
    spec = JobSpec(
        name=parameters.get("JobName", "").strip() or "STDIN",
        command=command,
        queue=_text(fields, "JobQueue") or default_queue,
        user=_text(fields, "RunasUser") or default_user,
        nodes=_count(resources, "Nodes"),
        cores=_count(resources, "Cores"),
        gpus=_count(resources, "Gpus"),
        memory=_memory(resources),
        wall_time=_wall_time(_text(fields, "WallTime")),
        priority=whole(_text(fields, "Priority") or "0", "JobSpec.Priority"),
        array=array_request(_text(fields, "ArrayRequest"), "JobSpec.ArrayRequest"),
        environment=variables(_text(fields, "Variables"), "JobSpec.Variables"),
        stdout_path=_path(fields, "StdoutPath"),
        stderr_path=_path(fields, "StderrPath"),
    )
    return spec, _text(fields, "PostCmdLine")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Filter and order of ListJobs."""

    status: str
    name: str
    users: Sequence[str]
    queues: Sequence[str]
    nodes: Sequence[str]
    created_from: int | None
    created_to: int | None
    order: Callable[[EmulatedJob], tuple[float, int, int]]
    newest_first: bool

    def matches(self, job: EmulatedJob) -> bool:
        """Return True if a job is listed. Names match if they contain the requested text."""
        # Called for each of ten thousand jobs, so conditions that are not requested are skipped.
        return (
            (self.status == "all" or job.phase.ended == (self.status == "finished"))
            and (not self.name or self.name in job.spec.name)
            and (not self.users or _any(self.users, [job.spec.user or ""]))
            and (not self.queues or _any(self.queues, [job.spec.queue or ""]))
            and (not self.nodes or _any(self.nodes, job.nodes))
            and (self.created_from is None or int(job.submission.submitted_at) >= self.created_from)
            and (self.created_to is None or int(job.submission.submitted_at) <= self.created_to)
        )


def job_filter(parameters: Mapping[str, str]) -> JobFilter:
    """Read JobFilter of ListJobs."""
    fields = json_object(parameters["JobFilter"], "JobFilter") if "JobFilter" in parameters else {}
    status = _text(fields, "JobStatus", "JobFilter") or "all"
    if status not in ("all", "finished", "notfinish"):
        raise invalid("JobFilter.JobStatus")
    # The metrics of Diagnosis and their units are not documented.
    if fields.get("Diagnosis"):
        raise not_emulated("JobFilter.Diagnosis")
    order, newest_first = _order(fields.get("SortBy") or {})
    return JobFilter(
        status=status,
        name=_text(fields, "JobName", "JobFilter"),
        users=_strings(fields.get("Users") or [], "JobFilter.Users"),
        queues=_strings(fields.get("Queues") or [], "JobFilter.Queues"),
        nodes=_strings(fields.get("Nodes") or [], "JobFilter.Nodes"),
        created_from=_seconds(fields, "CreateTimeStart"),
        created_to=_seconds(fields, "CreateTimeEnd"),
        order=order,
        newest_first=newest_first,
    )


def list_filter(parameters: Mapping[str, str]) -> JobFilter:
    """Read the parameters of ListJobsWithFilters of 2018-04-12, which has the same filter."""
    status = parameters.get("JobStatus") or "all"
    if status not in ("all", "finished", "notfinish"):
        raise invalid("JobStatus")
    order, newest_first = _order({name: parameters[name] for name in _ORDERS if parameters.get(name)})
    return JobFilter(
        status=status,
        name=parameters.get("JobName", ""),
        users=numbered(parameters, "Users"),
        queues=numbered(parameters, "Queues"),
        nodes=numbered(parameters, "Nodes"),
        created_from=_moment(parameters, "CreateTimeStart"),
        created_to=_moment(parameters, "CreateTimeEnd"),
        order=order,
        newest_first=newest_first,
    )


def _moment(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name, "")
    return whole(text, name) if text else None


_ORDERS: Mapping[str, Callable[[EmulatedJob], float]] = {
    "SubmitOrder": lambda job: job.submission.submitted_at,
    "ExecuteOrder": lambda job: (job.ended_at or job.modified_at) - job.started_at if job.started_at else 0.0,
    "PendOrder": lambda job: (job.started_at or job.modified_at) - job.submission.submitted_at,
}


def _order(sort_by: Any) -> tuple[Callable[[EmulatedJob], tuple[float, int, int]], bool]:
    name, direction = (
        next(iter(sort_by.items()), ("SubmitOrder", "desc")) if isinstance(sort_by, dict) else ("", "")
    )
    if name not in _ORDERS or direction not in ("asc", "desc"):
        raise invalid("JobFilter.SortBy")
    measure = _ORDERS[name]
    newest_first = direction == "desc"
    # Sub-jobs follow their array in the order of their indexes, in both directions of sorting.
    sign = -1 if newest_first else 1

    def order(job: EmulatedJob) -> tuple[float, int, int]:
        return measure(job), job.number, sign * (-1 if job.index is None else job.index)

    return order, newest_first


def _any(parts: Sequence[str], names: Sequence[str]) -> bool:
    """Return True if any name contains any of the parts."""
    return any(part in name for part in parts for name in names)


def _strings(items: Any, parameter: str) -> list[str]:
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise invalid(parameter)
    return items


def _text(fields: Mapping[str, Any], name: str, parent: str = "JobSpec") -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"{parent}.{name}")
    return value


def _seconds(fields: Mapping[str, Any], name: str) -> int | None:
    text = _text(fields, name, "JobFilter")
    return whole(text, f"JobFilter.{name}") if text else None


def _count(resources: Mapping[str, Any], name: str) -> int | None:
    value = resources.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid(f"JobSpec.Resources.{name}")
    return value


def _memory(resources: Mapping[str, Any]) -> str | None:
    value = resources.get("Memory")
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"(?i)[0-9]+ ?[mg]b?", value):
        raise invalid("JobSpec.Resources.Memory")
    return value


def _wall_time(text: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,6}):([0-5]?\d):([0-5]?\d)", text)
    if not match:
        raise invalid("JobSpec.WallTime")
    hours, minutes, seconds = map(int, match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _path(fields: Mapping[str, Any], name: str) -> str | None:
    path = _text(fields, name)
    if path and not path.startswith("/"):
        raise invalid(f"JobSpec.{name}")
    return path or None

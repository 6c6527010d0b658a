"""Reading the parameters of E-HPC 2024-07-30."""

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
    """Return a parameter that holds a JSON array of strings; empty where it is left out."""
    return _strings(json_value(parameters[name], name), name) if name in parameters else []


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Which bytes of which files GetJobLog wants."""

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
    """Read the parameters of CreateJob: the job, and its post-processing command."""
    told = json_object(parameters.get("JobSpec", ""), "JobSpec")
    resources = told.get("Resources") or {}
    if not isinstance(resources, dict):
        raise invalid("JobSpec.Resources")
    command = _text(told, "CommandLine").strip()
    if not command.removeprefix("--").strip():
        raise invalid("JobSpec.CommandLine")
    spec = JobSpec(
        name=parameters.get("JobName", "").strip() or "STDIN",
        command=command,
        queue=_text(told, "JobQueue") or default_queue,
        user=_text(told, "RunasUser") or default_user,
        nodes=_count(resources, "Nodes"),
        cores=_count(resources, "Cores"),
        gpus=_count(resources, "Gpus"),
        memory=_memory(resources),
        wall_time=_wall_time(_text(told, "WallTime")),
        priority=whole(_text(told, "Priority") or "0", "JobSpec.Priority"),
        array=array_request(_text(told, "ArrayRequest"), "JobSpec.ArrayRequest"),
        environment=variables(_text(told, "Variables"), "JobSpec.Variables"),
        stdout_path=_path(told, "StdoutPath"),
        stderr_path=_path(told, "StderrPath"),
    )
    return spec, _text(told, "PostCmdLine")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs ListJobs wants, and in which order."""

    status: str
    name: str
    users: Sequence[str]
    queues: Sequence[str]
    nodes: Sequence[str]
    created_from: int | None
    created_to: int | None
    order: Callable[[EmulatedJob], tuple[float, int, int]]
    newest_first: bool

    def wants(self, job: EmulatedJob) -> bool:
        """Whether a job is listed. Names match where they contain what is asked for."""
        # Called for each of ten thousand jobs at every page: what was not asked for is not looked at.
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
    """Read ListJobs' JobFilter."""
    told = json_object(parameters["JobFilter"], "JobFilter") if "JobFilter" in parameters else {}
    status = _text(told, "JobStatus", "JobFilter") or "all"
    if status not in ("all", "finished", "notfinish"):
        raise invalid("JobFilter.JobStatus")
    # Its metrics and their units are not documented.
    if told.get("Diagnosis"):
        raise not_emulated("JobFilter.Diagnosis")
    order, newest_first = _order(told.get("SortBy") or {})
    return JobFilter(
        status=status,
        name=_text(told, "JobName", "JobFilter"),
        users=_strings(told.get("Users") or [], "JobFilter.Users"),
        queues=_strings(told.get("Queues") or [], "JobFilter.Queues"),
        nodes=_strings(told.get("Nodes") or [], "JobFilter.Nodes"),
        created_from=_seconds(told, "CreateTimeStart"),
        created_to=_seconds(told, "CreateTimeEnd"),
        order=order,
        newest_first=newest_first,
    )


def filters(parameters: Mapping[str, str]) -> JobFilter:
    """Read the parameters of ListJobsWithFilters, which 2018-04-12 has beside ListJobs: the same filter."""
    status = parameters.get("JobStatus") or "all"
    if status not in ("all", "finished", "notfinish"):
        raise invalid("JobStatus")
    told = {name: parameters[name] for name in _ORDERS if parameters.get(name)}
    order, newest_first = _order(told)
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


def _order(told: Any) -> tuple[Callable[[EmulatedJob], tuple[float, int, int]], bool]:
    name, direction = (
        next(iter(told.items()), ("SubmitOrder", "desc")) if isinstance(told, dict) else ("", "")
    )
    if name not in _ORDERS or direction not in ("asc", "desc"):
        raise invalid("JobFilter.SortBy")
    measure = _ORDERS[name]
    newest_first = direction == "desc"
    # Sub-jobs stand in the order of their indexes behind the array, whichever way the jobs are sorted.
    sign = -1 if newest_first else 1

    def order(job: EmulatedJob) -> tuple[float, int, int]:
        return measure(job), job.number, sign * (-1 if job.index is None else job.index)

    return order, newest_first


def _any(wanted: Sequence[str], had: Sequence[str]) -> bool:
    return any(want in have for want in wanted for have in had)


def _strings(told: Any, parameter: str) -> list[str]:
    if not isinstance(told, list) or not all(isinstance(item, str) for item in told):
        raise invalid(parameter)
    return told


def _text(told: Mapping[str, Any], name: str, parent: str = "JobSpec") -> str:
    value = told.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"{parent}.{name}")
    return value


def _seconds(told: Mapping[str, Any], name: str) -> int | None:
    text = _text(told, name, "JobFilter")
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


def _path(told: Mapping[str, Any], name: str) -> str | None:
    path = _text(told, name)
    if path and not path.startswith("/"):
        raise invalid(f"JobSpec.{name}")
    return path or None

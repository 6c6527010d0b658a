# SPDX-License-Identifier: Apache-2.0
"""Read the parameters of E-HPC 2018-04-12 for jobs of a scheduler."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.aliyun.parameters import (
    MAX_LOG_SIZE,
    array_request,
    invalid,
    json_value,
    not_emulated,
    required,
    variables,
    whole,
)
from airflow_provider_ehpc.emulator.jobs import RETRY, EmulatedJob

_NOT_EMULATED = ("InputFileUrl", "JobRetry.Priority", "PackagePath", "UnzipCmd")
_MAX_RETRIES = 10
_OF_A_NODE = ("Cpu", "Task", "Thread", "Mem", "Gpu")
_MAX_STOPPED = 100


def submission(parameters: Mapping[str, str], default_queue: str) -> tuple[JobSpec, str]:
    """Return the job of SubmitJob, and the command to run after it."""
    command = required(parameters, "CommandLine").strip()
    if not command.removeprefix("--").strip():
        raise invalid("CommandLine")
    for name in _NOT_EMULATED:
        if parameters.get(name):
            raise not_emulated(name)
    nodes = _count(parameters, "Node")
    if nodes is None:
        # "If the parameter is not specified, the Cpu, Task, Thread, Mem, and Gpu parameters become invalid."
        parameters = {name: value for name, value in parameters.items() if name not in _OF_A_NODE}
    # The command starts tasks and threads itself. Cpu is the number of cores per node.
    _count(parameters, "Task")
    _count(parameters, "Thread")
    spec = JobSpec(
        name=_name(parameters.get("Name", "")),
        command=command,
        queue=parameters.get("JobQueue") or default_queue,
        user=required(parameters, "RunasUser"),
        nodes=nodes,
        cores=_count(parameters, "Cpu"),
        gpus=_count(parameters, "Gpu"),
        memory=_memory(parameters.get("Mem", "")),
        wall_time=_clock_time(parameters.get("ClockTime", "")),
        priority=_priority(parameters.get("Priority") or "0"),
        array=array_request(parameters.get("ArrayRequest", ""), "ArrayRequest"),
        environment=variables(parameters.get("Variables", ""), "Variables"),
        stdout_path=parameters.get("StdoutRedirectPath") or None,
        stderr_path=parameters.get("StderrRedirectPath") or None,
        options={"ReRunable": _flag(parameters, "ReRunable"), **_retry(parameters)},
    )
    _flag(parameters, "Async")
    return spec, parameters.get("PostCmdLine", "")


def _retry(parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Read JobRetry; without a Count, the other parameters "do not take effect" (page of the operation)."""
    count = _count(parameters, "JobRetry.Count")
    if count is None:
        return {}
    if count > _MAX_RETRIES:
        raise invalid("JobRetry.Count")
    code = parameters.get("JobRetry.OnExitCode", "")
    return {RETRY: [count, whole(code, "JobRetry.OnExitCode") if code else None]}


@dataclass(frozen=True, slots=True)
class ClassicJobFilter:
    """The filter of ListJobs."""

    owner: str
    state: str
    rerunable: bool

    def matches(self, job: EmulatedJob) -> bool:
        """Return True if a job is listed."""
        return (
            self.owner in ("", job.spec.user)
            and (self.state == "all" or job.phase.ended == (self.state == "finished"))
            and (not self.rerunable or rerunable(job))
        )


def job_filter(parameters: Mapping[str, str]) -> ClassicJobFilter:
    """Read the filter of ListJobs."""
    state = parameters.get("State") or "all"
    if state not in ("all", "finished", "notfinish"):
        raise invalid("State")
    return ClassicJobFilter(parameters.get("Owner", ""), state, _flag(parameters, "Rerunable"))


def rerunable(job: EmulatedJob) -> bool:
    """Return True if a job was submitted with ReRunable."""
    return bool(job.spec.options.get("ReRunable"))


def log_window(parameters: Mapping[str, str]) -> tuple[int, int]:
    """Read offset and size of GetJobLog, in bytes (the English page has bits, the Chinese page bytes)."""
    size = whole(parameters.get("Size", "1024"), "Size")
    if not 0 < size <= MAX_LOG_SIZE:
        raise invalid("Size")
    return whole(parameters.get("Offset", "0"), "Offset"), size


def stopped_jobs(parameters: Mapping[str, str]) -> list[str]:
    """Read the ``Jobs`` of StopJobs: ``[{"Id": "0.sched"}, {"Id": "1.sched"}]``, one to a hundred."""
    jobs = json_value(required(parameters, "Jobs"), "Jobs")
    try:
        job_ids = [item["Id"] for item in jobs]
    except (TypeError, KeyError):
        raise invalid("Jobs") from None
    if not 1 <= len(job_ids) <= _MAX_STOPPED or not all(isinstance(job_id, str) for job_id in job_ids):
        raise invalid("Jobs")
    _flag(parameters, "Async")
    return job_ids


def _name(name: str) -> str:
    """Return the name of a job; in PBS, a job without a name is called STDIN."""
    if name and not re.fullmatch(r"[A-Za-z][A-Za-z0-9.]{5,29}", name):
        raise invalid("Name")
    return name or "STDIN"


def _count(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name, "")
    if not text:
        return None
    count = whole(text, name)
    if not count and name != "Gpu":
        raise invalid(name)
    return count


def _memory(text: str) -> str | None:
    if text and not re.fullmatch(r"(?i)[0-9]+[kmg]b", text):
        raise invalid("Mem")
    return text or None


def _clock_time(text: str) -> int | None:
    """Return the seconds of ``hh:mm:ss``, ``mm:ss`` or ``ss``."""
    if not text:
        return None
    if not re.fullmatch(r"\d{1,6}(:[0-5]?\d){0,2}", text):
        raise invalid("ClockTime")
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part)
    return seconds


def _priority(text: str) -> int:
    priority = whole(text, "Priority")
    if priority > 9:
        raise invalid("Priority")
    return priority


def _flag(parameters: Mapping[str, str], name: str) -> bool:
    """Read a boolean. The official client writes it as in Python: ``True``."""
    text = parameters.get(name, "false").lower()
    if text not in ("true", "false"):
        raise invalid(name)
    return text == "true"

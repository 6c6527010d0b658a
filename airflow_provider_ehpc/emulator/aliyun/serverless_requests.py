# SPDX-License-Identifier: Apache-2.0
"""Read the parameters of E-HPC 2018-04-12 for serverless jobs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.aliyun.parameters import (
    invalid,
    json_object,
    json_value,
    numbered,
    required,
    whole,
)
from airflow_provider_ehpc.emulator.aliyun.requests import string_list
from airflow_provider_ehpc.emulator.dependencies import TYPES
from airflow_provider_ehpc.emulator.jobs import EmulatedJob

_MAX_ARGS = 10
_MAX_RULES = 10
_MAX_INDEX = 4999
_STATES = ("All", "Pending", "Running", "Succeeded", "Canceled", "Failed")
"""Jobs cannot be filtered by the state Initing."""
_LISTS = ("InstanceType", "VSwitchId")


@dataclass(frozen=True, slots=True)
class Retries:
    """The number of retries of a container, and the exit codes that prevent one."""

    attempts: int
    final_codes: tuple[int, ...]
    """Exit codes with which the job ends at once."""


@dataclass(frozen=True, slots=True)
class ServerlessRequest:
    """The parameters of SubmitServerlessJob."""

    spec: JobSpec
    """Without a command, which is in the container. DescribeServerlessJobs returns ``options``."""
    container: Mapping[str, Any]
    retries: Retries


def submission(parameters: Mapping[str, str], queue: str, user: str) -> ServerlessRequest:
    """Read the parameters of SubmitServerlessJob."""
    name = required(parameters, "JobName")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        raise invalid("JobName")
    container = _container(parameters)
    priority = whole(parameters.get("JobPriority") or "0", "JobPriority")
    if priority > 999:
        raise invalid("JobPriority")
    timeout = _optional(parameters, "Timeout")
    if timeout == 0:
        raise invalid("Timeout")
    cpu, memory = _amount(parameters, "Cpu"), _amount(parameters, "Memory")
    array = _array(parameters)
    options = {"Container": container, "Cpu": cpu, "Memory": memory, **_instance(parameters)}
    spec = JobSpec(
        name=name,
        command="",
        queue=queue,
        user=user,
        cores=None if cpu is None else math.ceil(cpu),
        gpus=container.get("Gpu"),
        memory=None if memory is None else f"{math.ceil(memory * 1024)}mb",
        wall_time=timeout,
        priority=priority,
        array=None if array is None else "{}-{}:{}".format(*array),
        options={key: value for key, value in options.items() if value is not None},
    )
    return ServerlessRequest(spec, container, _retries(parameters))


def depends_on(parameters: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the types and job IDs of DependsOn."""
    items = json_value(parameters.get("DependsOn") or "[]", "DependsOn")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise invalid("DependsOn")
    found = [(item.get("Type") or "AfterSucceeded", item.get("JobId")) for item in items]
    for kind, job_id in found:
        if kind not in TYPES:
            raise invalid("DependsOn.Type")
        if not isinstance(job_id, str) or not job_id:
            raise invalid("DependsOn.JobId")
    return found


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Filter and order of ListServerlessJobs."""

    job_ids: frozenset[str]
    job_names: frozenset[str]
    state: str
    submitted_from: int | None
    submitted_to: int | None
    by_start: bool
    newest_first: bool

    def order(self, job: EmulatedJob) -> tuple[float, int, int]:
        """Return the sort key of a job. Sub-tasks follow their array in the order of their indexes."""
        sign = -1 if self.newest_first else 1
        at = (job.started_at or 0.0) if self.by_start else 0.0
        return sign * at, sign * job.number, -1 if job.index is None else job.index


def list_request(parameters: Mapping[str, str]) -> ListRequest:
    """Read the filter and the order of ListServerlessJobs."""
    state = parameters.get("State") or "All"
    if state not in _STATES:
        raise invalid("State")
    by_start = "StartOrder" in parameters
    name = "StartOrder" if by_start else "SubmitOrder"
    order = parameters.get(name, "Desc")
    if order not in ("Asc", "Desc"):
        raise invalid(name)
    return ListRequest(
        job_ids=frozenset(numbered(parameters, "JobIds")),
        job_names=frozenset(numbered(parameters, "JobNames")),
        state=state,
        submitted_from=_optional(parameters, "SubmitTimeStart"),
        submitted_to=_optional(parameters, "SubmitTimeEnd"),
        by_start=by_start,
        newest_first=order == "Desc",
    )


def _container(parameters: Mapping[str, str]) -> Mapping[str, Any]:
    container = json_object(required(parameters, "Container"), "Container")
    if not isinstance(container.get("Image"), str) or not container["Image"]:
        raise invalid("Container.Image")
    for name in ("Command", "Arg"):
        words = container.get(name) or []
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise invalid(f"Container.{name}")
    if len(container.get("Arg") or []) > _MAX_ARGS:
        raise invalid("Container.Arg")
    gpu = container.get("Gpu")
    if gpu is not None and (isinstance(gpu, bool) or not isinstance(gpu, int) or gpu < 0):
        raise invalid("Container.Gpu")
    if not isinstance(container.get("WorkingDir") or "", str):
        raise invalid("Container.WorkingDir")
    _check_variables(container.get("EnvironmentVar") or [])
    return container


def _check_variables(variables: Any) -> None:
    try:
        pairs = [(item["Key"], item.get("Value") or "") for item in variables]
    except (TypeError, KeyError, AttributeError):
        raise invalid("Container.EnvironmentVar") from None
    for key, value in pairs:
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", key):
            raise invalid("Container.EnvironmentVar.Key")
        if not isinstance(value, str) or len(value) > 256:
            raise invalid("Container.EnvironmentVar.Value")


def _retries(parameters: Mapping[str, str]) -> Retries:
    strategy = json_object(parameters.get("RetryStrategy", "{}"), "RetryStrategy")
    attempts = strategy.get("Attempts", 0)
    if isinstance(attempts, bool) or not isinstance(attempts, int) or (strategy and not 1 <= attempts <= 10):
        raise invalid("RetryStrategy.Attempts")
    rules = strategy.get("EvaluateOnExit") or []
    if not isinstance(rules, list) or len(rules) > _MAX_RULES:
        raise invalid("RetryStrategy.EvaluateOnExit")
    final = []
    for rule in rules:
        action = rule.get("Action") if isinstance(rule, dict) else None
        if action not in ("Retry", "Exit"):
            raise invalid("RetryStrategy.EvaluateOnExit.Action")
        code = whole(str(rule.get("OnExitCode", "")), "RetryStrategy.EvaluateOnExit.OnExitCode")
        if code > 255:
            raise invalid("RetryStrategy.EvaluateOnExit.OnExitCode")
        if action == "Exit":
            final.append(code)
    return Retries(attempts, tuple(final))


def _array(parameters: Mapping[str, str]) -> tuple[int, int, int] | None:
    if "ArrayProperties" not in parameters:
        return None
    properties = json_object(parameters["ArrayProperties"], "ArrayProperties")
    first, last, step = (properties.get(name, 1) for name in ("IndexStart", "IndexEnd", "IndexStep"))
    for name, value in (("IndexStart", first), ("IndexEnd", last), ("IndexStep", step)):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_INDEX:
            raise invalid(f"ArrayProperties.{name}")
    if last < first:
        raise invalid("ArrayProperties.IndexEnd")
    if step < 1:
        raise invalid("ArrayProperties.IndexStep")
    return first, last, step


def _optional(parameters: Mapping[str, str], name: str) -> int | None:
    return whole(parameters[name], name) if parameters.get(name) else None


def _amount(parameters: Mapping[str, str], name: str) -> float | None:
    """Read a number of cores or GiB."""
    text = parameters.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or not float(text):
        raise invalid(name)
    return float(text)


def _instance(parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Read the parameters of the instances. They are returned to clients and have no other effect."""
    options: dict[str, Any] = {name: string_list(parameters, name) for name in _LISTS if name in parameters}
    options["EphemeralStorage"] = _optional(parameters, "EphemeralStorage")
    options["SpotPriceLimit"] = _amount(parameters, "SpotPriceLimit")
    strategy = parameters.get("SpotStrategy") or "NoSpot"
    if strategy not in ("NoSpot", "SpotWithPriceLimit", "SpotAsPriceGo"):
        raise invalid("SpotStrategy")
    if strategy == "SpotWithPriceLimit" and options["SpotPriceLimit"] is None:
        raise invalid("SpotPriceLimit")
    return {**options, "SpotStrategy": strategy, "RamRoleName": parameters.get("RamRoleName")}

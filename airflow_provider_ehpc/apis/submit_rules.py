# SPDX-License-Identifier: Apache-2.0
"""Rules for the arguments and the job name of a submission, per API.

Tasks check them when a DAG file is parsed, before any connection is read. The functions of each API check
them again when they build the request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.capabilities import Capability, require

Fields = Mapping[str, Any]
Problem = tuple[str, str]
"""An argument, and what is wrong with it."""


def _nothing(_fields: Fields) -> list[Problem]:
    return []


@dataclass(frozen=True, slots=True)
class SubmissionRules:
    """The rules of one API."""

    rejected: Mapping[str, str] = field(default_factory=dict)
    """Arguments that the API does not support, and what to do instead."""
    highest_priority: int | None = None
    """None if it is not documented."""
    problems: Callable[[Fields], list[Problem]] = _nothing
    """Returns all other problems: what is missing or wrong."""
    separator: str = "-"
    not_in_names: str = r"[^A-Za-z0-9_-]+"
    lower_case: bool = False
    longest_name: int = 64


def _user(fields: Fields) -> list[Problem]:
    if fields.get("user"):
        return []
    return [("user", 'the cluster user that the job runs as is missing, for example user="alice"')]


def _qingcloud(fields: Fields) -> list[Problem]:
    nodes = fields.get("nodes")
    several = isinstance(nodes, int) and nodes > 1
    problem = [("nodes", "a job runs on one node; leave it out")] if several else []
    return [*_user(fields), *problem]


def _serverless(fields: Fields) -> list[Problem]:
    array, problems = fields.get("array"), []
    if isinstance(array, str) and not re.fullmatch(r"\d+-\d+(:\d+)?", array):
        problems.append(("array", f"expected X-Y or X-Y:STEP, got {array!r}"))
    if not _holds(fields.get("options"), "Container", "Image"):
        problem = 'a container image is missing, for example options={"Container": {"Image": "…"}}'
        problems.append(("options", problem))
    return problems


def _modelarts(fields: Fields) -> list[Problem]:
    options, problems = fields.get("options"), []
    pool = fields.get("queue") or _holds(options, "spec", "resource", "pool_id")
    if not pool and not _holds(options, "spec", "resource", "flavor_id"):
        example = 'options={"spec": {"resource": {"flavor_id": "modelarts.vm.cpu.8u"}}}'
        problems.append(
            ("options", f"a flavor is missing, for example {example}, or queue=<ID of a resource pool>")
        )
    if not _holds(options, "algorithm"):
        example = 'options={"algorithm": {"engine": {"image_url": "team/train:1.2"}}}'
        problems.append(("options", f"an image or an algorithm is missing, for example {example}"))
    wall_time = fields.get("wall_time")
    if isinstance(wall_time, int | float) and (wall_time % 3600 or wall_time < 3600):
        problems.append(("wall_time", f"jobs are stopped after whole hours, not after {wall_time:g} s"))
    return problems


def _holds(options: Any, *path: str) -> bool:
    """Return True if nested options have a value at a path, or are not known yet."""
    for name in path:
        if options is UNKNOWN:
            return True
        if not isinstance(options, Mapping):
            return False
        options = options.get(name)
    return bool(options)


class _Unknown:
    """A value that is not known before the task runs, such as a template."""

    def __bool__(self) -> bool:
        return True


UNKNOWN = _Unknown()
_FLAVOR = 'the flavor determines this: options={"spec": {"resource": {"flavor_id": "…"}}}'
_EXPORT = 'set options={"spec": {"log_export_path": {"obs_url": "…"}}}'
_NO_UNIT = "its unit is not documented; if you know it, set options={%s}"
RULES: Mapping[str, SubmissionRules] = {
    # JobName's characters are not documented; PBS takes those, and Slurm takes any.
    "ehpc": SubmissionRules(not_in_names=r"[^A-Za-z0-9_.-]+"),
    # "6 to 30 characters in length and start with a letter. It can contain letters, digits, and periods"
    # (SubmitJob's page).
    "ehpc-classic": SubmissionRules(
        highest_priority=9, problems=_user, separator=".", not_in_names=r"[^A-Za-z0-9.]+", longest_name=30
    ),
    # "lowercase letters, digits, and hyphens (-). It cannot start or end with a hyphen"
    # (SubmitServerlessJob's page). The length is not documented.
    "ehpc-serverless": SubmissionRules(
        rejected={
            "queue": "serverless jobs have no queue; leave it out",
            "user": "serverless jobs run as the container's user; leave it out",
            "nodes": "a serverless job has one container; use array for several",
            "stdout_path": "redirect the output in the command, to a mounted volume",
            "stderr_path": "redirect the output in the command, to a mounted volume",
        },
        highest_priority=999,
        problems=_serverless,
        lower_case=True,
        not_in_names=r"[^a-z0-9-]+",
    ),
    # 1 to 64 of these characters (CreateTrainingJob's page).
    "modelarts": SubmissionRules(
        rejected={
            "user": "jobs run as the user of the connection's key; leave it out",
            "cores": _FLAVOR,
            "gpus": _FLAVOR,
            "memory": _FLAVOR,
            "array": "map the task with .expand() for several jobs",
            "stdout_path": _EXPORT,
            "stderr_path": _EXPORT,
        },
        problems=_modelarts,
    ),
    # The characters of names are not documented.
    "qingcloud": SubmissionRules(
        rejected={
            "gpus": "choose a queue whose nodes have them",
            "array": "map the task with .expand() for several jobs",
            "environment": "set the variables in the command",
            "memory": _NO_UNIT % '"mem_limit": …',
            "wall_time": _NO_UNIT % '"time_limit": …',
        },
        problems=_qingcloud,
    ),
}


def check_submission(api: str, fields: Fields) -> None:
    """Check the arguments of a submission; report all problems at once.

    :param fields: the arguments by name; None for those that are not given, :data:`UNKNOWN` for templates.
    :raises InvalidArgument: naming each argument that is missing, or that the API does not support.
    """
    require(api, Capability.SUBMIT)
    rules = RULES[api]
    problems = [
        (name, hint) for name, hint in rules.rejected.items() if fields.get(name) not in (None, "", 0, {})
    ]
    priority = fields.get("priority")
    if isinstance(priority, int) and rules.highest_priority is not None and priority > rules.highest_priority:
        problems.append(("priority", f"{priority} is above {rules.highest_priority}"))
    problems += rules.problems(fields)
    if problems:
        shown = "; ".join(f"{name}: {problem}" for name, problem in problems)
        raise InvalidArgument(f"the API {api!r} cannot run this job: {shown}")


def unique_name(api: str, prefix: str, suffix: str) -> str:
    """Return a job name that the API allows: a readable prefix, and a suffix that makes the name unique.

    :param suffix: lower-case letters and digits.
    """
    rules = RULES[api]
    readable = prefix.lower() if rules.lower_case else prefix
    readable = re.sub(rules.not_in_names, rules.separator, readable)
    # A name begins with a letter; underscores and dots are odd at the end.
    readable = re.sub(r"^[^A-Za-z]+", "", readable)[: rules.longest_name - len(suffix) - 1].rstrip("-_.")
    return f"{readable or 'job'}{rules.separator}{suffix}"

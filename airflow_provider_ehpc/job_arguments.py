# SPDX-License-Identifier: Apache-2.0
"""Check the arguments of a submission, and build a job from them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.apis.submit_rules import UNKNOWN, check_submission
from airflow_provider_ehpc.exit_code import can_wrap, wrap

_VARIABLE = re.compile(r"[^\s=\x00-\x1f\x7f]+")
_TAKES_TEXT = re.compile(r"(?:sh|python[\d.]*)(?:\s|$)")
"""Interpreters that run the text after ``-c``."""


def job_fields(task: Any) -> dict[str, Any]:
    """Check a task's arguments that describe its job, and return them; UNKNOWN stands for a template.

    The task's own arguments override a script's ``#SBATCH`` and ``#PBS`` lines, as the options of ``sbatch``
    and ``qsub`` do.

    :param task: the task, with an attribute for each argument.
    :raises InvalidArgument: naming the argument that is wrong.
    """
    if (task.command is None) == (task.script is None):
        raise InvalidArgument("command, script: give exactly one of them")
    fields: dict[str, Any] = {}
    in_script: dict[str, Any] = {}
    if isinstance(task.script, str) and not arguments.is_template(task.script):
        # The import is local, because it loads argparse, which few DAG files need.
        from airflow_provider_ehpc.apis.schedulers.batch_script import script_fields

        in_script = script_fields(_script("script", task.script) if task.script.strip() else "")
    for name, check in _CHECKS.items():
        # The attribute queue belongs to Airflow.
        value = getattr(task, "job_queue" if name == "queue" else name)
        # A template may render to an empty text.
        if value is None or (name not in ("command", "script") and value == ""):
            value = in_script.get(name)
        if value is not None:
            fields[name] = UNKNOWN if arguments.is_template(value) else check(name, value)
    return fields


def captures(fields: dict[str, Any], api: str) -> bool:
    """Return True if the exit code of the job can be captured from its output."""
    return can_wrap(api, fields.get("command") or fields["script"])


def job_spec(
    fields: dict[str, Any],
    api: str,
    name: str,
    *,
    password: str | None,
    token: str | None,
    only: str | None = None,
) -> JobSpec:
    """Return the job that the arguments of a task describe.

    :param fields: from :func:`job_fields`, without templates.
    :param name: the job's name.
    :param password: the password of the cluster user, if the connection has one.
    :param token: the token of the marker with the job's exit code; None to write none.
    :param only: the members of the array that run the command, such as ``3,7-9``; None for all.
    :raises InvalidArgument: naming the arguments that are missing, or that the API does not support.
    """
    check_submission(api, fields)
    own = {name: value for name, value in fields.items() if name not in ("command", "script", "job_name")}
    if token:
        command = wrap(fields.get("command") or fields["script"], token)
    else:
        command = fields.get("command") or _script_command(fields["script"])
    if only and not _is_path(command):
        command = _only_in(only, command, token)
    return JobSpec(
        name=name,
        command=command_line(api, command),
        password=password if fields.get("user") else None,
        **own,
    )


def command_line(api: str, command: str) -> str:
    """Return a command in the form that the API accepts.

    E-HPC accepts the path of a script on the cluster, or a program with its arguments after ``-- ``: "to use
    a command, you must specify the full path of the command" (the pages of CreateJob and SubmitJob). So a
    shell runs everything else.
    """
    if api not in ("ehpc", "ehpc-classic") or command.split()[0] == "--" or _is_path(command):
        return command
    return f"-- /bin/sh -c {shlex.quote(command)}"


def _is_path(command: str) -> bool:
    return len(command.split()) == 1 and command.lstrip()[0] == "/"


def _only_in(members: str, command: str, token: str | None) -> str:
    """Return a command that exits with 0 and does nothing else in all other members of its array.

    APIs accept only a range of members, not a list. The path of a script remains unchanged: the scheduler
    reads the script.
    """
    ranges = " ".join(part if "-" in part else f"{part}-{part}" for part in members.split(","))
    marker = f"printf '[exit-code %s 0]\\n' {token}; " if token else ""
    guard = (
        "ehpc_member=${SLURM_ARRAY_TASK_ID:-${PBS_ARRAY_INDEX:-$EHPC_ARRAY_TASK_ID}}; "
        '[ -z "$ehpc_member" ] && ehpc_runs=1 || ehpc_runs=; '
        f'for ehpc_range in {ranges}; do [ -n "$ehpc_runs" ] || '
        '[ "$ehpc_member" -lt "${ehpc_range%-*}" ] || [ "$ehpc_member" -gt "${ehpc_range#*-}" ] || '
        "ehpc_runs=1; done; "
        '[ -n "$ehpc_runs" ] || { echo "member $ehpc_member succeeded in an earlier job"; '
        f"{marker}exit 0; }};"
    )
    return guard + ("\n" if "\n" in command or command.startswith("#") else " ") + command.removeprefix("-- ")


def _script_command(script: str) -> str:
    """Return the command that runs a script's text with the interpreter that its first line names."""
    first = script.lstrip().partition("\n")[0]
    # Linux passes everything after the interpreter as one argument.
    interpreter = shlex.join((first[2:].split(None, 1) if first.startswith("#!") else None) or ["/bin/sh"])
    if _TAKES_TEXT.search(first) or not first.startswith("#!"):
        return f"{interpreter} -c {shlex.quote(script)}"
    # In other interpreters, such as perl, -c is a different option.
    return (
        f'f=$(mktemp) && printf %s {shlex.quote(script)} >"$f" || exit 1; '
        f'{interpreter} "$f"; c=$?; rm -f "$f"; exit $c'
    )


def _count_or_none(argument: str, value: Any) -> int | None:
    return arguments.count(argument, value, at_least=0) or None


def _priority(argument: str, value: Any) -> int:
    return arguments.count(argument, value, at_least=0)


def _environment(argument: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name for name in value):
        raise InvalidArgument(f"{argument}: expected a dict of names and values")
    for name, item in value.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidArgument(
                f"{argument}: {arguments.shown(name)} is not a valid name of a variable: it contains a "
                "blank, '=' or a control character"
            )
        if not arguments.is_template(item) and not isinstance(item, str | int | float):
            raise InvalidArgument(f"{argument}: {name}: expected a text, got {type(item).__name__}")
        if isinstance(item, str) and "\0" in item:
            raise InvalidArgument(f"{argument}: {name}: the value contains a NUL character")
    return {name: str(item) for name, item in value.items()}


def _array(argument: str, value: Any) -> str:
    # The import is local, because few DAG files need it.
    from airflow_provider_ehpc.apis.array import array_size

    text = arguments.word(argument, value)
    if not array_size(text) or re.search(r":0+(?!\d)", text):
        raise InvalidArgument(f"{argument}: expected X-Y or X-Y:STEP, got {arguments.shown(value)}")
    return text


def _options(argument: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{argument}: expected a dict, got {type(value).__name__}")
    if not all(isinstance(name, str) for name in value):
        raise InvalidArgument(f"{argument}: expected strings as names")
    try:
        json.dumps(value, allow_nan=False, default=_template_in_json)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"{argument}: a value is not JSON: {error}") from None
    return dict(value)


def _template_in_json(value: Any) -> None:
    if not arguments.is_template(value):
        raise TypeError(f"{type(value).__name__} is not a string, number, list or dict")


def _script(argument: str, value: Any) -> str:
    """Return the text of a script without the byte order mark and the line ends of Windows."""
    text = arguments.text(argument, value.removeprefix("\ufeff") if isinstance(value, str) else value)
    return text.replace("\r\n", "\n") if text.partition("\n")[0].endswith("\r") else text


def exit_codes(value: int | Collection[int] | None) -> frozenset[int]:
    """Return the exit codes of ``skip_on_exit_code``."""
    codes = [] if value is None else list(value) if arguments.is_list(value) else [value]  # type: ignore[arg-type]
    return frozenset(arguments.count("skip_on_exit_code", code, at_least=0) for code in codes)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "command": arguments.text,
    "script": _script,
    "job_name": arguments.text,
    "queue": arguments.word,
    "user": arguments.word,
    "nodes": arguments.count,
    "cores": arguments.count,
    "gpus": _count_or_none,
    "memory": arguments.memory,
    "wall_time": arguments.duration,
    "priority": _priority,
    "array": _array,
    "environment": _environment,
    "stdout_path": arguments.word,
    "stderr_path": arguments.word,
    "options": _options,
}
TASK_ARGUMENTS = tuple("job_queue" if name == "queue" else name for name in _CHECKS)
"""The arguments of a task that describe its job. The argument ``queue`` belongs to Airflow."""

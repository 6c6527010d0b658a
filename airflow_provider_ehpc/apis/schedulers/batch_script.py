# SPDX-License-Identifier: Apache-2.0
"""The ``#SBATCH`` and ``#PBS`` lines of a batch script, as arguments of a submission.

The clouds' APIs take a command, not a script's text, and their schedulers never see these lines. Sources:
sbatch(1) of Slurm 23.11; qsub(1B) of OpenPBS 23.06.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from airflow_provider_ehpc.apis.call import InvalidArgument

_LINE = re.compile(r"#(SBATCH|PBS)\s+(.*)")


def script_fields(script: str) -> dict[str, Any]:
    """Return the settings that a script's lines request, by the names of the operator's arguments.

    As for ``sbatch`` and ``qsub``, lines behind the first command do not count.

    :raises InvalidArgument: naming the options that cannot be passed on.
    """
    try:
        return _script_fields(script)
    except ValueError as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"script: an #SBATCH or #PBS line cannot be read: {error}") from error


def _script_fields(script: str) -> dict[str, Any]:
    options: dict[str, list[str]] = {"SBATCH": [], "PBS": []}
    for line in script.splitlines():
        if found := _LINE.fullmatch(line.strip()):
            options[found[1]] += shlex.split(found[2], comments=True)
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    if options["SBATCH"] and options["PBS"]:
        raise InvalidArgument("script: it has both #SBATCH and #PBS lines; remove those of one scheduler")
    fields = _slurm(options["SBATCH"]) if options["SBATCH"] else _pbs(options["PBS"])
    return {name: value for name, value in fields.items() if value is not None}


class _Parser(argparse.ArgumentParser):
    def __init__(self, kind: str) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self._kind = kind

    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(f"script: #{self._kind}: {message}")

    def read(self, words: list[str]) -> argparse.Namespace:
        known, unknown = self.parse_known_args(words)
        if unknown:
            raise InvalidArgument(
                f"script: #{self._kind} {' '.join(unknown)} cannot be passed on to the cloud; remove the "
                "line, and use the arguments or options of the task"
            )
        return known


def _slurm(words: list[str]) -> dict[str, Any]:
    parser = _Parser("SBATCH")
    for names in (
        ("-J", "--job-name"),
        ("-p", "--partition"),
        ("-a", "--array"),
        ("-o", "--output"),
        ("-e", "--error"),
        ("-t", "--time"),
        ("--mem",),
        ("--gres",),
        ("--gpus-per-node",),
    ):
        parser.add_argument(*names)
    for names in (("-N", "--nodes"), ("-n", "--ntasks"), ("--ntasks-per-node",), ("-c", "--cpus-per-task")):
        parser.add_argument(*names, type=int)
    asked = parser.read(words)
    return {
        "job_name": asked.job_name,
        "queue": asked.partition,
        "array": asked.array,
        "stdout_path": _without_pattern(asked.output),
        "stderr_path": _without_pattern(asked.error),
        "wall_time": asked.time and _slurm_time(asked.time),
        # "Default units are megabytes" (sbatch).
        "memory": f"{asked.mem}M" if (asked.mem or "").isdigit() else asked.mem,
        "gpus": _gpus(asked.gpus_per_node or asked.gres),
        "nodes": asked.nodes,
        "cores": _cores(asked),
    }


def _cores(asked: argparse.Namespace) -> int | None:
    tasks, nodes = asked.ntasks_per_node, asked.nodes or 1
    if tasks is None and asked.ntasks is not None:
        if asked.ntasks % nodes:
            raise InvalidArgument(f"script: #SBATCH: {asked.ntasks} tasks cannot be divided by {nodes} nodes")
        tasks = asked.ntasks // nodes
    return (
        None if tasks is None and asked.cpus_per_task is None else (tasks or 1) * (asked.cpus_per_task or 1)
    )


def _gpus(text: str | None) -> int | None:
    if text is None:
        return None
    # gpu:2, gpu:a100:2, a100:2 and 2.
    found = re.fullmatch(r"(?:[A-Za-z][\w.]*:){0,2}(\d+)|gpu", text)
    if not found or "," in text:
        raise InvalidArgument(f"script: #SBATCH: {text!r} names no number of GPUs")
    return int(found[1] or 1)


def _slurm_time(text: str) -> int:
    """Return the seconds of ``minutes``, ``m:s``, ``h:m:s``, ``d-h``, ``d-h:m`` and ``d-h:m:s``."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in (*parts, *([days] if days else []))) or len(parts) > 3:
        raise InvalidArgument(f"script: #SBATCH --time={text} is no time")
    numbers = [int(part) for part in parts]
    if days:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        # One number is minutes.
        hours, minutes, seconds = [0, *numbers, 0][:3] if len(numbers) == 1 else [0, *numbers][-3:]
    return int(days or 0) * 86_400 + hours * 3600 + minutes * 60 + seconds


def _without_pattern(path: str | None) -> str | None:
    if path and "%" in path:
        raise InvalidArgument(
            f"script: #SBATCH: {path!r} has a pattern, which the cloud does not fill in; remove the line or "
            "the pattern"
        )
    return path


def _pbs(words: list[str]) -> dict[str, Any]:
    parser = _Parser("PBS")
    for name in ("-N", "-q", "-J", "-o", "-e", "-p", "-v"):
        parser.add_argument(name)
    parser.add_argument("-l", action="append", default=[])
    asked = parser.read(words)
    fields: dict[str, Any] = {
        "job_name": asked.N,
        "queue": asked.q,
        "array": asked.J,
        "stdout_path": asked.o,
        "stderr_path": asked.e,
        "priority": asked.p,
        "environment": _variables(asked.v) if asked.v else None,
    }
    for name, value in _resources(asked.l):
        if name not in _RESOURCES:
            raise InvalidArgument(
                f"script: #PBS -l {name}={value} cannot be passed on to the cloud; remove it"
            )
        field, read = _RESOURCES[name]
        fields[field] = read(value)
    return fields


def _resources(lists: list[str]) -> Iterator[tuple[str, str]]:
    """Return the resources of ``-l walltime=1:00:00,mem=4gb`` and ``-l select=2:ncpus=4:mem=8gb``."""
    for resources in lists:
        if "+" in resources:
            raise InvalidArgument(
                f"script: #PBS -l {resources} asks for different nodes, which cannot be passed on to the "
                "cloud; ask for equal ones"
            )
        for item in resources.split(","):
            first, *rest = item.split(":") if item.startswith(("select=", "nodes=")) else [item]
            for part in (first, *rest):
                name, _, value = part.partition("=")
                yield name.strip(), value.strip()


def _pbs_memory(text: str) -> str:
    # A number alone is bytes (pbs_resources(7B)).
    return f"{-(-int(text) // 1024)}kb" if text.isdigit() else text


def _pbs_time(text: str) -> int:
    """Return the seconds of ``[[h:]m:]s``."""
    seconds = 0
    for part in text.split(":"):
        if not part.isdigit():
            raise InvalidArgument(f"script: #PBS -l walltime={text} is no time")
        seconds = seconds * 60 + int(part)
    return seconds


def _variables(text: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in text.split(",")]
    if not all(separator for _name, separator, _value in pairs):
        raise InvalidArgument(f"script: #PBS -v {text} names a variable without a value")
    return {name.strip(): value for name, _separator, value in pairs}


_RESOURCES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "select": ("nodes", str),
    "nodes": ("nodes", str),
    "ncpus": ("cores", str),
    "ppn": ("cores", str),
    "ngpus": ("gpus", str),
    "mem": ("memory", _pbs_memory),
    "walltime": ("wall_time", _pbs_time),
}

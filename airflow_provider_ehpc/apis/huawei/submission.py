"""From a job's spec to the body of CreateTrainingJob.

A ModelArts job needs more than other jobs: a flavor or a pool, an image or an algorithm, inputs and outputs
in OBS. Those are given in ``JobSpec.options`` in the API's own structure and merged with what the spec says::

    JobSpec(
        name="train-2026-01-02",
        command="python /home/ma-user/train.py",
        nodes=2,
        environment={"EPOCHS": "3"},
        options={
            "algorithm": {"engine": {"image_url": "team/train:1.2"}},
            "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.8u"}},
        },
    )
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobSpec

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def job_body(spec: JobSpec, api: str) -> dict[str, Any]:
    """Return the body that submits ``spec``.

    ``queue`` is the id of a dedicated pool, ``nodes`` the number of its nodes, ``wall_time`` whole hours.

    :raises InvalidArgument: for what ModelArts has no place for, and where ``options`` contradict the spec.
    """
    spec.refuse(api, "user", "password", hint="jobs run as the user of the connection's key")
    spec.refuse(
        api,
        "cores",
        "gpus",
        "memory",
        hint="a flavor has them: options={'spec': {'resource': {'flavor_id': …}}}",
    )
    spec.refuse(api, "array")
    spec.refuse(
        api, "stdout_path", "stderr_path", hint="set options={'spec': {'log_export_path': {'obs_url': …}}}"
    )
    if not _NAME.fullmatch(spec.name):
        raise InvalidArgument(
            f"name: {spec.name!r} is no name for a ModelArts job: 1 to 64 letters, digits, _ and -"
        )
    if spec.wall_time is not None and (spec.wall_time % 3600 or spec.wall_time < 3600):
        raise InvalidArgument(
            f"wall_time: ModelArts stops jobs after whole hours; {spec.wall_time} s is no multiple of 3600"
        )
    body = {
        "kind": "job",
        "metadata": {"name": spec.name},
        "algorithm": {"command": spec.command or None, "environments": dict(spec.environment) or None},
        "spec": {
            "resource": {"pool_id": spec.queue, "node_count": spec.nodes},
            "auto_stop": {"time_unit": "HOURS", "duration": spec.wall_time // 3600}
            if spec.wall_time
            else None,
            "schedule_policy": {"priority": spec.priority},
        },
    }
    merged: dict[str, Any] = _merge(_told(body), spec.options, "options")
    return merged


def _told(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` without what is None, at any depth."""
    told = {name: _told(value) if isinstance(value, Mapping) else value for name, value in body.items()}
    return {name: value for name, value in told.items() if value is not None and value != {}}


def _merge(body: dict[str, Any], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name, value in options.items():
        place = f"{where}.{name}"
        mine = body.get(name)
        if isinstance(mine, dict) and isinstance(value, Mapping):
            _merge(mine, value, place)
        elif name in body and mine != value:
            raise InvalidArgument(f"{place}: contradicts the job's own fields; set one of the two")
        else:
            body[name] = value
    return body

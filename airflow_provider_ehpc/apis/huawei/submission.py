# SPDX-License-Identifier: Apache-2.0
"""Convert a job's spec to the body of CreateTrainingJob.

A ModelArts job needs more than other jobs: a flavor or a pool, an image or an algorithm, inputs and outputs
in OBS. They are set in ``JobSpec.options`` in the API's own structure, and merged with the spec's fields::

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

    ``queue`` is the ID of a dedicated pool, ``nodes`` the number of nodes. ``wall_time`` must be whole hours.

    :raises InvalidArgument: if ModelArts does not support a field, or if ``options`` contradict the spec.
    """
    spec.refuse(api, "user", "password", hint="jobs run as the user of the connection's key")
    spec.refuse(
        api,
        "cores",
        "gpus",
        "memory",
        hint="choose a flavor instead: options={'spec': {'resource': {'flavor_id': …}}}",
    )
    spec.refuse(api, "array")
    spec.refuse(
        api, "stdout_path", "stderr_path", hint="set options={'spec': {'log_export_path': {'obs_url': …}}}"
    )
    if not _NAME.fullmatch(spec.name):
        raise InvalidArgument(
            f"name: {spec.name!r} is not a valid name of a ModelArts job: use 1 to 64 letters, digits, _, -"
        )
    if spec.wall_time is not None and (spec.wall_time % 3600 or spec.wall_time < 3600):
        raise InvalidArgument(
            f"wall_time: {spec.wall_time} s is not a multiple of 3600; ModelArts accepts only whole hours"
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
    return _merge(_without_none(body), spec.options, "options")


def _without_none(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` without None and empty objects, at any depth."""
    fields = {
        name: _without_none(value) if isinstance(value, Mapping) else value for name, value in body.items()
    }
    return {name: value for name, value in fields.items() if value is not None and value != {}}


def _merge(body: dict[str, Any], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name, value in options.items():
        place = f"{where}.{name}"
        present = body.get(name)
        if isinstance(present, dict) and isinstance(value, Mapping):
            _merge(present, value, place)
        elif name in body and present != value:
            raise InvalidArgument(f"{place}: contradicts the job's own fields; set only one of the two")
        else:
            body[name] = value
    return body

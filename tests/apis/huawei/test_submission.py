# SPDX-License-Identifier: Apache-2.0
"""The body of CreateTrainingJob."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.huawei.submission import job_body
from airflow_provider_ehpc.apis.job import JobSpec
from tests.apis.huawei.drive import sample


def test_the_documented_request_is_possible() -> None:
    """It is the vendor's example of a job with an image, a pool and a volume."""
    wanted = sample("v2-create-request-image")
    spec = JobSpec(
        name="TestModelArtsJob2",
        command="cd /home/ma-user/ddp_demo && sh run_ddp.sh",
        queue="poolfaf38d76",
        nodes=1,
        environment={"NCCL_DEBUG": "INFO", "NCCL_IB_DISABLE": "0"},
        options={
            "metadata": {"description": "This is a ModelArts job2"},
            "algorithm": {
                "engine": {"image_url": "xxxxxxxx/fastseq:1.2"},
                "parameters": [],
                "policies": {"auto_search": None},
            },
            "spec": {
                "resource": {"flavor_id": "modelarts.pool.visual.xlarge"},
                "log_export_path": wanted["spec"]["log_export_path"],
                "volumes": wanted["spec"]["volumes"],
            },
        },
    )
    assert job_body(spec, "modelarts") == wanted


def test_fields_that_are_not_set_are_not_sent() -> None:
    """For this API, null is not the same as a missing field."""
    assert job_body(JobSpec("n", "run"), "modelarts") == {
        "kind": "job",
        "metadata": {"name": "n"},
        "algorithm": {"command": "run"},
    }
    assert job_body(JobSpec("n", "", options={"algorithm": {"id": "a"}}), "modelarts")["algorithm"] == {
        "id": "a"
    }


def test_wall_time_and_priority() -> None:
    """With a wall time, the job stops even if Airflow cannot stop it."""
    body = job_body(JobSpec("n", "run", wall_time=7200, priority=3), "modelarts")
    assert body["spec"] == {
        "auto_stop": {"time_unit": "HOURS", "duration": 2},
        "schedule_policy": {"priority": 3},
    }


def test_options_are_not_changed() -> None:
    """A DAG file may create them once for many tasks."""
    options = {"spec": {"resource": {"flavor_id": "f"}}}
    job_body(JobSpec("n", "run", nodes=2, options=options), "modelarts")
    assert options == {"spec": {"resource": {"flavor_id": "f"}}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"user": "u"}, "user"),
        ({"password": "p"}, "password"),
        ({"cores": 4}, "cores"),
        ({"gpus": 1}, "gpus"),
        ({"memory": "4GB"}, "memory"),
        ({"array": "1-4"}, "array"),
        ({"stdout_path": "/o"}, "stdout_path"),
        ({"stderr_path": "/e"}, "stderr_path"),
        ({"name": "a b"}, "name"),
        ({"name": "n" * 65}, "name"),
        ({"name": ""}, "name"),
        ({"wall_time": 600}, "wall_time"),
        ({"wall_time": 5400}, "wall_time"),
        ({"wall_time": 0}, "wall_time"),
        (
            {"nodes": 2, "options": {"spec": {"resource": {"node_count": 3}}}},
            "options.spec.resource.node_count",
        ),
        ({"options": {"metadata": {"name": "other"}}}, "options.metadata.name"),
        ({"options": {"algorithm": "x"}}, "options.algorithm"),
    ],
)
def test_unsupported_fields_are_errors(fields: dict[str, Any], named: str) -> None:
    """A user would rely on a memory limit that is silently ignored."""
    with pytest.raises(InvalidArgument, match=rf"^{named}:"):
        job_body(JobSpec(**{"name": "n", "command": "run", **fields}), "modelarts")

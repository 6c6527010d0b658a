# SPDX-License-Identifier: Apache-2.0
"""The demonstration's jobs, submitted to each cloud through its hook."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.hooks import job_hook

SCRIPT = Path(__file__).with_name("heat_equation.py")
CLOUDS: dict[str, tuple[str, dict[str, Any]]] = {
    "classic": ("aliyun_ehpc_default", {"name": "demo.classic", "user": "demo"}),
    "serverless": (
        "aliyun_ehpc_default",
        {"name": "demo-serverless", "options": {"Container": {"Image": "demo/heat:1"}}},
    ),
    "modelarts": (
        "huawei_modelarts_default",
        {
            "name": "demo-modelarts",
            "options": {
                "algorithm": {"engine": {"image_url": "demo/heat:1"}},
                "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.2u"}},
            },
        },
    ),
    "qingcloud": ("qingcloud_hpc_default", {"name": "demo-qingcloud", "user": "demo"}),
}
"""The connection of each cloud, and what its jobs need beside a command; rules for names differ too."""
_APIS = {"classic": "ehpc-classic", "serverless": "ehpc-serverless"}


def submit_heat_equation(seconds: float) -> str:
    """Submit the heat equation to E-HPC; return the job's id.

    The cluster has one core, and another job is on it: ours is queued at first, as jobs are.
    """
    hook = job_hook("aliyun_ehpc_default")
    hook.submit(JobSpec(name="somebody-elses-job", command="sleep 15", nodes=1, cores=1))
    command = f"{sys.executable} {SCRIPT} {seconds}"
    return hook.submit(JobSpec(name="heat-equation", command=command, nodes=1, cores=1)).job_id


def submit_everywhere() -> dict[str, str]:
    """Submit a short job to each cloud; return their ids."""
    command = f"{sys.executable} {SCRIPT} 2"
    return {
        cloud: job_hook(conn_id, _APIS.get(cloud)).submit(JobSpec(command=command, **needs)).job_id
        for cloud, (conn_id, needs) in CLOUDS.items()
    }

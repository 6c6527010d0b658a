# SPDX-License-Identifier: Apache-2.0
"""Describe a job as ``scontrol show job`` of Slurm does, which DescribeJob of 2018-04-12 passes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.emulator.aliyun.cluster_view import clock, local_time
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

_REASONS = {
    Phase.PENDING: "Resources",
    Phase.FAILED: "NonZeroExitCode",
    Phase.TIMEOUT: "TimeLimit",
    Phase.OUT_OF_MEMORY: "OutOfMemory",
}


def describe(cluster: Cluster, job: EmulatedJob) -> Mapping[str, Any]:
    """Return the fields of a job, a sub-job or a whole array."""
    spec = job.spec
    nodes, cores = spec.nodes or 1, spec.cores or 1
    array = {}
    if spec.array:
        index = spec.array if job.index is None else str(job.index)
        array = {"ArrayJobId": str(job.number), "ArrayTaskId": index}
    if job.wait_status is None:
        signal = (job.exit_code or 0) - 128 if (job.exit_code or 0) > 128 else 0
        code = 0 if signal else job.exit_code or 0
    else:
        signal = job.wait_status & 0x7F
        code = 0 if signal else job.wait_status >> 8
    return {
        "JobId": str(job.number),
        **array,
        "JobName": spec.name,
        "UserId": f"{spec.user}(1000)",
        "GroupId": "users(100)",
        "Priority": str(spec.priority or 0),
        "JobState": str(job.phase),
        "Reason": job.reason or _REASONS.get(job.phase, "None"),
        "Requeue": "1",
        "Restarts": str(job.restarts),
        "ExitCode": f"{code}:{signal}",
        "RunTime": clock(int(max(0.0, (job.ended_at or time.time()) - (job.started_at or time.time())))),
        "TimeLimit": clock(spec.wall_time) if spec.wall_time else "UNLIMITED",
        "SubmitTime": local_time(job.submission.submitted_at),
        "StartTime": local_time(job.started_at) or "Unknown",
        "EndTime": local_time(job.ended_at) or "Unknown",
        "Partition": spec.queue,
        "NodeList": ",".join(job.nodes) or "(null)",
        "BatchHost": next(iter(job.nodes), "(null)"),
        "NumNodes": str(nodes),
        "NumCPUs": str(nodes * cores),
        "Command": spec.command,
        "WorkDir": str(cluster.home),
        "StdErr": str(job.stderr_path),
        "StdIn": "/dev/null",
        "StdOut": str(job.stdout_path),
    }

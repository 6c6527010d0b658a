# SPDX-License-Identifier: Apache-2.0
"""Run the containers of serverless jobs as processes, and describe them.

The script of a job runs its container, retries it after a failure, and records when each attempt starts and
ends. DescribeServerlessJobs reports one container group per attempt, built from this record and the job.
Sources: the page of the operation and the response model of ``alibabacloud-ehpc20180412``.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.emulator.aliyun.serverless_requests import Retries
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

_CPU, _MEMORY = 2.0, 4.0
"""The default cores and GiB of an Elastic Container Instance."""
# The variables of the scheduler give the record its name; EHPC_ARRAY_TASK_ID is the documented variable. The
# container's variables are set for the container only, so that they cannot change this script.
_SCRIPT = """
record={home}/${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}.containers
[ -z "$SLURM_ARRAY_TASK_ID" ] || export EHPC_ARRAY_TASK_ID="$SLURM_ARRAY_TASK_ID"
cd {directory} 2>/dev/null || cd {home}
left={retries}
while :; do
    echo "began $(date +%s)" >>"$record"
    env {command}
    code=$?
    echo "ended $(date +%s) $code" >>"$record"
    case $code in {final}) exit $code;; esac
    [ $left -gt 0 ] || exit $code
    left=$((left - 1))
done
"""


def script(home: Path, container: Mapping[str, Any], retries: Retries) -> str:
    """Return the script that runs Command and Arg of a container as a process, without its image.

    The working directory is used if it exists on this machine. A container without a command would
    run that of its image; here it succeeds at once.
    """
    variables = [f"{item['Key']}={item.get('Value') or ''}" for item in container.get("EnvironmentVar") or []]
    words = [*(container.get("Command") or []), *(container.get("Arg") or [])] or ["true"]
    return _SCRIPT.format(
        home=shlex.quote(str(home)),
        directory=shlex.quote(container.get("WorkingDir") or str(home)),
        retries=retries.attempts,
        command=shlex.join([*variables, *words]),
        final="|".join(map(str, (0, *retries.final_codes))),
    )


@dataclass(slots=True)
class ContainerAttempt:
    """One attempt of a job's container. Times are epoch seconds."""

    began_at: float
    ended_at: float | None = None
    code: int | None = None


def begun(home: Path, job: EmulatedJob) -> bool:
    """Return True if the container of a job has started."""
    return _record(home, job).exists()


def attempts(home: Path, job: EmulatedJob) -> list[ContainerAttempt]:
    """Return the attempts of a job's container so far, oldest first."""
    found: list[ContainerAttempt] = []
    with contextlib.suppress(FileNotFoundError):
        for line in _record(home, job).read_text().splitlines():
            word, at, *code = line.split()
            if word == "began":
                found.append(ContainerAttempt(float(at)))
            elif found and code:
                found[-1].ended_at, found[-1].code = float(at), int(code[0])
    if found and found[-1].ended_at is None and job.phase.ended:
        # The container was killed together with the script.
        found[-1].ended_at = job.ended_at
        found[-1].code = 137 if job.exit_code is None else job.exit_code
    return found


def _record(home: Path, job: EmulatedJob) -> Path:
    name = str(job.number) if job.index is None else f"{job.number}_{job.index}"
    return home / f"{name}.containers"


def container_groups(job: EmulatedJob, runs: Sequence[ContainerAttempt]) -> list[dict[str, Any]]:
    """Return the container groups of a job: none while it is pending, later one per attempt."""
    if job.phase is Phase.PENDING or (job.phase.ended and not runs):
        return []
    # Without an attempt, the instance exists and its container is about to start.
    return [_group(job, number, run) for number, run in enumerate(runs or [None])]


def _group(job: EmulatedJob, number: int, run: ContainerAttempt | None) -> dict[str, Any]:
    options = job.spec.options
    identity = f"{job.number} {job.index} {number} {job.submission.submitted_at}"
    created_at = run.began_at if run else job.started_at
    ended_at = run.ended_at if run else None
    status = "Pending" if run is None else "Running"
    group: dict[str, Any] = {
        "ContainerGroupId": f"eci-bp1{hashlib.sha256(identity.encode()).hexdigest()[:17]}",
        "ContainerGroupName": job.spec.name,
        "InstanceType": next(iter(options.get("InstanceType", ())), ""),
        "SpotStrategy": options.get("SpotStrategy", "NoSpot"),
        "Cpu": options.get("Cpu", _CPU),
        "Memory": options.get("Memory", _MEMORY),
        "Containers": [_container(job, run)],
        "InitContainers": [],
        "Volumes": [],
        "Events": [],
        "Tags": [],
        "CreationTime": utc(created_at),
        "IntranetIp": "127.0.0.1",
        "RamRoleName": options.get("RamRoleName", ""),
        "RegionId": "cn-hangzhou",
        "ZoneId": "cn-hangzhou-h",
        "RestartPolicy": "Never",
        "VSwitchId": next(iter(options.get("VSwitchId", ())), ""),
        **{name: options[name] for name in ("EphemeralStorage", "SpotPriceLimit") if name in options},
    }
    if run:
        group["Events"].append(_event(job, "Normal", "Started", "Started container", run.began_at))
    if run and run.code is not None:
        status = "Failed" if run.code else "Succeeded"
        group[f"{status}Time"] = utc(ended_at)
        if run.code:
            message = f"the container exited with code {run.code}"
            group["Events"].append(_event(job, "Warning", "BackOff", message, ended_at))
    return {**group, "Status": status}


def _event(job: EmulatedJob, kind: str, reason: str, message: str, at: float | None) -> dict[str, Any]:
    return {
        "Type": kind,
        "Name": job.spec.name,
        "Reason": reason,
        "Message": message,
        "Count": 1,
        "FirstTimestamp": utc(at),
        "LastTimestamp": utc(at),
    }


def _container(job: EmulatedJob, run: ContainerAttempt | None) -> dict[str, Any]:
    options = job.spec.options
    container = options["Container"]
    variables, mounts = container.get("EnvironmentVar") or [], container.get("VolumeMount") or []
    return {
        "Name": job.spec.name,
        "Image": container["Image"],
        "ImagePullPolicy": "IfNotPresent",
        "Commands": container.get("Command") or [],
        "Args": container.get("Arg") or [],
        "WorkingDir": container.get("WorkingDir") or "",
        "Cpu": options.get("Cpu", _CPU),
        "Memory": options.get("Memory", _MEMORY),
        "Gpu": container.get("Gpu") or 0,
        "EnvironmentVars": [{"Key": item["Key"], "Value": item.get("Value") or ""} for item in variables],
        "VolumeMounts": [{"MountPath": item.get("MountPath", "")} for item in mounts],
        "CurrentState": _container_state(run),
        "Ready": run is not None and run.code is None,
        "RestartCount": 0,
        "Stdin": False,
        "StdinOnce": False,
        "Tty": False,
    }


def _container_state(run: ContainerAttempt | None) -> dict[str, Any]:
    if run is None:
        return {"State": "Waiting", "Reason": "ContainerCreating"}
    if run.code is None:
        return {"State": "Running", "Reason": "Started", "StartTime": utc(run.began_at)}
    return {
        "State": "Terminated",
        "Reason": "Error" if run.code else "Completed",
        "DetailStatus": "",
        "Message": "",
        "ExitCode": run.code,
        "Signal": run.code - 128 if run.code > 128 else 0,
        "StartTime": utc(run.began_at),
        "FinishTime": utc(run.ended_at),
    }


def utc(at: float | None) -> str:
    """Write a time as Elastic Container Instance does: in RFC 3339 and UTC."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

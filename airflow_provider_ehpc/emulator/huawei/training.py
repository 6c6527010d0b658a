# SPDX-License-Identifier: Apache-2.0
"""Show jobs of the cluster as ModelArts training jobs: IDs, tasks, log files, phases and parameters.

A job runs one process per node: its tasks ``worker-0``, ``worker-1``, … Each task has its own log, which
contains both output streams. A job submitted by another API has one task, whose log is its standard output.
"""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.faults import FaultKind, Faults
from airflow_provider_ehpc.emulator.gateway import Refused
from airflow_provider_ehpc.emulator.huawei.logs import LogFile
from airflow_provider_ehpc.emulator.huawei.protocol import is_number, not_emulated
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

_OPTION = "modelarts"
"""Key in :attr:`JobSpec.options` of the request body that created the job."""
_IDS = uuid.UUID("3faf5c03-aaa1-4cbe-879d-000000000000").int
"""The ID of a job is this plus the job's number."""
_MAX_NODES = 1000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PHASES = {
    Phase.PENDING: ("Pending", "Queuing"),
    Phase.RUNNING: ("Running", "Running"),
    Phase.COMPLETING: ("Running", "Running"),
    Phase.SUSPENDED: ("Pending", "Queuing"),
    Phase.COMPLETED: ("Completed", "Completed"),
    Phase.CANCELLED: ("Terminated", "Terminated"),
    # auto_stop ends a job as a user does.
    Phase.TIMEOUT: ("Terminated", "Terminated"),
    Phase.NODE_FAIL: ("Abnormal", "Lost"),
    Phase.BOOT_FAIL: ("Abnormal", "CreateFailed"),
}


def job_id(job: EmulatedJob) -> str:
    """Return the ID of a job in API v2."""
    return str(uuid.UUID(int=_IDS + job.number))


def read_job_id(text: str) -> int | None:
    """Return the number in an ID of API v2; None if the text is not such an ID."""
    try:
        number = uuid.UUID(text).int - _IDS
    except ValueError:
        return None
    return number if 0 < number < 2**48 else None


def phase(job: EmulatedJob) -> tuple[str, str]:
    """Return the phase and the secondary phase of a job."""
    if job.stopped_at is not None and not job.phase.ended:
        return "Terminating", "Terminating"
    return _PHASES.get(job.phase, ("Failed", "Failed"))


def request_body(job: EmulatedJob) -> Mapping[str, Any]:
    """Return the request body that created a job; for a job of another API, one that would create it."""
    body: Mapping[str, Any] | None = job.spec.options.get(_OPTION)
    if body is not None:
        return body
    spec = job.spec
    return {
        "algorithm": {"command": spec.command, "environments": dict(spec.environment)},
        "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.2u", "node_count": 1}},
    }


def tasks(job: EmulatedJob) -> list[str]:
    """Return the names of the tasks of a job."""
    nodes = job.spec.nodes if _OPTION in job.spec.options else None
    return [f"worker-{n}" for n in range(nodes or 1)]


def workspace_id(job: EmulatedJob) -> str:
    """Return the ID of the workspace of a job."""
    return str((request_body(job).get("metadata") or {}).get("workspace_id") or "0")


def log_file(job: EmulatedJob, task: str) -> LogFile | None:
    """Return the log of a task; None if the job has no such task."""
    names = tasks(job)
    if task not in names:
        return None
    return LogFile(_task_log(job.stdout_path, names.index(task)), job)


def exit_codes(job: EmulatedJob) -> dict[str, int]:
    """Return the exit codes of the failed tasks, in the order in which the tasks ended."""
    if job.exit_code is None or not job.exit_code:
        return {}
    codes = {}
    ends = _ends(job.stdout_path)
    if ends.is_file():
        for line in ends.read_text().splitlines():
            number, code = line.split()
            codes[f"worker-{number}"] = int(code)
    return codes or {"worker-0": job.exit_code}


def read_spec(body: Mapping[str, Any], home: Path, default_queue: str) -> JobSpec:
    """Read the body of CreateTrainingJob.

    :raises Refused: if a parameter is missing, invalid or not emulated.
    """
    if body.get("kind") != "job":
        raise _invalid("kind")
    for part in ("endpoints", "ftjob_config", "tasks"):
        if body.get(part):
            raise not_emulated(part)
    if body.get("train_type") not in (None, "", "job"):
        raise not_emulated("train_type")
    metadata, algorithm, spec = (_part(body, name) for name in ("metadata", "algorithm", "spec"))
    for part in ("policies", "subscription_id"):
        if algorithm.get(part):
            raise not_emulated(f"algorithm.{part}")
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _invalid("metadata.name")
    resource = _part(spec, "resource")
    if not (resource.get("flavor_id") or resource.get("pool_id")):
        raise Refused(400, "ModelArts.2763", "The selected flavor is invalid.")
    nodes = resource.get("node_count", 1)
    if not isinstance(nodes, int) or not 1 <= nodes <= _MAX_NODES:
        raise _invalid("spec.resource.node_count")
    log = home / f"{name}-{uuid.uuid4().hex[:8]}-worker-0.log"
    command = _command(algorithm, home)
    environment = _part(algorithm, "environments")
    return JobSpec(
        name=name,
        command=command if nodes == 1 else _on_nodes(command, nodes, log),
        queue=default_queue,
        nodes=nodes,
        wall_time=_wall_time(_part(spec, "auto_stop")),
        priority=_part(spec, "schedule_policy").get("priority"),
        environment={**{key: str(value) for key, value in environment.items()}, "MA_NUM_HOSTS": str(nodes)},
        stdout_path=str(log),
        stderr_path=str(log),
        options={_OPTION: dict(body)},
    )


class TrainingJobs:
    """The visible jobs of the cluster. ModelArts has no arrays: an array counts as one job."""

    def __init__(self, cluster: Cluster, faults: Faults) -> None:
        self.cluster = cluster
        self._faults = faults

    def all(self) -> Iterator[EmulatedJob]:
        """Yield the jobs, oldest first."""
        return (job for job in self.cluster.jobs() if job.index is None and not self._hidden(job))

    def get(self, number: int | None) -> EmulatedJob | None:
        """Return a job by its number; None if it is unknown."""
        job = None if number is None else self.cluster.get(number)
        return None if job is None or self._hidden(job) else job

    def injected_state(self, job: EmulatedJob) -> str | None:
        """Return the state that a fault sets for a job; None without such a fault."""
        faults = (self._faults.active(FaultKind.STATE, name) for name in _ids(job))
        return next((fault.word for fault in faults if fault), None)

    def _hidden(self, job: EmulatedJob) -> bool:
        return any(self._faults.hides(name, job.submission.submitted_at) for name in _ids(job))


def _ids(job: EmulatedJob) -> tuple[str, str]:
    """Return the IDs of a job in API v2 and v1. A fault may use either."""
    return job_id(job), str(job.number)


def _command(algorithm: Mapping[str, Any], home: Path) -> str:
    """Return the shell command, or one that runs the boot file in :file:`home/obs/<bucket>/…`."""
    command, boot_file = algorithm.get("command"), algorithm.get("boot_file")
    if boot_file and not command:
        path = home / "obs" / str(boot_file).removeprefix("obs://").lstrip("/")
        parameters = algorithm.get("parameters") or []
        if not isinstance(parameters, list) or not all(
            isinstance(one, dict) and isinstance(one.get("name"), str) for one in parameters
        ):
            raise _invalid("algorithm.parameters")
        arguments = [f"--{one['name']}={one['value']}" for one in parameters if one.get("value") is not None]
        return shlex.join(["python3", str(path), *arguments])
    if not command and algorithm.get("id"):
        raise Refused(400, "ModelArts.2755", "algorithm not found.")
    if not command or not (_part(algorithm, "engine").get("image_url") or boot_file):
        raise Refused(400, "ModelArts.2806", "Custom image jobs command and engine.url cannot be empty.")
    return str(command)


def _on_nodes(command: str, nodes: int, log: Path) -> str:
    """Return a script that runs the command once per node in parallel, with the last non-zero exit code."""
    starts = [
        f"VC_TASK_INDEX={n} /bin/sh -c {shlex.quote(command)} >>{shlex.quote(str(_task_log(log, n)))} 2>&1 & "
        f"task{n}=$!"
        for n in range(nodes)
    ]
    ends = shlex.quote(str(_ends(log)))
    waits = [f'wait "$task{n}" || {{ code=$?; echo {n} $code >>{ends}; }}' for n in range(nodes)]
    return "\n".join(["code=0", *starts, *waits, "exit $code"])


def _task_log(log: Path, number: int) -> Path:
    return log if number == 0 else log.with_name(log.name.replace("-worker-0.log", f"-worker-{number}.log"))


def _ends(log: Path) -> Path:
    return log.with_suffix(".ends")


def _wall_time(auto_stop: Mapping[str, Any]) -> int | None:
    hours = auto_stop.get("duration")
    if not hours:
        return None
    if not isinstance(hours, int | str) or isinstance(hours, bool) or not is_number(str(hours)):
        raise _invalid("spec.auto_stop.duration")
    return int(hours) * 3600


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = body.get(name)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise Refused(400, "ModelArts.2825", f"The parameter ({name}) value type error.")
    return part


def _invalid(parameter: str) -> Refused:
    return Refused(400, "ModelArts.2788", f"Invalid parameter({parameter}).")

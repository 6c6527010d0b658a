"""A job in its scheduler's own words, which DescribeJob of 2018-04-12 passes on.

E-HPC documents a fragment of PBS's attributes (``egroup``, ``Stageout_status``, ``Keep_Files``, ``server``,
``queue``). The others are those of qstat(1B) and pbs_job_attributes(7B) of OpenPBS; for Slurm, those of
``scontrol show job``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_ehpc.emulator.aliyun.classic_requests import rerunable
from airflow_provider_ehpc.emulator.aliyun.spelling import PBS, SLURM
from airflow_provider_ehpc.emulator.aliyun.view import BEIJING, local_time
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.dependencies import OPTION, TYPES
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

Attributes = Mapping[str, Any]

_SERVER = "manager"
_LETTERS = {Phase.PENDING: "Q", Phase.RUNNING: "R", Phase.COMPLETING: "E", Phase.SUSPENDED: "S"}
_SUBSTATES = {Phase.PENDING: 10, Phase.RUNNING: 42, Phase.COMPLETING: 51, Phase.SUSPENDED: 45}
_FINISHED, _FAILED, _TERMINATED = 92, 93, 91
"""Substates of a job in PBS's history (job.h of OpenPBS)."""
_KILLED_BY_SIGNAL = 256
"""Added to the signal's number in an Exit_status; a shell adds 128."""
_KILLED_BY_WALLTIME = -29
"""JOB_EXEC_KILL_WALLTIME of OpenPBS's job.h."""


def describe(cluster: Cluster, spelling: str, job: EmulatedJob) -> Attributes:
    """Return the attributes of a job of a cluster with this spelling."""
    return _DESCRIBERS[spelling](cluster, job)


def _pbs(cluster: Cluster, job: EmulatedJob) -> Attributes:
    spec = job.spec
    nodes, cores = spec.nodes or 1, spec.cores or 1
    limits = {"mem": spec.memory} if spec.memory else {}
    if spec.wall_time:
        limits["walltime"] = _clock(spec.wall_time)
    select = f"{nodes}:ncpus={cores}" + (f":mem={spec.memory}" if spec.memory else "")
    told: dict[str, Any] = {
        "Job_Name": spec.name,
        "Job_Owner": f"{spec.user}@{_SERVER}",
        "job_state": _letter(cluster, job),
        "queue": spec.queue,
        "server": _SERVER,
        "Checkpoint": "u",
        "ctime": _ctime(job.submission.submitted_at),
        "Error_Path": f"{_SERVER}:{job.stderr_path}",
        "Hold_Types": "n",
        "Join_Path": "n",
        "Keep_Files": "n",
        "Mail_Points": "a",
        "mtime": _ctime(job.modified_at),
        "Output_Path": f"{_SERVER}:{job.stdout_path}",
        "Priority": spec.priority or 0,
        "qtime": _ctime(job.submission.submitted_at),
        "Rerunable": str(rerunable(job)),
        "Resource_List": {
            "ncpus": nodes * cores,
            "nodect": nodes,
            "place": "free",
            "select": select,
            **limits,
        },
        "substate": _substate(job),
        "Variable_List": {
            "PBS_O_WORKDIR": str(cluster.home),
            "PBS_O_QUEUE": spec.queue,
            **spec.environment,
        },
        "euser": spec.user,
        "egroup": "users",
        "queue_type": "E",
        "project": "_pbs_project_default",
    }
    if job.nodes:
        share = f"*{cores}" if cores > 1 else ""
        told["exec_host"] = "+".join(f"{node}/0{share}" for node in job.nodes)
        told["exec_vnode"] = "+".join(f"({node}:ncpus={cores})" for node in job.nodes)
    if job.started_at is not None:
        told["stime"] = _ctime(job.started_at)
        told["session_id"] = job.number
    if job.phase.ended and job.exit_code is not None:
        told["Exit_status"] = _exit_status(job)
        told["Stageout_status"] = 1
    if job.phase.ended:
        told["history_timestamp"] = int(job.ended_at or job.modified_at)
    if comment := _comment(job, told.get("exec_vnode", "")):
        told["comment"] = comment
    if others := spec.options.get(OPTION):
        told["depend"] = ",".join(f"{TYPES[kind]}:{other}.{_SERVER}@{_SERVER}" for kind, other, _ in others)
    if spec.array:
        told |= _pbs_array(cluster, job)
    return told


def _pbs_array(cluster: Cluster, job: EmulatedJob) -> Attributes:
    if job.index is not None:
        whole = PBS.whole_array.format(number=job.number)
        return {"array_id": whole, "array_index": str(job.index)}
    parts = [cluster.get(job.number, index) for index in job.submission.indexes]
    letters = [_letter(cluster, part) for part in parts if part]
    words = {"Queued": "Q", "Running": "R", "Exiting": "E", "Expired": "XF"}
    counts = (f"{word}:{sum(letter in those for letter in letters)}" for word, those in words.items())
    return {
        "array": "True",
        "array_indices_submitted": job.spec.array,
        "array_state_count": f"{' '.join(counts)} ",
    }


def _letter(cluster: Cluster, job: EmulatedJob) -> str:
    """Return qstat's letter: an array has begun (B), its ended sub-jobs are expired (X) until all are."""
    if job.whole_array and not job.phase.ended and job.phase is not Phase.PENDING:
        return "B"
    if not job.phase.ended:
        return _LETTERS[job.phase]
    whole = cluster.get(job.number)
    return "F" if whole is None or whole.phase.ended else "X"


def _comment(job: EmulatedJob, where: str) -> str:
    if job.phase is Phase.PENDING:
        return "Not Running: Insufficient amount of resource: ncpus"
    if job.started_at is None:
        return ""
    start = datetime.fromtimestamp(job.started_at, BEIJING).strftime("%a %b %d at %H:%M")
    text = f"Job Array Began at {start}" if job.whole_array else f"Job run at {start} on {where}"
    if not job.phase.ended:
        return text
    if job.phase is Phase.TIMEOUT and not job.whole_array:
        return f"{text} and exceeded resource walltime"
    by = "" if job.whole_array else f" by {job.spec.user}@{_SERVER}"
    ends = {_FINISHED: "finished", _FAILED: "failed", _TERMINATED: f"terminated{by}"}
    return f"{text} and {ends[_substate(job)]}"


def _substate(job: EmulatedJob) -> int:
    if not job.phase.ended:
        return _SUBSTATES[job.phase]
    if job.phase is Phase.CANCELLED:
        # One that is deleted because its dependency cannot be satisfied any more is only finished.
        return _TERMINATED if job.whole_array or job.stopped_at or job.started_at else _FINISHED
    return _FINISHED if job.phase is Phase.COMPLETED else _FAILED


def _exit_status(job: EmulatedJob) -> int:
    code = job.exit_code or 0
    if job.whole_array:
        return int(code != 0)
    if job.phase is Phase.TIMEOUT:
        return _KILLED_BY_WALLTIME
    if job.phase is Phase.CANCELLED and code > 128:
        # qdel's signal reaches every process of the job, its first shell too.
        return _KILLED_BY_SIGNAL + code - 128
    return code


def _ctime(at: float) -> str:
    return datetime.fromtimestamp(at, BEIJING).ctime()


def _slurm(cluster: Cluster, job: EmulatedJob) -> Attributes:
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
        "Reason": job.reason or _SLURM_REASONS.get(job.phase, "None"),
        "Requeue": "1",
        "Restarts": str(job.restarts),
        "ExitCode": f"{code}:{signal}",
        "RunTime": _clock(int(max(0.0, (job.ended_at or time.time()) - (job.started_at or time.time())))),
        "TimeLimit": _clock(spec.wall_time) if spec.wall_time else "UNLIMITED",
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


_SLURM_REASONS = {
    Phase.PENDING: "Resources",
    Phase.FAILED: "NonZeroExitCode",
    Phase.TIMEOUT: "TimeLimit",
    Phase.OUT_OF_MEMORY: "OutOfMemory",
}
_DESCRIBERS: Mapping[str, Callable[[Cluster, EmulatedJob], Attributes]] = {PBS.name: _pbs, SLURM.name: _slurm}


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

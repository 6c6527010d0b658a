# SPDX-License-Identifier: Apache-2.0
"""Describe a job in the attributes of PBS, which DescribeJob of 2018-04-12 passes on.

E-HPC documents a few of them (``egroup``, ``Stageout_status``, ``Keep_Files``, ``server``, ``queue``). The
others are those of qstat(1B) and pbs_job_attributes(7B) of OpenPBS.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_ehpc.emulator.aliyun.classic_requests import rerunable
from airflow_provider_ehpc.emulator.aliyun.cluster_view import BEIJING, clock
from airflow_provider_ehpc.emulator.aliyun.dialect import PBS
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.dependencies import OPTION, TYPES
from airflow_provider_ehpc.emulator.jobs import EmulatedJob, Phase

_SERVER = "manager"
_LETTERS = {Phase.PENDING: "Q", Phase.RUNNING: "R", Phase.COMPLETING: "E", Phase.SUSPENDED: "S"}
_SUBSTATES = {Phase.PENDING: 10, Phase.RUNNING: 42, Phase.COMPLETING: 51, Phase.SUSPENDED: 45}
_FINISHED, _FAILED, _TERMINATED = 92, 93, 91
"""Substates of a job in PBS's history (job.h of OpenPBS)."""
_KILLED_BY_SIGNAL = 256
"""Added to the signal's number in an Exit_status; a shell adds 128."""
_KILLED_BY_WALLTIME = -29
"""JOB_EXEC_KILL_WALLTIME of OpenPBS's job.h."""


def describe(cluster: Cluster, job: EmulatedJob) -> Mapping[str, Any]:
    """Return the attributes of a job, a sub-job or a whole array."""
    spec = job.spec
    nodes, cores = spec.nodes or 1, spec.cores or 1
    limits = {"mem": spec.memory} if spec.memory else {}
    if spec.wall_time:
        limits["walltime"] = clock(spec.wall_time)
    select = f"{nodes}:ncpus={cores}" + (f":mem={spec.memory}" if spec.memory else "")
    attributes: dict[str, Any] = {
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
        attributes["exec_host"] = "+".join(f"{node}/0{share}" for node in job.nodes)
        attributes["exec_vnode"] = "+".join(f"({node}:ncpus={cores})" for node in job.nodes)
    if job.started_at is not None:
        attributes["stime"] = _ctime(job.started_at)
        attributes["session_id"] = job.number
    if job.phase.ended and job.exit_code is not None:
        attributes["Exit_status"] = _exit_status(job)
        attributes["Stageout_status"] = 1
    if job.phase.ended:
        attributes["obittime"] = _ctime(job.ended_at or job.modified_at)
        attributes["history_timestamp"] = int(job.ended_at or job.modified_at)
    if comment := _comment(job, attributes.get("exec_vnode", "")):
        attributes["comment"] = comment
    if others := spec.options.get(OPTION):
        attributes["depend"] = ",".join(
            f"{TYPES[kind]}:{other}.{_SERVER}@{_SERVER}" for kind, other, _ in others
        )
    if spec.array:
        attributes |= _array(cluster, job)
    return attributes


def _array(cluster: Cluster, job: EmulatedJob) -> Mapping[str, Any]:
    if job.index is not None:
        whole = PBS.whole_array.format(number=job.number)
        return {"array_id": whole, "array_index": str(job.index)}
    parts = [cluster.get(job.number, index) for index in job.submission.indexes]
    letters = [_letter(cluster, part) for part in parts if part]
    names = {"Queued": "Q", "Running": "R", "Exiting": "E", "Expired": "XF"}
    counts = (f"{name}:{sum(letter in wanted for letter in letters)}" for name, wanted in names.items())
    return {
        "array": "True",
        "array_indices_submitted": job.spec.array,
        "array_state_count": f"{' '.join(counts)} ",
    }


def _letter(cluster: Cluster, job: EmulatedJob) -> str:
    """Return qstat's letter: B for a running array, X for its ended sub-jobs until all have ended."""
    if job.whole_array and not job.phase.ended and job.phase is not Phase.PENDING:
        return "B"
    if not job.phase.ended:
        return _LETTERS[job.phase]
    whole = cluster.get(job.number)
    return "F" if whole is None or whole.phase.ended else "X"


def _comment(job: EmulatedJob, exec_vnode: str) -> str:
    if job.phase is Phase.PENDING:
        return "Not Running: Insufficient amount of resource: ncpus"
    if job.started_at is None:
        return ""
    start = datetime.fromtimestamp(job.started_at, BEIJING).strftime("%a %b %d at %H:%M")
    text = f"Job Array Began at {start}" if job.whole_array else f"Job run at {start} on {exec_vnode}"
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
        # A job deleted because its dependency can never be satisfied is only finished.
        return _TERMINATED if job.whole_array or job.stopped_at or job.started_at else _FINISHED
    return _FINISHED if job.phase is Phase.COMPLETED else _FAILED


def _exit_status(job: EmulatedJob) -> int:
    code = job.exit_code or 0
    if job.whole_array:
        return int(code != 0)
    if job.phase is Phase.TIMEOUT:
        return _KILLED_BY_WALLTIME
    if job.phase is Phase.CANCELLED and code > 128:
        # The signal of qdel reaches all processes of the job, including its first shell.
        return _KILLED_BY_SIGNAL + code - 128
    return code


def _ctime(at: float) -> str:
    return datetime.fromtimestamp(at, BEIJING).ctime()

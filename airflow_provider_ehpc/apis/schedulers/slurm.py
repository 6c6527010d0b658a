# SPDX-License-Identifier: Apache-2.0
"""Slurm jobs, read from the fields that ``scontrol show job`` prints.

Sources: scontrol(1) and squeue(1) of Slurm; jobs of Slurm 22.05.8 (docs/outcomes.md).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.moments import limit_seconds
from airflow_provider_ehpc.apis.response import Number, PascalResponseModel, Text, Time, pascal
from airflow_provider_ehpc.apis.schedulers.ids import member_id
from airflow_provider_ehpc.apis.schedulers.nodes import node_names
from airflow_provider_ehpc.apis.schedulers.words import WordOrigin, meaning

_NOTHING = frozenset({"", "none", "(null)", "unknown", "n/a"})


def _something(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().casefold() in _NOTHING else value


def _words(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _number(value: Any) -> Any:
    # slurmrestd: {"set": true, "infinite": false, "number": 3}
    if isinstance(value, dict) and "set" in value:
        return value.get("number") if value["set"] and not value.get("infinite") else None
    return value


def _exit_text(value: Any) -> Any:
    """Convert the forms in which slurmrestd writes an exit code to ``code:signal``."""
    if isinstance(value, dict) and "return_code" in value:
        ended = value.get("signal")
        number = ended.get("id", ended.get("signal_id")) if isinstance(ended, dict) else ended
        return f"{_number(value['return_code']) or 0}:{_number(number) or 0}"
    value = _number(value)
    # Up to API version 0.0.39, the number is the status from wait(2).
    return f"{value >> 8}:{value & 127}" if isinstance(value, int) and value > 255 else value


SlurmText = Annotated[Text, BeforeValidator(_something)]
SlurmTime = Annotated[Time, BeforeValidator(_something)]


class SlurmJob(PascalResponseModel):
    """The fields of a job that a status needs, under scontrol's names; others are extra fields."""

    job_id: Text = ""
    array_job_id: SlurmText = ""
    array_task_id: SlurmText = ""
    """An index, or a range such as ``5-9%2`` for sub-jobs that wait together."""
    job_state: Annotated[Text, BeforeValidator(_words)] = ""
    reason: SlurmText = ""
    exit_code: Annotated[Text, BeforeValidator(_exit_text)] = ""
    """``code:signal``, as in ``3:0`` and ``0:9``."""
    job_name: Text = ""
    user_id: SlurmText = ""
    """``alice(1000)``."""
    partition: SlurmText = ""
    dependency: SlurmText = ""
    submit_time: SlurmTime = None
    start_time: SlurmTime = None
    """For a waiting job, the expected start."""
    end_time: SlurmTime = None
    """For a running job, the end of its time limit."""
    time_limit: SlurmText = ""
    """``1-02:00:00``, or a word such as ``UNLIMITED``."""
    node_list: SlurmText = ""
    restarts: Number = None
    """The number of times that Slurm has requeued the job; slurmrestd calls it ``restart_cnt``."""
    std_out: SlurmText = ""
    std_err: SlurmText = ""

    @property
    def array_request(self) -> str:
        """Indexes of an array, or of its waiting sub-jobs."""
        return "" if self.array_task_id.isdigit() else self.array_task_id

    @property
    def full_id(self) -> str:
        """ID that identifies a sub-job by its index: ``2_1``, ``2_[3-6%2]``."""
        if not self.array_job_id or not self.array_task_id:
            return self.job_id
        return member_id(self.array_job_id, self.array_task_id)


_RESTD_NAMES = {
    "statereason": "Reason",
    "name": "JobName",
    "username": "UserId",
    "nodes": "NodeList",
    "restartcnt": "Restarts",
    "standardoutput": "StdOut",
    "standarderror": "StdErr",
}
"""Fields whose names in slurmrestd and scontrol differ by more than case and ``_``."""


def plain_name(name: str) -> str:
    """Return a field's name without the differences between tools: case and ``_``."""
    return name.replace("_", "").casefold()


_NAMES = {plain_name(name): pascal(name) for name in SlurmJob.model_fields} | _RESTD_NAMES


def is_slurm(attributes: Mapping[str, Any]) -> bool:
    """Return True for fields of a Slurm job, False for attributes of a PBS job."""
    if "job_state" not in attributes:
        return True
    return not {"jobid", "exitcode", "statereason"}.isdisjoint(map(plain_name, attributes))


def slurm_fields(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the fields that any of Slurm's tools wrote to scontrol's names."""
    named = {_NAMES.get(plain_name(name), name): _number(value) for name, value in attributes.items()}
    return named | {name: value for name, value in attributes.items() if name in _NAMES.values()}


def read_fields(text: str) -> list[Mapping[str, str]]:
    """Read the jobs in the output of ``scontrol show job``: ``Name=value``, with an empty line between jobs.

    A value ends at the first blank, except the job's name.
    """
    jobs: list[Mapping[str, str]] = []
    for part in re.split(r"\n\s*\n", text):
        # A job's name may contain text that looks like a field.
        before, found, named = part.partition("JobName=")
        name, end, after = named.partition("UserId=")
        fields = re.findall(r"(?:^|\s)(\w+)=(\S*)", f"{before} {end}{after}" if end else part)
        # The first one wins: the command may contain such text, too, but follows the fields needed here.
        job = dict(reversed(fields)) | ({"JobName": name.strip()} if found and end else {})
        if job.get("JobState"):
            jobs.append(job)
    return jobs


def exit_code(text: str) -> tuple[int | None, str]:
    """Return the exit code that a shell would report for ``code:signal``, and an explanation if the program
    did not choose it.

    Slurm also puts its own numbers in place of the signal: 53 if a job's output file cannot be opened, 125
    if memory ran out. Such a job has no exit code.
    """
    match = re.fullmatch(r"(\d{1,10})(?::(\d{1,10}))?", text.strip())
    if not match:
        return None, ""
    code, number = int(match[1]), int(match[2] or 0)
    if not number:
        return code, ""
    try:
        return 128 + number, f"ended by {signal.Signals(number).name}"
    except ValueError:
        return None, _OTHER_SIGNALS.get(number, f"exit code {text.strip()}")


_OTHER_SIGNALS = {
    53: "the job could not be launched: check that its output files can be written",
    125: "out of memory",
}
_NOT_STARTED = frozenset({JobState.PENDING, JobState.QUEUED})


def slurm_status(ref: JobRef, job: SlurmJob) -> JobStatus:
    """Convert a job's fields to its status."""
    state, _, may_rerun = meaning(job.job_state, WordOrigin.SLURM)
    code, words = exit_code(job.exit_code) if state.terminal else (None, "")
    waits = state in _NOT_STARTED
    # Cancelled while it waited: Slurm then sets its start to its end and its exit code to 0:0.
    never_ran = state is JobState.CANCELLED and not job.node_list
    reason = job.reason
    if never_ran:
        code, words = None, ""
        reason = "cancelled before it started" + (f" (pending reason: {reason})" if reason else "")
    if job.array_request:
        # The code belongs to one of its sub-jobs.
        code = None
    if waits and job.dependency and "depend" in reason.casefold():
        reason += f" ({job.dependency})"
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=job.job_state,
        exit_code=code,
        may_rerun=may_rerun,
        restarts=job.restarts,
        reason="; ".join(part for part in (reason, words) if part) or None,
        name=job.job_name or None,
        user=job.user_id.partition("(")[0] or None,
        queue=job.partition or None,
        submitted_at=job.submit_time,
        started_at=None if waits or never_ran else job.start_time,
        ended_at=job.end_time if state.terminal else None,
        nodes=() if waits else node_names(job.node_list),
        wall_time=limit_seconds(job.time_limit),
        stdout_path=job.std_out or None,
        stderr_path=job.std_err or None,
    )

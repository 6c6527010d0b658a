# SPDX-License-Identifier: Apache-2.0
"""PBS jobs, read from the attributes that ``qstat -f -F json`` prints.

Sources: pbs_job_attributes(7B) and job.h of OpenPBS; the attributes of 66 jobs of OpenPBS 23.06.06
(tests/samples/openpbs-23.06-qstat.json).
"""

from __future__ import annotations

import re
import signal
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.moments import limit_seconds
from airflow_provider_ehpc.apis.response import Number, ResponseModel, Text, Time
from airflow_provider_ehpc.apis.schedulers.words import WordOrigin, meaning


def _from_ctime(value: Any) -> Any:
    # qstat writes times as ctime(3) does; pbs_statjob(3B) gives epoch seconds.
    try:
        return datetime.strptime(str(value).strip(), "%a %b %d %H:%M:%S %Y")  # noqa: DTZ007 (no zone)
    except ValueError:
        return value


PbsTime = Annotated[Time, BeforeValidator(_from_ctime)]


class PbsUsed(ResponseModel):
    """The resources that a job used on all of its nodes."""

    ncpus: Text = ""
    mem: Text = ""
    """With its unit, as in ``61440kb``."""


class PbsRequested(ResponseModel):
    """The resources that a job requested in all."""

    walltime: Text = ""


class PbsJob(ResponseModel):
    """The attributes of a job that a status needs, under PBS's names; others are extra fields."""

    job_state: Text = ""
    """One letter, as in qstat(1B)."""
    substate: Number = None
    exit_status: Number = Field(None, alias="Exit_status")
    """0 to 255 is the exit code of the job's shell, 256 plus a number is the signal that ended it, and a
    negative number means that PBS ended it. For an array, the status of the sub-job that ended last."""
    exit_status_text: Text = Field("", alias="Exit_status")
    name: Text = Field("", alias="Job_Name")
    owner: Text = Field("", alias="Job_Owner")
    queue: Text = ""
    comment: Text = ""
    depend: Text = ""
    run_count: Number = None
    """The number of times that PBS has started the job."""
    exec_host: Text = ""
    """``compute000/0*2+compute001/1``: the first is where the job's script runs."""
    created: PbsTime = Field(None, alias="ctime")
    started: PbsTime = Field(None, alias="stime")
    modified: PbsTime = Field(None, alias="mtime")
    obit: PbsTime = Field(None, alias="obittime")
    """The time of the end (since OpenPBS 20), written like the other times."""
    moved: PbsTime = Field(None, alias="history_timestamp")
    """Epoch seconds of the same."""
    requested: PbsRequested | None = Field(None, alias="Resource_List")
    used: PbsUsed | None = Field(None, alias="resources_used")
    output_path: Text = Field("", alias="Output_Path")
    """``host:path``."""
    error_path: Text = Field("", alias="Error_Path")
    array: Text = ""
    """``True`` for an array."""
    array_request: Text = Field("", alias="array_indices_submitted")
    array_state_count: Text = ""
    """``Queued:0 Running:2 Exiting:0 Expired:1``."""

    @property
    def is_array(self) -> bool:
        """True if this is a whole array."""
        return self.array.casefold() == "true" or bool(self.array_request)

    @property
    def array_counts(self) -> dict[str, int]:
        """Number of an array's unfinished sub-jobs by state; the outcomes of the others are not reported."""
        found = {word: int(n) for word, n in re.findall(r"\b(\w++):(\d{1,9})\b", self.array_state_count)}
        counts = {
            JobState.QUEUED: found.get("Queued", 0),
            JobState.RUNNING: found.get("Running", 0) + found.get("Exiting", 0),
        }
        return {state.value: count for state, count in counts.items() if count}


_TERMINATED, _FINISHED, _FAILED = 91, 92, 93
"""Substates of a job in PBS's history (job.h: JOB_SUBSTATE_TERMINATED, _FINISHED, _FAILED)."""

# JOB_EXEC_… in job.h of OpenPBS.
_EXIT_WORDS = {
    -1: "the job could not be started",
    -2: "the job could not be started",
    -3: "the job could not be started; PBS should retry it",
    -4: "the node's PBS daemon (MOM) was lost or restarted",
    -5: "the node's PBS daemon (MOM) was lost or restarted",
    -6: "the node's PBS daemon (MOM) was lost or restarted",
    -7: "the restart from a checkpoint failed",
    -10: "the job's user or group is not valid on the node",
    -11: "PBS should run the job again",
    -12: "the job was checkpointed and ended",
    -13: "the password of the job's user was rejected",
    -17: "a hook deleted the job",
    -19: "a hook deleted the job",
    -21: "the node rejected the job for a security reason",
    -24: "too many CPUs used",
    -25: "too much CPU time used for the CPUs requested",
    -26: "virtual memory limit exceeded",
    -27: "memory limit exceeded",
    -28: "CPU time limit exceeded",
    -29: "wall time exceeded",
    -30: "the job's nodes could not join it",
}
_BY_SIGNAL = 256
"""PBS adds this to a signal's number in ``Exit_status``; a shell adds 128 for its child."""


def exit_words(exit_status: int) -> str:
    """Explain an ``Exit_status`` that the program did not set itself; return an empty text for one it did."""
    if exit_status < 0:
        return _EXIT_WORDS.get(exit_status, "PBS ended the job or could not start it")
    number = exit_status - _BY_SIGNAL
    if number <= 0:
        return ""
    try:
        return f"ended by {signal.Signals(number).name}"
    except ValueError:
        return f"ended by signal {number}"


def _never_started(job: PbsJob) -> bool:
    # Only qstat's full output has a substate or a time; it also has a node if the job ran.
    described = job.substate is not None or job.created is not None
    return described and job.started is None and not job.exec_host and job.exit_status is None


def _ended(job: PbsJob) -> tuple[JobState, bool]:
    """Return the terminal state of a job that is over for PBS, and True if that state is assumed."""
    if job.substate == _TERMINATED:
        return JobState.CANCELLED, False
    if job.substate == _FAILED:
        return JobState.FAILED, False
    if _never_started(job):
        # Deleted, for instance because its dependency can never be satisfied. Its substate is 92, too.
        return JobState.CANCELLED, False
    if job.is_array and not job.exit_status:
        # The exit status is that of the sub-job that ended last; others may have failed.
        return JobState.SUCCEEDED, job.substate != _FINISHED
    if job.exit_status is not None:
        return (JobState.FAILED if job.exit_status else JobState.SUCCEEDED), False
    return JobState.SUCCEEDED, True


def _reason(job: PbsJob, state: JobState) -> str | None:
    words = ""
    if state in (JobState.FAILED, JobState.CANCELLED):
        if _never_started(job):
            words = "deleted before it started"
            if job.depend:
                words += f"; it depended on {job.depend}"
        elif job.exit_status is not None and not job.is_array:
            words = exit_words(job.exit_status)
    if state.terminal and job.exit_status is None and job.exit_status_text:
        words = f"Exit_status {job.exit_status_text!r} is unreadable"
    return "; ".join(part for part in (words, job.comment) if part) or None


def pbs_status(ref: JobRef, job: PbsJob) -> JobStatus:
    """Convert a job's attributes to its status."""
    word = meaning(job.job_state, WordOrigin.PBS)
    if word.state is JobState.UNKNOWN:
        word = meaning(job.job_state)
    state, assumed, ended = word.state, False, word.state.terminal
    if word.outcome_unreported:
        state, assumed = _ended(job)
    hosts = (host.partition("/")[0] for host in job.exec_host.split("+"))
    nodes = tuple(dict.fromkeys(host for host in hosts if host))
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=job.job_state,
        # A rerun job still has the exit status of its first run; an array has that of one sub-job.
        exit_code=job.exit_status if ended and not job.is_array else None,
        outcome_assumed=assumed,
        restarts=_restarts(job, state),
        reason=_reason(job, state),
        name=job.name or None,
        user=job.owner.partition("@")[0] or None,
        queue=job.queue or None,
        submitted_at=job.created,
        started_at=job.started,
        ended_at=(job.obit or job.moved) if ended else None,
        modified_at=job.modified,
        nodes=nodes,
        wall_time=limit_seconds(job.requested.walltime) if job.requested else None,
        resources_used=_used(job, nodes) if ended else {},
        stdout_path=_path(job.output_path),
        stderr_path=_path(job.error_path),
        array=job.array_counts if job.is_array and not ended else {},
    )


def _used(job: PbsJob, nodes: tuple[str, ...]) -> dict[str, str]:
    """Return what a job used per node, which is known if it ran on one."""
    if job.used is None or len(nodes) != 1 or job.is_array:
        return {}
    return {name: value for name, value in (("cores", job.used.ncpus), ("memory", job.used.mem)) if value}


def _restarts(job: PbsJob, state: JobState) -> int | None:
    """Return how many times a job was requeued: a job that waits has no run of its own yet."""
    if job.run_count is None:
        return None
    waits = state in (JobState.PENDING, JobState.QUEUED)
    return max(0, job.run_count - (0 if waits else 1))


def _path(text: str) -> str | None:
    return text.partition(":")[2] or text or None

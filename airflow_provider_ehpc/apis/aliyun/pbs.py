"""A job as PBS describes it, which is what DescribeJob of 2018-04-12 passes on.

E-HPC documents none of it beyond a sample with some of the attributes. Sources: pbs_job_attributes(7B) and
job.h of OpenPBS.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from airflow_provider_ehpc.apis.aliyun.states import outcome_untold, scheduler_state
from airflow_provider_ehpc.apis.answer import Answer, Number, Text, Time
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus


def _from_ctime(value: Any) -> Any:
    # qstat writes times as ctime(3) does; pbs_statjob(3B) gives epoch seconds.
    try:
        return datetime.strptime(str(value).strip(), "%a %b %d %H:%M:%S %Y")  # noqa: DTZ007 (no zone told)
    except ValueError:
        return value


SchedulerTime = Annotated[Time, BeforeValidator(_from_ctime)]


class SchedulerJob(Answer):
    """A job's attributes as PBS names them, as far as a status needs them; the rest is kept."""

    job_state: Text = ""
    """One letter, as in qstat(1B)."""
    substate: Number = None
    exit_status: Number = Field(None, alias="Exit_status")
    """0 to 255 as the job's shell ended, 256 and the signal's number where one ended it, or below 0 where
    PBS did. An array has 1 where a sub-job has another than 0."""
    name: Text = Field("", alias="Job_Name")
    owner: Text = Field("", alias="Job_Owner")
    queue: Text = ""
    comment: Text = ""
    exec_host: Text = ""
    """``compute000/0*2+compute001/1``: the first is where the job's script runs."""
    created: SchedulerTime = Field(None, alias="ctime")
    started: SchedulerTime = Field(None, alias="stime")
    modified: SchedulerTime = Field(None, alias="mtime")
    output_path: Text = Field("", alias="Output_Path")
    """``host:path``."""
    error_path: Text = Field("", alias="Error_Path")


_DELETED, _FAILED = 91, 93
"""What PBS calls the substates of a job in its history (job.h of OpenPBS): "terminated" and "failed"."""


def _ended(job: SchedulerJob) -> tuple[JobState, bool]:
    """Return how a job ended that PBS says has, and whether that is assumed."""
    if job.substate == _DELETED:
        return JobState.CANCELLED, False
    if job.exit_status is not None:
        return (JobState.FAILED if job.exit_status else JobState.SUCCEEDED), False
    if job.substate == _FAILED:
        return JobState.FAILED, False
    return scheduler_state(job.job_state), outcome_untold(job.job_state)


def scheduler_status(ref: JobRef, job: SchedulerJob) -> JobStatus:
    """Return what a job's attributes say of it."""
    state, assumed = scheduler_state(job.job_state), False
    ended = state.terminal
    if ended:
        state, assumed = _ended(job)
    hosts = (host.partition("/")[0] for host in job.exec_host.split("+"))
    return JobStatus(
        job_id=ref.job_id,
        cluster_id=ref.cluster_id,
        state=state,
        raw_state=job.job_state,
        # A job that is run again keeps the exit status of its first run.
        exit_code=job.exit_status if ended else None,
        outcome_assumed=assumed,
        reason=job.comment or None,
        name=job.name or None,
        user=job.owner.partition("@")[0] or None,
        queue=job.queue or None,
        submitted_at=job.created,
        started_at=job.started,
        modified_at=job.modified,
        nodes=tuple(dict.fromkeys(host for host in hosts if host)),
        stdout_path=_path(job.output_path),
        stderr_path=_path(job.error_path),
    )


def _path(text: str) -> str | None:
    return text.partition(":")[2] or text or None

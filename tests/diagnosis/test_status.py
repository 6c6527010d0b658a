# SPDX-License-Identifier: Apache-2.0
"""The causes that a status names, from words, reasons and codes of schedulers and clouds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.schedulers.described import describe, read_jobs
from airflow_provider_ehpc.apis.schedulers.slurm import SlurmJob, slurm_status
from airflow_provider_ehpc.diagnosis import CANCELLED_BY_US, Cause, diagnose
from airflow_provider_ehpc.diagnosis.cause import ADVICE

SAMPLE = Path(__file__).parents[1] / "samples" / "openpbs-23.06-qstat.json"
UNKNOWN = Cause.UNKNOWN


def ended(**fields: Any) -> JobStatus:
    return JobStatus(**{"job_id": "7", "state": JobState.FAILED, "raw_state": "FAILED", **fields})


@pytest.mark.parametrize(
    ("state", "code", "reason", "cause"),
    [
        ("OUT_OF_MEMORY", "0:125", "OutOfMemory", Cause.OUT_OF_MEMORY),
        ("OUT_OF_ME+", "0:125", "", Cause.OUT_OF_MEMORY),
        ("OOM", "0:125", "", Cause.OUT_OF_MEMORY),
        ("FAILED", "0:125", "", Cause.OUT_OF_MEMORY),
        ("TIMEOUT", "0:15", "TimeLimit", Cause.WALL_TIME_EXCEEDED),
        ("TO", "0:0", "", Cause.WALL_TIME_EXCEEDED),
        ("NODE_FAIL", "0:0", "NodeDown", Cause.NODE_FAILURE),
        ('["NODE_FAIL","UPDATE_DB"]', "0:0", "", Cause.NODE_FAILURE),
        ("NF", "1:0", "", Cause.NODE_FAILURE),
        ("BOOT_FAIL", "0:0", "", Cause.NODE_FAILURE),
        ("FAILED", "0:15", "NodeDown", Cause.NODE_FAILURE),
        ("PREEMPTED", "0:15", "", Cause.PREEMPTED),
        ("CANCELLED by 1000", "0:15", "None", Cause.CANCELLED),
        ("CANCELLED+", "0:9", "None", Cause.CANCELLED),
        ("FAILED", "0:9", "JobLaunchFailure", Cause.KILLED),
        ("FAILED", "137:0", "NonZeroExitCode", Cause.KILLED),
        ("FAILED", "0:11", "RaisedSignal:11(Segmentation_fault)", Cause.CRASHED),
        ("FAILED", "139:0", "NonZeroExitCode", Cause.CRASHED),
        ("FAILED", "127:0", "NonZeroExitCode", Cause.COMMAND_NOT_FOUND),
        ("FAILED", "126:0", "NonZeroExitCode", Cause.NOT_EXECUTABLE),
        ("FAILED", "3:0", "NonZeroExitCode", UNKNOWN),
        ("FAILED", "143:0", "NonZeroExitCode", UNKNOWN),
        ("FAILED", "0:53", "JobLaunchFailure", UNKNOWN),
        ("DEADLINE", "0:0", "", UNKNOWN),
    ],
)
def test_slurm(state: str, code: str, reason: str, cause: Cause) -> None:
    fields = {"JobState": state, "ExitCode": code, "Reason": reason, "NodeList": "n1"}
    assert diagnose(slurm_status(JobRef("7", "c"), SlurmJob.model_validate(fields))).cause is cause


@pytest.mark.parametrize("waited", ["Resources", "NodeDown", "PartitionTimeLimit", "QOSMaxMemoryPerUser"])
def test_the_reason_for_waiting_is_not_that_of_the_end(waited: str) -> None:
    fields = {"JobState": "CANCELLED", "ExitCode": "0:0", "Reason": waited}
    found = diagnose(slurm_status(JobRef("7", "c"), SlurmJob.model_validate(fields)))
    assert found.cause is Cause.CANCELLED


def test_a_job_whose_dependency_failed_was_not_cancelled_by_a_user() -> None:
    fields = {"JobState": "CANCELLED", "ExitCode": "0:0", "Reason": "DependencyNeverSatisfied"}
    assert diagnose(slurm_status(JobRef("7", "c"), SlurmJob.model_validate(fields))).cause is UNKNOWN


PBS = {
    "walltime": Cause.WALL_TIME_EXCEEDED,
    "walltrap0": Cause.WALL_TIME_EXCEEDED,
    "cancelq": Cause.CANCELLED,
    "cancelr": Cause.CANCELLED,
    "forcedel": Cause.CANCELLED,
    "nodedown": Cause.NODE_FAILURE,
    "c127": Cause.COMMAND_NOT_FOUND,
    "sigkill": Cause.KILLED,
    "segv": Cause.CRASHED,
    "exit3": UNKNOWN,
    "exit255": UNKNOWN,
    "exit143": UNKNOWN,
    "dep": UNKNOWN,
    "depafter": UNKNOWN,
    "done": UNKNOWN,
}


@pytest.mark.parametrize("name", PBS)
def test_pbs(name: str) -> None:
    """Jobs of a real OpenPBS."""
    jobs = json.loads(SAMPLE.read_text())["Jobs"]
    (job_id,) = [job_id for job_id, job in jobs.items() if job["Job_Name"] == name]
    found = describe(JobRef(job_id, "c"), read_jobs({job_id: jobs[job_id]}) or {})
    assert found is not None
    assert diagnose(found.status).cause is PBS[name]


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        # Containers
        ("OOMKilled", Cause.OUT_OF_MEMORY),
        ("Evicted: The node was low on resource: memory.", Cause.OUT_OF_MEMORY),
        ("Evicted: The node was low on resource: ephemeral-storage.", Cause.DISK_QUOTA),
        ("DeadlineExceeded: Job was active longer than specified deadline", Cause.WALL_TIME_EXCEEDED),
        (
            'StartError: exec: "train-model": executable file not found in $PATH: unknown',
            Cause.COMMAND_NOT_FOUND,
        ),
        ('StartError: exec: "/run.sh": permission denied: unknown', Cause.NOT_EXECUTABLE),
        ("ErrImagePull: rpc error: code = NotFound", Cause.IMAGE_NOT_PULLED),
        ("ImagePullBackOff: Back-off pulling image", Cause.IMAGE_NOT_PULLED),
        ("FailedScheduling: 0/3 nodes are available: 3 Insufficient memory.", Cause.NO_CAPACITY),
        ("NoStock: the resource is out of stock in the zone", Cause.NO_CAPACITY),
        ("QuotaExceed: quota of vCPUs exceeded", Cause.NO_CAPACITY),
        ("Exceeded the elastic container instance quota", Cause.NO_CAPACITY),
        ("SpotInstance: reclaimed", Cause.PREEMPTED),
        ("NodeLost: Node is not ready", Cause.NODE_FAILURE),
        # ModelArts
        ("worker-0: exit code 137, OOMKilled", Cause.OUT_OF_MEMORY),
        ("worker-1: the node is unhealthy", Cause.NODE_FAILURE),
        ("worker-0: RuntimeError: NPU out of memory. Tried to allocate 2 GiB", Cause.CUDA_OUT_OF_MEMORY),
        ("insufficient resources in the pool", Cause.NO_CAPACITY),
        # PBS
        ("CPU time limit exceeded; Job run at Fri on (vm:ncpus=1) and exceeded resource cput", UNKNOWN),
        (
            "memory limit exceeded; Job run at Fri on (vm:mem=1gb) and exceeded resource mem",
            Cause.OUT_OF_MEMORY,
        ),
        ("Job run at Fri on (vm:mem=61440kb:ncpus=1) and failed", UNKNOWN),
        ("too many CPUs used", UNKNOWN),
        # A program's words
        ("worker-0: exit code 1, training failed", UNKNOWN),
        ("no exit code is reported, and the policy is to fail", UNKNOWN),
    ],
)
def test_reasons_of_clouds(reason: str, cause: Cause) -> None:
    found = diagnose(ended(reason=reason, exit_code=1))
    assert found.cause is cause
    assert "\n" not in str(found)


def test_the_scheduler_ranks_before_the_log() -> None:
    log = ["RuntimeError: CUDA out of memory. Tried to allocate 2 GiB"]
    assert diagnose(ended(raw_state="TIMEOUT", exit_code=1), log).cause is Cause.WALL_TIME_EXCEEDED
    assert diagnose(ended(raw_state="PREEMPTED", state=JobState.CANCELLED), log).cause is Cause.PREEMPTED
    assert diagnose(ended(raw_state="CANCELLED", state=JobState.CANCELLED), log).cause is Cause.CANCELLED
    assert diagnose(ended(exit_code=127), log).cause is Cause.COMMAND_NOT_FOUND


def test_an_api_without_reasons_is_completed_by_the_log() -> None:
    """E-HPC 2024-07-30 reports only CANCELLED or FAILED."""
    log = ["slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-20T16:35:48 DUE TO PREEMPTION ***"]
    cancelled = ended(raw_state="CANCELLED", state=JobState.CANCELLED)
    assert diagnose(cancelled, log).cause is Cause.PREEMPTED
    # The lines of an earlier run, after which the job ended by itself.
    assert diagnose(ended(exit_code=3, reason="NonZeroExitCode"), log).cause is UNKNOWN


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.RUNNING, JobState.UNKNOWN])
def test_a_job_that_did_not_fail_has_no_cause(state: JobState) -> None:
    assert diagnose(ended(state=state, raw_state="TIMEOUT"), ["Killed"]).cause is UNKNOWN


@pytest.mark.parametrize("more", ["", "; ended by SIGTERM"])
def test_a_job_that_the_task_stopped_needs_no_explanation(more: str) -> None:
    log = ["slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-20T16:35:48 ***"]
    status = ended(state=JobState.CANCELLED, raw_state="CANCELLED", reason=CANCELLED_BY_US + more)
    assert diagnose(status, log).cause is UNKNOWN


def test_every_cause_has_advice() -> None:
    assert set(ADVICE) == set(Cause)
    assert all((advice == "") == (cause is UNKNOWN) for cause, advice in ADVICE.items())
    found = diagnose(ended(raw_state="OUT_OF_MEMORY"))
    assert "memory=" in found.advice
    assert found.as_dict() == {
        "cause": "out of memory",
        "evidence": "the cloud reports 'OUT_OF_MEMORY'",
        "advice": found.advice,
    }
    assert str(found) == f"out of memory: the cloud reports 'OUT_OF_MEMORY'. {found.advice}"

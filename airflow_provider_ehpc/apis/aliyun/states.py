"""The words E-HPC uses for a job's state, and what they mean."""

from __future__ import annotations

from airflow_provider_ehpc.apis.job import JobState

# API 2024-07-30, ListJobs documents (PBS/Slurm): FINISHED/Completed, RUNNING/Running, QUEUED/Pending,
# FAILED/Failed. GetJob documents none. Whatever else the two schedulers can say is listed below, because
# a job that was cancelled or ran into its time limit has to be told from one that goes on; the words are
# those of squeue(1) and of PBS's qstat(1B).
_WORDS: dict[JobState, tuple[str, ...]] = {
    JobState.PENDING: (
        "CONFIGURING",
        "HELD",
        "H",
        "WAITING",
        "W",
        "REQUEUE_HOLD",
        "SPECIAL_EXIT",
        "RESV_DEL_HOLD",
    ),
    JobState.QUEUED: ("QUEUED", "PENDING", "Q", "REQUEUED", "REQUEUE_FED", "TRANSITING", "T"),
    JobState.RUNNING: ("RUNNING", "R", "BEGUN", "B", "COMPLETING", "EXITING", "E", "RESIZING", "STAGE_OUT"),
    JobState.SUSPENDED: ("SUSPENDED", "S", "U", "STOPPED"),
    JobState.CANCELLING: ("SIGNALING", "CANCELLING", "CANCELING"),
    JobState.SUCCEEDED: ("FINISHED", "COMPLETED", "F", "X"),
    JobState.FAILED: (
        "FAILED",
        "BOOT_FAIL",
        "DEADLINE",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "REVOKED",
        "TIMEOUT",
    ),
    JobState.CANCELLED: ("CANCELLED", "CANCELED", "PREEMPTED"),
}
_STATES = {word.casefold(): state for state, words in _WORDS.items() for word in words}
_OUTCOME_UNTOLD = frozenset({"finished", "f", "x"})
"""PBS says of a job only that it is over: its F (a sub-job's X) covers an exit code of 0 and any other."""

_MAY_RERUN = frozenset({"boot_fail", "launch_failed", "node_fail", "preempted", "reconfig_fail", "revoked"})
"""Slurm ends a job with these words, or requeues it a moment later: PreemptMode=REQUEUE and JobRequeue in
slurm.conf(5), "JOB STATE CODES" in squeue(1)."""

# DescribeServerlessJobs and ListServerlessJobs document these six. What is being initialised holds its
# resources already.
_SERVERLESS = {
    "pending": JobState.QUEUED,
    "initing": JobState.RUNNING,
    "running": JobState.RUNNING,
    "succeeded": JobState.SUCCEEDED,
    "canceled": JobState.CANCELLED,
    "failed": JobState.FAILED,
}


def scheduler_state(raw_state: str) -> JobState:
    """Return the state for a word of E-HPC on PBS or Slurm; UNKNOWN for one that nobody documents."""
    # Slurm's own tools append what is going on beside the state: "CANCELLED by 1000", "COMPLETED+".
    words = raw_state.strip().casefold().rstrip("+").split()
    return _STATES.get(words[0], JobState.UNKNOWN) if words else JobState.UNKNOWN


def may_rerun(raw_state: str) -> bool:
    """Return True if the word is a terminal state after which the scheduler may run the job again."""
    words = raw_state.strip().casefold().rstrip("+").split()
    return bool(words) and words[0] in _MAY_RERUN


def outcome_untold(raw_state: str) -> bool:
    """Whether the word says that the job is over but not how it ended."""
    return raw_state.strip().casefold() in _OUTCOME_UNTOLD


def serverless_state(raw_state: str) -> JobState:
    """Return the state for a word of E-HPC on a serverless job; UNKNOWN for one that nobody documents."""
    return _SERVERLESS.get(raw_state.strip().casefold(), JobState.UNKNOWN)

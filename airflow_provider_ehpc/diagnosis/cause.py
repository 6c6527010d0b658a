# SPDX-License-Identifier: Apache-2.0
"""The causes for which jobs fail, and what helps against each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """The cause of a job's end."""

    OUT_OF_MEMORY = "out of memory"
    WALL_TIME_EXCEEDED = "wall time exceeded"
    NODE_FAILURE = "node failure"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled by a user"
    COMMAND_NOT_FOUND = "command not found"
    NOT_EXECUTABLE = "not executable"
    MODULE_NOT_FOUND = "module or library not found"
    LICENSE = "license"
    DISK_QUOTA = "disk quota"
    """A quota is used up, or the disk is full."""
    CUDA_OUT_OF_MEMORY = "CUDA out of memory"
    """The memory of a GPU of any vendor ran out."""
    NO_CAPACITY = "no capacity"
    """The cloud has no machines to run the job on, or a quota of the account is exhausted."""
    IMAGE_NOT_PULLED = "image not pulled"
    KILLED = "killed"
    """SIGKILL, and nothing names the sender: often the kernel, because memory ran out."""
    CRASHED = "program crashed"
    UNKNOWN = "unknown"


ADVICE = {
    Cause.OUT_OF_MEMORY: "Request more memory with memory=, or spread the job over more nodes=.",
    Cause.WALL_TIME_EXCEEDED: "Request more time with wall_time=, or save checkpoints and resume from them.",
    Cause.NODE_FAILURE: "The program is not to blame: run the job again (retries=, HpcRetryPolicy).",
    Cause.PREEMPTED: (
        "A job of higher priority took the nodes: run the job again (retries=, HpcRetryPolicy), or use "
        "another queue= or priority=."
    ),
    Cause.CANCELLED: "A user or an administrator stopped the job; no argument prevents that.",
    Cause.COMMAND_NOT_FOUND: (
        "Correct the program's name in command=, use its full path, or load its environment module first."
    ),
    Cause.NOT_EXECUTABLE: (
        "Make the file executable (chmod +x), call it with its interpreter in command=, and check that it "
        "was built for the nodes' architecture."
    ),
    Cause.MODULE_NOT_FOUND: (
        "In command= or script=, load the environment module or activate the Python environment that has it."
    ),
    Cause.LICENSE: (
        "Check that the license server is reachable from the nodes and has free licenses, and pass its "
        "address with environment=."
    ),
    Cause.DISK_QUOTA: (
        "Delete files or have the quota raised, or write to another file system (command=, stdout_path=, "
        "stderr_path=)."
    ),
    Cause.CUDA_OUT_OF_MEMORY: (
        "Use smaller batches, more GPUs (gpus=), or a queue= with larger ones; memory= is the nodes' memory "
        "and does not help."
    ),
    Cause.NO_CAPACITY: (
        "Wait and run the job again (retries=, HpcRetryPolicy), request less (nodes=, cores=, gpus=, "
        "memory=), use another queue=, or have the quota raised."
    ),
    Cause.IMAGE_NOT_PULLED: "Check the image's name and the permission to pull it in options=.",
    Cause.KILLED: (
        "The kernel does that if a node is out of memory: request more with memory=, or find out whether a "
        "user stopped the program."
    ),
    Cause.CRASHED: "Debug the program: no argument of the task prevents a crash.",
    Cause.UNKNOWN: "",
}
"""What to do about each cause, naming the arguments of SubmitJobOperator."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a job ended, and what to do about it."""

    cause: Cause
    evidence: str = ""
    """The evidence for the cause: a word of the scheduler, an exit code, a line of the log."""

    @property
    def advice(self) -> str:
        """Return what to do about it; empty if the cause is unknown."""
        return ADVICE[self.cause]

    def as_dict(self) -> dict[str, str]:
        """Return the diagnosis as JSON-ready data."""
        return {"cause": self.cause.value, "evidence": self.evidence, "advice": self.advice}

    def __str__(self) -> str:
        """Return the diagnosis in one line."""
        evidence = f": {self.evidence}" if self.evidence else ""
        return f"{self.cause}{evidence}. {self.advice}".rstrip()

# SPDX-License-Identifier: Apache-2.0
"""Causes that a job's status names: states and reasons of schedulers and clouds, exit codes, signals.

Sources: "JOB STATE CODES" of sacct(1) and "JOB REASON CODES" of squeue(1); job.h of OpenPBS; the reasons of
containers in Kubernetes (pkg/kubelet, batch/v1) and of Elastic Container Instance; docs/outcomes.md.
"""

from __future__ import annotations

import functools
import re
import signal

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.diagnosis.cause import Cause, Diagnosis
from airflow_provider_ehpc.text import unfold

_LONGEST = 200
"""Characters of a reason that are shown as evidence."""

_STATES = {
    "outofmemory": Cause.OUT_OF_MEMORY,
    "timeout": Cause.WALL_TIME_EXCEEDED,
    "nodefail": Cause.NODE_FAILURE,
    "bootfail": Cause.NODE_FAILURE,
    "preempted": Cause.PREEMPTED,
}
_CODES = {
    "oom": Cause.OUT_OF_MEMORY,
    "to": Cause.WALL_TIME_EXCEEDED,
    "nf": Cause.NODE_FAILURE,
    "bf": Cause.NODE_FAILURE,
    "pr": Cause.PREEMPTED,
}
_PBS_CODES = {
    -29: Cause.WALL_TIME_EXCEEDED,
    -27: Cause.OUT_OF_MEMORY,
    -26: Cause.OUT_OF_MEMORY,
    -6: Cause.NODE_FAILURE,
    -5: Cause.NODE_FAILURE,
    -4: Cause.NODE_FAILURE,
}
"""Negative ``Exit_status`` of OpenPBS (JOB_EXEC_… in job.h)."""

_NEVER_RAN = "cancelled before it started"
"""A reason of Slurm that begins with this continues with what the job waited for."""
_REASONS = (
    (
        Cause.DISK_QUOTA,
        r"disk quota exceeded|no space left on device|low on resource: ephemeral-storage"
        r"|ephemeral(?: local)? storage usage exceeds",
    ),
    (
        Cause.NO_CAPACITY,
        r"\bno ?stock\b|\bout ?of ?stock\b|\bsold ?out\b"
        r"|insufficient ?(?:stock|capacity|balance|quota|resources?|nodes?|cpu|memory|gpus?|nvidia\.com)"
        r"|\bresources? ?(?:is |are )?(?:insufficient|exhausted|not enough)"
        r"|quota\S*(?: \S+){0,3} ?(?:exceed|exhaust|reached|used up|insufficient|not enough)"
        r"|exceed\w*(?: \S+){0,4} quota|\d+/\d+ nodes are available|failed ?scheduling",
    ),
    (Cause.PREEMPTED, r"\bpre-?empt(?:ed|ion|ing)\b|\breclaim(?:ed|ing)?\b|\bspot\w*(?:released|reclaim\w*)"),
    (Cause.CUDA_OUT_OF_MEMORY, r"\b(?:CUDA|NPU|GPU)\b.*\bout of memory"),
    (
        Cause.OUT_OF_MEMORY,
        r"\boom[-_ ]?kill|\bout ?of ?memory\b|\bOutOfMemory|\bmemory limit exceeded"
        r"|exceed\w* (?:the )?(?:resource )?(?:job |step )?(?:p?v?mem|memory)\b|low on resource: memory"
        r"|TERM_MEMLIMIT",
    ),
    (
        Cause.WALL_TIME_EXCEEDED,
        r"\bTimeLimit\b|(?<!CPU )\btime limit\b|\bwall ?time exceeded|exceeded (?:resource |its )?wall ?time"
        r"|\bDeadlineExceeded\b|TERM_RUNLIMIT|max(?:imum)? run(?:ning)? ?time",
    ),
    (
        Cause.NODE_FAILURE,
        r"\bNode ?(?:Down|Fail\w*|Lost|NotReady|Unreachable|Shutdown)\b|\bBootFail\w*|\bSystemFailure\b"
        r"|node (?:is |was )?(?:down|lost|unhealthy|failed|faulty|not ready|unreachable|shut ?down)\b"
        r"|MOM\) was lost|hardware fault|\bEvicted\b",
    ),
    (
        Cause.COMMAND_NOT_FOUND,
        r"executable file not found|exec: .*: (?:no such file or directory|not found)"
        r"|stat .*: no such file or directory",
    ),
    (Cause.NOT_EXECUTABLE, r"exec format error|exec: .*permission denied"),
    (
        Cause.IMAGE_NOT_PULLED,
        r"ImagePullBackOff|ErrImage\w+|InvalidImageName|ImageInspectError|fail\w* to pull (?:the )?image"
        r"|pull(?:ing)? image.* fail",
    ),
)
"""The patterns of reasons, in the order in which they are tried."""


@functools.cache
def _reasons() -> tuple[tuple[Cause, re.Pattern[str]], ...]:
    return tuple((cause, re.compile(pattern, re.IGNORECASE)) for cause, pattern in _REASONS)


def reported(status: JobStatus) -> Diagnosis | None:
    """Return the cause that the scheduler or the cloud names; None if it names none."""
    for word in re.split(r"[,;|\[\]\"']+", status.raw_state):
        if found := _state(word):
            return Diagnosis(found, f"the cloud reports {word.strip()!r}")
    reason = status.reason or ""
    if not reason.startswith(_NEVER_RAN):
        for cause, pattern in _reasons():
            for part in reason.split("; "):
                if pattern.search(part):
                    return Diagnosis(cause, f"the cloud reports {_in_one_line(part)!r}")
    if found := _PBS_CODES.get(status.exit_code or 0):
        return Diagnosis(found, f"PBS reports Exit_status {status.exit_code}")
    return None


def _state(word: str) -> Cause | None:
    # Tools cut words: OUT_OF_ME+ (sacct), OUT_OF_M (squeue).
    key = re.sub(r"[\W_]+", "", word).casefold()
    cut = word.strip().endswith("+") or len(word.strip()) == 8
    if found := _STATES.get(key) or _CODES.get(key):
        return found
    matches = [cause for name, cause in _STATES.items() if cut and len(key) > 5 and name.startswith(key)]
    return matches[0] if matches else None


def _in_one_line(text: str) -> str:
    return unfold(" ".join(text.split())[:_LONGEST])


def cancelled(status: JobStatus) -> Diagnosis | None:
    """Return that a user cancelled the job; None if it ended otherwise, or not by a user."""
    reason = status.reason or ""
    if status.state is not JobState.CANCELLED or "depend" in reason.casefold() or "a hook deleted" in reason:
        return None
    by = re.search(r"(?i)\b(?:terminated|cancel\w*|deleted|stopped) by \S+", f"{reason} {status.raw_state}")
    evidence = by[0] if by else f"the cloud reports {status.raw_state or status.state.value!r}"
    return Diagnosis(Cause.CANCELLED, _in_one_line(evidence))


def exit_code(status: JobStatus) -> int | None:
    """Return the exit code as a shell would report it: 128 and the signal's number if one ended the job."""
    code = status.exit_code
    # PBS adds 256 if a signal ended the job's script.
    return code - 128 if code is not None and 256 < code <= 256 + 64 else code


_CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)


def signal_of(code: int | None) -> Diagnosis | None:
    """Return the cause that an exit code above 128 names; None without a signal, or for a common one."""
    number = (code or 0) - 128
    if number == signal.SIGKILL:
        return Diagnosis(Cause.KILLED, f"exit code {code}: ended by SIGKILL, by the kernel if memory ran out")
    if number in _CRASHES:
        return Diagnosis(Cause.CRASHED, f"exit code {code}: ended by {signal.Signals(number).name}")
    return None

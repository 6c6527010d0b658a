"""The state words of Slurm and PBS, in every form in which their tools write them.

Sources: squeue(1) and sacct(1) of Slurm 22.05 to 24.11, ``job_state_string_compact`` in Slurm's source,
qstat(1B) of OpenPBS 23.06.
"""

from __future__ import annotations

import functools
import re
from enum import StrEnum
from typing import NamedTuple

from airflow_provider_ehpc.apis.job import JobState


class Dialect(StrEnum):
    """Whose word a state is. Single letters differ: F is "failed" in Slurm and "finished" in PBS."""

    ANY = "any"
    """Not known. E-HPC uses words of both; a single letter is then one of PBS."""
    PBS = "pbs"
    SLURM = "slurm"


class Meaning(NamedTuple):
    """The meaning of a state word."""

    state: JobState
    outcome_untold: bool = False
    """True if the word says that the job is over, but not how it ended."""
    may_rerun: bool = False
    """True if the job has ended, but the scheduler may run it again."""


_Q, _P, _R, _S, _C = (
    Meaning(JobState.QUEUED),
    Meaning(JobState.PENDING),
    Meaning(JobState.RUNNING),
    Meaning(JobState.SUSPENDED),
    Meaning(JobState.CANCELLING),
)
_SUCCEEDED, _FAILED, _CANCELLED = (
    Meaning(JobState.SUCCEEDED),
    Meaning(JobState.FAILED),
    Meaning(JobState.CANCELLED),
)
# PBS says of a job only that it is over: its F (a sub-job's X) covers an exit code of 0 and any other.
_OVER = Meaning(JobState.SUCCEEDED, outcome_untold=True)
# JobRequeue, or an administrator, may put such a job back into the queue.
_FAILED_FOR_NOW = Meaning(JobState.FAILED, may_rerun=True)
_UNKNOWN = Meaning(JobState.UNKNOWN)

_SLURM: dict[str, tuple[Meaning, str]] = {
    "PENDING": (_Q, "PD"),
    "CONFIGURING": (_P, "CF"),
    "REQUEUED": (_Q, "RQ"),
    "REQUEUE_FED": (_Q, "RF"),
    "REQUEUE_HOLD": (_P, "RH"),
    "RESV_DEL_HOLD": (_P, "RD"),
    "SPECIAL_EXIT": (_P, "SE"),
    "POWER_UP_NODE": (_P, ""),
    "RUNNING": (_R, "R"),
    "COMPLETING": (_R, "CG"),
    "RESIZING": (_R, "RS"),
    # Any signal, also one that the job asked for: it goes on.
    "SIGNALING": (_R, "SI"),
    "STAGE_OUT": (_R, "SO"),
    "SUSPENDED": (_S, "S"),
    "STOPPED": (_S, "ST"),
    "COMPLETED": (_SUCCEEDED, "CD"),
    "FAILED": (_FAILED, "F"),
    "TIMEOUT": (_FAILED, "TO"),
    "OUT_OF_MEMORY": (_FAILED, "OOM"),
    "DEADLINE": (_FAILED, "DL"),
    "BOOT_FAIL": (_FAILED_FOR_NOW, "BF"),
    "NODE_FAIL": (_FAILED_FOR_NOW, "NF"),
    "LAUNCH_FAILED": (_FAILED_FOR_NOW, ""),
    "RECONFIG_FAIL": (_FAILED_FOR_NOW, ""),
    "REVOKED": (_FAILED_FOR_NOW, "RV"),
    "CANCELLED": (_CANCELLED, "CA"),
    "PREEMPTED": (Meaning(JobState.CANCELLED, may_rerun=True), "PR"),
}
_PBS: dict[str, tuple[Meaning, str]] = {
    "QUEUED": (_Q, "Q"),
    "TRANSITING": (_Q, "T"),
    "HELD": (_P, "H"),
    "WAITING": (_P, "W"),
    "RUNNING": (_R, "R"),
    "BEGUN": (_R, "B"),
    "EXITING": (_R, "E"),
    "SUSPENDED": (_S, "S"),
    "USER_SUSPENDED": (_S, "U"),
    "FINISHED": (_OVER, "F"),
    "EXPIRED": (_OVER, "X"),
    # Torque's word for FINISHED.
    "COMPLETED": (_OVER, "C"),
}
# Not a scheduler's words, but used for its jobs.
_OTHERS = {"CANCELED": _CANCELLED, "CANCELLING": _C, "CANCELING": _C, "FAILED": _FAILED}
_IGNORED = frozenset({"EXPEDITING", "UPDATE_DB"})
"""Flags beside a state that say nothing of the job's course."""
_LONGEST = 200
"""Characters of a state that are read."""
_CUT_AT = 8
"""Width of the state column of ``squeue --long``, which cuts words without a mark (sacct: ``+``)."""


def _key(word: str) -> str:
    """Return a word without what differs from tool to tool: case, ``_``, ``-``, spaces."""
    return re.sub(r"[\W_]+", "", word).casefold()


_SLURM_WORDS = {_key(word): meaning for word, (meaning, _) in _SLURM.items()}
_SLURM_CODES = {code.casefold(): meaning for meaning, code in _SLURM.values() if code}
_PBS_WORDS = {_key(word): meaning for word, (meaning, _) in _PBS.items()}
_PBS_LETTERS = {letter.casefold(): meaning for meaning, letter in _PBS.values()}
_OTHER_WORDS = {word.casefold(): meaning for word, meaning in _OTHERS.items()}
_IGNORED_KEYS = frozenset(_key(word) for word in _IGNORED)
_WORDS = {
    Dialect.ANY: _PBS_WORDS | _OTHER_WORDS | _SLURM_CODES | _PBS_LETTERS | _SLURM_WORDS,
    # slurmrestd and sacct know no letters of PBS.
    Dialect.SLURM: _OTHER_WORDS | _SLURM_CODES | _SLURM_WORDS,
    Dialect.PBS: _OTHER_WORDS | _PBS_LETTERS | _PBS_WORDS,
}


def meaning(raw_state: str, dialect: Dialect = Dialect.ANY) -> Meaning:
    """Return the meaning of a scheduler's state; UNKNOWN for a word that nobody documents.

    Words may be truncated (``OUT_OF_ME+``), have a suffix (``CANCELLED by 1000``), be compact (``CD``), or
    be several (``RUNNING,COMPLETING``; ``["CANCELLED", "COMPLETING"]`` of newer versions of slurmrestd).
    """
    return _meaning(raw_state.strip()[:_LONGEST], dialect)


@functools.lru_cache(maxsize=1024)
def _meaning(raw_state: str, dialect: Dialect) -> Meaning:
    words = re.split(r"[,;|]|\+(?=\w)", raw_state.strip("[](){}"))
    found = [_word(word, dialect) for word in words if _key(word) not in _IGNORED_KEYS | {""}]
    if len(found) < 2:
        return found[0] if found else _UNKNOWN
    if _UNKNOWN in found:
        return _UNKNOWN
    unfinished = [each for each in found if not each.state.terminal]
    if not unfinished:
        return found[0]
    # The state comes first, flags follow: the job is not over for as long as one of them says so.
    cancelled = any(each.state is JobState.CANCELLED for each in found)
    return _C if cancelled and unfinished[-1].state is JobState.RUNNING else unfinished[-1]


def _word(text: str, dialect: Dialect) -> Meaning:
    # "CANCELLED by 1000" of sacct; "PENDING (Resources)".
    word = re.split(r"\s+by\s+|\(", text.strip().strip("'\""), maxsplit=1)[0]
    key, known = _key(word), _WORDS[dialect]
    # Some tools count in plurals; codes are too short for that.
    if found := known.get(key) or (len(key) > 4 and known.get(key.removesuffix("s"))):
        return found
    if dialect is not Dialect.PBS and (word.endswith("+") or len(word) == _CUT_AT):
        matches = {each for name, each in _SLURM_WORDS.items() if key and name.startswith(key)}
        if len(matches) == 1:
            return matches.pop()
    return _UNKNOWN


def scheduler_state(raw_state: str) -> JobState:
    """Return the state for a word of E-HPC on PBS or Slurm; UNKNOWN for one that nobody documents."""
    return meaning(raw_state).state


def outcome_untold(raw_state: str) -> bool:
    """Return True if the word says that the job is over but not how it ended."""
    return meaning(raw_state).outcome_untold


def may_rerun(raw_state: str) -> bool:
    """Return True if the scheduler may run the job again, although the word says that it ended."""
    return meaning(raw_state).may_rerun

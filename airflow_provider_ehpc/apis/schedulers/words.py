# SPDX-License-Identifier: Apache-2.0
"""State words of Slurm and PBS, in all forms that their tools print.

Sources: squeue(1) and sacct(1) of Slurm 22.05 to 24.11, ``job_state_string_compact`` in Slurm's source,
qstat(1B) of OpenPBS 23.06.
"""

from __future__ import annotations

import functools
import re
from enum import StrEnum
from typing import NamedTuple

from airflow_provider_ehpc.apis.job import JobState


class WordOrigin(StrEnum):
    """The scheduler that a state word comes from.

    Single letters differ: F is "failed" in Slurm and "finished" in PBS.
    """

    ANY = "any"
    """Unknown scheduler: E-HPC uses the words of both. A single letter is then read as one of PBS."""
    PBS = "pbs"
    SLURM = "slurm"


class Meaning(NamedTuple):
    """The meaning of a state word."""

    state: JobState
    outcome_unreported: bool = False
    """True if the word means that the job is over, but not whether it succeeded."""
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
# PBS reports only that a job is over: F (X for a sub-job) covers exit code 0 and every other.
_OVER = Meaning(JobState.SUCCEEDED, outcome_unreported=True)
# The JobRequeue setting or an administrator may requeue such a job.
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
    # Any signal, including one that the job requested: the job continues.
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
# Words that are not the scheduler's own, but are used for its jobs.
_OTHERS = {"CANCELED": _CANCELLED, "CANCELLING": _C, "CANCELING": _C, "FAILED": _FAILED}
_IGNORED = frozenset({"EXPEDITING", "UPDATE_DB"})
"""Flags beside a state that do not change it."""
_LONGEST_STATE = 200
"""Maximum length of a state in characters; a longer text is not read."""
_CUT_AT = 8
"""Width of the state column of ``squeue --long``, which truncates words unmarked (sacct appends ``+``)."""


def _key(word: str) -> str:
    """Return a word without the differences between tools: case, ``_``, ``-`` and spaces."""
    return re.sub(r"[\W_]+", "", word).casefold()


_SLURM_WORDS = {_key(word): meaning for word, (meaning, _) in _SLURM.items()}
_SLURM_CODES = {code.casefold(): meaning for meaning, code in _SLURM.values() if code}
_PBS_WORDS = {_key(word): meaning for word, (meaning, _) in _PBS.items()}
_PBS_LETTERS = {letter.casefold(): meaning for meaning, letter in _PBS.values()}
_OTHER_WORDS = {word.casefold(): meaning for word, meaning in _OTHERS.items()}
_IGNORED_KEYS = frozenset(_key(word) for word in _IGNORED)
_WORDS = {
    WordOrigin.ANY: _PBS_WORDS | _OTHER_WORDS | _SLURM_CODES | _PBS_LETTERS | _SLURM_WORDS,
    # slurmrestd and sacct never print PBS letters.
    WordOrigin.SLURM: _OTHER_WORDS | _SLURM_CODES | _SLURM_WORDS,
    WordOrigin.PBS: _OTHER_WORDS | _PBS_LETTERS | _PBS_WORDS,
}


def meaning(raw_state: str, dialect: WordOrigin = WordOrigin.ANY) -> Meaning:
    """Return the meaning of a scheduler's state; UNKNOWN if the word is not documented.

    Words may be truncated (``OUT_OF_ME+``), have a suffix (``CANCELLED by 1000``), be compact (``CD``), or
    form a list (``RUNNING,COMPLETING``; ``["CANCELLED", "COMPLETING"]`` in newer versions of slurmrestd).
    """
    return _meaning(raw_state, dialect) if len(raw_state) <= _LONGEST_STATE else _UNKNOWN


@functools.lru_cache(maxsize=1024)
def _meaning(raw_state: str, dialect: WordOrigin) -> Meaning:
    whole = _first_meaning(re.split(r"[,;|]|\+(?=\w)", raw_state.strip().strip("[](){}")), dialect)
    # A blank may precede a flag, but also the second half of NODE FAIL.
    return _first_meaning(raw_state.split(), dialect) if whole is _UNKNOWN else whole


def _first_meaning(words: list[str], dialect: WordOrigin) -> Meaning:
    found = [_word(word, dialect) for word in words if _key(word) not in _IGNORED_KEYS | {""}]
    if len(found) < 2:
        return found[0] if found else _UNKNOWN
    if _UNKNOWN in found:
        return _UNKNOWN
    unfinished = [each for each in found if not each.state.terminal]
    if not unfinished:
        return found[0]
    # The state comes first, then the flags. The job is not over as long as one of them is not terminal.
    cancelled = any(each.state is JobState.CANCELLED for each in found)
    return _C if cancelled and unfinished[-1].state is JobState.RUNNING else unfinished[-1]


def _word(text: str, dialect: WordOrigin) -> Meaning:
    # "CANCELLED by 1000" of sacct; "PENDING (Resources)".
    word = re.split(r"(?i)\s+by\b|[(:]", text.strip().strip("'\""), maxsplit=1)[0].strip()
    key, known = _key(word), _WORDS[dialect]
    # Some tools print plurals; codes are too short to be plurals.
    if found := known.get(key) or (len(key) > 4 and known.get(key.removesuffix("s"))):
        return found
    if dialect is not WordOrigin.PBS and (word.endswith("+") or len(word) == _CUT_AT):
        matches = {each: None for name, each in _SLURM_WORDS.items() if key and name.startswith(key)}
        # REQUEUE+ matches several words, none of which is terminal.
        if len(matches) == 1 or (
            len(key) >= _CUT_AT - 2 and not any(each.state.terminal for each in matches)
        ):
            return next(iter(matches), _UNKNOWN)
    return _UNKNOWN


def scheduler_state(raw_state: str) -> JobState:
    """Return the state for E-HPC's word for a job on PBS or Slurm; UNKNOWN if the word is not documented."""
    return meaning(raw_state).state


def outcome_unreported(raw_state: str) -> bool:
    """Return True if the word means that the job is over, but not whether it succeeded."""
    return meaning(raw_state).outcome_unreported


def may_rerun(raw_state: str) -> bool:
    """Return True if the scheduler may run the job again although the word is terminal."""
    return meaning(raw_state).may_rerun

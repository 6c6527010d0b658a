# SPDX-License-Identifier: Apache-2.0
"""State words: misreading one ends a wait too early or never."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.apis.aliyun.states import outcome_unreported, scheduler_state, serverless_state
from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.apis.schedulers.words import WordOrigin, may_rerun, meaning


@pytest.mark.parametrize(
    ("word", "state"),
    [
        # ListJobs of 2024-07-30 (PBS/Slurm) and of 2018-04-12.
        ("FINISHED", JobState.SUCCEEDED),
        ("Completed", JobState.SUCCEEDED),
        ("RUNNING", JobState.RUNNING),
        ("Running", JobState.RUNNING),
        ("QUEUED", JobState.QUEUED),
        ("Pending", JobState.QUEUED),
        ("FAILED", JobState.FAILED),
        ("Failed", JobState.FAILED),
        # squeue(1), with what Slurm's tools append.
        ("CONFIGURING", JobState.PENDING),
        ("COMPLETING", JobState.RUNNING),
        ("SUSPENDED", JobState.SUSPENDED),
        ("CANCELLED by 1000", JobState.CANCELLED),
        ("COMPLETED+", JobState.SUCCEEDED),
        ("TIMEOUT", JobState.FAILED),
        ("NODE_FAIL", JobState.FAILED),
        ("OUT_OF_MEMORY", JobState.FAILED),
        ("PREEMPTED", JobState.CANCELLED),
        # qstat(1B).
        ("B", JobState.RUNNING),
        ("E", JobState.RUNNING),
        ("F", JobState.SUCCEEDED),
        ("H", JobState.PENDING),
        ("Q", JobState.QUEUED),
        ("R", JobState.RUNNING),
        ("S", JobState.SUSPENDED),
        ("T", JobState.QUEUED),
        ("U", JobState.SUSPENDED),
        ("W", JobState.PENDING),
        ("X", JobState.SUCCEEDED),
        (" running\n", JobState.RUNNING),
        # Not documented anywhere.
        ("M", JobState.UNKNOWN),
        ("Exception", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_scheduler_words(word, state):
    assert scheduler_state(word) is state


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Pending", JobState.QUEUED),
        ("Initing", JobState.RUNNING),
        ("Running", JobState.RUNNING),
        ("Succeeded", JobState.SUCCEEDED),
        ("Canceled", JobState.CANCELLED),
        ("Failed", JobState.FAILED),
        ("Failed\n", JobState.FAILED),
        ("Terminated", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_serverless_words(word, state):
    assert serverless_state(word) is state


@pytest.mark.parametrize(
    ("word", "unreported"),
    [
        ("FINISHED", True),
        ("finished\n", True),
        ("F", True),
        ("X", True),
        ("Completed", False),
        ("Failed", False),
    ],
)
def test_words_without_an_outcome(word, unreported):
    """FINISHED of PBS also covers exit code 1: a failed job must not pass for a successful one."""
    assert outcome_unreported(word) is unreported


@pytest.mark.parametrize(
    ("word", "state"),
    [
        # sacct's column has ten characters, the last of which is a +.
        ("OUT_OF_ME+", JobState.FAILED),
        ("CANCELLED+", JobState.CANCELLED),
        ("COMPLETI+", JobState.RUNNING),
        ("REQUEUE_H+", JobState.PENDING),
        ("REQUEUE_F+", JobState.QUEUED),
        ("RESV_DEL_+", JobState.PENDING),
        ("SPECIAL_E+", JobState.PENDING),
        ("RECONFIG_+", JobState.FAILED),
        ("CANC+", JobState.CANCELLED),
        # squeue --long has eight characters and no mark.
        ("COMPLETI", JobState.RUNNING),
        ("COMPLETE", JobState.SUCCEEDED),
        ("CANCELLE", JobState.CANCELLED),
        ("OUT_OF_M", JobState.FAILED),
        ("NODE_FAI", JobState.FAILED),
        ("PREEMPTE", JobState.CANCELLED),
        # It may be COMPLETED or COMPLETING.
        ("COMPLET+", JobState.UNKNOWN),
        ("COMP+", JobState.UNKNOWN),
        ("+", JobState.UNKNOWN),
        # REQUEUED, REQUEUE_FED and REQUEUE_HOLD are all unfinished.
        ("REQUEUE+", JobState.QUEUED),
        ("REQUEUE_", JobState.QUEUED),
        ("Canceled by 0", JobState.CANCELLED),
        ("CANCELLED BY 1000", JobState.CANCELLED),
        ("CANCELLED by", JobState.CANCELLED),
        ("CANCELLED COMPLETING", JobState.CANCELLING),
        ("NODE FAIL", JobState.FAILED),
        ("CANCELLED by alice", JobState.CANCELLED),
        ("PENDING (Resources)", JobState.QUEUED),
        ("PREEMPTEDs", JobState.CANCELLED),
        ("node-fail", JobState.FAILED),
        ("Node Fail", JobState.FAILED),
        ("OutOfMemory", JobState.FAILED),
        ("out of memory", JobState.FAILED),
        ("oom", JobState.FAILED),
        *[(code, JobState.FAILED) for code in ("TO", "NF", "BF", "DL", "RV", "to")],
        *[(code, JobState.CANCELLED) for code in ("CA", "PR")],
        *[(code, JobState.QUEUED) for code in ("PD", "RQ", "RF")],
        *[(code, JobState.PENDING) for code in ("CF", "RH", "RD", "SE")],
        *[(code, JobState.RUNNING) for code in ("CG", "RS", "SI", "SO")],
        ("CD", JobState.SUCCEEDED),
        ("ST", JobState.SUSPENDED),
        # Several at once.
        ("RUNNING,COMPLETING", JobState.RUNNING),
        ("CANCELLED,COMPLETING", JobState.CANCELLING),
        ('["CANCELLED", "COMPLETING"]', JobState.CANCELLING),
        ("['COMPLETED']", JobState.SUCCEEDED),
        ('["FAILED", "COMPLETING"]', JobState.RUNNING),
        ('["PENDING", "REQUEUED"]', JobState.QUEUED),
        ('["FAILED", "REQUEUED"]', JobState.QUEUED),
        ('["PENDING", "SPECIAL_EXIT"]', JobState.PENDING),
        ('["RUNNING", "STOPPED"]', JobState.SUSPENDED),
        ('["COMPLETED", "UPDATE_DB"]', JobState.SUCCEEDED),
        ('["FAILED", "LAUNCH_FAILED"]', JobState.FAILED),
        ('["COMPLETED", "SOMETHING_NEW"]', JobState.UNKNOWN),
        ("[]", JobState.UNKNOWN),
        # Words that only start like a known one.
        ("Completed with errors", JobState.UNKNOWN),
        ("COMPLETED_LATER", JobState.UNKNOWN),
        ("FAIL", JobState.UNKNOWN),
    ],
)
def test_forms_of_words(word, state):
    """If a state is not recognized, the wait lasts until its timeout."""
    assert scheduler_state(word) is state


@pytest.mark.parametrize(
    ("word", "pbs", "slurm"),
    [
        ("F", JobState.SUCCEEDED, JobState.FAILED),
        ("S", JobState.SUSPENDED, JobState.SUSPENDED),
        ("R", JobState.RUNNING, JobState.RUNNING),
        ("Q", JobState.QUEUED, JobState.UNKNOWN),
        ("X", JobState.SUCCEEDED, JobState.UNKNOWN),
        ("CD", JobState.UNKNOWN, JobState.SUCCEEDED),
        ("COMPLETED", JobState.SUCCEEDED, JobState.SUCCEEDED),
    ],
)
def test_letters_depend_on_the_scheduler(word, pbs, slurm):
    """Slurm's F means failed, PBS's F means finished."""
    assert meaning(word, WordOrigin.PBS).state is pbs
    assert meaning(word, WordOrigin.SLURM).state is slurm


@pytest.mark.parametrize(
    ("word", "rerun"),
    [
        *[(word, True) for word in ("PREEMPTED", "Node_fail", "BOOT_FAIL", "REVOKED", "NF", "preempted+")],
        *[(word, True) for word in ("LAUNCH_FAILED", "RECONFIG_FAIL", "NODE_FAI")],
        *[
            (word, False)
            for word in ("FAILED", "TIMEOUT", "CANCELLED", "COMPLETED", "FINISHED", "REQUEUED", "?")
        ],
    ],
)
def test_terminal_states_that_may_not_be_final(word, rerun):
    assert may_rerun(word) is rerun

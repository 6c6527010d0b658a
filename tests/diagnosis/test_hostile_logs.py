# SPDX-License-Identifier: Apache-2.0
"""Logs that nobody writes on purpose: the diagnosis is fast, fits in one line and raises nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.job import JobState, JobStatus
from airflow_provider_ehpc.diagnosis import Cause, diagnose

FAILED = JobStatus("7", JobState.FAILED, "FAILED")
PIECES = [
    "error: ",
    "CUDA out of memory",
    "license ",
    "cannot ",
    "allocate ",
    "*** JOB 1 ON n CANCELLED AT ",
    "12:00:00",
    "[rank0]:",
    " ",
    '"',
    "x" * 40,
    "2024-01-01 12:00:00",
    "=>> PBS: job killed: mem ",
    "\r",
    "\t",
]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), max_size=20))
def test_any_lines(lines: list[str]) -> None:
    found = diagnose(FAILED, lines)
    assert "\n" not in str(found)
    assert len(str(found)) < 700


@pytest.mark.parametrize("piece", [*PIECES, "(", "a:", "exit ", "Detected 1 oom"])
def test_long_lines_take_no_time(piece: str) -> None:
    lines = [piece * (4000 // len(piece))] * 400
    began = time.process_time()
    diagnose(FAILED, lines)
    assert time.process_time() - began < 3


def test_a_group_of_the_log_view_is_not_opened() -> None:
    found = diagnose(FAILED, ["::group::", "::group:: MemoryError"])
    assert "::group::" not in str(found)
    assert diagnose(FAILED, ["cp: '::group::x': No space left on device"]).cause is Cause.DISK_QUOTA
    assert "::group::" not in str(diagnose(FAILED, ["cp: '::group::x': No space left on device"]))

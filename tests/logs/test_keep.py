"""Keeping a log's raw bytes at an ``ObjectStoragePath``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ServiceUnavailable
from airflow_provider_ehpc.apis.job import JobRef, LogLimits
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.logs.keep import keep_log
from tests.conftest import Pauses


@pytest.fixture
def job(ehpc_emulator: Emulator) -> JobRef:
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.wait_for(job_id)
    return JobRef(job_id, ehpc_emulator.cluster_id)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, hook: EhpcHook) -> None:
    """Small pieces, so that a log is many of them."""
    monkeypatch.setattr(type(hook.api), "log_limits", LogLimits(largest=1000, smallest=100))


def test_the_copy_is_what_the_job_wrote(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, small: Any, tmp_path: Path
) -> None:
    """Bytes, not text: an output may be binary."""
    stdout, stderr = os.urandom(4321), b"warn\r\n\xff"
    ehpc_emulator.write_log(job.job_id, stdout)
    ehpc_emulator.write_log(job.job_id, stderr, "stderr")
    folder = tmp_path / "run 1" / "job"
    kept = keep_log(hook, job, f"file://{folder}")
    assert (folder / "stdout.log").read_bytes() == stdout
    assert (folder / "stderr.log").read_bytes() == stderr
    assert kept == [f"file://{folder}/stdout.log", f"file://{folder}/stderr.log"]


def test_an_empty_stream_makes_no_file(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, tmp_path: Path
) -> None:
    ehpc_emulator.write_log(job.job_id, b"only this\n")
    assert keep_log(hook, job, f"file://{tmp_path}") == [f"file://{tmp_path}/stdout.log"]
    assert [file.name for file in tmp_path.iterdir()] == ["stdout.log"]


def test_a_second_run_replaces_the_copy(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, tmp_path: Path
) -> None:
    (tmp_path / "stdout.log").write_bytes(b"x" * 10_000)
    ehpc_emulator.write_log(job.job_id, b"new\n")
    keep_log(hook, job, f"file://{tmp_path}")
    assert (tmp_path / "stdout.log").read_bytes() == b"new\n"


def test_passing_faults_leave_no_gap(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, small: Any, pauses: Pauses, tmp_path: Path
) -> None:
    data = os.urandom(5000)
    ehpc_emulator.write_log(job.job_id, data)
    for kind in ("reset", "truncate", "throttle", "reset"):
        ehpc_emulator.fault(kind, operation="GetJobLog")
    keep_log(hook, job, f"file://{tmp_path}")
    assert (tmp_path / "stdout.log").read_bytes() == data


def test_lasting_faults_are_raised(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, pauses: Pauses, tmp_path: Path
) -> None:
    ehpc_emulator.fault("error", operation="GetJobLog", status=503, times=99)
    with pytest.raises(ServiceUnavailable):
        keep_log(hook, job, f"file://{tmp_path}")


def test_half_a_copy_does_not_look_like_a_whole_one(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, small: Any, pauses: Pauses, tmp_path: Path
) -> None:
    ehpc_emulator.write_log(job.job_id, b"x" * 5000)
    original, calls = hook.call, []

    def call(call: Any) -> Any:
        calls.append(call)
        if len(calls) == 5:
            raise ServiceUnavailable("gone")
        return original(call)

    hook.call = call  # type: ignore[method-assign]
    with pytest.raises(ServiceUnavailable):
        keep_log(hook, job, f"file://{tmp_path}")
    assert list(tmp_path.iterdir()) == []

# SPDX-License-Identifier: Apache-2.0
"""Keeping a log's raw bytes at an ``ObjectStoragePath``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun import ehpc
from airflow_provider_ehpc.apis.call import ServiceUnavailable
from airflow_provider_ehpc.apis.job import JobRef, LogLimits
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.logs import archive
from airflow_provider_ehpc.logs.archive import archive_log
from tests.conftest import Pauses
from tests.logs.cloud import Cloud
from tests.logs.test_hostile import Server, cycle, endless, going_back, nothing, opaque, same_chunk
from tests.test_text import HOSTILE


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
    kept = archive_log(hook, job, f"file://{folder}")
    assert (folder / "stdout.log").read_bytes() == stdout
    assert (folder / "stderr.log").read_bytes() == stderr
    assert kept == [f"file://{folder}/stdout.log", f"file://{folder}/stderr.log"]


def test_an_empty_stream_makes_no_file(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, tmp_path: Path
) -> None:
    ehpc_emulator.write_log(job.job_id, b"only this\n")
    assert archive_log(hook, job, f"file://{tmp_path}") == [f"file://{tmp_path}/stdout.log"]
    assert [file.name for file in tmp_path.iterdir()] == ["stdout.log"]


def test_a_second_run_replaces_the_copy(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, tmp_path: Path
) -> None:
    (tmp_path / "stdout.log").write_bytes(b"x" * 10_000)
    ehpc_emulator.write_log(job.job_id, b"new\n")
    archive_log(hook, job, f"file://{tmp_path}")
    assert (tmp_path / "stdout.log").read_bytes() == b"new\n"


def test_passing_faults_leave_no_gap(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, small: Any, pauses: Pauses, tmp_path: Path
) -> None:
    data = os.urandom(5000)
    ehpc_emulator.write_log(job.job_id, data)
    for kind in ("reset", "truncate", "throttle", "reset"):
        ehpc_emulator.fault(kind, operation="GetJobLog")
    archive_log(hook, job, f"file://{tmp_path}")
    assert (tmp_path / "stdout.log").read_bytes() == data


def test_lasting_faults_are_raised(
    ehpc_emulator: Emulator, hook: EhpcHook, job: JobRef, pauses: Pauses, tmp_path: Path
) -> None:
    ehpc_emulator.fault("error", operation="GetJobLog", status=503, times=99)
    with pytest.raises(ServiceUnavailable):
        archive_log(hook, job, f"file://{tmp_path}")


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
        archive_log(hook, job, f"file://{tmp_path}")
    assert list(tmp_path.iterdir()) == []


@dataclass
class Simulated:
    """The two things that are used of a hook, for an API that answers without a network."""

    api: Server

    def drive(self, flow: Any) -> Any:
        try:
            next(flow)
        except StopIteration as end:
            return end.value
        raise AssertionError("the simulated API sends no requests")


def keep(server: Server, folder: Path, **limits: Any) -> list[str]:
    return archive_log(Simulated(server), JobRef("7", "c1"), f"file://{folder}", **limits)  # type: ignore[arg-type]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_server_that_ignores_the_offset(
    ehpc_emulator: Emulator,
    hook: EhpcHook,
    job: JobRef,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Copying such a log went on until the storage was full."""
    original = ehpc.get_job_log
    requests = []

    def get_job_log(*args: Any, offset: int, **more: Any) -> Any:
        requests.append(offset)
        return original(*args, offset=0, **more)

    monkeypatch.setattr(ehpc, "get_job_log", get_job_log)
    data = b"".join(b"line %d\n" % n for n in range(40))
    ehpc_emulator.write_log(job.job_id, data)
    archive_log(hook, job, f"file://{tmp_path}")
    assert (tmp_path / "stdout.log").read_bytes() == data
    (warning,) = warnings(caplog)
    assert "is incomplete: stdout: the API ignores the offset" in warning
    assert len(requests) < 10


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"followed": 100_000}, "it continues after"),
        ({}, "time ran out"),
        ({"deadline": 0.0}, "time ran out"),
    ],
)
def test_a_log_without_end(
    limits: dict[str, Any],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(answer=endless, more=True, log_limits=LogLimits(100_000, 100))
    now = iter(range(10**6))
    monkeypatch.setattr(archive.time, "time", lambda: next(now))
    monkeypatch.setattr(archive, "GROWTH_MARGIN", 1_000_000)
    keep(server, tmp_path, **limits)
    (warning,) = warnings(caplog)
    assert reason in warning
    assert len(server.made) <= 1810
    assert (tmp_path / "stdout.log").read_bytes().startswith(b"000000000\n000000001\n")


@pytest.mark.parametrize("answer", [same_chunk, opaque("here"), cycle, going_back, nothing])
@pytest.mark.parametrize("more", [False, True])
def test_a_position_that_does_not_go_on(answer: Any, more: bool, tmp_path: Path) -> None:
    server = Server(answer=answer, more=more)
    keep(server, tmp_path)
    assert len(server.made) < 15
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 10_000


def test_a_log_that_is_replaced_meanwhile(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cloud = Cloud(log_limits=LogLimits(1000, 100))
    cloud.files["stdout"] = b"old line\n" * 500
    cloud.at(0.3, lambda cloud: cloud.files.update(stdout=b"new line\n" * 600))
    cloud.read_cost = 0.1
    keep(cloud, tmp_path)  # type: ignore[arg-type]
    assert "is incomplete: stdout: has different content than before" in warnings(caplog)[0]


def test_a_size_that_was_right_is_no_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cloud = Cloud(log_limits=LogLimits(1000, 100), reported_size=lambda stream, size: 0)
    cloud.files["stdout"] = os.urandom(50_000)
    keep(cloud, tmp_path, followed=10)  # type: ignore[arg-type]
    assert (tmp_path / "stdout.log").read_bytes() == cloud.files["stdout"]
    assert warnings(caplog) == []


@pytest.mark.parametrize("stream", HOSTILE)
def test_a_stream_never_leaves_the_folder(stream: str, tmp_path: Path) -> None:
    """A ModelArts response names the tasks, and may name ``../../evil``."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    cloud = Cloud(files={stream: b"x\n", "stdout": b"y\n"})
    keep(cloud, folder)  # type: ignore[arg-type]
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == 2
    assert all(path.parent == folder for path in found)
    assert sorted(path.read_bytes() for path in found) == [b"x\n", b"y\n"]


def test_streams_never_share_a_file(tmp_path: Path) -> None:
    """Nor on a file system that takes ``Task`` and ``task`` for the same."""
    names = ["task", "Task", "a/b", "a-b", "a\\b", "a:b", ".a", "..a", "", " ", "a/../b"]
    cloud = Cloud(files={name: name.encode() + b"\n" for name in names})
    keep(cloud, tmp_path)  # type: ignore[arg-type]
    made = [file.name.casefold() for file in tmp_path.iterdir()]
    assert len(set(made)) == len(names)

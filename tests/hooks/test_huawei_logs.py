# SPDX-License-Identifier: Apache-2.0
"""Logs of ModelArts jobs, followed as operator and trigger follow them, over all three ways to read one.

The rule that is tested: ModelArts gives text, so bytes that are no UTF-8 are U+FFFD before they leave the
server, and a reader sees the lines of the text that is left. No other character may be lost, doubled or
damaged, wherever pieces are cut. v1's API of 2 KiB pieces may also cut through bytes that are no text, so
there only how many U+FFFD stand in a row is left open.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobRef, JobSpec
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks.huawei import HuaweiHook, ModelArtsHook, ModelArtsV1Hook
from airflow_provider_ehpc.logs.follow import Emit, GetStatus, LogFollower, Pause
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import JobWatch, Note, Outcome
from tests.live import noisy_job
from tests.live.test_logs import expected
from tests.logs.cloud import status_of

NOISY_JOB = Path(noisy_job.__file__)
OPTIONS = {
    "algorithm": {"engine": {"image_url": "team/image:1"}},
    "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.2u"}},
}
FOR_EVER = 10**6
# Writes a file in pieces that end anywhere, in the middle of a character too.
TRICKLE = """
import sys, time
data = open(sys.argv[1], "rb").read()
for start in range(0, len(data), 7001):
    sys.stdout.buffer.write(data[start:start + 7001])
    sys.stdout.buffer.flush()
    time.sleep(0.01)
"""


@pytest.fixture
def hook(ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Generator[ModelArtsHook, None, None]:
    connection = json.dumps(ehpc_emulator.connections["huawei_modelarts"])
    monkeypatch.setenv("AIRFLOW_CONN_MODELARTS_TEST", connection)
    hook = ModelArtsHook("modelarts_test")
    yield hook
    hook.close()


@dataclass
class Followed:
    """What came of following a job."""

    outcome: Outcome
    streams: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def follow(hook: HuaweiHook, ref: JobRef) -> Followed:
    """Follow a job to the end of its log, with short pauses."""
    watch = JobWatch(ref, WaitConditions(), time.time())
    follower = LogFollower(hook.api, ref, watch, clock=time.time, interval=0.2, settle=0.5)
    seen = Followed(Outcome.ERROR)

    def do(step: Any) -> Any:
        if isinstance(step, GetStatus):
            return status_of(hook, ref)
        if isinstance(step, Emit):
            seen.streams.setdefault(step.stream, []).extend(step.lines)
        elif isinstance(step, Note):
            seen.notes.append(step.text)
        elif isinstance(step, Pause):
            time.sleep(min(step.seconds, 0.2))
        return None

    seen.outcome = hook.drive(follower.steps(), do).outcome
    return seen


def submit(hook: ModelArtsHook, command: str, **fields: Any) -> JobRef:
    return hook.submit(JobSpec("noisy", command, options=OPTIONS, **fields))


def as_text(raw: bytes) -> bytes:
    """Say what is left of a log in JSON."""
    return raw.decode(errors="replace").encode()


def noise(size: int, *, binary: bool = False) -> bytes:
    """Return about ``size`` bytes of noise without its line of a megabyte, and without what is no text."""
    data = bytearray()
    for piece in noisy_job.noise(1_000_000 + 2 * size)[1:]:
        if binary or "\ufffd" not in piece.decode(errors="replace"):
            data += piece
        if len(data) > size:
            break
    return bytes(data) + "最后一行没有换行".encode()


def written(cloud: Emulator, ref: JobRef) -> bytes:
    return cloud.job(ref.job_id).stdout_path.read_bytes()


def v1_ref(cloud: Emulator, v1: ModelArtsV1Hook, ref: JobRef) -> JobRef:
    number = str(cloud.job(ref.job_id).number)
    return next(row.ref for row in v1.list_jobs().jobs if row.job_id == number)


def test_two_megabytes_of_noise_by_lines(ehpc_emulator: Emulator, hook: ModelArtsHook) -> None:
    """A user who greps the task log for what the job said must find it there."""
    ref = submit(hook, f"exec {sys.executable} {NOISY_JOB} 2000000")

    seen = follow(hook, ref)

    raw = written(ehpc_emulator, ref)
    assert len(raw) >= 2_000_000
    assert seen.outcome is Outcome.REACHED
    assert seen.streams["worker-0"] == expected(as_text(raw))
    assert ehpc_emulator.requests.count("ShowTrainingJobLogsPreview") == 0


def test_two_nodes_have_two_logs(ehpc_emulator: Emulator, hook: ModelArtsHook) -> None:
    ref = submit(hook, 'for n in 1 2 3; do echo "node $VC_TASK_INDEX, 行 $n"; done', nodes=2)

    assert follow(hook, ref).streams == {
        f"worker-{node}": [f"node {node}, 行 {n}" for n in (1, 2, 3)] for node in (0, 1)
    }


def _without_lines(cloud: Emulator) -> None:
    cloud.fault(
        "error",
        operation="ShowTrainingJobLogsFromAom",
        status=404,
        code="APIG.0101",
        message="The API does not exist or has not been published in the environment",
        times=FOR_EVER,
    )


@pytest.mark.parametrize("sizes", ["right", "wrong"])
def test_noise_by_previews_where_there_are_no_lines(
    ehpc_emulator: Emulator, hook: ModelArtsHook, tmp_path: Path, sizes: str
) -> None:
    """Older regions have only the preview; the user learns of it, and of nothing else."""
    _without_lines(ehpc_emulator)
    if sizes == "wrong":
        ehpc_emulator.fault("log_size")
    file = tmp_path / "noise"
    file.write_bytes(noise(2_000_000 if sizes == "right" else 300_000))
    ref = submit(hook, f"exec {sys.executable} -c {_quoted(TRICKLE)} {file}")

    seen = follow(hook, ref)

    assert seen.outcome is Outcome.REACHED
    assert seen.streams["worker-0"] == expected(file.read_bytes())
    (told,) = [note for note in seen.notes if "worker-0" in note]
    assert "followed by its last 5 MB" in told


def test_noise_with_binary_by_previews(ehpc_emulator: Emulator, hook: ModelArtsHook) -> None:
    _without_lines(ehpc_emulator)
    ref = submit(hook, f"exec {sys.executable} {NOISY_JOB} 2000000")

    seen = follow(hook, ref)

    assert seen.streams["worker-0"] == expected(as_text(written(ehpc_emulator, ref)))


def test_what_a_preview_no_longer_holds_is_said(ehpc_emulator: Emulator, hook: ModelArtsHook) -> None:
    """More than 5 MB at once: the lines that are lost must not be lost in silence."""
    _without_lines(ehpc_emulator)
    ref = submit(hook, "seq -f 'line %.0f' 700000")
    ehpc_emulator.wait_for(ref.job_id)

    seen = follow(hook, ref)

    assert seen.streams["worker-0"][-1] == "line 700000"
    assert any("bytes of worker-0 are missing here" in note for note in seen.notes)


@pytest.mark.parametrize("split", ["replaced", "dropped", "aligned"])
def test_text_by_pieces_of_two_kilobytes(
    ehpc_emulator: Emulator, hook: ModelArtsHook, tmp_path: Path, split: str
) -> None:
    """Whatever an endpoint does to a character that a piece's border goes through."""
    ehpc_emulator.fault("split", word=split)
    file = tmp_path / "noise"
    file.write_bytes(noise(200_000))
    ref = submit(hook, f"exec {sys.executable} -c {_quoted(TRICKLE)} {file}")
    v1 = ModelArtsV1Hook(hook.conn_id)

    seen = follow(v1, v1_ref(ehpc_emulator, v1, ref))
    v1.close()

    assert seen.outcome is Outcome.REACHED
    assert seen.streams["job-noisy.0"] == expected(file.read_bytes())
    assert ehpc_emulator.requests.count("ShowTrainingJobAomLog") == 0


def test_noise_with_binary_by_pieces_of_two_kilobytes(
    ehpc_emulator: Emulator, hook: ModelArtsHook, tmp_path: Path
) -> None:
    file = tmp_path / "noise"
    file.write_bytes(noise(200_000, binary=True))
    ref = submit(hook, f"exec {sys.executable} -c {_quoted(TRICKLE)} {file}")
    v1 = ModelArtsV1Hook(hook.conn_id)

    seen = follow(v1, v1_ref(ehpc_emulator, v1, ref))
    v1.close()

    assert b"\xff" in file.read_bytes()
    wanted = expected(as_text(file.read_bytes()))
    assert [_bad_as_one(line) for line in seen.streams["job-noisy.0"]] == [
        _bad_as_one(line) for line in wanted
    ]


def test_noise_by_lines_of_v1_where_there_are_no_bytes(ehpc_emulator: Emulator, hook: ModelArtsHook) -> None:
    """The vendor took /log away first; the words for the direction are the reverse of v2's there."""
    ehpc_emulator.fault("error", operation="ShowTrainingJobLog", status=404, code="APIG.0101", times=FOR_EVER)
    ref = submit(hook, f"exec {sys.executable} {NOISY_JOB} 20000000")
    v1 = ModelArtsV1Hook(hook.conn_id)

    seen = follow(v1, v1_ref(ehpc_emulator, v1, ref))
    v1.close()

    assert seen.streams["job-noisy.0"] == expected(as_text(written(ehpc_emulator, ref)))


def _bad_as_one(line: str) -> str:
    return re.sub("\ufffd+", "\ufffd", line)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"

# SPDX-License-Identifier: Apache-2.0
"""Followers that die again and again, over each way to read a log: what they write together is the log."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobRef, JobSpec
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.huawei import ModelArtsHook, ModelArtsV1Hook
from airflow_provider_ehpc.logs.cursor import SavedCursor
from airflow_provider_ehpc.logs.follow import Checkpoint, Emit, GetStatus, LogFollower, Pause
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import JobWatch, Note
from tests.hooks.test_huawei_logs import OPTIONS, TRICKLE, _quoted, _without_lines, noise, v1_ref
from tests.live.test_logs import expected
from tests.logs.cloud import status_of

RESTARTS = 12


class Killed(Exception):
    pass


def follow(hook: ApiHook, ref: JobRef) -> tuple[list[str], list[str]]:
    """Follow a job with followers that die; return the lines that were written for good, and the notes."""
    chance = random.Random(4)
    lines: list[str] = []
    notes: list[str] = []
    cursor: SavedCursor | None = None
    for life in range(RESTARTS + 1):
        left = chance.randrange(3, 12) if life < RESTARTS else 10**9
        unsaved: list[str] = []

        def do(step: Any, unsaved: list[str] = unsaved) -> Any:
            nonlocal cursor, left
            if isinstance(step, GetStatus):
                return status_of(hook, ref)
            if isinstance(step, Emit):
                unsaved.extend(step.lines)
            elif isinstance(step, Checkpoint):
                lines.extend(unsaved)
                unsaved.clear()
                cursor = SavedCursor.read(json.loads(json.dumps(step.cursor.as_dict())), hook.api.name, ref)
            elif isinstance(step, Note):
                notes.append(step.text)
            elif isinstance(step, Pause):
                time.sleep(min(step.seconds, 0.1))
            left -= 1
            if left <= 0:
                raise Killed
            return None

        watch = JobWatch(ref, WaitConditions(), time.time())
        follower = LogFollower(hook.api, ref, watch, clock=time.time, interval=0.1, settle=0.5, start=cursor)
        try:
            hook.drive(follower.steps(), do)
        except Killed:
            continue
        lines.extend(unsaved)
        break
    return lines, notes


@pytest.mark.parametrize("way", ["ehpc", "ehpc-classic", "lines", "previews", "pieces"])
def test_no_line_is_missing(
    way: str, ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Offsets, numbers of lines, digests of a preview: to each its own, and none may lose its place."""
    for connection in ehpc_emulator.connections.values():
        monkeypatch.setenv(f"AIRFLOW_CONN_{connection['conn_type'].upper()}", json.dumps(connection))
    if way == "previews":
        _without_lines(ehpc_emulator)
    file = tmp_path / "noise"
    file.write_bytes(noise(1_000_000 if way != "pieces" else 300_000))
    command = f"exec {sys.executable} -c {_quoted(TRICKLE)} {file}"
    hook: ApiHook
    if way.startswith("ehpc"):
        hook = job_hook("aliyun_ehpc", way)
        ref = hook.submit(JobSpec("noisyjob", command, user="testuser" if way == "ehpc-classic" else None))
    else:
        hook = modelarts = ModelArtsHook("huawei_modelarts")
        ref = modelarts.submit(JobSpec("noisyjob", command, options=OPTIONS))
    if way == "pieces":
        v1 = ModelArtsV1Hook("huawei_modelarts")
        hook, ref = v1, v1_ref(ehpc_emulator, v1, ref)
    lines, notes = follow(hook, ref)
    assert lines == expected(file.read_bytes())
    assert sum("resumed at" in note for note in notes) > 2
    assert not [note for note in notes if "before the restart" in note]

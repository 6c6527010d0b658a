# SPDX-License-Identifier: Apache-2.0
"""Test ``airflow ehpc submit``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from tests.cli.conftest import FAST, Ehpc
from tests.gates import Gate

SHARED = ("--cores", "2", "--memory", "1.5GB", "--wall-time", "1:00:00", "--job-name", "my train")


def test_a_job_is_submitted_as_by_the_operator(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    ended = ehpc("submit", *SHARED, "-e", "A=b=c", "--", "sh", "-c", 'echo "$A $0"', "two words")
    (job_id,) = ended.lines
    assert ended.code == 0
    assert f"submitted job {job_id} in cluster ehpc-hz-emulator under the name 'my-train-" in ended.err
    job = ehpc_emulator.wait_for(job_id)
    assert (job.spec.cores, job.spec.memory, job.spec.wall_time) == (2, "1536MB", 3600)
    assert ehpc("logs", job_id).out == "b=c two words\n"


def test_one_word_is_a_line_for_a_shell(ehpc: Ehpc) -> None:
    ended = ehpc("submit", "--follow", *FAST, "--", "echo one; echo two | tr t T")
    assert (ended.code, ended.out) == (0, "one\nTwo\n")


def test_a_script_comes_from_this_machine(
    ehpc: Ehpc, ehpc_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --cpus-per-task=3\necho from a script\n")
    ended = ehpc("submit", "--script", str(script), "--follow", *FAST)
    assert (ended.code, ended.out) == (0, "from a script\n")
    assert ehpc_emulator.job("1.manager").spec.cores == 3
    with script.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        ended = ehpc("submit", "--script", "-", "--follow", *FAST)
    assert ended.out == "from a script\n"


@pytest.mark.parametrize(("own", "expected"), [((), 1), (("--exit-code",), 9)])
@pytest.mark.parametrize("how", ["--wait", "--follow"])
def test_a_failed_job_fails_the_command(ehpc: Ehpc, how: str, own: tuple[str, ...], expected: int) -> None:
    ended = ehpc("submit", how, *own, *FAST, "--", "echo 'oom-kill: out of memory'; exit 9")
    assert ended.code == expected
    assert "out of memory: its log says" in ended.err
    if how == "--wait":
        assert ended.lines == ["1.manager"]
        assert "exit code 9" in ended.err
        assert "Last lines of its log" in ended.err
    else:
        assert ended.lines == ["oom-kill: out of memory"]


def test_a_lost_response_submits_no_second_job(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    ehpc_emulator.fault("reset", operation="CreateJob", effect=True)
    ended = ehpc("submit", "--", "exit 0")
    assert (ended.code, ended.lines) == (0, ["1.manager"])
    assert "was submitted under this name" in ended.err
    assert ehpc_emulator.requests.count("CreateJob") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give either a command after -- or --script"),
        (("--script", "job.sh", "--", "true"), "give either a command after -- or --script"),
        (("--script", "/no/such/file"), "No such file"),
        (("--cores", "many", "--", "true"), "cores: expected a whole number, got 'many'"),
        (("--options", "{", "--", "true"), "--options: not JSON"),
        (("--options", "[" * 100_000, "--", "true"), "--options: not JSON"),
        (("-e", "hunter2secret", "--", "true"), "--environment: expected NAME=VALUE"),
        (("--", "echo {{ ds }}"), "command: contains {{ or {%"),
        (("--encoding", "utf-16", "--", "true"), "encoding"),
        (("--conn-id", "nowhere", "--", "true"), "nowhere"),
        (("--api", "nothing", "--", "true"), "api: unknown API 'nothing'"),
        (("--conn-id", "qingcloud_hpc_default", "--gpus", "1", "--", "true"), "gpus: choose a queue"),
    ],
)
def test_wrong_arguments(ehpc: Ehpc, ehpc_emulator: Emulator, words: tuple[str, ...], message: str) -> None:
    ended = ehpc("submit", *words)
    assert ended.code == 2
    assert ended.out == ""
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert "hunter2secret" not in ended.err
    assert not ehpc_emulator.requests.count("CreateJob")


def test_ctrl_c_leaves_the_job_running(ehpc_emulator: Emulator, gate: Gate) -> None:
    program = [sys.executable, "-m", "airflow_provider_ehpc.cli", "submit", "--wait", *FAST]
    with subprocess.Popen(
        [*program, "--cluster-id", ehpc_emulator.cluster_id, "--", f"{gate.wait}; exit 0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        # A shell without job control lets the processes that it starts in the background ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout
        assert process.stderr
        job_id = process.stdout.readline().strip()
        while "is RUNNING" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == [
        f"job {job_id} in cluster ehpc-hz-emulator continues. To stop it: airflow ehpc stop {job_id} "
        "--conn-id aliyun_ehpc_default --cluster-id ehpc-hz-emulator"
    ]
    assert ehpc_emulator.job(job_id).phase == "RUNNING"
    gate.open()
    ehpc_emulator.wait_for(job_id, "COMPLETED")

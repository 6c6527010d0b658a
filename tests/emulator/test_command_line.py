# SPDX-License-Identifier: Apache-2.0
"""``python -m airflow_provider_ehpc.emulator``."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from airflow_provider_ehpc.emulator.server import Emulator

COMMAND = [sys.executable, "-m", "airflow_provider_ehpc.emulator"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "'0.0.0.0' is not a loopback address; use 127.0.0.1"),
        (["--directory", "/dev/null"], "/dev/null: File exists; choose another --directory"),
    ],
)
def test_what_else_prevents_the_start_is_one_line(arguments: list[str], message: str) -> None:
    ended = _run(*arguments)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert message in ended.stderr


def test_a_port_in_use_is_named(ehpc_emulator: Emulator) -> None:
    port = str(urlsplit(ehpc_emulator.url).port)
    ended = _run("--port", port)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"cannot start: port {port} is in use; choose another --port, or omit it" in ended.stderr


@pytest.mark.parametrize(("option", "value"), [("--port", "65536"), ("--port", "-1"), ("--slots", "0")])
def test_a_number_out_of_range_is_explained(option: str, value: str) -> None:
    ended = _run(option, value)
    assert ended.returncode == 2
    assert f"argument {option}: expected a number from " in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("kept", [False, True])
def test_ctrl_c_ends_it_with_one_line(tmp_path: Path, kept: bool) -> None:
    arguments = ["--directory", str(tmp_path / "state")] if kept else []
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    while "Ctrl-C stops the emulator" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")
    left = f"its state is in {tmp_path / 'state'}" if kept else "its jobs are killed"
    assert stdout == f"\nThe emulator has stopped; {left}.\n"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)

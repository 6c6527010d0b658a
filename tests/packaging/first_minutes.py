# SPDX-License-Identifier: Apache-2.0
"""Do what the README says under "Try it", as a new user does after the installation."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

EMULATOR = "python -m airflow_provider_ehpc.emulator"
FIRST = ["pip install airflow-provider-ehpc", EMULATOR]
STEPS = 6
"""The most commands that it may take, with the pasting of what the emulator prints."""


def first_minutes(readme: Path, home: Path) -> str:
    """Follow the README in an empty home directory, and return a transcript.

    :raises AssertionError: if a step fails, if there are too many, or if the log lacks lines of the job.
    """
    section = readme.read_text().partition("## Try it")[2].partition("\n## ")[0]
    consoles = "\n".join(re.findall(r"^```console\n(.*?)^```", section, re.DOTALL | re.MULTILINE))
    commands = re.findall(r"^\$ (.+)$", consoles, re.MULTILINE)
    assert commands[: len(FIRST)] == FIRST, commands
    assert len(commands) + len(["paste the connections"]) <= STEPS, commands

    file = home / "airflow" / "dags" / "run_my_job.py"
    assert f"~/{file.relative_to(home)}" in section
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)

    # A terminal of a new user: nothing of Airflow is set, and `airflow` is that of the environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    program = [sys.executable, *EMULATOR.split()[1:]]
    with subprocess.Popen(program, env=environment, cwd=home, stdout=subprocess.PIPE, text=True) as emulator:
        try:
            pasted, transcript = _pasted(emulator)
            for command in commands[len(FIRST) :]:
                transcript += _run(command, environment | pasted, home)
                if not file.exists():
                    # The folder is there now, if the README says how to create it.
                    file.write_text(code)
        finally:
            emulator.send_signal(signal.SIGINT)
            emulator.wait(30)
    assert "state=success" in transcript, transcript[-5000:]
    assert all(f"step {n} of 20" in transcript for n in range(1, 21)), transcript[-5000:]
    alarming = re.findall(r"^.*\[error .*$", transcript, re.MULTILINE)
    assert not alarming, alarming
    return transcript


def _pasted(emulator: subprocess.Popen[str]) -> tuple[dict[str, str], str]:
    """Return the variables that the emulator prints, and all that it prints."""
    transcript = f"$ {EMULATOR}\n"
    variables: dict[str, str] = {}
    assert emulator.stdout
    while "Ctrl-C" not in (line := emulator.stdout.readline()):
        assert line, "the emulator has ended"
        transcript += line
        if line.startswith("export "):
            name, _, value = shlex.split(line)[1].partition("=")
            variables[name] = value
    assert "Job 1.manager of cluster ehpc-hz-emulator " in transcript
    return variables, transcript


def _run(command: str, environment: dict[str, str], home: Path) -> str:
    ended = subprocess.run(
        ["sh", "-c", command],
        env=environment,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    transcript = f"$ {command}\n{ended.stdout}"
    assert ended.returncode == 0, transcript[-5000:]
    return transcript

# SPDX-License-Identifier: Apache-2.0
"""Wrapped commands as jobs of a real Slurm: their exit codes are the same, and the marker is in the log."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from airflow_provider_ehpc.exit_code import find, new_token, wrap

TOKEN = new_token()


def slurm_answers() -> bool:
    if not shutil.which("sbatch") or "SLURM_CONF" not in os.environ:
        return False
    return subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not slurm_answers(), reason="no Slurm answers on this machine: make slurm starts one"),
]


def submit(script: str, home: Path, *options: str) -> str:
    done = subprocess.run(
        ["sbatch", "--parsable", f"--chdir={home}", f"--output={home}/%A_%a.log", *options],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def ended(job_id: str) -> dict[str, str]:
    """Return the fields of the job's record when it has ended."""
    deadline = time.time() + 90
    while time.time() < deadline:
        shown = subprocess.run(["scontrol", "show", "job", "-o", job_id], capture_output=True, text=True)
        fields = dict(word.partition("=")[::2] for word in shown.stdout.split())
        if fields.get("JobState") not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", None):
            return fields
        time.sleep(0.3)
    raise AssertionError(f"job {job_id} has not ended")


def test_a_batch_script_keeps_its_headers_and_its_exit_code(tmp_path: Path) -> None:
    script = "#!/bin/bash\n#SBATCH --job-name=of-the-header\n#SBATCH --nodes=1\nprintf half; exit 3\n"
    fields = ended(submit(wrap(script, TOKEN), tmp_path))
    assert (fields["JobName"], fields["ExitCode"], fields["JobState"]) == ("of-the-header", "3:0", "FAILED")
    (log,) = tmp_path.iterdir()
    assert log.read_text() == f"half[exit-code {TOKEN} 3]\n"


def test_a_script_of_python(tmp_path: Path) -> None:
    script = "#!/usr/bin/env python3\n#SBATCH --job-name=py\nimport sys\nprint(sys.argv[1:])\nsys.exit(4)\n"
    fields = ended(submit(wrap(script, TOKEN), tmp_path))
    assert (fields["JobName"], fields["ExitCode"]) == ("py", "4:0")
    (log,) = tmp_path.iterdir()
    assert log.read_text() == f"[]\n[exit-code {TOKEN} 4]\n"


def test_each_member_of_an_array_writes_its_own(tmp_path: Path) -> None:
    script = "#!/bin/sh\nexit $SLURM_ARRAY_TASK_ID\n"
    job_id = submit(wrap(script, TOKEN), tmp_path, "--array=0-2:2")
    for index in (0, 2):
        assert ended(f"{job_id}_{index}")["ExitCode"] == f"{index}:0"
        assert find((tmp_path / f"{job_id}_{index}.log").read_text(), TOKEN) == index


@pytest.mark.parametrize("how", [["--batch", "--signal=USR1"], ["--full", "--signal=USR1"]])
def test_a_signal_to_the_batch_script_reaches_its_trap(tmp_path: Path, how: list[str]) -> None:
    """``--signal=B:USR1`` is how jobs on Slurm save their state before their time limit."""
    script = "#!/bin/bash\ntrap 'echo saved; exit 7' USR1\necho ready\nwhile :; do sleep 0.1; done\n"
    job_id = submit(wrap(script, TOKEN), tmp_path)
    deadline = time.time() + 60
    while not any("ready" in log.read_text() for log in tmp_path.iterdir()) and time.time() < deadline:
        time.sleep(0.2)
    subprocess.run(["scancel", *how, job_id], check=True)
    assert ended(job_id)["ExitCode"] == "7:0"
    (log,) = tmp_path.iterdir()
    # The shell also reports that its child was killed.
    lines = [line for line in log.read_text().splitlines() if "User defined" not in line]
    assert lines == ["ready", "saved", f"[exit-code {TOKEN} 7]"]

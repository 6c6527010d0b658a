# SPDX-License-Identifier: Apache-2.0
"""The README's first DAG, pasted beside an emulator that was started as the README says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.airflow
def test_the_first_dag_succeeds_as_pasted(tmp_path: Path) -> None:
    """It is the first thing that a new user tries."""
    (tmp_path / "dags").mkdir()
    (code, *_) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "dags" / "first.py").write_text(code)
    emulator = subprocess.Popen(
        [sys.executable, "-m", "airflow_provider_ehpc.emulator"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert emulator.stdout
        printed = [emulator.stdout.readline() for _ in range(6)]
        exports = [line.removeprefix("export ") for line in printed if line.startswith("export ")]
        assert "Job 1.manager of cluster ehpc-hz-emulator " in printed[-1]
        environment = {
            **os.environ,
            **dict(shlex.split(export)[0].split("=", 1) for export in exports),
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        }

        def airflow(*arguments: str) -> str:
            command = [sys.executable, "-m", "airflow", *arguments]
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=500, check=False
            )
            assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
            return ended.stdout + ended.stderr

        airflow("db", "migrate")
        text = airflow("dags", "test", "run_my_job")
    finally:
        emulator.terminate()
        emulator.wait(30)
    assert "state=success" in text
    assert "step 5 of 5" in text

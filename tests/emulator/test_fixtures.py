# SPDX-License-Identifier: Apache-2.0
"""The pytest fixtures for users, in a project of its own: the one in docs/testing.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.faults import PERSISTENT, FaultKind

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
FILES = ("dags/my_dags.py", "conftest.py", "test_my_dags.py", "test_a_job.py")
"""Where the page's Python blocks belong, in their order."""


@pytest.mark.airflow
def test_the_documented_project_passes(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for name, block in zip(FILES, blocks, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(block)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "--strict-config", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment | {"AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND": "2000"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    assert "4 passed" in ended.stdout


def test_the_page_lists_every_fault() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)`( \*)? \|", PAGE, re.MULTILINE)
    assert {name: bool(star) for name, star in rows} == {kind.name: kind in PERSISTENT for kind in FaultKind}


def test_the_connections_lead_to_the_emulator(ehpc_connection: str, ehpc_emulator: object) -> None:
    from airflow.sdk import BaseHook

    from airflow_provider_ehpc.emulator.server import Emulator

    assert isinstance(ehpc_emulator, Emulator)
    for conn_id in (ehpc_connection, "huawei_modelarts_default", "qingcloud_hpc_default"):
        assert BaseHook.get_connection(conn_id).host == ehpc_emulator.url

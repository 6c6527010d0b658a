# SPDX-License-Identifier: Apache-2.0
"""Run the Python code blocks of README and docs, check their commands, and parse their data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.server import Emulator
from tests.docs.commands import check_commands
from tests.docs.pages import ROOT, Block, blocks, pages

ALL = [block for page in pages() for block in blocks(page)]
RUN = [block for block in ALL if block.not_run is None]
PYTHON = {block.text: block for block in reversed(RUN) if block.language == "python"}
"""The blocks by text, because a translated page repeats the code of the original."""
DATA = {"json": "json.loads", "toml": "tomllib", "ini": "configparser"}
NOT_RUN = 4
"""The number of blocks with a marker. Nobody checks these blocks, so avoid new ones."""
RUNNER = Path(__file__).with_name("run_blocks.py")

# These tests wait for the same process, so they run in one worker. They share no Airflow with other tests.
pytestmark = pytest.mark.xdist_group("docs")


def placeholders(emulator: Emulator, folder: Path) -> dict[str, str]:
    """Return the placeholders in the pages, and their values in these tests."""
    return {
        "ehpc-hz-FYUr32****": emulator.cluster_id,
        "s3://my_conn@my-bucket": f"file://{folder}/my-bucket",
        "file:///var/lib/airflow/hpc-audit": f"file://{folder}/hpc-audit",
        # Two jobs of the sweep test the same code as twenty.
        "range(0, 100, 5)": "range(0, 100, 50)",
    }


@pytest.fixture(scope="session")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Run all Python blocks; return the failures by block."""
    folder = tmp_path_factory.mktemp("blocks")
    with Emulator(tmp_path_factory.mktemp("cloud")) as emulator:
        for block in PYTHON.values():
            text = block.text
            for placeholder, real in placeholders(emulator, folder).items():
                text = text.replace(placeholder, real)
            file = folder / "blocks" / name_of(block) / f"block_{name_of(block)}.py"
            file.parent.mkdir(parents=True)
            file.write_text(text)
        for job_id in [emulator.submit("echo a line") for _ in range(2)]:
            emulator.wait_for(job_id)
        operation = EmulatedOperation(time.time(), "HpcClusterStartCluster", id="j-8ajjp28fps8")
        emulator.add_operations([operation])
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
            **{
                f"AIRFLOW_CONN_{kind.upper()}_DEFAULT": json.dumps(connection)
                for kind, connection in emulator.connections.items()
            },
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND": "2000",
            "AIRFLOW_VAR_HPC_BUCKET": f"file://{folder}/mounted",
            "AIRFLOW_VAR_HPC_MOUNT": f"{folder}/mounted",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        results = folder / "results.json"
        done = subprocess.run(
            [sys.executable, str(RUNNER), str(folder / "blocks"), str(results)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield json.loads(results.read_text())


def name_of(block: Block) -> str:
    """Return the name of a block as a module."""
    return "".join(letter if letter.isalnum() else "_" for letter in str(block).replace(".md", ""))


@pytest.mark.parametrize("block", PYTHON.values(), ids=str)
def test_python_runs(block: Block, failures: Mapping[str, str]) -> None:
    """DAGs succeed on the emulator (on Airflow 3.1, they are only parsed), tests pass, other code runs."""
    if "HpcRetryPolicy" in block.text and "HpcRetryPolicy needs Airflow" in failures.get(name_of(block), ""):
        pytest.skip("this version of Airflow has no retry policies")
    assert name_of(block) not in failures, failures[name_of(block)]


@pytest.mark.parametrize("block", [block for block in RUN if block.language == "console"], ids=str)
def test_commands_exist_with_these_arguments(block: Block) -> None:
    """The parsers of the programs themselves accept the commands."""
    check_commands(block.text)


@pytest.mark.parametrize("block", [block for block in RUN if block.language in DATA], ids=str)
def test_data_is_well_formed(block: Block) -> None:
    """Connections and settings can be pasted."""
    import configparser
    import tomllib

    if block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    else:
        configparser.ConfigParser().read_string(block.text)


def test_no_block_is_left_out() -> None:
    """Each block is of a kind that is checked, or is output (text), or has a marker with a reason."""
    checked = {"python", "console", *DATA, "text"}
    assert [str(block) for block in RUN if block.language not in checked] == []
    assert len([block for block in ALL if block.not_run]) == NOT_RUN

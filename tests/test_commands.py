# SPDX-License-Identifier: Apache-2.0
"""Neither the import of the package nor Airflow's commands about providers warn because of us."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT_ALL = """
import importlib, pkgutil, warnings
import airflow_provider_ehpc as package

with warnings.catch_warnings():
    # Airflow's own API server imports what is deprecated.
    warnings.simplefilter("ignore")
    importlib.import_module("airflow.api_fastapi.core_api.security")
for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
    # Airflow 3.1 warns of an import of its own if a DAG file imports airflow.sdk.
    if ".example_dags" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""

ALL_COMMANDS = """
from airflow.cli import cli_config, cli_parser

parser = cli_parser.get_parser()
provider = {"get": ["airflow-provider-ehpc", "--full"]}
# The command lazy-loaded is for developers of Airflow: it fails if any provider has been loaded.
names = [each.name for each in cli_config.PROVIDERS_COMMANDS if each.name != "lazy-loaded"]
listed = [["providers", name, *provider.get(name, [])] for name in names]
for command in [["info"], ["plugins"], *listed]:
    arguments = parser.parse_args(command)
    arguments.func(arguments)
"""


def _run(home: Path, program: str, *options: str) -> str:
    ended = subprocess.run(
        [sys.executable, *options, "-c", program],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "True",
            "COLUMNS": "500",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:]
    return ended.stdout


def test_no_module_warns_when_it_is_imported(tmp_path: Path) -> None:
    """Tests of users often run with -W error."""
    imported = _run(tmp_path, IMPORT_ALL, "-W", "error")
    assert "airflow_provider_ehpc.operators.job\n" in imported


@pytest.mark.airflow
def test_no_command_about_providers_warns_because_of_us(tmp_path: Path) -> None:
    printed = _run(tmp_path, ALL_COMMANDS, "-W", "always")
    assert "airflow_provider_ehpc.links.job.CloudConsoleLink" in printed
    complaint = re.compile(r"\[(warning|error|critical)|Warning:|Traceback")
    ours = [line for line in printed.splitlines() if complaint.search(line) and "ehpc" in line]
    assert not ours
    assert "Error when importing" not in printed

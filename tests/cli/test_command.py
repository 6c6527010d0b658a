# SPDX-License-Identifier: Apache-2.0
"""Test that Airflow finds the commands, and test the code that all commands share."""

from __future__ import annotations

import ast
import importlib
import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from airflow.cli.cli_config import ActionCommand
from airflow.version import version
from packaging.version import Version

from airflow_provider_ehpc.cli.command import command
from airflow_provider_ehpc.cli.definition import get_ehpc_cli_commands
from airflow_provider_ehpc.cli.terminal import Terminal
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.get_provider_info import get_provider_info
from tests.cli.conftest import Ehpc
from tests.test_imports import FILES, PACKAGE, imported

(GROUP,) = get_ehpc_cli_commands()
COMMANDS = [command for command in GROUP.subcommands if isinstance(command, ActionCommand)]
MODULE = [sys.executable, "-m", "airflow_provider_ehpc.cli"]


def test_the_provider_info_names_the_commands() -> None:
    (name,) = get_provider_info()["cli"]
    module, _, function = name.rpartition(".")
    assert getattr(importlib.import_module(module), function) is get_ehpc_cli_commands


def test_the_definition_is_cheap() -> None:
    """Every ``airflow`` command loads this module."""
    modules = {name for name in imported("cli.definition") if name.split(".")[0] in ("airflow", PACKAGE)}
    allowed = ("airflow.cli.cli_config", f"{PACKAGE}.cli.times")
    assert not [name for name in modules if not name.startswith(allowed)]
    # Imports inside these functions are loaded only when the functions are called.
    at_once = ast.parse(FILES["cli.times"].read_text()).body
    modules = {node.module or "" for node in at_once if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("defined", COMMANDS, ids=lambda defined: defined.name)
def test_every_command_exists(defined: ActionCommand) -> None:
    """Modules of commands are imported when a command is used."""
    cells = [cell.cell_contents for cell in defined.func.__closure__ or ()]
    (path,) = [text for text in cells if isinstance(text, str) and text.startswith(PACKAGE)]
    module, _, function = path.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("defined", COMMANDS, ids=lambda defined: defined.name)
def test_help(ehpc: Ehpc, defined: ActionCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    if defined.name == "emulator":
        return  # this command passes --help on
    ended = ehpc(defined.name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert defined.help in ended.out or str(defined.description) in ended.out
    assert "examples:\n  airflow ehpc" in ended.out
    assert max(map(len, ended.lines)) <= 100


@pytest.mark.skipif(Version(version) < Version("3.2"), reason="Airflow 3.1 loads no commands of providers")
def test_airflow_loads_the_commands() -> None:
    airflow = Path(sys.executable).with_name("airflow")
    ended = subprocess.run(
        [airflow, "ehpc", "--help"], capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stderr == ""
    assert "Work with jobs on Alibaba Cloud E-HPC" in ended.stdout
    assert all(command.help in ended.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--since", "yesterday"),
        ("jobs", "--since", "1969-12-31"),
        ("jobs", "--since", "0001-01-01T00:00+14:00"),
        ("jobs", "--since", "99999w"),
        ("logs", "1.manager", "--since", "2999-01-01"),
        ("operations", "2999-01-01"),
        ("operations", "1h", "9999-12-31T23:59-12:00"),
        ("audit", "2h", "1h", "--path", "x", "--settle", "999999w"),
        ("jobs", "--output", "xml"),
        ("logs", "1.manager", "--tail", "-1"),
        ("logs",),
        ("state",),
        ("state", "1.manager", "--poll-interval", "0"),
        ("submit", "--no-such-option"),
        ("audit", "1h"),
        ("nothing",),
    ],
)
def test_usage(ehpc: Ehpc, words: tuple[str, ...]) -> None:
    ended = ehpc(*words)
    assert ended.code == 2
    assert "command error: " in ended.err


def test_an_error_is_one_line_without_secrets(
    ehpc: Ehpc, ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = str(ehpc_emulator.connection["password"])
    ehpc_emulator.fault("error", status=400, code="Wrong", message=f"you sent {secret}\nand more", times=9)
    ended = ehpc("jobs")
    assert (ended.code, ended.out) == (3, "")
    assert len(ended.err.splitlines()) == 1
    assert "you sent ***" in ended.err

    monkeypatch.setenv("AIRFLOW_CONN_WRONG", '{"conn_type": "http"}')
    ended = ehpc("jobs", "--conn-id", "wrong")
    assert ended.code == 2
    assert "connection 'wrong' is of type 'http'" in ended.err


@command
def _defect(args: Namespace, terminal: Terminal) -> None:
    terminal.progress("not shown in a pipe")
    raise ZeroDivisionError("a\ndefect")


def test_a_defect_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="3"):
        _defect(Namespace(verbose=False))
    assert capsys.readouterr() == ("", "ZeroDivisionError: a defect (--verbose shows where)\n")
    with pytest.raises(ZeroDivisionError):
        _defect(Namespace(verbose=True))


def test_a_broken_pipe_is_silent(ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("seq 200000")
    ehpc_emulator.wait_for(job_id)
    with subprocess.Popen(
        [*MODULE, "logs", job_id], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "1\n"
        process.stdout.close()
        err = process.stderr.read()
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert process.returncode == 141


_WITH_DATABASE = """
import json, os, runpy, sys
from airflow import settings
from airflow.models import Connection
settings.configure_orm()
table = Connection.__table__
tables = [table, *(key.column.table for key in table.foreign_keys)]
table.metadata.create_all(settings.engine, tables=tables)
with settings.Session() as session:
    fields = json.loads(os.environ.pop("AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT"))
    session.add(Connection(conn_id="stored", uri=Connection.from_json(json.dumps(fields)).get_uri()))
    session.commit()
sys.argv = ["ehpc", "jobs", "--conn-id", "stored", "-o", "json"]
runpy.run_module("airflow_provider_ehpc.cli", run_name="__main__")
"""


def test_connections_are_also_in_the_database(ehpc_emulator: Emulator, tmp_path: Path) -> None:
    """Airflow reads connections from the database only in processes that it knows."""
    environment = {name: value for name, value in os.environ.items() if name != "_AIRFLOW_PROCESS_CONTEXT"}
    ended = subprocess.run(
        [sys.executable, "-c", _WITH_DATABASE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db"},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().endswith("[]")


def test_the_emulator_gets_its_arguments(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*MODULE, "emulator", "--directory", str(tmp_path), "--slots", "2"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert "http://127.0.0.1:" in process.stdout.readline()
        assert list(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0

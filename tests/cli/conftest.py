# SPDX-License-Identifier: Apache-2.0
"""Run ``airflow ehpc`` in this process, with its output in memory or on a terminal."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from airflow.cli.cli_config import DefaultHelpParser
from airflow.cli.cli_parser import _add_command

from airflow_provider_ehpc.cli import follow
from airflow_provider_ehpc.cli.definition import get_ehpc_cli_commands
from airflow_provider_ehpc.emulator.server import Emulator
from tests.gates import Gate

FAST = ("--poll-interval", "0.1")


@dataclass(frozen=True)
class Ended:
    """Hold the exit code and the output of a command."""

    code: int
    out: str
    err: str = ""

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Ehpc = Callable[..., Ended]


def run(*words: str) -> int:
    """Run ``airflow ehpc`` with Airflow's own parser; return the exit code."""
    parser = DefaultHelpParser(prog="airflow")
    subparsers = parser.add_subparsers(dest="subcommand")
    for command in get_ehpc_cli_commands():
        _add_command(subparsers, command)
    try:
        args = parser.parse_args(["ehpc", *words])
        args.func(args)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


@pytest.fixture(autouse=True)
def connections(ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, connection in ehpc_emulator.connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{kind.upper()}_DEFAULT", json.dumps(connection))
    # Commands set this variable for their own process.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.setattr(follow, "SETTLE", 0.5)


@pytest.fixture
def ehpc(capfd: pytest.CaptureFixture[str]) -> Ehpc:
    """Run a command whose output is piped."""

    def command(*words: str) -> Ended:
        capfd.readouterr()
        code = run(*words)
        return Ended(code, *capfd.readouterr())

    return command


@pytest.fixture
def ehpc_on_terminal(monkeypatch: pytest.MonkeyPatch) -> Ehpc:
    """Run a command on a terminal, which shows both of its streams."""

    def command(*words: str) -> Ended:
        master, slave = os.openpty()
        shown = bytearray()

        def read() -> None:
            try:
                while data := os.read(master, 65536):
                    shown.extend(data)
            except OSError:  # the other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        with open(slave, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "stderr", terminal)
            patch.setenv("TERM", "xterm-256color")
            patch.setenv("COLUMNS", "120")
            patch.delenv("NO_COLOR", raising=False)
            code = run(*words)
        reader.join()
        os.close(master)
        return Ended(code, shown.decode().replace("\r\n", "\n"))

    return command


@pytest.fixture
def gate(ehpc_emulator: Emulator) -> Gate:
    """Hold a job until a test opens the gate."""
    return Gate(ehpc_emulator.directory / "gate")

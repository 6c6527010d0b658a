# SPDX-License-Identifier: Apache-2.0
"""Check shell commands of the documentation without running them: they may need keys, or take minutes."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from unittest import mock

from tests.docs.pages import ROOT

SEPARATORS = ("&&", "||", ";", "|")
"""Operators that end a command within a line."""


def check_commands(text: str) -> None:
    """Check every command of a console block: lines that begin with ``$``, and their continuations.

    :raises AssertionError: if the shell, the program or its parser would reject a command.
    """
    commands = list(_commands(text))
    assert commands, "a console block without a command"
    for line in commands:
        checked = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        for words in _split(shlex.split(line, comments=True)):
            _check(words)


def _commands(text: str) -> Iterator[str]:
    """Yield commands without their output. A quoted text may contain line ends."""
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            continue
        command = line.removeprefix("$ ")
        while command.endswith("\\") or not _complete(command):
            command = command.removesuffix("\\") + "\n" * (not command.endswith("\\")) + next(lines)
        yield command


def _complete(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def _split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, ";"]:
        if word in SEPARATORS:
            if command:
                yield command
            command = []
        else:
            command.append(word)


def _check(words: list[str]) -> None:
    while words and re.fullmatch(r"\w+=.*", words[0], re.DOTALL):
        words = words[1:]
    if not words:
        return
    program, *arguments = words
    match program.rsplit("/", 1)[-1], arguments:
        case "airflow", _:
            _airflow(arguments)
        case "python" | "python3", ["-m", module, *rest]:
            assert importlib.util.find_spec(module), f"the module {module} does not exist"
            if module == "airflow_provider_ehpc.emulator":
                _emulator(rest)
        case "make", targets:
            makefile = (ROOT / "Makefile").read_text()
            for target in targets:
                assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"no target {target}"
        case "pip", [command, *_]:
            assert command == "install"
        case "curl" | "git" | "cd" | "export" | "mkdir" | "pre-commit" | "source" | ".", _:
            pass  # only the shell syntax can be checked
        case _:
            raise AssertionError(f"unknown program {program}: check it here, or mark the block as not run")


def _airflow(arguments: list[str]) -> None:
    from airflow.cli.cli_parser import ALL_COMMANDS_DICT, get_parser

    from airflow_provider_ehpc.cli.definition import get_ehpc_cli_commands

    for command in get_ehpc_cli_commands():  # Airflow 3.1 does not load the commands of providers
        ALL_COMMANDS_DICT.setdefault(command.name, command)
    try:
        get_parser().parse_args(arguments)
    except SystemExit as error:
        if error.code:
            raise AssertionError(f"airflow rejects {shlex.join(arguments)}") from error


def _emulator(arguments: list[str]) -> None:
    from airflow_provider_ehpc.emulator import __main__ as emulator

    with mock.patch.object(sys, "argv", ["emulator", *arguments]):
        try:
            emulator._arguments()
        except SystemExit as error:
            if error.code:
                raise AssertionError(f"the emulator rejects {shlex.join(arguments)}") from error

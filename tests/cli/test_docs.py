# SPDX-License-Identifier: Apache-2.0
"""Run the examples of docs/cli.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_ehpc.cli.definition import get_ehpc_cli_commands
from airflow_provider_ehpc.emulator.server import Emulator
from tests.cli.conftest import FAST, Ehpc

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
EXAMPLES = [
    line[2:] for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]


def test_every_example_runs(
    ehpc: Ehpc, ehpc_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (rules,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    Path("rules.yaml").write_text(rules)
    Path("train.sbatch").write_text("#!/bin/sh\n#SBATCH --cpus-per-task=2\necho $EPOCHS\n")
    ehpc_emulator.submit("echo done")
    variables: dict[str, str] = {}
    ran = set()
    for line in EXAMPLES:
        for command in line.split(" && airflow "):
            assigned = re.fullmatch(r'(\w+)="\$\((.*)\)"', command)
            text = assigned[2] if assigned else command
            words = [variables.get(word.removeprefix("$"), word) for word in shlex.split(text)]
            name, *arguments = words[words.index("ehpc") + 1 :]
            ran.add(name)
            if name == "emulator":
                continue  # test_command.py starts it
            fast = FAST if name in ("state", "logs", "submit") else ()
            ended = ehpc(name, *fast, *(word.replace("/tmp/", f"{tmp_path}/") for word in arguments))
            # The directory of a job has no Makefile.
            fails = "make all" in line
            assert (ended.code != 0) == fails, (line, ended)
            if assigned:
                variables[assigned[1]] = ended.out.strip()
    assert ran == {command.name for command in get_ehpc_cli_commands()[0].subcommands}


def test_the_exit_codes_of_the_page() -> None:
    """The page lists the exit codes that the code uses."""
    from airflow_provider_ehpc.cli import command

    codes = {command.FAILED, command.USAGE, command.ERROR, command.UNFINISHED, command.INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)} == codes | {0}

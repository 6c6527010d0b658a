# SPDX-License-Identifier: Apache-2.0
"""Test ``airflow ehpc jobs``, ``state`` and ``stop``."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, datetime

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exit_code import new_token, wrap
from tests.cli.conftest import FAST, Ehpc
from tests.gates import Gate, eventually


def test_jobs_are_filtered(ehpc: Ehpc, ehpc_emulator: Emulator, gate: Gate) -> None:
    done = ehpc_emulator.submit("exit 0", name="train-1")
    failed = ehpc_emulator.submit("exit 3", name="train-2")
    running = ehpc_emulator.submit(gate.wait, name="eval-1", user="alice")
    for job_id in (done, failed):
        ehpc_emulator.wait_for(job_id)
    ehpc_emulator.wait_for(running, "RUNNING")

    def listed(*words: str) -> list[str]:
        ended = ehpc("jobs", *words, "-o", "json")
        assert ended.code == 0
        assert ended.err == ""
        return [row["job_id"] for row in json.loads(ended.out)]

    assert listed() == [done, failed, running]
    assert listed("--state", "running,FAILED") == [failed, running]
    assert listed("--state", "running", "--state", "failed") == [failed, running]
    assert listed("--name", "train-*") == [done, failed]
    assert listed("--user", "alice") == [running]
    # Jobs that have not ended are always listed.
    assert listed("--since", datetime.now(UTC).isoformat()) == [running]
    assert listed("--state", "cancelled") == []


@pytest.mark.parametrize("output", ["json", "yaml", "plain", "table"])
def test_every_output_format(ehpc: Ehpc, ehpc_emulator: Emulator, output: str) -> None:
    job_id = ehpc_emulator.submit("exit 3", name="x" * 60)
    ehpc_emulator.wait_for(job_id)
    ended = ehpc("state", job_id, "--output", output)
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    if output in ("json", "yaml"):
        (row,) = json.loads(ended.out) if output == "json" else yaml.safe_load(ended.out)
        assert (row["job_id"], row["name"], row["state"]) == (job_id, "x" * 60, "FAILED")
        assert datetime.fromisoformat(row["submitted_at"]).utcoffset() is not None
        return
    cells = [
        [cell.strip() for cell in line.split("|" if output == "table" else None)] for line in ended.lines
    ]
    assert cells[0][:3] == ["job_id", "name", "state"]
    row = next(cell for cell in cells if cell[0] == job_id)
    assert row[:3] == [job_id, "x" * 60, "FAILED"]
    if output == "plain":
        assert len(row) == len(cells[0]), "an empty cell would shift the columns of awk"


def test_a_name_cannot_write_to_the_terminal(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    """Users of the cluster choose names. Rich interprets brackets; terminals interpret escape sequences."""
    ehpc_emulator.submit("exit 0", name="[/red]a[b]\x1b[2J\u202e")
    ended = ehpc("jobs")
    assert ended.code == 0
    assert "[/red]a[b]" in ended.out
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


@pytest.mark.parametrize("kind", ["huawei_modelarts", "qingcloud_hpc"])
def test_other_clouds(ehpc: Ehpc, ehpc_emulator: Emulator, kind: str) -> None:
    ehpc_emulator.wait_for(ehpc_emulator.submit("exit 0"))
    (row,) = json.loads(ehpc("jobs", "--conn-id", f"{kind}_default", "-o", "json").out)
    ended = ehpc("state", row["job_id"], "--conn-id", f"{kind}_default", "-o", "json")
    assert json.loads(ended.out)[0]["state"] == "SUCCEEDED"


def test_an_unknown_job_is_an_error(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("exit 0")
    ehpc_emulator.wait_for(job_id)
    ended = ehpc("state", job_id, "99.manager", "-o", "plain")
    assert ended.code == 3
    assert ended.lines[1].split()[0] == job_id
    assert "job 99.manager in cluster ehpc-hz-emulator does not exist" in ended.err

    ended = ehpc("state", "99.manager", "--wait", *FAST)
    assert (ended.code, ended.out) == (3, "")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(("command", "own"), [("exit 0", 0), ("exit 7", 7)])
def test_the_exit_code_of_a_job(ehpc: Ehpc, command: str, own: int) -> None:
    """If PBS reports no exit code, it comes from the job's output, even in a later command."""
    job_id = ehpc("submit", "--", command).out.strip()
    assert ehpc("state", job_id, "--wait", *FAST).code == min(own, 1)
    assert ehpc("state", job_id).code == 0
    ended = ehpc("state", job_id, "--exit-code", "-o", "json")
    assert ended.code == own
    assert json.loads(ended.out)[0]["exit_code"] == str(own)
    assert ehpc("logs", job_id, "--exit-code").code == own


def test_an_assumed_outcome_is_named(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("exit 0")
    ehpc_emulator.wait_for(job_id)
    ended = ehpc("state", job_id, "--exit-code")
    assert ended.code == 0
    assert "reports only that it ended" in ended.err
    (row,) = json.loads(ehpc("jobs", "-o", "json").out)
    assert (row["state"], row["reason"]) == ("SUCCEEDED", "assumed: the cloud reports only that it ended")


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_of_a_job_of_a_task(ehpc: Ehpc, ehpc_emulator: Emulator, code: int) -> None:
    """Its token is known to the task only. The marker is hidden, and its name shows that there is one."""
    command = wrap(f"echo out; exit {code}", new_token())
    job_id = ehpc_emulator.submit(command, name="run-dadcwpmu5or2")
    ehpc_emulator.wait_for(job_id)
    assert ehpc("state", job_id, "--exit-code").code == code
    for words in ((), ("-f", *FAST), ("--tail", "5")):
        assert ehpc("logs", job_id, *words).out == "out\n"
    assert ehpc("logs", job_id, "--exit-code").code == code


def test_several_jobs_are_waited_for(ehpc: Ehpc, ehpc_emulator: Emulator, gate: Gate) -> None:
    done = ehpc("submit", "--", "exit 0").out.strip()
    failing = ehpc("submit", "--", f"{gate.wait}; exit 5").out.strip()
    assert ehpc("state", failing, "--exit-code").code == 4, "it has not ended"
    opener = threading.Timer(1.0, gate.open)
    opener.start()
    ended = ehpc("state", done, failing, "--wait", "--exit-code", *FAST)
    opener.join()
    assert ended.code == 5
    assert f"job {failing} in cluster ehpc-hz-emulator is FAILED" in ended.err


def test_jobs_are_stopped(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    running, done = ehpc_emulator.submit("sleep 600"), ehpc_emulator.submit("exit 0")
    ehpc_emulator.wait_for(running, "RUNNING")
    ehpc_emulator.wait_for(done)
    ended = ehpc("stop", running, done)
    assert (ended.code, ended.out) == (0, "")
    assert f"requested to stop job {running}" in ended.err
    ehpc_emulator.wait_for(running)

    ended = ehpc("stop", "99.manager")
    assert ended.code == 3
    assert ended.err.splitlines() == [
        "job 99.manager in cluster ehpc-hz-emulator does not exist or no longer exists: check its ID, "
        "--cluster-id and --conn-id"
    ]
    # The same as that of the command that shows its state.
    stopped = ehpc("submit", "--", "echo begun; sleep 600").out.strip()
    eventually(lambda: ehpc("logs", stopped).out)
    assert ehpc("stop", stopped).code == 0
    ehpc_emulator.wait_for(stopped)
    assert ehpc("state", stopped, "-o", "plain").lines[1].split()[2] == "FAILED"
    assert f"job {stopped} in cluster ehpc-hz-emulator has already ended: FAILED" in ehpc("stop", stopped).err


def test_a_terminal_shows_colors_and_fits(ehpc_on_terminal: Ehpc, ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("exit 3", name="a" * 30)
    ehpc_emulator.wait_for(job_id)
    for words in (("jobs",), ("state", job_id)):
        ended = ehpc_on_terminal(*words)
        assert ended.code == 0
        assert "\x1b[31mFAILED\x1b[0m" in ended.out
        screen = re.sub(r"\x1b\[[\d;]*m", "", ended.out.rpartition("\x1b[2K")[2])
        assert max(map(len, screen.split("\n"))) <= 120
        assert f"\n{job_id} | {'a' * 30} | FAILED" in screen
    # In a list, each job takes one line: texts that do not fit are cut.
    other = ehpc_emulator.submit("exit 3", name="b" * 200)
    ehpc_emulator.wait_for(other)
    ended = ehpc_on_terminal("jobs")
    (line,) = [line for line in ended.out.split("\n") if "bbb" in line]
    assert line.startswith(other)
    assert "b…" in line


def test_a_piped_table_has_a_line_for_each_job(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    """``grep`` finds the complete row of a job, even if its texts are long."""
    job_id = ehpc_emulator.submit("exit 3", name="a" * 60)
    ehpc_emulator.wait_for(job_id)
    ended = ehpc("jobs", "--conn-id", "huawei_modelarts_default")
    (line,) = [line for line in ended.lines if "a" * 60 in line]
    assert "FAILED" in line
    assert "the training process ended with an error" in line

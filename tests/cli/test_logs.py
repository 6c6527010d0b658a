# SPDX-License-Identifier: Apache-2.0
"""Test ``airflow ehpc logs``."""

from __future__ import annotations

import json
import re
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_provider_ehpc.cli.follow import LogSelection
from airflow_provider_ehpc.cli.terminal import Terminal
from airflow_provider_ehpc.cli.times import line_time
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.logs.lines import stream_prefix
from tests.cli.conftest import FAST, Ehpc
from tests.gates import Gate, eventually

CST = timezone(timedelta(hours=8))


def test_the_log_as_it_is(ehpc: Ehpc, ehpc_emulator: Emulator, gate: Gate) -> None:
    """The standard output contains only the log."""
    job_id = ehpc_emulator.submit(f"echo one; echo two >&2; printf '\\033[1mthree'; {gate.wait}; printf four")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    eventually(lambda: "one" in ehpc("logs", job_id).out)
    ended = ehpc("logs", job_id)
    assert ended.code == 0
    assert sorted(ended.lines) == ["one", "stderr | two"]
    assert "incomplete last line of stdout: \\x1b[1mthree" in ended.err

    gate.open()
    ehpc_emulator.wait_for(job_id)
    ended = ehpc("logs", job_id)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(ended.lines) == ["\x1b[1mthreefour", "one", "stderr | two"]
    assert ehpc("logs", job_id, "--stream", "stderr").out == "two\n"
    assert ehpc("logs", job_id, "--exit-code").code == 0


def test_a_growing_log_is_followed_exactly_once(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    command = (
        "for i in $(seq 300); do echo out $i; echo err $i >&2; [ $((i % 50)) = 0 ] && sleep 0.3; done; exit 4"
    )
    job_id = ehpc_emulator.submit(command)
    ended = ehpc("logs", job_id, "-f", *FAST)
    assert ended.code == 0
    assert [line for line in ended.lines if "|" not in line] == [f"out {i}" for i in range(1, 301)]
    assert [line for line in ended.lines if "|" in line] == [f"stderr | err {i}" for i in range(1, 301)]
    assert f"job {job_id} in cluster ehpc-hz-emulator is FAILED" in ended.err
    assert "\x1b" not in ended.out + ended.err


def test_tail(ehpc: Ehpc, ehpc_emulator: Emulator, gate: Gate) -> None:
    job_id = ehpc_emulator.submit(f"seq 40000; {gate.wait}; echo new; echo newer")
    eventually(lambda: "40000" in ehpc("logs", job_id, "--tail", "1").out)
    assert ehpc("logs", job_id, "--tail", "3").out == "39998\n39999\n40000\n"
    # These are more lines than one request can read from the end.
    assert len(ehpc("logs", job_id, "--tail", "30000").lines) == 30000
    assert ehpc("logs", job_id, "--tail", "0").out == ""
    opener = threading.Timer(1.0, gate.open)
    opener.start()
    assert ehpc("logs", job_id, "--tail", "1", "-f", *FAST).out == "40000\nnew\nnewer\n"
    opener.join()
    assert ehpc("logs", job_id, "--tail", "1").out == "newer\n"
    assert len(ehpc("logs", job_id, "--tail", "9" * 40, "-f", *FAST).lines) == 40002


def test_an_incomplete_last_line_is_one_of_the_last(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("printf 'one\\ntwo\\nthree'")
    ehpc_emulator.wait_for(job_id)
    for words in ((), ("--exit-code",), ("-f", *FAST)):
        assert ehpc("logs", job_id, "--tail", "2", *words).out == "two\nthree\n"
        assert ehpc("logs", job_id, "--tail", "0", *words).out == ""


def test_an_unknown_stream_is_an_error(ehpc: Ehpc, ehpc_emulator: Emulator, gate: Gate) -> None:
    job_id = ehpc_emulator.submit(f"echo one; {gate.wait}")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    eventually(lambda: ehpc("logs", job_id).out)
    message = (
        f"--stream: job {job_id} in cluster ehpc-hz-emulator has no stream 'STDERR', only stderr, stdout"
    )
    opener = threading.Timer(1.0, gate.open)
    for words in ((), ("--tail", "1"), ("--since", "1h"), ("--exit-code",), ("-f", *FAST)):
        if "-f" in words:
            opener.start()
        ended = ehpc("logs", job_id, "--stream", "STDERR", *words)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.splitlines()[-1] == message
    opener.join()
    # A user who follows a job for days reads this at the beginning.
    assert ended.err.splitlines().count(f"{message} so far") == 1
    # A stream without lines is known.
    ended = ehpc("logs", job_id, "--stream", "stderr")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_the_streams_of_modelarts_are_tasks(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    ehpc_emulator.wait_for(ehpc_emulator.submit("echo one"))
    words = ("--conn-id", "huawei_modelarts_default")
    (row,) = json.loads(ehpc("jobs", *words, "-o", "json").out)
    ended = ehpc("logs", row["job_id"], *words, "--stream", "stdout", "--tail", "9")
    assert (ended.code, ended.out) == (2, "")
    assert "has no stream 'stdout', only worker-0" in ended.err
    assert ehpc("logs", row["job_id"], *words, "--stream", "worker-0").out == "one\n"


@pytest.mark.parametrize("words", [(), ("--tail", "5"), ("-f", *FAST)])
def test_stderr_in_the_same_file_as_stdout(
    ehpc: Ehpc, ehpc_emulator: Emulator, words: tuple[str, ...]
) -> None:
    path = str(ehpc_emulator.directory / "both.log")
    job_id = ehpc_emulator.submit("echo one; echo two >&2", stdout_path=path, stderr_path=path)
    ehpc_emulator.wait_for(job_id)
    for stream in ("stdout", "stderr"):
        ended = ehpc("logs", job_id, "--stream", stream, *words)
        assert (ended.code, ended.out) == (0, "one\ntwo\n")


def test_a_job_without_a_log(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("echo one", cores=1000)
    ended = ehpc("logs", job_id)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"job {job_id} in cluster ehpc-hz-emulator has no log: its state is QUEUED\n"


def test_since(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    now = datetime.now(UTC)
    # The clock of the cluster is in the time zone of the connection, UTC+8.
    written = [now.astimezone(CST) - timedelta(minutes=minutes) for minutes in (30, 20, 10)]
    lines = [f"{time:%Y-%m-%d %H:%M:%S} step {n}" for n, time in enumerate(written)]
    job_id = ehpc_emulator.submit(f"echo start; printf '%s\\n' '{lines[0]}' '{lines[1]}' more '{lines[2]}'")
    ehpc_emulator.wait_for(job_id)
    assert ehpc("logs", job_id, "--since", "25m").lines == [lines[1], "more", lines[2]]
    assert ehpc("logs", job_id, "--since", (now - timedelta(minutes=15)).isoformat()).lines == [lines[2]]
    ended = ehpc("logs", job_id, "--since", "1m")
    assert (ended.code, ended.out, ended.err) == (0, "", "")

    undated = ehpc_emulator.submit("echo one; echo two")
    ehpc_emulator.wait_for(undated)
    ended = ehpc("logs", undated, "--since", "1m")
    assert ended.out == ""
    assert ended.err == "--since left out 2 lines: none of them begins with a time\n"


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("2026-03-01T12:00:00Z x", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("[2026-03-01 12:00:00,123] x", datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=CST)),
        ("2026/03/01 12:00:00 x", datetime(2026, 3, 1, 12, tzinfo=CST)),
        ("2026-03-01 12:00:00.123456789+0000 x", datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2026-13-01 12:00:00 x", None),
        ("step 2026-03-01 12:00:00", None),
        ("", None),
    ],
)
def test_times_of_lines(line: str, time: datetime | None) -> None:
    assert line_time(line, CST) == time


def test_since_ends_where_following_begins() -> None:
    """The lines of a traceback have no times, but they are new."""
    chosen = LogSelection(since=datetime(2026, 3, 1, tzinfo=UTC), tail=1)
    assert chosen.take("stdout", ["old", "2026-03-02 00:00:00 new", "newer"]) == []
    assert chosen.take("stderr", ["2026-02-01 00:00:00 old"]) == []
    assert chosen.caught_up() == [("stdout", "newer")]
    assert chosen.take("stderr", ["Traceback"]) == [("stderr", "Traceback")]
    assert chosen.undated == 0


def test_a_log_that_cannot_be_read_is_an_error(ehpc: Ehpc, ehpc_emulator: Emulator, gate: Gate) -> None:
    job_id = ehpc_emulator.submit(f"echo one; {gate.wait}")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    ehpc_emulator.deny("GetJobLog")
    ended = ehpc("logs", job_id)
    assert (ended.code, ended.out) == (3, "")
    assert "cannot read the log" in ended.err

    ended = ehpc("logs", "1.job", "--conn-id", "qingcloud_hpc_default")
    assert ended.code == 2
    assert "does not support reading the log of a job" in ended.err


def test_a_log_can_only_set_colors_on_a_terminal(
    ehpc: Ehpc, ehpc_on_terminal: Ehpc, ehpc_emulator: Emulator
) -> None:
    """Others can write to a job's log; a terminal answers some sequences as if the user had typed that."""
    job_id = ehpc_emulator.submit(
        r"printf '\033[1;31mred\033[2J\n'; printf '\033]52;c;eA==\a\302\2332J\n'; printf '9%%\r\t10%%\n'"
    )
    ehpc_emulator.wait_for(job_id)
    lines = [
        "\x1b[1;31mred\\x1b[2J\x1b[0m",
        r"\x1b]52;c;eA==\x07\x9b2J",
        "9%\r\t10%",
    ]
    shown = ehpc_on_terminal("logs", job_id, "--tail", "3").out
    assert shown.rpartition("\x1b[2K")[2].split("\n")[:-1] == lines
    # A pipe gets what the job wrote.
    piped = ehpc("logs", job_id, "--tail", "3").out
    assert piped == "\x1b[1;31mred\x1b[2J\n\x1b]52;c;eA==\a\x9b2J\n9%\r\t10%\n"


@pytest.mark.parametrize("tty", [False, True])
def test_the_name_of_a_stream_cannot_write_to_the_terminal(
    tty: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: tty)
    terminal = Terminal()
    terminal.write([terminal.prefixed(stream_prefix("worker\x1b]0;x\a"), "line")])
    terminal.progress("job 1\x1b[2J")
    shown = capsys.readouterr()
    assert r"worker\x1b]0;x\x07 | " in shown.out
    assert "\x1b[2J" not in shown.err


def test_a_progress_line_stands_below_the_log(ehpc_on_terminal: Ehpc, ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.4; done")
    ended = ehpc_on_terminal("logs", job_id, "-f", *FAST)
    assert ended.code == 0
    assert f"job {job_id} RUNNING, followed for " in ended.out
    assert "\x1b[31mstderr | \x1b[0merr 1" in ended.out
    # The text that remains on the screen after each progress line is erased.
    screen = [line.rpartition("\r\x1b[2K")[2] for line in ended.out.split("\n")]
    shown = [re.sub(r"\x1b\[\d*m", "", line) for line in screen]
    assert [line for line in shown if line.startswith("out")] == ["out 1", "out 2", "out 3"]
    assert not [line for line in shown if "followed for" in line]

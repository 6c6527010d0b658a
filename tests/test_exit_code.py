# SPDX-License-Identifier: Apache-2.0
"""The wrapper that captures exit codes, run by real shells: a wrapped command does what the command does."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_ehpc.exit_code import can_wrap, find, take, without_begun, wrap

TOKEN = "0123456789abcdef0123456789abcdef"
SHELLS = [shell for shell in ("bash", "dash", "sh", "busybox") if shutil.which(shell)]
LOGIN_SHELLS = [shell for shell in ("zsh", "ksh93", "mksh") if shutil.which(shell)]
"""PBS starts a job with the user's login shell, whatever its script says. Not installed everywhere."""
BY_SHELL = {
    "success": "true",
    "failure": "false",
    "exit": "exit 3",
    "largest code": "exit 255",
    "output": "echo hello",
    "no final newline": "printf hello",
    "only a newline": "echo",
    "nothing": ":",
    "both streams": "echo out; echo err >&2; exit 4",
    "several lines": "echo a\necho b\nexit 5",
    "trailing newlines": "echo a\n\n\n",
    "trailing comment": "echo a # no more",
    "trailing backslash": "echo a \\\n  b",
    "trailing semicolon": "exit 6;",
    "errexit": "set -e\necho a\nfalse\necho b",
    "nounset": "set -u\necho $nothing_here\necho b",
    "exec": "exec sh -c 'echo inner; exit 7'",
    "exec of nothing": "exec /no/such/program",
    "not found": "no-such-command-here",
    "not executable": "/etc/passwd",
    "exit trap": "trap 'echo bye' EXIT\nexit 8",
    "exit trap with another code": "trap 'exit 9' EXIT\nexit 8",
    "subshell": "(exit 10)",
    "function": "f() { return 11; }\nf",
    "here-document": "cat <<END\n$((1 + 1)) 'quoted' \"too\"\nEND\nexit 12",
    "quoted here-document": "cat <<'END'\n$HOME `id`\nEND",
    "here-document without an end": "cat <<END\nabc",
    "quotes": "printf '%s\\n' \"it's\" 'a \"b\"' a\\ b '$x'",
    "percent and braces": "printf '%s {x} {{y}} %%\\n' '{token}'",
    "pipe": "echo a | tr a b | cat",
    "failed pipe": "echo a | (cat; exit 13)",
    "background": "sleep 0.05 & wait; echo done",
    "background left": "sleep 0.2 >/dev/null 2>&1 &\nexit 14",
    "background code": "(exit 15) & wait $!",
    "redirected": "exec >/dev/null\necho lost\nexit 16",
    "closed output": "exec >&-\nexit 17",
    "joined streams": "exec 2>&1\necho a\necho b >&2",
    "standard input": 'read -r line; echo "got $line"',
    "all of the input": "cat; exit 18",
    "arguments": 'echo $# "$@"',
    "environment": 'echo "$GIVEN" "${ehpc_child-unset}"; env | grep -c ehpc_',
    "options": "set -x; true; exit 19",
    "syntax error": "echo a\nif",
    "unbalanced": "echo a )",
    "loop": "for i in 1 2 3; do echo $i; [ $i = 2 ] && exit 20; done",
    "killed": "kill -s KILL $$",
    "terminated": "kill -s TERM $$",
    "interrupted": "kill -s INT $$",
    "quit": "ulimit -c 0; kill -s QUIT $$",
    "user signal": "kill -s USR1 $$",
    "child killed": "sh -c 'kill -s KILL $$'; echo $?",
    "last child killed": "sh -c 'kill -s SEGV $$'",
    "trapped": "trap 'echo caught' USR1\nkill -s USR1 $$\nexit 21",
    "ignored": "trap '' TERM\nkill -s TERM $$\nexit 22",
    "broken pipe": "yes | head -n 1",
    "long output": "seq 1 20000",
    "null bytes": "printf 'a\\000b'",
    "not utf-8": "printf '\\377\\376'",
    "chinese": "echo 汉字; exit 23",
    "windows line ends": "echo a\r\nexit 24\r\n",
    "leading blanks": "\n\n  echo a\n",
    "headers alone": "#SBATCH -n 1\n#PBS -l walltime=1\n\necho a; exit 25",
    "kills its group": "trap 'exit 26' TERM; kill -s TERM 0",
}
SCRIPTS = {
    "sh": "#!/bin/sh\n#SBATCH -n 1\necho a; exit 3\n",
    "bash": "#!/bin/bash\n#PBS -N x\narray=(1 2); echo ${#array[@]}; exit 4\n",
    "bash with options": "#!/bin/bash -e\n#DSUB -n x\nfalse\necho b\n",
    "env bash": "#!/usr/bin/env bash\necho ${BASH_VERSION:+bash}\n",
    "space": "#! /bin/sh\nexit 5\n",
    "python": "#!/usr/bin/env python3\n#SBATCH -n 1\nimport sys\nprint('a', flush=True)\nsys.exit(6)\n",
    "python error": "#!/usr/bin/env python3\nraise SystemExit('no')\n",
    "python with options": "#!/usr/bin/env -S python3 -u -B\nimport sys\nprint(sys.dont_write_bytecode)\n",
    "python input": "#!/usr/bin/env python3\nprint(input(), end='')\n",
    "python killed": "#!/usr/bin/env python3\nimport os\nos.kill(os.getpid(), 9)\n",
    "python reads itself": "#!/usr/bin/env python3\nprint(open(__file__).read())\n",
    "perl": '#!/usr/bin/perl -w\nprint "it\'s\\n"; exit 7;\n',
    "awk": '#!/usr/bin/awk -f\nBEGIN { print "a"; exit 8 }\n',
    "no final newline": "#!/bin/sh\nexit 9",
    "long": "#!/bin/bash\n" + "# filling\n" * 20000 + "echo a; exit 10\n",
    "no interpreter": "#!/no/such/interpreter\necho a\n",
}


def run(program: list[str], home: Path) -> tuple[bytes, bytes, int]:
    """Return the outputs and the exit code, as a shell reports it."""
    done = subprocess.run(
        program,
        input=b"one line\n",
        capture_output=True,
        cwd=home,
        env={"PATH": os.environ["PATH"], "GIVEN": "x y", "TMPDIR": str(home), "LC_ALL": "C.UTF-8"},
        start_new_session=True,
        timeout=30,
        check=False,
    )
    code = done.returncode
    return done.stdout, done.stderr, 128 - code if code < 0 else code


def program_of(shell: str) -> list[str]:
    # What a shell starts in the background, or nohup, ignores some signals, and so would its children.
    return ["env", "--default-signal", *(["busybox", "sh"] if shell == "busybox" else [shell])]


def start(shell: str, command: str, home: Path) -> subprocess.Popen[str]:
    """Start a wrapped command as the first process of a job, and wait until it has written a line."""
    job = subprocess.Popen(
        [*program_of(shell), "-c", wrap(command, TOKEN)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=home,
        start_new_session=True,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    return job


def check(wrapped: tuple[bytes, bytes, int], plain: tuple[bytes, bytes, int], home: Path) -> None:
    stdout, stderr, code = wrapped
    text, captured = take(stdout.decode("latin-1"), TOKEN)
    assert captured == code == plain[2]
    # A line of its own, or glued to an output without a line feed.
    assert text.encode("latin-1") == plain[0] + b"\n"
    # Shells name the processes that were killed.
    assert re.sub(rb"\d+ ", b"", stderr) == re.sub(rb"\d+ ", b"", plain[1])
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", BY_SHELL)
def test_a_wrapped_command_does_the_same(tmp_path: Path, shell: str, name: str) -> None:
    command, arguments = BY_SHELL[name], ["name", "one", "t w o"]
    # A shell that does not say which program it is starts /bin/sh.
    runs = "sh" if shell == "busybox" else shell
    plain = run([*program_of(runs), "-c", command, *arguments], tmp_path)
    wrapped = wrap(command, TOKEN)
    check(run([*program_of(shell), "-c", wrapped, *arguments], tmp_path), plain, tmp_path)
    assert "\n" not in wrapped or "\n" in command.strip()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_wrapped_script_does_the_same(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script, files = SCRIPTS[name], {}
    for kind, text in (("plain", script), ("wrapped", wrap(script, TOKEN))):
        files[kind] = tmp_path / kind / "script"
        files[kind].parent.mkdir()
        files[kind].write_text(text)
        files[kind].chmod(0o755)
    if name == "no interpreter":
        # The system cannot start such a script at all.
        stdout, _, code = run([str(files["wrapped"])], home)
        assert find(stdout.decode(), TOKEN) == code == 127
        return
    plain = run([str(files["plain"])], home)
    check(run([str(files["wrapped"])], home), plain, home)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_command_of_qsub_keeps_its_form(tmp_path: Path, shell: str) -> None:
    wrapped = wrap("-- /bin/echo 'a  b'", TOKEN)
    assert wrapped.startswith("-- /bin/sh -c ")
    assert "\n" not in wrapped
    stdout, _, code = run([*program_of(shell), "-c", wrapped[3:]], tmp_path)
    assert (stdout, code) == (f"a  b\n[exit-code {TOKEN} 0]\n".encode(), 0)


@pytest.mark.parametrize("header", ["#SBATCH --mem=1G", "#PBS -l select=1", "#DSUB -n job", "#BSUB -q x"])
def test_headers_stay_at_the_top(header: str) -> None:
    for first in ("#!/bin/bash\n", "#!/usr/bin/env python3\n"):
        lines = wrap(f"{first}{header}\n# a comment\n\n{header}2\nexit 3\n{header}3\n", TOKEN).split("\n")
        assert lines[:4] == ["#!/bin/sh", header, "# a comment", f"{header}2"]
    assert wrap(f"{header}\nexit 3\n", TOKEN).split("\n")[0] == header


def test_a_script_from_windows_runs(tmp_path: Path) -> None:
    wrapped = wrap("#!/bin/bash\r\n#SBATCH -n 1\r\necho a\r\nexit 3\r\n", TOKEN)
    assert "\r" not in wrapped
    stdout, _, code = run(["bash", "-c", wrapped], tmp_path)
    assert (stdout, code) == (f"a\n[exit-code {TOKEN} 3]\n".encode(), 3)


def test_a_function_of_the_shell_is_there(tmp_path: Path) -> None:
    """HPC clusters define ``module`` as a function."""
    stdout, _, _ = run(
        ["bash", "-c", "module() { echo loaded $2; }; " + wrap("module load x", TOKEN)], tmp_path
    )
    assert stdout.startswith(b"loaded x\n")


@pytest.mark.parametrize("command", ["exit 3", "#!/usr/bin/env python3\nraise SystemExit(3)"])
@pytest.mark.parametrize("option", ["-e", "-u", "-C"])
@pytest.mark.parametrize("shell", [*SHELLS, *LOGIN_SHELLS])
def test_an_option_of_the_outer_shell(tmp_path: Path, shell: str, option: str, command: str) -> None:
    done = run([*program_of(shell), option, "-c", wrap(command, TOKEN)], tmp_path)
    assert done == (f"[exit-code {TOKEN} 3]\n".encode(), b"", 3)


@pytest.mark.parametrize("command", ["echo a; exit 3", "cat\nexit 4", "ulimit -c 0; kill -s QUIT $$"])
@pytest.mark.parametrize("shell", LOGIN_SHELLS)
def test_other_login_shells(tmp_path: Path, shell: str, command: str) -> None:
    plain = run([*program_of("sh"), "-c", command], tmp_path)
    check(run([*program_of(shell), "-c", wrap(command, TOKEN)], tmp_path), plain, tmp_path)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_on_standard_input(tmp_path: Path, shell: str) -> None:
    """The command's standard input is the rest of the script, of which nothing may be missing."""
    done = subprocess.run(
        program_of(shell),
        input=wrap("#SBATCH -n 1\ncat; exit 3", TOKEN),
        capture_output=True,
        cwd=tmp_path,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.returncode) == (f"[exit-code {TOKEN} 3]\n", 3)


WAITS = "echo ready; while :; do sleep 0.05; done"
ONCE = WAITS.replace(":", "[ $n = 0 ]")
Send = Callable[[int, int], None]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("send", [os.killpg, os.kill], ids=["to all processes", "to the first process"])
@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        # A shell that runs something ignores INT unless what it runs dies of it.
        ("ulimit -c 0; echo ready; exec sleep 30", None),
        (f"trap 'echo caught; exit 3' {{0}}; {WAITS}", 3),
        (f"trap 'echo caught; sleep 0.5; exit 127' {{0}}; {WAITS}", 127),
        (
            f"n=0; trap 'n=$((n + 1)); echo caught' {{0}}; {ONCE}; sleep 0.5; exit $n",
            1,
        ),
    ],
    ids=["default", "trap exits", "trap exits with 127", "trap returns"],
)
def test_a_signal_reaches_the_command_once(
    tmp_path: Path, shell: str, send: Send, name: str, command: str, code: int | None
) -> None:
    number = signal.Signals[f"SIG{name}"]
    with start(shell, command.format(name), tmp_path) as job:
        time.sleep(0.2)  # a shell that has just started ignores QUIT
        send(job.pid, number)
        try:
            rest = job.communicate(timeout=20)[0]
        except BaseException:
            os.killpg(job.pid, signal.SIGKILL)
            raise
    expected = 128 + number if code is None else code
    assert job.returncode == expected
    assert rest == ("" if code is None else "caught\n") + f"[exit-code {TOKEN} {expected}]\n"


def test_the_code_of_a_command_that_ends_at_once_after_a_signal(tmp_path: Path) -> None:
    """Bash loses the end of a process that it waits for if a trap interrupts it at that moment."""

    def code(_: int) -> tuple[int, int | None]:
        with start("bash", f"trap 'exit 0' USR2; {WAITS}", tmp_path) as job:
            os.killpg(job.pid, signal.SIGUSR2)
            output = job.communicate(timeout=20)[0]
            return job.returncode, find(output, TOKEN)

    # Many at once: it happens if the shell has to wait for a processor.
    with ThreadPoolExecutor(16) as executor:
        assert set(executor.map(code, range(160))) == {(0, 0)}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_first_process_may_be_killed_alone(tmp_path: Path, shell: str) -> None:
    with start(shell, "echo ready; sleep 0.5; exit 3", tmp_path) as job:
        assert job.stdout is not None
        job.kill()
        assert job.stdout.readline() == f"[exit-code {TOKEN} 3]\n"
        os.killpg(job.pid, signal.SIGKILL)  # the canary


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
@pytest.mark.parametrize("shell", SHELLS)
def test_closed_streams(tmp_path: Path, shell: str, closed: str) -> None:
    wrapped = shlex.join([*program_of(shell), "-c", wrap("echo out; echo err >&2; exit 3", TOKEN)])
    stdout, _, code = run(["sh", "-c", f"exec {wrapped} {closed}"], tmp_path)
    assert take(stdout.decode(), TOKEN) == ("out\n\n", 3)
    assert code == 3


@pytest.mark.parametrize("shell", SHELLS)
def test_nobody_reads_the_output(tmp_path: Path, shell: str) -> None:
    with subprocess.Popen(
        [*program_of(shell), "-c", wrap("sleep 0.2; exit 3", TOKEN)], stdout=subprocess.PIPE, cwd=tmp_path
    ) as job:
        assert job.stdout is not None
        job.stdout.close()
        assert job.wait(20) == 3


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_is_left_behind(tmp_path: Path, shell: str) -> None:
    """A process of the wrapper that goes on would keep a node busy."""
    with subprocess.Popen(
        [*program_of(shell), "-c", wrap("exit 3", TOKEN)], cwd=tmp_path, start_new_session=True
    ) as job:
        assert job.wait() == 3
    with pytest.raises(ProcessLookupError):
        os.killpg(job.pid, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_is_left_behind_without_a_temporary_file(tmp_path: Path, shell: str) -> None:
    missing = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "missing")}
    wrapped = wrap(SCRIPTS["python"], TOKEN)
    # Not even root can write to /proc.
    with subprocess.Popen(
        [*program_of(shell), "-c", wrapped], cwd="/proc", env=missing, start_new_session=True
    ) as job:
        assert job.wait() == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(job.pid, 0)


def test_a_killed_job_writes_no_marker(tmp_path: Path) -> None:
    with start("bash", f"trap '' TERM; {WAITS}", tmp_path) as job:
        assert job.stdout is not None
        os.killpg(job.pid, signal.SIGTERM)
        time.sleep(0.3)
        os.killpg(job.pid, signal.SIGKILL)
        assert find(job.stdout.read(), TOKEN) is None


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)


@settings(max_examples=60)
@given(text=TEXTS, code=st.integers(0, 255), newline=st.sampled_from(["", "\n"]))
def test_any_output_is_what_it_was(
    tmp_path_factory: pytest.TempPathFactory, text: str, code: int, newline: str
) -> None:
    home = tmp_path_factory.mktemp("home", numbered=True)
    quoted = text.replace("'", "'\\''")
    wrapped = wrap(f"printf %s '{quoted}{newline}'\nexit {code}", TOKEN)
    stdout, _, ended = run(["dash", "-c", wrapped], home)
    assert take(stdout.decode(), TOKEN) == (f"{text}{newline}\n", code)
    assert ended == code


@pytest.mark.parametrize(
    ("text", "left", "code"),
    [
        (f"[exit-code {TOKEN} 3]", "", 3),
        (f"half a line[exit-code {TOKEN} 0]", "half a line", 0),
        (f"[exit-code {TOKEN} 1] [exit-code {TOKEN} 255]", " ", 255),
        ("[exit-code fedcba9876543210fedcba9876543210 3]", None, None),
        (f"printf '[exit-code %s %s]' {TOKEN} \"$code\"", None, None),
        (f"[exit-code {TOKEN} ", None, None),
        (b"\xba[exit-code ".decode("gbk") + f"{TOKEN} 3]", "\u7bec", 3),
        ("", None, None),
    ],
)
def test_finding_the_marker(text: str, left: str | None, code: int | None) -> None:
    shown, found = take(text, TOKEN)
    assert found == code == find(text, TOKEN) == find([text, ""], TOKEN)
    assert shown == (text if left is None else left)


def test_a_marker_that_has_only_begun() -> None:
    marker = f"[exit-code {TOKEN} 137]"
    for end in range(11, len(marker) + 1):
        assert without_begun("50%" + marker[:end], TOKEN) == "50%"
    assert without_begun("[exit-code of x]", TOKEN) == "[exit-code of x]"


@pytest.mark.parametrize(
    ("api", "command", "wrapped"),
    [
        ("ehpc", "exit 3", True),
        ("ehpc-classic", "-- /bin/true", True),
        ("ehpc", "./run.sh --fast", True),
        ("ehpc", "/home/x/job.pbs", False),
        ("ehpc", " ~/job.sh\n", False),
        ("ehpc", "#!/bin/sh\n#PBS -N x\nexit 3", True),
        ("ehpc", "#PBS -N x -S /bin/csh\nexit 3", False),
        ("ehpc", "", False),
        ("ehpc-serverless", "exit 3", False),
        ("modelarts", "python train.py", False),
        ("qingcloud", "exit 3", False),
    ],
)
def test_what_can_be_wrapped(api: str, command: str, wrapped: bool) -> None:
    assert can_wrap(api, command) is wrapped

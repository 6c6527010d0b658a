# SPDX-License-Identifier: Apache-2.0
"""Capture a job's exit code if the API does not report it.

The command is wrapped in a small shell script that runs it and writes a marker line with the exit code to the
standard output when it has ended. The reader of the log removes the marker and returns the code.

The marker goes to the standard output, because every API with a log has one, while the standard error may
be discarded or be in the same file. It comes last: only a process that the command left behind may write
after it.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterable
from itertools import takewhile

CAPTURING_APIS = frozenset({"ehpc", "ehpc-classic"})
"""The APIs that have a job log and do not always report an exit code: E-HPC reports FINISHED for every job
of PBS that has ended. Serverless and ModelArts report the code; QingCloud has no log to read it from."""
_COMMENT = re.compile(r"#|\s*$")
_SHELLS = re.compile(r"(?:\S*/)?(?:env\s+)?(?:ba|da|k|z|a)?sh(?:\s|$)")
ANY_TOKEN = "any"  # noqa: S105 - not a secret
"""Stands for the token of any submission: that of a job which another task has submitted is unknown."""
_BEGUN = re.compile(r"\[exit-code (?:[0-9a-f]{0,32}|[0-9a-f]{32} \d{0,3})$")
_LONGEST_ARGUMENT = 100_000
"""Bytes. Linux allows 128 KiB for one argument of a program (``MAX_ARG_STRLEN``)."""
_OWN_SHELL = re.compile(r"^#PBS\s(?:.*\s)?-S\s", re.MULTILINE)

# Two shells, because the scheduler's signals must end neither. The first process of the job traps them and
# waits. The recorder runs the command and writes the marker, even if the first process has been killed. A
# signal to the whole job reaches the command, too; one to the job's first process alone (Slurm's
# --signal=B:) is passed on. A canary shows which it was: it dies of the former. Traps run at once only in a
# shell that waits for a background process, and that ignores INT and QUIT: bash can undo this, other shells
# need the env of coreutils.
# If a process ends at the moment at which a trap interrupts bash's "wait" for it, bash loses its exit code
# and may wait forever. The recorder does not use "wait", so it knows the code, and after a signal it ends a
# little later than the command. For other coincidences, a guard (ALRM, 142) ends the wait of the first
# process.
# The first process writes the marker of SIGKILL again, in case it was the recorder that was killed.
# ksh93 reports 256 + n for a command that signal n killed.
# The braces around the rest make a shell that reads this from its standard input read all of it before the
# command reads the same input.
# Each line may be joined to the next by a space, so that a command of one line remains one.
_WRAPPER = """\
set +euC; [ -z "$ZSH_VERSION" ] || emulate sh;
ehpc_signals= ehpc_code= ehpc_file= ehpc_env= ehpc_guard= ehpc_caught=;
env --default-signal=INT,QUIT true 2>/dev/null && ehpc_env='env --default-signal=INT,QUIT';
[ -z "$BASH_VERSION" ] || for ehpc_name in $(compgen -A function);
do export -f "$ehpc_name" 2>/dev/null; done;
{{ command exec 9<&0; }} 2>/dev/null || exec 9</dev/null;
if ( exec 8>&2 ); then exec 8>&2; else exec 8>/dev/null; fi;
ehpc_watch() {{ ( trap - INT QUIT; exec </dev/null >/dev/null 2>&1 8>&- 9<&-;
exec $ehpc_env sleep 2147483647 ) & ehpc_canary=$!; }};
ehpc_pass() {{ sleep 0.2 2>/dev/null || sleep 1;
read -r _ _ ehpc_state _ <"/proc/$ehpc_canary/stat" || ehpc_state=Z;
if [ "$ehpc_state" = Z ]; then ehpc_watch;
else read -r ehpc_child _ <"/proc/$ehpc_recorder/task/$ehpc_recorder/children";
for ehpc_name in $ehpc_signals; do kill -s "$ehpc_name" "$ehpc_child"; done; fi;
ehpc_signals=;
kill -0 "$ehpc_recorder" || {{ ( exec >/dev/null 2>&1; sleep 1; kill -s ALRM $$ ) & ehpc_guard=$!; }}; }};
trap : ALRM;
for ehpc_name in HUP INT QUIT TERM USR1 USR2;
do trap 'ehpc_signals="$ehpc_signals '"$ehpc_name"'"' "$ehpc_name"; done;
{prepare}
ehpc_watch;
{{ ( trap 'ehpc_caught=1' HUP INT QUIT TERM USR1 USR2; exec 2>/dev/null;
( trap - INT QUIT; exec <&9 2>&8 8>&- 9<&-; exec $ehpc_env {run} "$@" ); ehpc_code=$?; trap '' PIPE;
[ "$ehpc_code" -lt 256 ] || ehpc_code=$((ehpc_code - 128));
[ -z "$ehpc_file" ] || rm -f "$ehpc_file";
printf '[exit-code %s %s]\\n' {token} "$ehpc_code";
[ -z "$ehpc_caught" ] || sleep 0.5 || sleep 1; exit "$ehpc_code" ) & ehpc_recorder=$!;
exec 8>&- 9<&-;
{{ while :; do
[ -z "$ehpc_signals" ] || ehpc_pass;
wait "$ehpc_recorder"; ehpc_name=$?;
[ -n "$ehpc_guard" ] && [ "$ehpc_name" = 142 ] && break;
[ -n "$ehpc_guard" ] && [ "$ehpc_name" = 127 ] || ehpc_code=$ehpc_name;
[ -n "$ehpc_signals" ] || break;
done;
trap '' HUP INT QUIT TERM USR1 USR2 ALRM PIPE;
kill -s KILL $ehpc_guard "$ehpc_canary"; wait "$ehpc_canary"; }} 2>/dev/null;
[ "$ehpc_code" != 137 ] || printf '[exit-code %s %s]' {token} 137 2>/dev/null;
exit "$ehpc_code"; }}
"""


def new_token() -> str:
    """Return a text that a job cannot guess, for the marker of one submission."""
    return secrets.token_hex(16)


def can_wrap(api: str, command: str) -> bool:
    """Return True if :func:`wrap` can capture the exit code of a command submitted to an API.

    False for an API that reports the code, or has no log; for a lone path, which E-HPC gives to the scheduler
    as a script whose ``#PBS`` and ``#SBATCH`` lines count (a command has ``-- `` before it); and for a script
    that names its shell in a ``#PBS -S`` line.
    """
    words = command.split()
    script_file = len(words) == 1 and words[0].startswith(("/", "./", "../", "~"))
    return bool(words) and api in CAPTURING_APIS and not script_file and not _OWN_SHELL.search(command)


def wrap(command: str, token: str) -> str:
    """Return a command that does the same and ends its standard output with a marker of the exit code.

    Its own exit code is the command's, 128 + n if signal n killed it. There is no marker if the job is killed
    before it can write one.

    A script keeps its interpreter, and its leading comments (``#SBATCH``, ``#PBS``, ``#DSUB``) stay at the
    top. A script for another interpreter than a shell is run from a temporary file. A script whose first line
    ends with CRLF, as written on Windows, cannot run: it is given LF.

    :param token: from :func:`new_token`.
    """
    bare = command.lstrip()
    if bare.startswith("-- "):
        # The form of qsub and E-HPC for a command that is not a script's path.
        return f"-- /bin/sh -c {shlex.quote(_wrapped(bare[3:], '', token))}"
    first = bare.partition("\n")[0]
    if not first.startswith("#!"):
        return _wrapped(command, "", token)
    if first.endswith("\r"):
        first, bare = first.rstrip("\r"), bare.replace("\r\n", "\n")
    return _wrapped(bare, first[2:].strip(), token)


def _wrapped(command: str, interpreter: str, token: str) -> str:
    header = [line.rstrip() for line in takewhile(_COMMENT.match, command.split("\n"))]
    quoted = shlex.quote(command)
    prepare = ""
    # The same shell as the one that reads this. Its own variable holds "sh" for bash in POSIX mode.
    run = f'"${{BASH:-/bin/sh}}" -c {quoted} "$0"'
    if interpreter:
        # Linux passes all that follows the interpreter as one argument.
        program = " ".join(shlex.quote(word) for word in interpreter.split(None, 1))
        run = f'{program} -c {quoted} "$0"'
        if not _SHELLS.match(interpreter) or len(command.encode()) > _LONGEST_ARGUMENT:
            run = f'{program} "$ehpc_file"'
            prepare = (
                "ehpc_file=$(mktemp 2>/dev/null || mktemp ./.ehpc.XXXXXX) || exit 1;\n"
                f'printf %s {quoted} >"$ehpc_file" || exit 1;'
            )
        header[0] = "#!/bin/sh"
    text = _WRAPPER.format(prepare=prepare, run=run, token=token)
    if "\n" not in command.strip():
        return " ".join(text.split("\n")).strip()
    return "".join(f"{line}\n" for line in header if line) + text


def find(log: str | Iterable[str], token: str) -> int | None:
    """Return the exit code of the last marker in a text or its lines; None if there is none."""
    return take(log if isinstance(log, str) else "\n".join(log), token)[1]


def take(text: str, token: str) -> tuple[str, int | None]:
    """Return a text without its markers, and the exit code of the last one; None if there is none."""
    if "exit-code " not in text:
        return text, None
    tokens = "[0-9a-f]{32}" if token == ANY_TOKEN else re.escape(token)
    # If a log is not UTF-8, decoding half a character before the marker may consume the marker's first byte.
    marker = re.compile(rf"\[?exit-code {tokens} (\d{{1,3}})\]")
    codes = marker.findall(text)
    return marker.sub("", text), int(codes[-1]) if codes else None


def without_begun(text: str, token: str) -> str:
    """Return a piece of a line without its markers, and without an incomplete marker at its end."""
    return _BEGUN.sub("", take(text, token)[0])

# SPDX-License-Identifier: Apache-2.0
"""Ways in which a job ends, on any scheduler."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A job, what happens to it, and how it must be reported."""

    name: str
    command: str
    state: str
    exit_code: str = ""
    """As scontrol, and so DescribeJob, reports it; API 2024-07-30 has none."""
    reason: str = ""
    """A pattern for the reason; API 2024-07-30 has none."""
    lines: str = ""
    members: str = ""
    """A pattern for the failed sub-jobs of an array."""
    cause: str = ""
    """What the diagnosis names, through both APIs."""
    spec: dict[str, Any] = field(default_factory=dict)
    timeout: float = 600.0


_CRASHES = ("ILL", "ABRT", "FPE", "SEGV")


def _signal(name: str, number: int) -> Case:
    return Case(
        f"the program is killed by SIG{name}",
        f"echo before; kill -{name} $$; echo never",
        "FAILED",
        str(128 + number),
        "NonZeroExitCode",
        "before",
        cause={"KILL": "killed"}.get(name, "program crashed" if name in _CRASHES else ""),
    )


SHELL_KILLED = Case(
    "the batch shell is killed by SIGKILL",
    "echo before; kill -KILL $PPID; sleep 1",
    "FAILED",
    "137",
    "JobLaunchFailure; ended by SIGKILL",
    "before",
    cause="killed",
)
PROGRAMS = (
    Case("done", "echo one; echo two", "SUCCEEDED"),
    Case("exit 3", "echo out; echo err >&2; exit 3", "FAILED", "3", "NonZeroExitCode", "out / err"),
    _signal("HUP", 1),
    _signal("INT", 2),
    _signal("QUIT", 3),
    _signal("ILL", 4),
    _signal("ABRT", 6),
    _signal("FPE", 8),
    _signal("KILL", 9),
    _signal("USR1", 10),
    _signal("SEGV", 11),
    _signal("PIPE", 13),
    _signal("TERM", 15),
    SHELL_KILLED,
    Case(
        "the command is not executable (126)",
        "touch plain; ./plain",
        "FAILED",
        "126",
        "NonZeroExitCode",
        "Permission denied",
        cause="not executable",
    ),
    Case(
        "no such command (127)",
        "no-such-command",
        "FAILED",
        "127",
        "NonZeroExitCode",
        "not found",
        cause="command not found",
    ),
)
WALL_TIME = Case(
    "the wall time is over",
    "echo begun; sleep 600",
    "FAILED",
    r"\d*",
    "TimeLimit.*",
    "begun",
    spec={"wall_time": 60},
    cause="wall time exceeded",
)
OUT_OF_MEMORY = Case(
    "more memory than requested",
    'echo begun; python3 -c "import time; memory = bytes([1]) * 200_000_000; time.sleep(60)"',
    "FAILED",
    r"\d*",
    # With cgroups; without them, Slurm kills the program or the batch shell first.
    "OutOfMemory.*|NonZeroExitCode|JobLaunchFailure; ended by SIGKILL",
    "begun",
    spec={"memory": "64MB"},
    cause="out of memory",
)
CANCELLED = Case(
    "cancelled while it runs",
    "echo begun; sleep 600",
    "CANCELLED",
    r"\d+",
    ".*",
    "begun",
    cause="cancelled by a user",
)
NODE_DOWN = Case(
    "its node goes down, no requeue",
    "echo begun; sleep 600",
    "FAILED",
    r"\d*",
    "NodeDown.*",
    "begun",
    spec={"queue": "urgent"},
    cause="node failure",
)
ARRAY = Case(
    "an array of ten, two failed",
    "i=${PBS_ARRAY_INDEX:-$SLURM_ARRAY_TASK_ID}; echo part $i; [ $((i % 4)) != 2 ] || [ $i = 10 ] || exit 7",
    "FAILED",
    spec={"array": "1-10"},
)

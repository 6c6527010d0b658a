# SPDX-License-Identifier: Apache-2.0
"""Operators that put the lines of a file into the task log, and note what that took in a file."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from airflow_provider_ehpc.operators.job_log import JobLogOperator

VARIABLE = "EHPC_BENCHMARK"
CONN_ID = "ehpc"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Plan:
    """What the tasks do, in which order."""

    tasks: list[str] = field(default_factory=list)
    """Kinds of :data:`KINDS`."""
    job_id: str = "none"
    path: str = ""
    """The job's log."""
    notes: str = ""
    """The file that takes the notes."""
    interval: float = 10.0
    """Seconds between two readings."""

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls) -> Plan:
        """Read the file."""
        return cls(**json.loads(Path(os.environ[VARIABLE]).read_text()))


@dataclass(frozen=True)
class Note:
    """What a task took, in seconds; of the processor, in its own process and in its supervisor's."""

    kind: str
    began: float
    wall: float
    cpu: float
    supervisor: float


class _Noting:
    """What a task took, written down when it is done."""

    def __init__(self, kind: str, path: str) -> None:
        self._kind = kind
        self._path = path

    def __enter__(self) -> None:
        self._began = time.time()
        self._cpu = time.process_time()
        self._supervisor = _cpu_of(os.getppid())

    def __exit__(self, *exc: object) -> None:
        cpu = time.process_time() - self._cpu
        supervisor = _cpu_of(os.getppid()) - self._supervisor
        note = Note(self._kind, self._began, time.time() - self._began, cpu, supervisor)
        with open(self._path, "a") as file:
            print(json.dumps(dataclasses.asdict(note)), file=file)


def _cpu_of(pid: int) -> float:
    # The process's name, in brackets, may hold anything; the numbers begin behind it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Bare(BaseOperator):
    """Logs the lines of a file, as a loop in a ``@task`` would."""

    def __init__(self, *, plan: Plan, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def execute(self, context: Any) -> None:
        """Log the lines."""
        with _Noting("bare", self.plan.notes), open(self.plan.path) as file:
            for line in file:
                self.log.info("%s", line[:-1])


class Raw(BaseOperator):
    """Asks for a job's log as JobLogOperator does, and throws it away."""

    def __init__(self, *, plan: Plan, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def execute(self, context: Any) -> None:
        """Read the log."""
        from airflow_provider_ehpc.hooks import job_hook
        from airflow_provider_ehpc.logs.reader import LogReader

        with _Noting("raw", self.plan.notes):
            hook = job_hook(CONN_ID)
            reader = LogReader(hook.api, hook.job_ref(self.plan.job_id))
            while hook.drive(reader.read()).more:
                pass


class Ours(JobLogOperator):
    """JobLogOperator, which notes what it took."""

    kind = "ours"

    def __init__(self, *, plan: Plan, poll_interval: float | None = None, **kwargs: Any) -> None:
        super().__init__(
            job_id=plan.job_id,
            conn_id=CONN_ID,
            poll_interval=poll_interval or plan.interval,
            log_settle_time=0,
            target_states=("SUCCEEDED", "CANCELLED"),
            **kwargs,
        )
        self.plan = plan

    def execute(self, context: Any) -> dict[str, Any]:
        """Follow the log."""
        with _Noting(self.kind, self.plan.notes):
            return super().execute(context)


class Single(Ours):
    """JobLogOperator that is never behind by its own reckoning, and so writes every line by itself."""

    kind = "single"

    def __init__(self, *, plan: Plan, **kwargs: Any) -> None:
        super().__init__(plan=plan, poll_interval=86_400.0, **kwargs)


KINDS: dict[str, type[BaseOperator]] = {"bare": Bare, "single": Single, "ours": Ours, "raw": Raw}

"""Killing the processes that write a log, in an Airflow of its own: what then stands in the task log."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.compat import async_xcom
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.logs.store import TRIGGER_EVERY
from demo.local_airflow import LocalAirflow
from tests.live.conftest import DAGS

pytestmark = pytest.mark.airflow
LINES = 550
COMMAND = f"for n in $(seq {LINES}); do echo line $n of the run; sleep 0.1; done"
KEEPS = async_xcom() is not None
"""Whether this Airflow can keep a place in a log over a restart."""


@pytest.fixture(scope="module")
def mortal(cloud: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """An Airflow whose processes may be killed without harm to other tests."""
    connections = {
        f"AIRFLOW_CONN_{kind.upper()}_DEFAULT": json.dumps(connection)
        for kind, connection in cloud.connections.items()
    }
    # A triggerer that was killed is missed after so many seconds without a heartbeat.
    quick = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6"}
    with LocalAirflow(tmp_path_factory.mktemp("mortal"), DAGS, {**connections, **quick}) as running:
        yield running


def numbers(lines: list[str]) -> list[int]:
    """The numbers of the job's lines, in their order."""
    return [int(found[1]) for line in lines if (found := re.fullmatch(r"line (\d+) of the run", line))]


def until(condition: Callable[[], bool], timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def task_process(ti_id: str) -> int:
    """The process that runs a task; Airflow gives it the task instance's id for a name."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                name = (entry / "cmdline").read_bytes().rstrip(b"\0 ").decode()
                if name.endswith(f" -- {ti_id}"):
                    return int(entry.name)
    raise AssertionError(f"no process runs {ti_id}")


def check(before: list[str], after: list[str], most: int) -> None:
    """Check that no line is missing and that what comes twice stands behind the mark."""
    first, second = numbers(before), numbers(after)
    assert first == list(range(1, len(first) + 1))
    assert 20 < len(first) < LINES
    assert second[-1] == LINES
    assert second == list(range(second[0], LINES + 1))
    assert second[0] <= len(first) + 1, "lines are missing"
    repeated = len(first) + 1 - second[0]
    if KEEPS:
        assert repeated <= most
        (mark,) = [n for n, line in enumerate(after) if line.startswith("--- resumed at")]
        assert re.match(r"--- resumed at byte [\d,]+ of stdout; up to one turn", after[mark])
        assert mark < after.index(f"line {second[0]} of the run")
    else:
        assert second[0] == 1
        assert any("keeps no place in a log over a restart" in line for line in after)


def test_a_killed_worker(mortal: LocalAirflow, cloud: Emulator) -> None:
    """A node that dies takes the task's process with it; the retry goes on where that stopped."""
    run_id = mortal.trigger("log_worker", {"job_id": cloud.submit(COMMAND)})
    task = ("log_worker", run_id, "wait")
    until(lambda: len(numbers(mortal.log_lines(*task))) > 30)
    os.kill(task_process(str(mortal.task(*task)["id"])), signal.SIGKILL)
    assert mortal.wait_for_task(*task)["state"] == "success"
    check(mortal.log_lines(*task), mortal.log_lines(*task, try_number=2), most=25)


def test_a_killed_triggerer(mortal: LocalAirflow, cloud: Emulator) -> None:
    """Another triggerer takes the stream over, in the same try."""
    run_id = mortal.trigger("log_deferred", {"job_id": cloud.submit(COMMAND)})
    task = ("log_deferred", run_id, "wait")
    until(lambda: len(numbers(mortal.log_lines(*task))) > 20)
    # The first lines are noted at once; these here not yet.
    noted = len(numbers(mortal.log_lines(*task)))
    until(lambda: len(numbers(mortal.log_lines(*task))) > noted + 40)
    mortal.kill_component("triggerer")
    before = mortal.log_lines(*task)
    mortal.start_component("triggerer")
    assert mortal.wait_for_task(*task)["state"] == "success"
    lines = mortal.log_lines(*task)
    # Where this Airflow keeps no place, each triggerer says so when it begins to read.
    mark = [n for n, line in enumerate(lines) if line.startswith("--- resumed at") or "keeps no" in line][-1]
    # So often the place is kept, however short the turns are.
    seconds = TRIGGER_EVERY + 5
    check(before, lines[mark:], most=round(seconds / 0.1))


def test_a_dag_starts_once_for_each_job_that_ends(mortal: LocalAirflow, cloud: Emulator) -> None:
    """Told of in time, running while the triggerer was killed, or come and gone while there was none."""

    def told() -> list[dict[str, Any]]:
        runs = mortal.get("/dags/finished/dagRuns")["dag_runs"]
        ended = [run["dag_run_id"] for run in runs if run["state"] == "success"]
        return [job for run_id in ended for job in mortal.xcom("finished", run_id, "tell")]

    def ids() -> set[str]:
        return {job["job_id"] for job in told()}

    mortal.wait_until_known("finished")
    early = []
    while not ids():
        # The watch begins within seconds; what ended before that is not told.
        early.append(cloud.submit("true", name="watched-early"))
        time.sleep(2)
    running = cloud.submit("sleep 4", name="watched")
    cloud.submit("true", name="of-no-interest")
    time.sleep(2)
    mortal.kill_component("triggerer")
    missed = cloud.submit("exit 3", name="watched")
    cloud.wait_for(missed)
    cloud.wait_for(running)
    mortal.start_component("triggerer")
    until(lambda: {running, missed} <= ids())
    events = told()
    # Killed in the moment in which an event is stored, it comes again and says so; no other does.
    once = [job for job in events if "may_be_repeated" not in job]
    assert len(once) == len({job["job_id"] for job in once}) == len({job["job_id"] for job in events})
    assert {job["job_id"] for job in events} - {running, missed} <= set(early)
    (failure,) = [job for job in events if job["job_id"] == missed]
    assert failure["state"] == "FAILED"

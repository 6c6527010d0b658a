# SPDX-License-Identifier: Apache-2.0
"""Killing the processes that write a log, in an Airflow of its own: what then stands in the task log.

Once, for CI; ``python -m benchmarks.crashes`` does it at some hundred random moments.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_ehpc.compat import async_xcom
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.logs.store import XCOM_KEY
from benchmarks.crashes.check import Findings, judge
from benchmarks.crashes.cloud import Cloud
from benchmarks.crashes.streams import JOB, SLACK
from demo.local_airflow import LocalAirflow
from tests.gates import eventually
from tests.live.conftest import DAGS

# By themselves, beside the tests that share an Airflow: both wait most of the time.
pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("killed")]
WHERE = ("worker", "deferred")
LONGEST = 300
"""Seconds that the jobs write, at most."""
KEEPS = async_xcom() is not None
"""Whether this Airflow can keep a place in a log over a restart."""


class Stream:
    """A job, and the task that follows it."""

    def __init__(self, airflow: LocalAirflow, cloud: Cloud, where: str) -> None:
        end = cloud.directory / "end"
        command = f"exec {sys.executable} -S {JOB} {WHERE.index(where)} {LONGEST} {end}"
        self.airflow = airflow
        self.job_id, *self.files = cloud.submit(command)
        dag_id = f"log_{where}"
        run_id = airflow.trigger(dag_id, {"job_id": self.job_id, "conn_id": cloud.conn_id})
        self.task = (dag_id, run_id, "wait")

    def lines(self, attempt: int = 1) -> list[str]:
        """What the task's log shows."""
        return self.airflow.log_lines(*self.task, try_number=attempt)

    def lines_of_job(self) -> int:
        """How many of them are the job's."""
        return sum(" of the run " in line for line in self.lines())

    def findings(self) -> Findings:
        """What is wrong with the logs of all tries, and what is right."""
        tries = range(1, self.airflow.task(*self.task)["try_number"] + 1)
        records = [self.airflow.log_events(*self.task, try_number=number) for number in tries]
        stdout, stderr = (path.read_bytes() for path in self.files)
        return judge(records, stdout, stderr, SLACK)


def until(condition: Callable[[], bool]) -> None:
    eventually(condition, timeout=240, every=0.3)


@dataclass
class Ends:
    """Jobs whose ends start a DAG."""

    airflow: LocalAirflow
    cloud: Emulator
    early: list[str] = field(default_factory=list)
    """Jobs that ended while the watch began: it may report them."""
    running: str = ""
    missed: str = ""

    def reported(self) -> list[dict[str, Any]]:
        """What the DAG's runs were given."""
        runs = self.airflow.get("/dags/finished/dagRuns")["dag_runs"]
        ended = [run["dag_run_id"] for run in runs if run["state"] == "success"]
        return [job for run_id in ended for job in self.airflow.xcom("finished", run_id, "report")]

    def ids(self) -> set[str]:
        return {job["job_id"] for job in self.reported()}

    def before_the_kill(self) -> None:
        def begun() -> bool:
            if self.ids():
                return True
            self.early.append(self.cloud.submit("true", name="watched-early"))
            return False

        eventually(begun, timeout=240, every=2)
        self.running = self.cloud.submit("sleep 4", name="watched")
        self.cloud.submit("true", name="of-no-interest")

    def while_there_is_no_triggerer(self) -> None:
        self.missed = self.cloud.submit("exit 3", name="watched")
        self.cloud.wait_for(self.missed)
        self.cloud.wait_for(self.running)


@dataclass
class Killed:
    """What went on while all but the core of Airflow was killed, and ended well."""

    streams: dict[str, Stream]
    ends: Ends


@pytest.fixture(scope="module")
def killed(cloud: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    """A stream on a worker, one in the triggerer, and a DAG that starts when jobs end."""
    home = tmp_path_factory.mktemp("mortal")
    mortal_cloud = Cloud(home / "cloud", "mortal")
    with contextlib.ExitStack() as undo:
        undo.callback(mortal_cloud.end)
        mortal_cloud.start()
        undo.enter_context(pytest.MonkeyPatch.context()).setenv(
            "AIRFLOW_CONN_MORTAL", mortal_cloud.connection
        )
        settings = {
            "AIRFLOW_CONN_MORTAL": mortal_cloud.connection,
            "AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT": cloud.connection_json,
            # A triggerer that was killed is missed after so many seconds without a heartbeat.
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        }
        airflow = undo.enter_context(LocalAirflow(home / "airflow", DAGS, settings))
        ends = Ends(airflow, cloud)
        airflow.wait_until_known("finished")
        streams = {where: Stream(airflow, mortal_cloud, where) for where in WHERE}
        worker, deferred = streams.values()

        def noted() -> bool:
            if not KEEPS:
                return deferred.lines_of_job() > 0
            place = airflow.xcom(*deferred.task, XCOM_KEY)
            return bool(place and place["cursor"] and place["cursor"]["streams"])

        until(noted)
        mortal_cloud.kill()
        before = deferred.lines_of_job()
        mortal_cloud.start()
        ends.before_the_kill()
        # Lines that are not noted yet, on both.
        until(lambda: deferred.lines_of_job() > before + 20 and worker.lines_of_job() > 20)
        process = airflow.task_process(str(airflow.task(*worker.task)["id"]))
        assert process
        airflow.kill_component("triggerer")
        os.kill(process, signal.SIGKILL)
        ends.while_there_is_no_triggerer()
        airflow.start_component("triggerer")
        (mortal_cloud.directory / "end").touch()
        for stream in streams.values():
            assert airflow.wait_for_task(*stream.task)["state"] == "success"
        until(lambda: {ends.running, ends.missed} <= ends.ids())
        yield Killed(streams, ends)


@pytest.mark.parametrize("where", WHERE)
def test_no_line_is_lost_and_none_comes_twice_outside_the_mark(where: str, killed: Killed) -> None:
    """A node that dies takes the task's process with it, or the triggerer; the next goes on where it was."""
    stream = killed.streams[where]
    findings = stream.findings()
    assert findings.complaints == []
    assert findings.lines > 100
    if not KEEPS:
        # Each reader says that it begins at the beginning.
        assert findings.resumed == 2
        assert findings.repeated_anew > 20
        return
    assert (findings.resumed, findings.repeated_anew) == (1, 0)
    # The worker's retry has a log of its own; the triggerer's streams go on in the same.
    (mark,) = [line for line in stream.lines(2 if where == "worker" else 1) if line.startswith("--- resumed")]
    assert re.match(r"--- resumed at byte [\d,]+ of std", mark)


def test_a_dag_starts_once_for_each_job_that_ends(killed: Killed) -> None:
    """Reported of in time, running while the triggerer was killed, or come and gone while there was none."""
    ends = killed.ends
    events = ends.reported()
    # Killed in the moment in which an event is stored, it comes again and says so, whether the first one was
    # stored or not; no other does.
    once = [job["job_id"] for job in events if "may_be_repeated" not in job]
    assert len(once) == len(set(once))
    repeated = [job["job_id"] for job in events if "may_be_repeated" in job]
    assert set(repeated) <= set(ends.early)
    assert len(repeated) == len(set(repeated))
    assert {job["job_id"] for job in events} - {ends.running, ends.missed} <= set(ends.early)
    (failure,) = [job for job in events if job["job_id"] == ends.missed]
    assert failure["state"] == "FAILED"

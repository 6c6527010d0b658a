# SPDX-License-Identifier: Apache-2.0
"""Which jobs live on if a user ends their tasks, or if triggerers end, in a whole Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from airflow_provider_ehpc.emulator.jobs import EmulatedJob
from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow
from tests.gates import eventually
from tests.operators.tries import jobs_of

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("submission kills")]
WHERE = ("worker", "deferred")
ACTIONS = ("cleared", "failed", "success")


@dataclass
class Task:
    """A task that runs a job until the test ends the job."""

    airflow: LocalAirflow
    cloud: Emulator
    where: str
    name: str
    folder: Path
    run_id: str = ""

    @property
    def address(self) -> tuple[str, str, str]:
        """DAG, run and task."""
        return f"submit_{self.where}", self.run_id, "run"

    def begin(self) -> None:
        """Start the task. Its job writes what the file ``lines`` gets, until the file ``end`` exists."""
        self.folder.mkdir()
        (self.folder / "lines").write_text("begun\n")
        command = (
            f"tail -n +1 -F {self.folder}/lines & until [ -e {self.folder}/end ]; do sleep 0.2; done; kill $!"
        )
        self.run_id = self.airflow.trigger(self.address[0], {"name": self.name, "command": command})

    def writes(self, line: str) -> None:
        """Let the job write a line, and wait until it is in the task's log."""
        with (self.folder / "lines").open("a") as lines:
            lines.write(f"{line}\n")
        self.shows(line)

    def shows(self, line: str, try_number: int = 1) -> None:
        """Wait until a line is in the task's log."""
        eventually(lambda: line in self.airflow.log_lines(*self.address, try_number), timeout=240, every=0.5)

    @property
    def state(self) -> str:
        """The task's state."""
        return str(self.airflow.task(*self.address)["state"])

    @property
    def jobs(self) -> list[EmulatedJob]:
        """The task's jobs, oldest first."""
        return [job for job in jobs_of(self.cloud) if job.spec.name.startswith(f"{self.name}.")]

    @property
    def alive(self) -> list[EmulatedJob]:
        """Those that have not ended."""
        return [job for job in self.jobs if not job.phase.ended]

    def assert_result_of_only_job(self) -> None:
        """End the job; the task ends with its result."""
        (self.folder / "end").touch()
        assert self.airflow.wait_for_task(*self.address)["state"] == "success"
        result = self.airflow.xcom(*self.address)
        (job,) = [job for job in self.jobs if job.phase == "COMPLETED"]
        assert (result["job_id"], result["state"]) == (f"{job.number}.manager", "SUCCEEDED")


@pytest.fixture(scope="module")
def tasks(
    submitting: tuple[LocalAirflow, Emulator], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Task]:
    """Tasks whose jobs run and whose logs are followed, all begun at once."""
    airflow, cloud = submitting
    airflow.start_component("triggerer", "triggerer-2")
    home = tmp_path_factory.mktemp("tasks")
    names = [*((where, action) for where in WHERE for action in ACTIONS), ("deferred", "moved")]
    begun = {key: Task(airflow, cloud, key[0], "".join(key), home / "-".join(key)) for key in names}
    for task in begun.values():
        task.begin()
    for task in begun.values():
        task.shows("begun")
        assert task.state == {"worker": "running"}.get(task.where, "deferred")
        assert [job.phase for job in task.jobs] == ["RUNNING"]
    return begun


@pytest.fixture(scope="module")
def ended(tasks: dict[tuple[str, str], Task]) -> dict[tuple[str, str], Task]:
    """The tasks that a user has ended, all at once."""
    for (_, action), task in tasks.items():
        if action == "cleared":
            task.airflow.clear(*task.address)
        elif action in ACTIONS:
            task.airflow.mark(*task.address, action)
    return tasks


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("where", WHERE)
def test_a_user_who_ends_a_task_ends_its_job(
    ended: dict[tuple[str, str], Task], where: str, action: str
) -> None:
    task = ended[where, action]
    (old, *_) = task.jobs
    assert task.cloud.wait_for(f"{old.number}.manager", timeout=240).phase == "CANCELLED"
    if action == "cleared":
        # The task begins again, with a new job.
        eventually(lambda: len(task.jobs) == 2, timeout=240)
        assert len(task.alive) == 1
        task.assert_result_of_only_job()
        assert len(task.jobs) == 2
    else:
        assert task.state == action
        assert len(task.jobs) == 1


def reassign(airflow: LocalAirflow) -> None:
    """Give all triggers of each triggerer to the other."""
    engine = create_engine(f"sqlite:///{airflow.home / 'airflow.db'}")
    with engine.begin() as database:
        one, other = database.scalars(text("SELECT id FROM job WHERE job_type = 'TriggererJob' ORDER BY id"))
        swap = text("UPDATE trigger SET triggerer_id = CASE triggerer_id WHEN :a THEN :b ELSE :a END")
        database.execute(swap, {"a": one, "b": other})
    engine.dispose()


def test_a_triggerer_that_ends_does_not_end_the_job(tasks: dict[tuple[str, str], Task]) -> None:
    """Nor does another one that takes over its triggers."""
    task = tasks["deferred", "moved"]
    airflow, (job,) = task.airflow, task.jobs
    reassign(airflow)
    task.writes("reassigned")
    airflow.end_component("triggerer")
    task.writes("after SIGTERM")
    airflow.kill_component("triggerer-2")
    airflow.start_component("triggerer")
    task.writes("after SIGKILL")
    assert [job.number for job in task.alive] == [job.number]
    assert task.state == "deferred"
    task.assert_result_of_only_job()
    assert len(task.jobs) == 1

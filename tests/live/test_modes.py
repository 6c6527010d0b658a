# SPDX-License-Identifier: Apache-2.0
"""A wait ends alike in every mode: a table of waits, run by ``airflow dags test``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow

pytestmark = pytest.mark.airflow
MODES = ("poke", "reschedule", "deferred")
COMMANDS = {
    "succeeds": "sleep 1",
    "several": "sleep 1",
    "fails": "sleep 1; echo 'no such file'; exit 3",
    "is_skipped": "sleep 1; echo 'no such file'; exit 3",
}
"""The commands of the jobs that end; all others run on."""
STATES = {
    "succeeds": "success",
    "several": "success",
    "fails": "failed",
    "is_skipped": "skipped",
    "times_out": "failed",
    "execution_timeout": "failed",
    "is_skipped_after_execution_timeout": "skipped",
    "denied": "failed",
    "denied_with_soft_fail": "failed",
}


class Ended:
    """The ended tasks of the DAG run."""

    def __init__(self, cloud: Emulator, airflow: LocalAirflow, jobs: dict[str, Any], output: str) -> None:
        self.cloud = cloud
        self.airflow = airflow
        self.jobs = jobs
        self.output = output
        """What all tasks logged."""
        self._rows = self._read("SELECT task_id, state, try_number FROM task_instance")
        self.states = {task: state for task, state, _ in self._rows}
        self.tries = {task: tries for task, _, tries in self._rows}
        self.results = dict(self._read(self._results_query()))

    def _results_query(self) -> str:
        if self._read("SELECT name FROM sqlite_master WHERE name = 'xcom'"):
            return "SELECT task_id, value FROM xcom WHERE key = 'return_value'"
        # Airflow 3.4
        return (
            "SELECT task_id, value FROM xcom_v2 JOIN task_instance ON task_instance.id = task_instance_id "
            "WHERE key = 'return_value'"
        )

    def _read(self, query: str) -> list[Any]:
        from sqlalchemy import create_engine, text

        engine = create_engine(self.airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
        with engine.connect() as connection:
            return list(connection.execute(text(query)))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    home = tmp_path_factory.mktemp("modes")
    with Emulator(home / "cloud") as cloud, Emulator(home / "denied") as denied:
        denied.deny("GetJob", "ListJobs")
        jobs: dict[str, Any] = {}
        for mode in MODES:
            for wait in STATES:
                command = COMMANDS.get(wait, "sleep 600")
                number = 2 if wait == "several" else 1
                submitted = [cloud.submit(command) for _ in range(number)]
                jobs[f"{wait}-{mode}"] = submitted if wait == "several" else submitted[0]
        environment = {
            "AIRFLOW_CONN_MODES": cloud.connection_json,
            "AIRFLOW_CONN_DENIED": denied.connection_json,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            "MODES_JOBS": json.dumps(jobs),
        }
        airflow = LocalAirflow(home / "airflow", Path(__file__).parent / "modes", environment)
        airflow.make_database()
        airflow.cli("dags", "reserialize")
        output = airflow.cli("dags", "test", "modes", check=False, timeout=900)
        yield Ended(cloud, airflow, jobs, output)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wait", STATES)
def test_a_wait_ends_alike_in_every_mode(ended: Ended, wait: str, mode: str) -> None:
    task = f"{wait}-{mode}"
    assert ended.states[task] == STATES[wait]
    # No retry would change any of these.
    assert ended.tries[task] == 1


@pytest.mark.parametrize("wait", ["succeeds", "several"])
def test_the_result_has_the_same_fields_in_every_mode(ended: Ended, wait: str) -> None:
    results = [json.loads(ended.results[f"{wait}-{mode}"]) for mode in MODES]
    fields = [[sorted(job) for job in (result if wait == "several" else [result])] for result in results]
    assert fields[0] == fields[1] == fields[2]
    for result, mode in zip(results, MODES, strict=True):
        if wait == "several":
            assert [job["job_id"] for job in result] == ended.jobs[f"{wait}-{mode}"]


@pytest.mark.parametrize("mode", MODES)
def test_only_stop_job_on_kill_stops_a_job(ended: Ended, mode: str) -> None:
    stopped = ended.cloud.wait_for(ended.jobs[f"execution_timeout-{mode}"])
    assert stopped.phase == "CANCELLED"
    for wait in ("times_out", "is_skipped_after_execution_timeout", "denied"):
        assert ended.cloud.job(ended.jobs[f"{wait}-{mode}"]).phase == "RUNNING"


@pytest.mark.parametrize("mode", MODES)
def test_a_skipped_task_shows_why(ended: Ended, mode: str) -> None:
    job_id = ended.jobs[f"is_skipped-{mode}"]
    (_, why) = ended.output.split(f"skipped: job {job_id} ")
    assert "ended FAILED" in why[:300]
    assert "no such file" in why[:500]

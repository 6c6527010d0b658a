# SPDX-License-Identifier: Apache-2.0
"""Submitted jobs end alike on workers and deferred: a DAG, run by ``airflow dags test``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow
from tests.live.test_modes import Ended
from tests.operators.tries import jobs_of

# By themselves: the DAG takes minutes, most of which it waits.
pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("submissions")]
MODES = ("worker", "worker_without_log", "deferred", "deferred_without_log")
STATES = {
    "succeeds": "success",
    "fails": "failed",
    "is_skipped": "skipped",
    "times_out": "failed",
    "sweep": "success",
    "server": "success",
    "stop": "success",
    "decorated": "success",
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    home = tmp_path_factory.mktemp("submissions")
    with Emulator(home / "cloud") as cloud:
        environment = {
            "AIRFLOW_CONN_MODES": cloud.connection_json,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        }
        airflow = LocalAirflow(home / "airflow", Path(__file__).parent / "submissions", environment)
        airflow.make_database()
        airflow.cli("dags", "reserialize")
        output = airflow.cli("dags", "test", "submissions", check=False, timeout=900)
        yield Ended(cloud, airflow, {}, output)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", STATES)
def test_a_job_ends_alike_in_every_mode(ended: Ended, name: str, mode: str) -> None:
    assert ended.states[f"{name}-{mode}"] == STATES[name]
    # No retry would change any of these.
    assert ended.tries[f"{name}-{mode}"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_each_task_has_submitted_one_job(ended: Ended, mode: str) -> None:
    prefixes = Counter(job.spec.name.rsplit("-", 1)[0] for job in jobs_of(ended.cloud))
    for name in STATES:
        if name != "stop":
            assert prefixes[f"{name}-{mode}"] == (3 if name == "sweep" else 1)


def test_no_job_runs_on(ended: Ended) -> None:
    """What timed out was stopped, and what a teardown stops as well."""
    for job in jobs_of(ended.cloud):
        assert ended.cloud.wait_for(f"{job.number}.manager").phase.ended


def test_the_log_is_in_the_task_log(ended: Ended) -> None:
    assert ended.output.count("the last line") >= 2
    assert "no such file" in ended.output

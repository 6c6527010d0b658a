# SPDX-License-Identifier: Apache-2.0
"""A running Airflow and a running local cloud, once for all tests of this folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.submissions import started
from demo.local_airflow import LocalAirflow
from tests.statsd import StatsdServer

DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A local cloud whose jobs are processes."""
    with Emulator(tmp_path_factory.mktemp("cloud")) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def slurm_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator | None]:
    """A local cloud whose jobs run on this machine's Slurm; None where there is none."""
    if not _slurm_answers():
        yield None
        return
    with Emulator(tmp_path_factory.mktemp("slurm-cloud"), scheduler="slurm") as emulator:
        yield emulator


@pytest.fixture(scope="session")
def statsd() -> Iterator[StatsdServer]:
    """Where the running Airflow sends its metrics."""
    with StatsdServer() as server:
        yield server


@pytest.fixture(scope="session")
def airflow(
    cloud: Emulator,
    slurm_cloud: Emulator | None,
    statsd: StatsdServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalAirflow]:
    """Scheduler, DAG processor, API server and triggerer, with connections to the clouds."""
    connections = {
        f"AIRFLOW_CONN_{kind.upper()}_DEFAULT": json.dumps(connection)
        for kind, connection in cloud.connections.items()
    }
    connections["AIRFLOW_CONN_CLOUD"] = cloud.connection_json
    if slurm_cloud:
        connections["AIRFLOW_CONN_SLURM"] = slurm_cloud.connection_json
    environment = {
        **connections,
        **statsd.environment,
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
    }
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), DAGS, environment) as running:
        yield running


@pytest.fixture(scope="session")
def submitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalAirflow, Emulator]]:
    """An Airflow of its own, whose processes tests kill, with tasks that submit jobs; and their cloud."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AIRFLOW_CONN_CLOUD", raising=False)
        with started(tmp_path_factory.mktemp("submitting")) as running:
            yield running


def _slurm_answers() -> bool:
    if shutil.which("sinfo") is None:
        return False
    done = subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


PYTHON = sys.executable

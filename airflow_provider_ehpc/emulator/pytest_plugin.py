# SPDX-License-Identifier: Apache-2.0
"""Provide pytest fixtures for tests of your own DAGs.

They are installed with the provider and need no import::

    def test_my_dag(ehpc_emulator, ehpc_connection):
        ehpc_emulator.fault(FaultKind.THROTTLE, operation="GetJob", times=2)

        run = my_dag.test()

        assert run.state == "success"
        assert ehpc_emulator.requests.count("CreateJob", "ok") == 1

Nothing is started for tests that use none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

# pytest loads this module in every run, even if no test uses a fixture: nothing is imported before that.
if TYPE_CHECKING:
    from airflow_provider_ehpc.emulator.server import Emulator


class SubmitJob(Protocol):
    """The type of the fixture :func:`ehpc_job`."""

    def __call__(self, command: str, *, name: str = "job", **spec: Any) -> str:
        """Submit a shell command and return the job's ID.

        :param spec: further fields of :class:`~airflow_provider_ehpc.apis.job.JobSpec`.
        """


@pytest.fixture
def ehpc_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run a local cloud for one test.

    It listens on a free port of the loopback interface and saves everything in a temporary directory. Its
    jobs are processes; those that still run are killed at the end of the test.
    """
    from airflow_provider_ehpc.emulator.server import Emulator

    with Emulator(tmp_path_factory.mktemp("ehpc-emulator")) as emulator:
        yield emulator


@pytest.fixture
def ehpc_connection(ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Connect the default connection of each cloud to the emulator; return the ID of E-HPC's.

    For one test, the connections are in the environment: ``AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT``,
    ``AIRFLOW_CONN_HUAWEI_MODELARTS_DEFAULT`` and ``AIRFLOW_CONN_QINGCLOUD_HPC_DEFAULT``.
    """
    import json

    for conn_type, connection in ehpc_emulator.connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT", json.dumps(connection))
    return "aliyun_ehpc_default"


@pytest.fixture
def ehpc_job(ehpc_emulator: Emulator, ehpc_connection: str) -> SubmitJob:
    """Return a function that submits a job, for tests of DAGs that wait for jobs submitted elsewhere."""
    return ehpc_emulator.submit

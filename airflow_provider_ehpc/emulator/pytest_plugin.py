"""The pytest fixture ``ehpc_emulator``: a local cloud for one test.

Installed with the provider, it needs no import::

    def test_my_dag(ehpc_emulator, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT", ehpc_emulator.connection_json)
        ehpc_emulator.fault("throttle", operation="GetJob", times=2)

        my_dag.test()

        assert ehpc_emulator.requests.count("CreateJob", "ok") == 1

The connections to the other clouds are in ``ehpc_emulator.connections``, by their types.

A job can also be there before the DAG runs::

        job_id = ehpc_emulator.submit("echo ready; exit 3")
        ehpc_emulator.wait_for(job_id, "FAILED")

It listens on a free port of the loopback interface and keeps everything in a temporary directory; its jobs
are ended with the test. See :class:`~airflow_provider_ehpc.emulator.server.Emulator` for what it can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_ehpc.emulator.server import Emulator


@pytest.fixture
def ehpc_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run an emulated E-HPC cluster for one test."""
    # Imported here: pytest loads this module in every run, also where nobody asks for the emulator.
    from airflow_provider_ehpc.emulator.server import Emulator

    with Emulator(tmp_path_factory.mktemp("ehpc-emulator")) as emulator:
        yield emulator

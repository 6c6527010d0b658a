# SPDX-License-Identifier: Apache-2.0
"""Provide the pytest fixture ``ehpc_emulator``: a local cloud for one test.

It is installed with the provider and needs no import::

    def test_my_dag(ehpc_emulator, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT", ehpc_emulator.connection_json)
        ehpc_emulator.fault("throttle", operation="GetJob", times=2)

        my_dag.test()

        assert ehpc_emulator.requests.count("CreateJob", "ok") == 1

The connections to all clouds are in ``ehpc_emulator.connections``, by type.

A job can also be submitted before the DAG runs::

        job_id = ehpc_emulator.submit("echo ready; exit 3")
        ehpc_emulator.wait_for(job_id, "FAILED")

It listens on a free port of the loopback interface and saves everything in a temporary directory. Its jobs
are killed at the end of the test. The methods are those of
:class:`~airflow_provider_ehpc.emulator.server.Emulator`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_ehpc.emulator.server import Emulator


@pytest.fixture
def ehpc_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run a local cloud for one test."""
    # Imported here, because pytest loads this module in every run, even if no test uses the emulator.
    from airflow_provider_ehpc.emulator.server import Emulator

    with Emulator(tmp_path_factory.mktemp("ehpc-emulator")) as emulator:
        yield emulator

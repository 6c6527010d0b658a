"""After everything else in this folder: what all those runs have left on the disk."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow

pytestmark = pytest.mark.airflow


def test_no_secret_was_written_anywhere(airflow: LocalAirflow, cloud: Emulator) -> None:
    """Logs are shown to everybody, and trigger payloads and XComs lie in the database."""
    secrets = [cloud.connection["password"].encode(), cloud.connection["login"].encode()]
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files), "nothing was searched"
    assert any(path.suffix == ".db" for path in files)
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets)]

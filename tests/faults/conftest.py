"""The cloud of the matrix, and the table that a run of it writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from tests.faults.tasks import Cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One emulator for all cells of a process."""
    with Emulator(tmp_path_factory.mktemp("cloud"), spelling="slurm") as emulator:
        yield Cloud(emulator)

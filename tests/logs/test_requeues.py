# SPDX-License-Identifier: Apache-2.0
"""Jobs that a real Slurm requeues while their log is followed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.requeues import requeue
from tests.emulator.test_slurm import slurm

__all__ = ["slurm"]

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def cloud(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("requeues") / "cloud", scheduler="slurm") as emulator:
        yield emulator


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_line_of_every_run_is_in_the_task_log(
    cloud: Emulator, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At random moments; ``python -m benchmarks.requeues`` tries fifty."""
    monkeypatch.setenv("AIRFLOW_CONN_ALIYUN_EHPC", json.dumps(cloud.connection))
    found = requeue(cloud, [random.uniform(0, 2.5) for _ in range(count)])
    assert found.missing == []
    assert found.twice == []
    assert not found.out_of_order
    assert found.runs == count + 1
    # A run that begins and ends between two polls of a busy machine is not seen by itself.
    assert found.logged >= 1

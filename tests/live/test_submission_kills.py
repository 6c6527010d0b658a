# SPDX-License-Identifier: Apache-2.0
"""A task's process is killed around its submission: there is one job all the same.

``benchmarks.submissions`` does this at many more moments.
"""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from benchmarks.submissions import Submissions
from demo.local_airflow import LocalAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("submission kills")]


@pytest.mark.parametrize(("kind", "moments"), [("task", 3), ("lost", 2)])
def test_there_is_one_job(submitting: tuple[LocalAirflow, Emulator], kind: str, moments: int) -> None:
    submissions = Submissions(*submitting, seed=1)
    submissions.run(kind, moments)
    assert not submissions.failures

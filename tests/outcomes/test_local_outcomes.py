# SPDX-License-Identifier: Apache-2.0
"""How tasks end that submit a job, through every API, if the scheduler reports as PBS does.

``UPDATE_OUTCOMES=1`` writes the table of docs/outcomes.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from airflow_provider_ehpc.emulator.schedulers import local
from airflow_provider_ehpc.emulator.server import Emulator
from tests.outcomes.cases import ARRAY, CANCELLED, PROGRAMS, WALL_TIME
from tests.outcomes.table import UPDATE, section, write
from tests.outcomes.tasks import SUBMITTED, Ends, Submissions, Tasks, connected, table

CASES = (*PROGRAMS, dataclasses.replace(WALL_TIME, spec={"wall_time": 3}), CANCELLED, ARRAY)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    with (
        pytest.MonkeyPatch.context() as patch,
        Emulator(tmp_path_factory.mktemp("local") / "cloud") as cloud,
        connected(cloud),
    ):
        # On a busy machine, a job needs its time to end by SIGTERM.
        patch.setattr(local, "_GRACE", 60.0)
        tasks = Tasks()
        try:
            submissions = Submissions(cloud, tasks, tuple(SUBMITTED))
            for case in CASES:
                submissions.begin(case)
            submissions.stop(CANCELLED)
            yield {key: end.result(timeout=300) for key, end in submissions.ends.items()}
        finally:
            tasks.close()


def test_the_table(ends: Ends) -> None:
    rows = table(ends, CASES, tuple(SUBMITTED))
    if UPDATE:
        write("submitted", rows)
    assert section("submitted").splitlines() == rows

# SPDX-License-Identifier: Apache-2.0
"""A task that waits for an array: its message names the sub-jobs that failed and shows their last lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from tests.conftest import Connect


@pytest.mark.parametrize("api", ["ehpc", "ehpc-classic"])
@pytest.mark.parametrize(("spelling", "sub_job"), [("pbs", "1[{}].manager"), ("slurm", "1_{}")])
def test_a_failed_array_shows_its_failed_sub_jobs(
    tmp_path: Path, connect: Connect, spelling: str, sub_job: str, api: str
) -> None:
    with Emulator(tmp_path / "cloud", spelling=spelling) as cloud:
        conn_id = connect(cloud.connection)
        command = "echo part $SLURM_ARRAY_TASK_ID; exit $((SLURM_ARRAY_TASK_ID % 2 ? 0 : 7))"
        job_id = cloud.submit(command, array="1-5")
        sensor = JobStateSensor(task_id="wait", conn_id=conn_id, job_id=job_id, api=api, poke_interval=0.05)
        with pytest.raises(JobFailed) as caught:
            sensor.execute({})
    head, *tail = str(caught.value).splitlines()
    first, second = sub_job.format(2), sub_job.format(4)
    code = ", exit code 7" if api == "ehpc-classic" else ""
    assert f"; sub-jobs: 3 SUCCEEDED, 2 FAILED; failed: {first} (FAILED{code}" in head
    assert f"), {second} (FAILED{code}" in head
    assert head.endswith(f"Last lines of the log of {first}:")
    assert tail == [
        *("stdout:", "  part 2"),
        *(f"Last lines of the log of {second}:", "stdout:", "  part 4"),
    ]
    assert "the cloud reports" not in head

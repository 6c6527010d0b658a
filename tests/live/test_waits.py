# SPDX-License-Identifier: Apache-2.0
"""Sensors in a running Airflow: each mode, each end of a job, on local processes and on a real Slurm."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from demo.local_airflow import LocalAirflow
from tests.gates import eventually

pytestmark = pytest.mark.airflow
MODES = ("poke", "reschedule", "deferred")
FAILING = "echo the mesh is fine; echo the solver diverged >&2; sleep 2; exit 3"


@dataclass(frozen=True)
class Wait:
    """A run of one waiting task."""

    airflow: LocalAirflow
    dag_id: str
    run_id: str
    job_id: str

    def end(self) -> tuple[str, int]:
        """Wait for the task's end; return its state and the number of its last try."""
        task = self.airflow.wait_for_task(self.dag_id, self.run_id, "wait", timeout=240)
        return task["state"], task["try_number"]

    @property
    def log(self) -> str:
        """The text of the task's log, with the messages of exceptions."""
        events = self.airflow.log_events(self.dag_id, self.run_id, "wait")
        return "\n".join(f"{event.get('event')} {event.get('error_detail', '')}" for event in events)


@pytest.fixture(scope="session")
def local_waits(cloud: Emulator, airflow: LocalAirflow) -> dict[str, Wait]:
    """Waits begun at once: in each mode for success, failure, and failure with soft_fail."""
    waits = {}
    for mode in MODES:
        for end, command, dag_id in (
            ("succeeds", "sleep 8; echo done", f"wait_{mode}"),
            ("fails", FAILING, f"wait_{mode}"),
            ("is skipped", FAILING, f"wait_{mode}_soft"),
        ):
            job_id = cloud.submit(f"sleep 6; {command}")
            run_id = airflow.trigger(dag_id, {"job_id": job_id})
            waits[f"{mode} {end}"] = Wait(airflow, dag_id, run_id, job_id)
    return waits


@pytest.fixture(scope="session")
def slurm_waits(slurm_cloud: Emulator | None, airflow: LocalAirflow) -> dict[str, Wait]:
    """Waits for jobs of a real Slurm, all begun at once; one job is held in the queue for a while."""
    if slurm_cloud is None:
        pytest.skip("no Slurm answers on this machine: run 'make slurm' (Debian) for one of its own")
    waits = {}
    for mode in MODES:
        for end, command in (
            ("succeeds", "sleep 8; echo done"),
            ("fails", FAILING),
            ("is cancelled", "sleep 300"),
        ):
            job_id = slurm_cloud.submit(f"sleep 4; {command}")
            conf = {"job_id": job_id, "conn_id": "slurm"}
            waits[f"{mode} {end}"] = Wait(
                airflow, f"wait_{mode}", airflow.trigger(f"wait_{mode}", conf), job_id
            )
    for mode in MODES:
        slurm_cloud.wait_for(waits[f"{mode} is cancelled"].job_id, "RUNNING")
        slurm_cloud.stop(waits[f"{mode} is cancelled"].job_id)
    return waits


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_succeeds_lets_the_dag_go_on(mode: str, local_waits: dict[str, Wait]) -> None:
    """The plainest promise; the job's status is the task's result, as plain data."""
    wait = local_waits[f"{mode} succeeds"]
    assert wait.end() == ("success", 1)
    result = wait.airflow.xcom(wait.dag_id, wait.run_id, "wait")
    assert (result["job_id"], result["state"], result["raw_state"]) == (wait.job_id, "SUCCEEDED", "FINISHED")
    # PBS says FINISHED of a job that is over, however it ended, and the user is reported so.
    assert "finished_without_exit_code='success'" in wait.log
    if mode == "deferred":

        def fired() -> list[str]:
            records = wait.airflow.log_events(wait.dag_id, wait.run_id, "wait")
            return [record["result"] for record in records if record.get("event") == "Trigger fired event"]

        # On a busy machine, the triggerer writes it after the task has ended.
        eventually(fired)
        assert fired() == [f"reached: {wait.job_id} SUCCEEDED"]


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_fails_fails_the_task_at_once_and_says_why(
    mode: str, local_waits: dict[str, Wait]
) -> None:
    """Two retries are left: waiting again for a job that has failed would waste them and hours."""
    wait = local_waits[f"{mode} fails"]
    assert wait.end() == ("failed", 1)
    log = wait.log
    assert f"job {wait.job_id} in cluster ehpc-hz-emulator ended FAILED" in log
    assert "the solver diverged" in log
    assert "JobFailed" in log


@pytest.mark.parametrize("mode", MODES)
def test_soft_fail_skips_in_every_mode_alike(mode: str, local_waits: dict[str, Wait]) -> None:
    """A DAG must not change its meaning because an administrator turned deferral on."""
    assert local_waits[f"{mode} is skipped"].end() == ("skipped", 1)


@pytest.mark.slurm
@pytest.mark.parametrize("mode", MODES)
def test_slurm_job_that_completes(mode: str, slurm_waits: dict[str, Wait]) -> None:
    """Slurm's Completed is a success by itself: no assumption, no warning."""
    wait = slurm_waits[f"{mode} succeeds"]
    assert wait.end() == ("success", 1)
    assert wait.airflow.xcom(wait.dag_id, wait.run_id, "wait")["raw_state"] == "Completed"
    assert "finished_without_exit_code" not in wait.log


@pytest.mark.slurm
@pytest.mark.parametrize("mode", MODES)
def test_slurm_job_with_exit_code_3(mode: str, slurm_waits: dict[str, Wait]) -> None:
    """An exit code other than 0 is Slurm's FAILED, with the log's last lines in the message."""
    wait = slurm_waits[f"{mode} fails"]
    assert wait.end() == ("failed", 1)
    assert "ended FAILED (the cloud reports 'Failed')" in wait.log
    assert "the solver diverged" in wait.log


@pytest.mark.slurm
@pytest.mark.parametrize("mode", MODES)
def test_slurm_job_that_is_cancelled(mode: str, slurm_waits: dict[str, Wait]) -> None:
    """Nobody should read "failed" where a colleague pressed scancel."""
    wait = slurm_waits[f"{mode} is cancelled"]
    assert wait.end() == ("failed", 1)
    assert "ended CANCELLED (the cloud reports 'Cancelled')" in wait.log


@pytest.mark.slurm
@pytest.mark.usefixtures("slurm_waits")
def test_slurm_job_is_seen_in_the_queue_first(slurm_cloud: Emulator, airflow: LocalAirflow) -> None:
    """Time in the queue is most of a job's life on a busy cluster; it must not look like running."""
    blocker = slurm_cloud.submit("sleep 600", nodes=1, cores=16)
    job_id = slurm_cloud.submit("echo ran", nodes=1, cores=16)
    run_id = airflow.trigger("wait_deferred", {"job_id": job_id, "conn_id": "slurm"})
    wait = Wait(airflow, "wait_deferred", run_id, job_id)
    eventually(lambda: "is QUEUED ('Pending')" in wait.log, timeout=240, every=1)
    slurm_cloud.stop(blocker)
    assert wait.end() == ("success", 1)

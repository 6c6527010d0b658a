# SPDX-License-Identifier: Apache-2.0
"""Jobs as processes: the environment of a command, and its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client
from tests.gates import eventually


def _stdout(emulator: Emulator, job_id: str) -> str:
    return emulator.job(job_id).stdout_path.read_text()


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("command", "code", "phase"),
    [
        ("exit 0", 0, "COMPLETED"),
        ("exit 42", 42, "FAILED"),
        ("kill -KILL $$", 137, "FAILED"),
        ("/no/such/program", 127, "FAILED"),
        ("-- /bin/sh -c 'exit 5'", 5, "FAILED"),
    ],
)
def test_the_exit_code_is_the_commands(ehpc_emulator: Emulator, command: str, code: int, phase: str) -> None:
    job = ehpc_emulator.wait_for(ehpc_emulator.submit(command))

    assert (job.exit_code, job.phase) == (code, phase)


def test_the_command_sees_its_job_and_not_the_emulators_environment(
    ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DAG that works only because the worker's secrets are in the job's environment fails on a cluster."""
    monkeypatch.setenv("AIRFLOW_SECRET", "planted")
    job_id = ehpc_emulator.submit("env", name="look", queue="fast", environment={"MINE": "a b\nc"})
    ehpc_emulator.wait_for(job_id)
    seen = _stdout(ehpc_emulator, job_id)

    for line in ("PBS_JOBID=1.manager", "PBS_JOBNAME=look", "PBS_QUEUE=fast", "SLURM_JOB_ID=1", "MINE=a b"):
        assert line in seen.splitlines()
    assert "planted" not in seen


def test_the_post_processing_command_runs_after_the_job_and_changes_nothing(client: Client) -> None:
    job_id = client.create("echo job; exit 7", PostCmdLine="echo after; exit 1")

    assert client.emulator.wait_for(job_id).exit_code == 7
    assert _stdout(client.emulator, job_id) == "job\nafter\n"


def test_output_goes_to_the_requested_paths(ehpc_emulator: Emulator, tmp_path: Path) -> None:
    single = ehpc_emulator.submit(
        "echo a; echo b >&2", stdout_path=f"{tmp_path}/o", stderr_path=f"{tmp_path}/e"
    )
    array = ehpc_emulator.submit("echo $PBS_ARRAY_INDEX", array="1-2:1", stdout_path=f"{tmp_path}/array")
    ehpc_emulator.wait_for(single)
    ehpc_emulator.wait_for(array)

    assert ((tmp_path / "o").read_text(), (tmp_path / "e").read_text()) == ("a\n", "b\n")
    assert [(tmp_path / f"array.{index}").read_text() for index in (1, 2)] == ["1\n", "2\n"]


def test_output_may_be_discarded(ehpc_emulator: Emulator) -> None:
    for paths in ({"stderr_path": "/dev/null"}, {"stdout_path": "/dev/null", "stderr_path": "/dev/null"}):
        job = ehpc_emulator.wait_for(ehpc_emulator.submit("echo one; echo two >&2", **paths))
        assert job.exit_code == 0


def test_a_job_that_cannot_write_its_output_fails(ehpc_emulator: Emulator) -> None:
    """It does not stop anything else."""
    lost = ehpc_emulator.submit("true", stdout_path="/no/such/directory/out")
    fine = ehpc_emulator.submit("true")

    assert ehpc_emulator.wait_for(lost).phase == "FAILED"
    assert ehpc_emulator.wait_for(fine).phase == "COMPLETED"


def test_a_job_over_its_wall_time_is_ended(ehpc_emulator: Emulator) -> None:
    job = ehpc_emulator.wait_for(ehpc_emulator.submit("sleep 60", wall_time=1))

    assert (job.phase, job.exit_code) == ("TIMEOUT", 128 + 15)


def test_a_job_that_fails_within_its_wall_time_has_failed(ehpc_emulator: Emulator) -> None:
    assert ehpc_emulator.wait_for(ehpc_emulator.submit("exit 143", wall_time=60)).phase == "FAILED"


def test_a_job_that_ignores_the_signal_is_killed(ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("trap '' TERM; echo ready; while :; do sleep 1; done")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    eventually(lambda: _stdout(ehpc_emulator, job_id) == "ready\n")
    ehpc_emulator.stop(job_id)

    job = ehpc_emulator.wait_for(job_id)

    assert (job.phase, job.exit_code) == ("CANCELLED", 128 + 9)


def test_nothing_of_a_job_is_left_behind(ehpc_emulator: Emulator) -> None:
    """This holds for a job that ended by itself and for a stopped one."""
    ended = ehpc_emulator.submit("sleep 600 & echo $!")
    stopped = ehpc_emulator.submit("sleep 600 & echo $!; wait")
    ehpc_emulator.wait_for(ended)
    ehpc_emulator.wait_for(stopped, "RUNNING")
    eventually(lambda: _stdout(ehpc_emulator, stopped) != "")
    ehpc_emulator.stop(stopped)
    ehpc_emulator.wait_for(stopped, "CANCELLED")

    for job_id in (ended, stopped):
        pid = int(_stdout(ehpc_emulator, job_id))
        eventually(lambda pid=pid: not _running(pid))  # type: ignore[misc]


def test_a_job_stopped_at_once_ends_at_once(ehpc_emulator: Emulator) -> None:
    """The signal may come before the job's shell is ready for it; it must not be lost."""
    ids = []
    for _ in range(20):
        ids.append(ehpc_emulator.submit("sleep 600"))
        ehpc_emulator.wait_for(ids[-1], "RUNNING")
        ehpc_emulator.stop(ids[-1])

    assert {ehpc_emulator.wait_for(job_id).phase for job_id in ids} == {"CANCELLED"}


def test_closing_ends_every_job(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        job_id = emulator.submit("echo $$; exec sleep 600")
        emulator.wait_for(job_id, "RUNNING")
        eventually(lambda: _stdout(emulator, job_id) != "")
        pid = int(_stdout(emulator, job_id))

    eventually(lambda: not _running(pid))


def test_jobs_wait_for_cores_in_the_order_of_their_priority() -> None:
    with Emulator(slots=2) as emulator:
        hold = emulator.submit("sleep 60", cores=2)
        emulator.wait_for(hold, "RUNNING")
        order = emulator.directory / "order"
        ids = [
            emulator.submit(f"echo {name} >>{order}", cores=2, priority=priority)
            for name, priority in (("late", 0), ("later", 0), ("early", 9))
        ]
        assert [emulator.job(job_id).phase for job_id in ids] == ["PENDING"] * 3
        emulator.stop(hold)
        for job_id in ids:
            emulator.wait_for(job_id)

        assert order.read_text().split() == ["early", "late", "later"]


def test_a_job_that_wants_more_than_there_is_runs_alone() -> None:
    with Emulator(slots=2) as emulator:
        assert emulator.wait_for(emulator.submit("true", cores=64, nodes=8)).phase == "COMPLETED"


def test_a_waiting_job_that_is_stopped_never_runs() -> None:
    with Emulator(slots=1) as emulator:
        hold = emulator.submit("sleep 60")
        emulator.wait_for(hold, "RUNNING")
        waiting = emulator.submit(f"touch {emulator.directory}/ran")
        emulator.stop(waiting)

        assert emulator.wait_for(waiting).exit_code is None
        emulator.stop(hold)
        emulator.wait_for(emulator.submit("true"))
        assert not (emulator.directory / "ran").exists()


def test_many_jobs_come_to_their_end() -> None:
    with Emulator(slots=8) as emulator:
        array = emulator.submit("true", array="1-60:1")

        assert emulator.wait_for(array, timeout=120).phase == "COMPLETED"


def test_importing_the_pytest_plugin_costs_nothing() -> None:
    """It costs time in every pytest run of everybody who has installed the provider."""
    program = (
        "import sys, airflow_provider_ehpc.emulator.pytest_plugin as plugin;"
        "print([name for name in ('aiohttp', 'sqlite3', 'airflow', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ)
    )

    assert done.stdout.strip() == "[]"

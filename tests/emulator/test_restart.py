# SPDX-License-Identifier: Apache-2.0
"""The emulator may die at any moment. Jobs, keys and logs survive."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client
from tests.gates import eventually


class Process:
    """``python -m airflow_provider_ehpc.emulator``, with the attributes that :class:`Client` needs."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.cluster_id = "ehpc-hz-emulator"
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "airflow_provider_ehpc.emulator",
                "--directory",
                str(directory),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        first, second = self._process.stdout.readline(), self._process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert match, first
        self.url = match[0]
        name, _, value = shlex.split(second.removeprefix("export "))[0].partition("=")
        assert name == "AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT"
        self.connection = json.loads(value)
        self.account = CloudAccount(self.connection["login"], self.connection["password"])

    @property
    def client(self) -> Client:
        return Client(self, self.account)  # type: ignore[arg-type]

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        code = self._process.wait(timeout=30)
        if self._process.stdout:
            self._process.stdout.close()
        return code

    def finish(self) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGKILL)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "cloud"
    # An emulator in the same directory kills what a test left running.
    Emulator(tmp_path / "cloud").start().close()


def test_a_job_survives_the_emulator_killed_and_is_found_again(directory: Path, tmp_path: Path) -> None:
    """A test in which the cloud is away needs jobs that continue meanwhile."""
    gate = tmp_path / "gate"
    first = Process(directory)
    try:
        client = first.client
        done = client.create("exit 3")
        eventually(lambda: client.info(done)["State"] == "FAILED")
        job_id = client.create(f"echo begun; until test -e {gate}; do sleep 0.05; done; echo over; exit 4")
        eventually(lambda: client.info(job_id)["State"] == "RUNNING")
        ends_alone = client.create("sleep 0.2")
        eventually(lambda: client.info(ends_alone)["State"] == "RUNNING")
        before = client.info(job_id)
    finally:
        first.end(signal.SIGKILL)

    second = Process(directory, "--port", first.url.rpartition(":")[2])
    try:
        assert second.connection == first.connection
        client = second.client
        assert client.info(job_id) == before
        assert client.info(done)["State"] == "FAILED"
        gate.touch()
        eventually(lambda: client.info(job_id)["State"] == "FAILED")
        eventually(lambda: client.info(ends_alone)["State"] == "FINISHED")
        assert Path(before["OutputLog"]).read_text() == "begun\nover\n"
        assert client.create("true") == "4.manager"
    finally:
        second.finish()


def test_a_job_found_again_can_be_stopped(directory: Path) -> None:
    first = Process(directory)
    try:
        job_id = first.client.create("sleep 600")
        eventually(lambda: first.client.info(job_id)["State"] == "RUNNING")
    finally:
        first.end(signal.SIGKILL)

    with Emulator(directory) as emulator:
        Client(emulator).call("StopJobs", JobIds=json.dumps([job_id]))
        assert emulator.wait_for(job_id).phase == "CANCELLED"


def test_a_stopped_emulator_leaves_its_jobs_running(directory: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = Process(directory)
    try:
        job_id = first.client.create(f"until test -e {gate}; do sleep 0.05; done")
        eventually(lambda: first.client.info(job_id)["State"] == "RUNNING")
    finally:
        assert first.end(signal.SIGTERM) == 0

    with Emulator(directory) as emulator:
        assert emulator.job(job_id).phase == "RUNNING"
        gate.touch()
        assert emulator.wait_for(job_id).phase == "COMPLETED"


def test_a_job_whose_processes_were_killed_meanwhile_has_failed(directory: Path) -> None:
    """A job without a process must not stay RUNNING forever."""
    emulator = Emulator(directory).start()
    job_id = emulator.submit("sleep 600")
    emulator.wait_for(job_id, "RUNNING")
    pid_file = directory / "jobs" / "1" / "pid"
    eventually(pid_file.exists)
    emulator.close(kill_jobs=False)
    os.killpg(int(pid_file.read_text()), signal.SIGKILL)

    with Emulator(directory) as emulator:
        job = emulator.wait_for(job_id)
        assert (job.phase, job.exit_code) == ("FAILED", 137)


def test_a_job_is_not_run_twice_when_its_start_was_not_noted(directory: Path, tmp_path: Path) -> None:
    """The emulator may be killed between starting a job and saving that."""
    emulator = Emulator(directory).start()
    job_id = emulator.submit(f"echo once >>{tmp_path}/runs; sleep 600")
    emulator.wait_for(job_id, "RUNNING")
    eventually((tmp_path / "runs").exists)
    emulator.close(kill_jobs=False)
    _forget_the_start(directory)

    with Emulator(directory) as emulator:
        emulator.wait_for(job_id, "RUNNING")
        emulator.stop(job_id)
        assert emulator.wait_for(job_id).phase == "CANCELLED"
    assert (tmp_path / "runs").read_text() == "once\n"


def _forget_the_start(directory: Path) -> None:
    database = sqlite3.connect(directory / "state.sqlite")
    with database:
        (text,) = database.execute("SELECT record FROM jobs").fetchone()
        record = {**json.loads(text), "phase": "PENDING", "started_at": None, "nodes": []}
        database.execute("UPDATE jobs SET record = ?", (json.dumps(record),))
    database.close()


def test_a_token_outlives_a_restart(directory: Path) -> None:
    with Emulator(directory) as emulator:
        account = emulator.issue_token()

    with Emulator(directory) as emulator:
        assert Client(emulator, account).send("ListJobs").status == 200


def test_a_second_emulator_is_kept_out_of_the_directory(directory: Path) -> None:
    """Both would start the same jobs."""
    with Emulator(directory), pytest.raises(OSError, match="another emulator uses"):
        Emulator(directory).start()


def test_a_port_in_use_is_an_error(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Emulator(directory, port=taken.getsockname()[1]).start()


def test_a_temporary_directory_goes_with_the_emulator() -> None:
    with Emulator() as emulator:
        emulator.wait_for(emulator.submit("true"))
        directory = emulator.directory
        assert directory.stat().st_mode & 0o077 == 0

    assert not directory.exists()

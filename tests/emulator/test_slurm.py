# SPDX-License-Identifier: Apache-2.0
"""Jobs on a real Slurm: its states, exit codes, IDs and errors, in the form of E-HPC.

``make slurm`` starts one; without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.jobs import Phase
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client
from tests.gates import eventually

pytestmark = pytest.mark.slurm

_STARTED_BY_MAKE = Path(__file__).parents[2] / ".slurm" / "slurm.conf"


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """Find a Slurm that responds, or skip. Once per session: a controller that is down takes ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        if "SLURM_CONF" not in os.environ and _STARTED_BY_MAKE.exists():
            patch.setenv("SLURM_CONF", str(_STARTED_BY_MAKE))
        try:
            asked = subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=60, check=False)
        except FileNotFoundError:
            pytest.skip("Slurm's client tools are missing: make slurm installs and starts a private Slurm")
        if asked.returncode:
            pytest.skip("no Slurm answers on this machine: make slurm (Debian) starts a private one")
        yield


@pytest.fixture
def client(slurm: None, tmp_path: Path) -> Iterator[Client]:
    with Emulator(tmp_path / "cloud", scheduler="slurm") as emulator:
        yield Client(emulator)


@pytest.mark.parametrize(
    ("command", "code", "phase", "word"),
    [
        ("exit 0", 0, "COMPLETED", "Completed"),
        ("exit 42", 42, "FAILED", "Failed"),
        ("kill -KILL $$", 137, "FAILED", "Failed"),
    ],
)
def test_the_end_of_a_job_is_slurms(client: Client, command: str, code: int, phase: str, word: str) -> None:
    job_id = client.create(command)
    job = client.emulator.wait_for(job_id)

    assert (job.phase, job.exit_code) == (phase, code)
    info = client.info(job_id)
    assert (info["State"], info["JobId"], info["NodeList"]) == (word, job_id, "compute000")
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.submission.submitted_at - 2 <= job.started_at <= job.ended_at


def test_output_environment_and_post_processing_are_the_jobs(client: Client) -> None:
    job_id = client.create(
        "echo \"$WORD\"; echo oh >&2\n#SBATCH --comment='not read'\necho $SLURM_JOB_NAME; exit 7",
        name="50% of x/y",
        Variables='[{"Name": "WORD", "Value": "a, b=c \\"d\\" 世界"}]',
        PostCmdLine="echo after",
    )

    job = client.emulator.wait_for(job_id)

    assert job.exit_code == 7
    assert job.stdout_path.read_text() == 'a, b=c "d" 世界\n50% of x/y\nafter\n'
    assert job.stderr_path.read_text() == "oh\n"
    assert job.stdout_path.name == f"50% of x_y.o{job_id}"


def test_a_job_is_stopped_while_it_runs_and_while_it_waits(client: Client) -> None:
    running = client.create("echo ready; sleep 600")
    waiting = client.create("sleep 600", Resources={"Cores": 10_000})
    started = client.emulator.wait_for(running, "RUNNING")
    eventually(lambda: started.stdout_path.read_text() == "ready\n")
    assert client.info(waiting)["State"] == "Pending"

    client.call("StopJobs", JobIds=json.dumps([running, waiting]))

    assert client.emulator.wait_for(running, "CANCELLED").exit_code == 128 + 15
    client.emulator.wait_for(waiting, "CANCELLED")
    assert client.info(running)["State"] == "Cancelled"


def test_an_array_runs_and_is_stopped_sub_job_by_sub_job(client: Client) -> None:
    """Slurm forgets a sub-job cancelled while pending at once; the emulator must not."""
    array = client.create("exit $((SLURM_ARRAY_TASK_ID == 4))", ArrayRequest="2-7:2")
    client.emulator.wait_for(array)

    parts = [f"{array}_{index}" for index in (2, 4, 6)]
    assert client.listed()[:4] == [array, *parts]
    assert [client.emulator.job(part).exit_code for part in parts] == [0, 1, 0]

    held = client.create("true", ArrayRequest="1-3:1", Resources={"Cores": 10_000})
    client.call("StopJobs", JobIds=json.dumps([f"{held}_2"]))
    client.emulator.wait_for(f"{held}_2", "CANCELLED")
    assert client.info(f"{held}_1")["State"] == "Pending"
    client.call("StopJobs", JobIds=json.dumps([held]))
    assert client.emulator.wait_for(held).phase == "CANCELLED"


def test_a_rejected_job_gets_the_message_of_slurm(client: Client) -> None:
    answer = client.send(
        "CreateJob", {"JobSpec": json.dumps({"CommandLine": "true", "JobQueue": "no-such-partition"})}
    )

    assert answer.refusal == (406, "AgentError.Job.SubmitFailure")
    assert "invalid partition specified: no-such-partition" in answer.json["Message"]


def test_a_job_without_a_queue_gets_slurms_own(client: Client) -> None:
    assert client.info(client.create("true"))["JobQueue"] == "comp"


def test_a_job_is_found_again_after_a_restart(slurm: None, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    emulator = Emulator(tmp_path / "cloud", scheduler="slurm").start()
    job_id = emulator.submit(f"until test -e {gate}; do sleep 0.1; done; exit 4")
    emulator.wait_for(job_id, "RUNNING")
    emulator.close(kill_jobs=False)
    gate.touch()

    with Emulator(tmp_path / "cloud", scheduler="slurm") as emulator:
        assert emulator.wait_for(job_id).exit_code == 4


def test_a_job_that_slurm_forgot_stays_known(slurm: None, tmp_path: Path) -> None:
    """slurmctld drops a job MinJobAge after its end; the emulator must still report its state."""
    emulator = Emulator(tmp_path / "cloud", scheduler="slurm").start()
    ended, open_ended = emulator.submit("true"), emulator.submit("sleep 600")
    emulator.wait_for(ended)
    emulator.wait_for(open_ended, "RUNNING")
    emulator.close(kill_jobs=False)
    subprocess.run(["scancel", open_ended], check=True)

    # The same tools, but a squeue that lists nothing, as if the controller had forgotten the jobs.
    forgetful = tmp_path / "bin"
    forgetful.mkdir()
    (forgetful / "squeue").write_text("#!/bin/sh\n")
    (forgetful / "squeue").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{forgetful}:{os.environ['PATH']}")
        with Emulator(tmp_path / "cloud", scheduler="slurm") as emulator:
            assert emulator.job(ended).phase is Phase.COMPLETED
            # It has ended, but its outcome is unknown.
            assert emulator.wait_for(open_ended).phase is Phase.FAILED


def test_a_controller_that_is_away_for_a_moment_changes_nothing(slurm: None, tmp_path: Path) -> None:
    """Otherwise, all jobs would seem to fail while the controller restarts."""
    broken = tmp_path / "bin"
    broken.mkdir()
    with Emulator(tmp_path / "cloud", scheduler="slurm") as emulator, pytest.MonkeyPatch.context() as patch:
        job_id = emulator.submit("sleep 600")
        emulator.wait_for(job_id, "RUNNING")
        (broken / "squeue").write_text(
            f"#!/bin/sh\necho asked >>{broken}/asked\n"
            "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n"
        )
        (broken / "squeue").chmod(0o755)
        patch.setenv("PATH", f"{broken}:{os.environ['PATH']}")
        eventually((broken / "asked").exists)
        assert emulator.job(job_id).phase is Phase.RUNNING
        patch.undo()
        emulator.stop(job_id)

        assert emulator.wait_for(job_id).phase == "CANCELLED"


def test_a_running_jobs_log_is_on_slurms_node(client: Client) -> None:
    """API 2018-04-12 requires the name of the node as it describes the job."""
    job_id = client.create("echo here; sleep 60")
    job = client.emulator.wait_for(job_id, "RUNNING")
    eventually(lambda: job.stdout_path.exists() and job.stdout_path.read_bytes() == b"here\n")
    manner = {"version": "2018-04-12", "method": "GET"}

    described = client.send("DescribeJob", {"JobId": job_id}, **manner).json["Message"]["JobInfo"][job_id]
    asked = {"JobId": job_id, "ExecHost": described["BatchHost"]}
    log = client.send("GetJobLog", asked, **manner)

    assert (described["JobState"], log.json["OutputLog"]) == ("RUNNING", "aGVyZQo=")
    client.call("StopJobs", JobIds=json.dumps([job_id]))
    client.emulator.wait_for(job_id)


def test_serverless_jobs_run_on_slurm_too(client: Client) -> None:
    container = {
        "Image": "i",
        "Command": ["/bin/sh", "-c"],
        "Arg": ["test $EHPC_ARRAY_TASK_ID = 3 || exit 5"],
    }
    parameters = {
        "JobName": "array",
        "Container": json.dumps(container),
        "ArrayProperties": '{"IndexStart":1,"IndexEnd":3,"IndexStep":2}',
        "RetryStrategy": '{"Attempts":1}',
    }
    array = client.send("SubmitServerlessJob", parameters, version="2018-04-12").json["JobId"]
    client.emulator.wait_for(array, serverless=True)

    codes = []
    for index in (1, 3):
        asked = {"JobIds.1": f"{array}_{index}"}
        (job,) = client.send("DescribeServerlessJobs", asked, version="2018-04-12").json["JobInfos"]
        containers = [group["Containers"][0] for group in job["ContainerGroups"]]
        codes.append((job["State"], *(container["CurrentState"]["ExitCode"] for container in containers)))
    assert codes == [("Failed", 5, 5), ("Succeeded", 0)]
    assert client.listed() == []

# SPDX-License-Identifier: Apache-2.0
"""DependsOn delays jobs, and JobRetry runs them again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.dependencies import OPTION, sbatch_dependency
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client
from tests.gates import Gate, eventually


@pytest.fixture
def client(ehpc_emulator: Emulator) -> Client:
    return Client(ehpc_emulator)


def _classic(client: Client, command: str, **parameters: str) -> str:
    sent = {"CommandLine": command, "RunasUser": "alice"}
    sent |= {name.replace("_", "."): value for name, value in parameters.items()}
    answer = client.send("SubmitJob", sent, version="2018-04-12", method="GET")
    assert answer.status == 200, answer.body
    job_id: str = answer.json["JobId"]
    return job_id


def _serverless(client: Client, command: str, *depends_on: tuple[str, str], **parameters: Any) -> str:
    container = {"Image": "i", "Command": ["/bin/sh", "-c"], "Arg": [command]}
    sent = {"JobName": "job", "Container": json.dumps(container)}
    if depends_on:
        items = [{"Type": kind, "JobId": job_id} for kind, job_id in depends_on]
        sent["DependsOn"] = json.dumps(items)
    sent |= {name: json.dumps(value) for name, value in parameters.items()}
    answer = client.send("SubmitServerlessJob", sent, version="2018-04-12")
    assert answer.status == 200, answer.body
    job_id: str = answer.json["JobId"]
    return job_id


class TestRetry:
    @pytest.mark.parametrize(
        ("parameters", "command", "runs", "phase"),
        [
            ({"JobRetry_Count": "2"}, "exit 3", 3, "FAILED"),
            ({"JobRetry_Count": "2"}, "exit 0", 1, "COMPLETED"),
            ({"JobRetry_Count": "5"}, "[ $(wc -l <{runs}) -ge 3 ]", 3, "COMPLETED"),
            ({"JobRetry_Count": "2", "JobRetry_OnExitCode": "7"}, "exit 3", 1, "FAILED"),
            ({"JobRetry_Count": "2", "JobRetry_OnExitCode": "7"}, "exit 7", 3, "FAILED"),
            ({"JobRetry_OnExitCode": "7"}, "exit 7", 1, "FAILED"),
        ],
    )
    def test_a_job_is_run_again(
        self, client: Client, tmp_path: Path, parameters: dict[str, str], command: str, runs: int, phase: str
    ) -> None:
        file = tmp_path / "runs"
        job_id = _classic(client, f"echo 'a run' >>{file}; {command.format(runs=file)}", **parameters)
        assert client.emulator.wait_for(job_id).phase == phase
        assert file.read_text() == runs * "a run\n"

    def test_the_command_is_reported_as_it_was_sent(self, client: Client) -> None:
        job_id = _classic(client, "-- exit 3", JobRetry_Count="1")
        client.emulator.wait_for(job_id)
        assert client.info(job_id)["CommandLine"] == "-- exit 3"

    def test_a_stopped_job_is_not_run_again(self, client: Client) -> None:
        job_id = _classic(client, "echo run; sleep 60", JobRetry_Count="5")
        client.emulator.wait_for(job_id, "RUNNING")
        eventually(client.emulator.job(job_id).stdout_path.read_text)
        client.emulator.stop(job_id)
        job = client.emulator.wait_for(job_id)
        assert (job.phase, job.stdout_path.read_text()) == ("CANCELLED", "run\n")

    def test_slurm_clusters_do_not_retry(self) -> None:
        """ "The page: "You can only retry jobs that are run on the PBS clusters"."""
        with Emulator(spelling="slurm") as emulator:
            parameters = {"CommandLine": "true", "RunasUser": "a", "JobRetry.Count": "1"}
            answer = Client(emulator).send("SubmitJob", parameters, version="2018-04-12", method="GET")
        assert answer.refusal == (400, "InvalidParams")


class TestDependsOn:
    @pytest.mark.parametrize(
        ("kind", "code", "phase"),
        [
            ("AfterSucceeded", 0, "COMPLETED"),
            ("AfterSucceeded", 1, "CANCELLED"),
            ("AfterFailed", 0, "CANCELLED"),
            ("AfterFailed", 1, "COMPLETED"),
            ("AfterAny", 0, "COMPLETED"),
            ("AfterAny", 1, "COMPLETED"),
        ],
    )
    def test_a_job_waits_for_another(
        self, client: Client, tmp_path: Path, kind: str, code: int, phase: str
    ) -> None:
        gate = Gate(tmp_path / "gate")
        first = _serverless(client, f"{gate.wait}; exit {code}")
        second = _serverless(client, "true", (kind, first))
        client.emulator.wait_for(first, "RUNNING", serverless=True)
        time.sleep(0.3)
        assert client.emulator.job(second, serverless=True).phase == "PENDING"

        gate.open()
        assert client.emulator.wait_for(second, serverless=True).phase == phase
        earlier = client.emulator.job(first, serverless=True).ended_at
        later = client.emulator.job(second, serverless=True).started_at
        assert later is None or (earlier is not None and later >= earlier - 0.1)

    def test_all_sub_tasks_count(self, client: Client) -> None:
        """One failed sub-task is enough; for AfterFailed, one successful sub-task is enough."""
        array = _serverless(
            client, "exit $((EHPC_ARRAY_TASK_ID == 2))", ArrayProperties={"IndexStart": 1, "IndexEnd": 3}
        )
        ends = {
            kind: client.emulator.wait_for(_serverless(client, "true", (kind, array)), serverless=True).phase
            for kind in ("AfterSucceeded", "AfterFailed", "AfterAny")
        }
        assert ends == {"AfterSucceeded": "CANCELLED", "AfterFailed": "CANCELLED", "AfterAny": "COMPLETED"}
        one = _serverless(client, "true", ("AfterSucceeded", f"{array}_1"))
        assert client.emulator.wait_for(one, serverless=True).phase == "COMPLETED"

    def test_sub_tasks_may_correspond(self, client: Client) -> None:
        size = {"IndexStart": 1, "IndexEnd": 3}
        first = _serverless(client, "exit $((EHPC_ARRAY_TASK_ID == 2))", ArrayProperties=size)
        second = _serverless(client, "true", ("AfterCorresponding", first), ArrayProperties=size)
        client.emulator.wait_for(second, serverless=True)
        phases = [client.emulator.job(f"{second}_{n}", serverless=True).phase for n in (1, 2, 3)]
        assert phases == ["COMPLETED", "CANCELLED", "COMPLETED"]

    def test_several_must_all_be_satisfied(self, client: Client) -> None:
        good, bad = _serverless(client, "true"), _serverless(client, "exit 1")
        both = _serverless(client, "true", ("AfterAny", good), ("AfterSucceeded", bad))
        assert client.emulator.wait_for(both, serverless=True).phase == "CANCELLED"

    def test_a_waiting_job_can_be_stopped(self, client: Client) -> None:
        first = _serverless(client, "sleep 60")
        second = _serverless(client, "true", ("AfterAny", first))
        client.send("StopServerlessJobs", {"JobIds.1": second}, version="2018-04-12")
        assert client.emulator.wait_for(second, serverless=True).phase == "CANCELLED"

    def test_a_dependency_outlives_the_emulator(self, tmp_path: Path) -> None:
        gate = Gate(tmp_path / "gate")
        directory = tmp_path / "emulator"
        emulator = Emulator(directory).start()
        first = _serverless(Client(emulator), f"{gate.wait}; exit 1")
        second = _serverless(Client(emulator), "true", ("AfterFailed", first))
        emulator.wait_for(first, "RUNNING", serverless=True)
        emulator.close(kill_jobs=False)
        with Emulator(directory) as emulator:
            assert emulator.job(second, serverless=True).phase == "PENDING"
            gate.open()
            assert emulator.wait_for(second, serverless=True).phase == "COMPLETED"

    def test_slurm_is_given_its_own_words(self) -> None:
        options = {OPTION: [["AfterSucceeded", 4, None], ["AfterCorresponding", 5, None], ["AfterAny", 6, 2]]}
        assert sbatch_dependency(JobSpec("n", "c", options=options)) == "afterok:4,aftercorr:5,afterany:6_2"
        assert sbatch_dependency(JobSpec("n", "c")) is None


@pytest.mark.parametrize(
    ("operation", "parameters", "version", "named"),
    [
        (
            "ListJobs",
            {"JobFilter": '{"Diagnosis": [{"Option": "C"}]}'},
            "2024-07-30",
            "JobFilter.Diagnosis",
        ),
        *(
            ("SubmitJob", {"CommandLine": "true", "RunasUser": "a", name: value}, "2018-04-12", name)
            for name, value in (
                ("InputFileUrl", "https://oss/x"),
                ("PackagePath", "./jobs"),
                ("UnzipCmd", "tar xzf"),
                ("JobRetry.Priority", "3"),
            )
        ),
    ],
)
def test_what_is_not_emulated_is_named(
    client: Client, operation: str, parameters: dict[str, str], version: str, named: str
) -> None:
    """The error must not blame the request, which the cloud accepts."""
    method = "GET" if version == "2018-04-12" else "POST"
    answer = client.send(operation, parameters, version=version, method=method)
    assert answer.refusal == (400, "NotEmulated")
    assert answer.json["Message"] == f"The parameter {named} is not emulated."


def test_an_empty_diagnosis_is_none(client: Client) -> None:
    """The SDK sends an empty list in every filter."""
    assert client.call("ListJobs", JobFilter='{"Diagnosis": []}')["TotalCount"] == 0

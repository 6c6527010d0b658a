# SPDX-License-Identifier: Apache-2.0
"""The operations of E-HPC 2018-04-12 on serverless jobs have the documented forms."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Answer, Client
from tests.gates import eventually

_SAMPLE = Path(__file__).parents[1] / "samples" / "aliyun_2018_describe_serverless_jobs.json"


def _send(client: Client, operation: str, parameters: Mapping[str, str], method: str = "POST") -> Answer:
    return client.send(operation, parameters, version="2018-04-12", method=method)


def _call(client: Client, operation: str, **parameters: str) -> dict[str, Any]:
    # Names of lists contain a dot, which keywords cannot: JobIds_1 stands for JobIds.1.
    answer = _send(client, operation, {name.replace("_", "."): value for name, value in parameters.items()})
    assert answer.status == 200, answer.body
    return answer.json


def _submit(
    client: Client, command: str, container: Mapping[str, Any] | None = None, **parameters: Any
) -> str:
    whole = {"Image": "busybox", "Command": ["/bin/sh", "-c"], "Arg": [command], **(container or {})}
    texts = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()
    }
    result = _call(client, "SubmitServerlessJob", Container=json.dumps(whole), **{"JobName": "job", **texts})
    job_id: str = result["JobId"]
    return job_id


def _info(client: Client, job_id: str) -> dict[str, Any]:
    result = _call(client, "DescribeServerlessJobs", JobIds_1=job_id)
    assert result["TotalCount"] == len(result["JobInfos"]) == 1
    info: dict[str, Any] = result["JobInfos"][0]
    return info


def _container(info: dict[str, Any], group: int = -1) -> dict[str, Any]:
    container: dict[str, Any] = info["ContainerGroups"][group]["Containers"][0]
    return container


def _ended(client: Client, job_id: str) -> dict[str, Any]:
    client.emulator.wait_for(job_id, serverless=True)
    return _info(client, job_id)


def _strange_keys(result: Any, sample: Any, path: str = "") -> list[str]:
    """Return the paths at which ``result`` has a key that ``sample`` lacks, or a value of another type."""
    if isinstance(result, dict):
        return [
            strange
            for key, value in result.items()
            for strange in (
                _strange_keys(value, sample[key], f"{path}.{key}") if key in sample else [f"{path}.{key}"]
            )
        ]
    if isinstance(result, list):
        return [strange for item in result for strange in _strange_keys(item, sample[0], f"{path}[]")]
    numbers = (int, float)
    alike = isinstance(result, type(sample)) or (isinstance(result, numbers) and isinstance(sample, numbers))
    return [] if alike else [f"{path}: {result!r}"]


def test_a_job_has_the_form_of_the_sample_on_the_page(client: Client) -> None:
    job_id = _submit(
        client,
        'test "$GREETING" = "good day, 世界" && exit 3',
        {
            "EnvironmentVar": [{"Key": "GREETING", "Value": "good day, 世界"}],
            "WorkingDir": "/tmp",
            "Gpu": 1,
            "VolumeMount": [{"MountPath": "/data"}],
        },
        JobName="train-1",
        Cpu="1.5",
        Memory="2",
        JobPriority="9",
        VSwitchId=["vsw-1"],
        InstanceType=["ecs.g5.large"],
        SpotPriceLimit="0.025",
        EphemeralStorage="20",
    )
    info = _ended(client, job_id)

    assert job_id == "1"
    assert (info["JobId"], info["JobName"], info["State"]) == ("1", "train-1", "Failed")
    assert (info["Priority"], info["Queue"], info["User"]) == (9, "comp", "testuser")
    # seconds and, beside them, milliseconds
    now = time.time()
    assert 0 <= now - info["SubmitTime"] < 120
    assert 0 <= now - info["LastModifyTime"] / 1000 < 120
    (group,) = info["ContainerGroups"]
    assert (group["Status"], group["Cpu"], group["Memory"]) == ("Failed", 1.5, 2.0)
    assert (group["InstanceType"], group["VSwitchId"]) == ("ecs.g5.large", "vsw-1")
    assert "FailedTime" in group
    assert "SucceededTime" not in group
    state = _container(info)["CurrentState"]
    assert (state["State"], state["ExitCode"], state["Reason"]) == ("Terminated", 3, "Error")
    assert _strange_keys(info, json.loads(_SAMPLE.read_text())["JobInfos"][0]) == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_both_methods_are_served(client: Client, method: str) -> None:
    job_id = _submit(client, "true")
    for operation, parameters in (
        ("ListServerlessJobs", {}),
        ("DescribeServerlessJobs", {"JobIds.1": job_id}),
        ("StopServerlessJobs", {"JobIds.1": job_id}),
    ):
        assert _send(client, operation, parameters, method).status == 200


def test_serverless_jobs_have_ids_of_their_own(client: Client) -> None:
    """The operations of one kind must not find jobs of the other, although both number from 1."""
    first = client.emulator.submit("sleep 60")
    serverless = _submit(client, "exit 3")

    assert (first, serverless) == ("1.manager", "1")
    assert _ended(client, serverless)["State"] == "Failed"
    assert client.info(first)["State"] in ("QUEUED", "RUNNING")
    assert client.listed() == [first]
    assert [job["JobId"] for job in _call(client, "ListServerlessJobs")["Jobs"]] == [serverless]


class TestStates:
    def test_a_job_waits_is_begun_and_ends(self) -> None:
        with Emulator(slots=1) as emulator:
            client = Client(emulator)
            gate = emulator.directory / "gate"
            first = _submit(client, f"until test -e {gate}; do sleep 0.02; done")
            second = _submit(client, "true")
            eventually(lambda: _info(client, first)["State"] == "Running")

            running, waiting = _info(client, first), _info(client, second)

            assert (waiting["State"], waiting["ContainerGroups"]) == ("Pending", [])
            assert "StartTime" not in waiting
            assert running["ContainerGroups"][0]["Status"] == "Running"
            assert _container(running)["CurrentState"]["State"] == "Running"
            assert "ExitCode" not in _container(running)["CurrentState"]
            assert "EndTime" not in running
            gate.touch()
            for job_id in (first, second):
                info = _ended(client, job_id)
                assert (info["State"], _container(info)["CurrentState"]["ExitCode"]) == ("Succeeded", 0)
                assert info["EndTime"] >= info["StartTime"]

    def test_a_job_is_initialised_until_its_container_begins(self, client: Client) -> None:
        job_id = _submit(client, "sleep 60")
        eventually(lambda: _info(client, job_id)["State"] == "Running")
        (client.emulator.directory / "serverless" / "home" / "1.containers").unlink()

        info = _info(client, job_id)

        assert (info["State"], info["ContainerGroups"][0]["Status"]) == ("Initing", "Pending")
        assert _container(info)["CurrentState"]["State"] == "Waiting"
        listed = _call(client, "ListServerlessJobs", State="Running")
        assert (listed["TotalCount"], listed["Jobs"]) == (0, [])

    def test_a_stopped_job_is_canceled(self, client: Client) -> None:
        job_id = _submit(client, "sleep 60")
        eventually(lambda: _info(client, job_id)["State"] == "Running")

        _call(client, "StopServerlessJobs", JobIds_1=job_id)

        info = _ended(client, job_id)
        assert (info["State"], _container(info)["CurrentState"]["ExitCode"]) == ("Canceled", 143)
        # stopping it again has no effect
        _call(client, "StopServerlessJobs", JobIds_1=job_id)

    def test_a_job_fails_when_its_time_is_up(self, client: Client) -> None:
        info = _ended(client, _submit(client, "sleep 60", Timeout="1"))

        assert info["State"] == "Failed"
        assert _container(info)["CurrentState"]["Signal"] == 15


class TestContainers:
    def test_command_and_arguments_are_a_process_and_no_shells_text(self, client: Client) -> None:
        result = client.emulator.directory / "result"
        container = {"Command": ["/usr/bin/tee"], "Arg": [f"{result} $(exit 1)", "--append"]}

        info = _ended(client, _submit(client, "", container))

        assert info["State"] == "Succeeded"
        assert Path(f"{result} $(exit 1)").exists()
        assert (_container(info)["Commands"], _container(info)["Args"]) == tuple(container.values())

    def test_a_containers_variables_cannot_break_what_runs_it(self, client: Client) -> None:
        variables = [{"Key": "PATH", "Value": "/nowhere"}, {"Key": "HOME", "Value": "/nowhere"}]

        info = _ended(client, _submit(client, "exit 5", {"EnvironmentVar": variables}))

        assert _container(info)["CurrentState"]["ExitCode"] == 5

    def test_a_command_that_does_not_exist_fails(self, client: Client) -> None:
        info = _ended(client, _submit(client, "", {"Command": ["/no/such/program"], "Arg": []}))

        assert (info["State"], _container(info)["CurrentState"]["ExitCode"]) == ("Failed", 127)

    def test_each_attempt_has_a_container_group(self, client: Client) -> None:
        """The exit code of an attempt that was retried is not that of the job."""
        count = client.emulator.directory / "count"
        job_id = _submit(
            client, f"echo x >>{count}; test $(wc -l <{count}) = 3 || exit 4", RetryStrategy={"Attempts": 5}
        )

        info = _ended(client, job_id)

        assert info["State"] == "Succeeded"
        codes = [_container(info, n)["CurrentState"]["ExitCode"] for n in range(3)]
        assert codes == [4, 4, 0]
        assert [group["Status"] for group in info["ContainerGroups"]] == ["Failed", "Failed", "Succeeded"]
        assert len({group["ContainerGroupId"] for group in info["ContainerGroups"]}) == 3

    def test_attempts_come_to_an_end(self, client: Client) -> None:
        rules = [{"Action": "Exit", "OnExitCode": "7"}, {"Action": "Retry", "OnExitCode": "4"}]
        strategy = {"Attempts": 2, "EvaluateOnExit": rules}

        again = _ended(client, _submit(client, "exit 4", RetryStrategy=strategy))
        final = _ended(client, _submit(client, "exit 7", RetryStrategy=strategy))

        assert (again["State"], len(again["ContainerGroups"])) == ("Failed", 3)
        assert (final["State"], len(final["ContainerGroups"])) == ("Failed", 1)


class TestArrays:
    _INDEXES: Mapping[str, int] = {"IndexStart": 1, "IndexEnd": 5, "IndexStep": 2}

    def test_sub_tasks_have_their_index_and_their_own_end(self, client: Client) -> None:
        array = _submit(client, "exit $((EHPC_ARRAY_TASK_ID == 3))", ArrayProperties=self._INDEXES)
        client.emulator.wait_for(array, serverless=True)

        infos = [_info(client, f"{array}_{index}") for index in (1, 3, 5)]

        assert [info["State"] for info in infos] == ["Succeeded", "Failed", "Succeeded"]
        assert [info["JobId"] for info in infos] == ["1_1", "1_3", "1_5"]
        assert [info["ArrayProperties"] for info in infos] == [self._INDEXES] * 3
        listed = _call(client, "ListServerlessJobs", JobIds_1=array)
        assert [(job["JobId"], job["State"], job["IsArrayJob"]) for job in listed["Jobs"]] == [
            ("1", "Failed", True),
            ("1_1", "Succeeded", False),
            ("1_3", "Failed", False),
            ("1_5", "Succeeded", False),
        ]

    def test_an_array_itself_cannot_be_described(self, client: Client) -> None:
        array = _submit(client, "true", ArrayProperties=self._INDEXES)

        assert _send(client, "DescribeServerlessJobs", {"JobIds.1": array}).refusal == (400, "InvalidParams")

    def test_stopping_an_array_stops_its_sub_tasks(self, client: Client) -> None:
        array = _submit(client, "test $EHPC_ARRAY_TASK_ID = 1 || sleep 60", ArrayProperties=self._INDEXES)
        client.emulator.wait_for("1_1", "COMPLETED", serverless=True)
        _call(client, "StopServerlessJobs", JobIds_1="1_3")
        assert _ended(client, "1_3")["State"] == "Canceled"
        assert _info(client, "1_5")["State"] in ("Initing", "Running")

        _call(client, "StopServerlessJobs", JobIds_1=array)

        assert _ended(client, "1_5")["State"] == "Canceled"
        assert _info(client, "1_1")["State"] == "Succeeded"


class TestListServerlessJobs:
    def _ids(self, client: Client, **parameters: str) -> list[str]:
        return [job["JobId"] for job in _call(client, "ListServerlessJobs", **parameters)["Jobs"]]

    def test_the_filter_keeps_what_is_asked_for(self, client: Client) -> None:
        good = _submit(client, "true", JobName="good")
        bad = _submit(client, "false", JobName="bad")
        for job_id in (good, bad):
            client.emulator.wait_for(job_id, serverless=True)
        going = _submit(client, "sleep 60", JobName="going")
        eventually(lambda: _info(client, going)["State"] == "Running")

        assert self._ids(client) == self._ids(client, State="All") == [going, bad, good]
        assert self._ids(client, State="Succeeded") == [good]
        assert self._ids(client, State="Failed") == [bad]
        assert self._ids(client, State="Running") == [going]
        assert self._ids(client, JobNames_1="good", JobNames_2="going") == [going, good]
        assert self._ids(client, JobIds_1=good, JobIds_2=bad, JobIds_3="99") == [bad, good]
        assert self._ids(client, SubmitOrder="Asc") == [good, bad, going]
        assert self._ids(client, StartOrder="Asc")[-1] == going
        at = int(client.emulator.job(good, serverless=True).submission.submitted_at)
        assert good in self._ids(client, SubmitTimeStart=str(at), SubmitTimeEnd=str(at))
        assert self._ids(client, SubmitTimeEnd=str(at - 1)) == []
        # strings here, numbers in DescribeServerlessJobs
        listed = _call(client, "ListServerlessJobs", JobIds_1=good)["Jobs"][0]
        assert listed["Priority"] == "0"
        assert listed["SubmitTime"] == str(at)

    def test_pages_hold_up_to_a_hundred(self, client: Client) -> None:
        array = _submit(client, "true", ArrayProperties={"IndexStart": 0, "IndexEnd": 120, "IndexStep": 1})

        pages = [self._ids(client, PageNumber=str(n), PageSize="100") for n in (1, 2, 3)]

        assert [len(page) for page in pages] == [100, 22, 0]
        assert [*pages[0], *pages[1]] == [array, *(f"{array}_{index}" for index in range(121))]
        result = _call(client, "ListServerlessJobs")
        assert (len(result["Jobs"]), result["PageSize"], result["TotalCount"]) == (20, 20, 122)


@pytest.mark.parametrize(
    ("operation", "parameters", "named"),
    [
        ("DescribeServerlessJobs", {}, "JobIds"),
        ("DescribeServerlessJobs", {"JobIds.1": "1", "JobIds.2": "2"}, "JobIds"),
        ("DescribeServerlessJobs", {"JobIds": '["1"]'}, "JobIds"),
        ("StopServerlessJobs", {}, "JobIds"),
        ("StopServerlessJobs", {"JobIds.1": "99"}, "JobIds"),
        ("ListServerlessJobs", {"PageSize": "101"}, "PageSize"),
        ("ListServerlessJobs", {"State": "Initing"}, "State"),
        ("ListServerlessJobs", {"SubmitOrder": "asc"}, "SubmitOrder"),
        ("ListServerlessJobs", {"SubmitTimeStart": "today"}, "SubmitTimeStart"),
        ("SubmitServerlessJob", {"JobName": "Job_1"}, "JobName"),
        ("SubmitServerlessJob", {"JobName": "-job"}, "JobName"),
        ("SubmitServerlessJob", {"Container": ""}, "Container"),
        ("SubmitServerlessJob", {"Container": "{}"}, "Container.Image"),
        ("SubmitServerlessJob", {"Container": '{"Image":"i","Command":"ls"}'}, "Container.Command"),
        (
            "SubmitServerlessJob",
            {"Container": json.dumps({"Image": "i", "Arg": 11 * ["a"]})},
            "Container.Arg",
        ),
        (
            "SubmitServerlessJob",
            {"Container": '{"Image":"i","EnvironmentVar":[{"Key":"1A"}]}'},
            "Container.EnvironmentVar.Key",
        ),
        ("SubmitServerlessJob", {"JobPriority": "1000"}, "JobPriority"),
        ("SubmitServerlessJob", {"Timeout": "0"}, "Timeout"),
        ("SubmitServerlessJob", {"Cpu": "none"}, "Cpu"),
        ("SubmitServerlessJob", {"DependsOn": '[{"JobId":"1"}]'}, "DependsOn.JobId"),
        ("SubmitServerlessJob", {"DependsOn": '[{"JobId":1}]'}, "DependsOn.JobId"),
        ("SubmitServerlessJob", {"DependsOn": '{"JobId":"1"}'}, "DependsOn"),
        ("SubmitServerlessJob", {"DependsOn": '[{"JobId":"1","Type":"Before"}]'}, "DependsOn.Type"),
        ("SubmitServerlessJob", {"RetryStrategy": '{"Attempts":11}'}, "RetryStrategy.Attempts"),
        ("SubmitServerlessJob", {"ArrayProperties": '{"IndexEnd":5000}'}, "ArrayProperties.IndexEnd"),
        (
            "SubmitServerlessJob",
            {"ArrayProperties": '{"IndexStart":3,"IndexEnd":2}'},
            "ArrayProperties.IndexEnd",
        ),
        ("SubmitServerlessJob", {"SpotStrategy": "SpotWithPriceLimit"}, "SpotPriceLimit"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(
    client: Client, operation: str, parameters: dict[str, str], named: str
) -> None:
    base = {"JobName": "job", "Container": '{"Image":"i"}'} if operation == "SubmitServerlessJob" else {}

    answer = _send(client, operation, {**base, **parameters})

    assert answer.refusal == (400, "InvalidParams")
    assert answer.json["Message"] == f"The specified parameter {named} is invalid."


def test_a_job_that_does_not_exist_is_no_job(client: Client) -> None:
    result = _call(client, "DescribeServerlessJobs", JobIds_1="99")

    assert (result["TotalCount"], result["JobInfos"]) == (0, [])
    assert _send(client, "DescribeServerlessJobs", {"ClusterId": "other", "JobIds.1": "1"}).refusal == (
        404,
        "ClusterNotFound",
    )


class TestDrift:
    """The oddities of the documented sample, which clients must accept."""

    def test_a_running_job_has_ended_twice(self, client: Client) -> None:
        job_id = _submit(client, "sleep 60", JobName="testjob")
        eventually(lambda: _info(client, job_id)["State"] == "Running")
        client.emulator.fault("drift")

        sample, other = _info(client, job_id), _info(client, job_id)

        group = sample["ContainerGroups"][0]
        assert (sample["JobName"], sample["State"], group["Status"]) == ("testjob\n", "Running\n", "Running")
        assert {"EndTime", "ArrayProperties"} <= sample.keys()
        assert {"SucceededTime", "FailedTime", "ExpiredTime"} <= group.keys()
        assert _container(sample)["CurrentState"]["ExitCode"] == 0
        assert _container(sample)["CurrentState"]["State"] == "Running\n"
        assert other["SubmitTime"] == sample["SubmitTime"] * 1000
        assert other["LastModifyTime"] == str(sample["LastModifyTime"] // 1000)
        assert other["EndTime"] == 0

    def test_a_list_has_the_names_of_an_older_client(self, client: Client) -> None:
        job_id = _submit(client, "true")
        client.emulator.wait_for(job_id, serverless=True)
        client.emulator.fault("drift")

        ours, older = (_call(client, "ListServerlessJobs")["Jobs"][0] for _ in range(2))

        assert (ours["JobId"], ours["State"]) == (job_id, "Succeeded\n")
        assert (older["Id"], older["Name"], older["Owner"]) == (job_id, "job", "testuser")
        assert older["SubmitTime"] == int(ours["SubmitTime"])


def test_jobs_survive_the_emulator(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        client = Client(emulator)
        gate = tmp_path / "gate"
        ended = _submit(client, "exit 3")
        going = _submit(client, f"until test -e {gate}; do sleep 0.02; done; exit 4")
        _ended(client, ended)
        eventually(lambda: _info(client, going)["State"] == "Running")
        emulator.close(kill_jobs=False)
    gate.touch()
    with Emulator(tmp_path) as emulator:
        client = Client(emulator)
        codes = [_container(_ended(client, job_id))["CurrentState"]["ExitCode"] for job_id in (ended, going)]

    assert codes == [3, 4]

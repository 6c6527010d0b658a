# SPDX-License-Identifier: Apache-2.0
"""Every argument reaches the request, or is rejected when the DAG is parsed, for each API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any
from urllib.parse import unquote

import pytest

from airflow_provider_ehpc.apis.call import ApiRequest, InvalidArgument
from airflow_provider_ehpc.apis.submit_rules import RULES
from airflow_provider_ehpc.job_arguments import job_fields, job_spec
from airflow_provider_ehpc.operators.job import SubmitJobOperator

IMAGE = {"Container": {"Image": "centos:7"}}
TRAINING = {
    "algorithm": {"engine": {"image_url": "team/train:1"}},
    "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.8u"}},
}
NEEDED: Mapping[str, dict[str, Any]] = {
    "ehpc": {},
    "ehpc-classic": {"user": "alice"},
    "ehpc-serverless": {"options": IMAGE},
    "modelarts": {"options": TRAINING},
    "qingcloud": {"user": "alice"},
}
OPTIONS = {
    "ehpc": {"PostCmdLine": "echo after"},
    "ehpc-classic": {"PostCmdLine": "echo after"},
    "ehpc-serverless": {**IMAGE, "RamRoleName": "echo after"},
    "modelarts": {**TRAINING, "metadata": {"description": "echo after"}},
    "qingcloud": {"resource_limit": "echo after"},
}
# Each with what shows it in a request; a time limit is written in three ways.
ARGUMENTS: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "queue": ("gpu-queue", ("gpu-queue",)),
    "user": ("bob-the-user", ("bob-the-user",)),
    "nodes": (37, ("37",)),
    "cores": (41, ("41",)),
    "gpus": (43, ("43",)),
    "memory": ("47GB", ("47GB", "47.0")),
    "wall_time": (timedelta(hours=53), ("53:00:00", "190800", '"duration": 53', '"duration":53')),
    "priority": (7, ("Priority=7", '"Priority":"7"', '"priority": 7', '"priority":7')),
    "array": ("1-59:2", ("1-59:2", '"IndexEnd":59')),
    "environment": ({"NAME_OF_IT": "value of it"}, ("value of it",)),
    "stdout_path": ("/home/a/out.txt", ("/home/a/out.txt",)),
    "stderr_path": ("/home/a/err.txt", ("/home/a/err.txt",)),
}
REJECTED = {
    "ehpc": set[str](),
    "ehpc-classic": set[str](),
    "ehpc-serverless": {"queue", "user", "nodes", "stdout_path", "stderr_path"},
    "modelarts": {"user", "cores", "gpus", "memory", "array", "stdout_path", "stderr_path"},
    "qingcloud": {"gpus", "array", "environment", "memory", "wall_time", "nodes"},
}


def _api(name: str) -> Any:
    modules: Mapping[str, Callable[[], Any]] = {
        "ehpc": lambda: import_module("airflow_provider_ehpc.apis.aliyun.ehpc").EhpcApi(),
        "ehpc-classic": lambda: import_module("airflow_provider_ehpc.apis.aliyun.classic").EhpcClassicApi(),
        "ehpc-serverless": lambda: import_module(
            "airflow_provider_ehpc.apis.aliyun.serverless"
        ).EhpcServerlessApi(),
        "modelarts": lambda: import_module("airflow_provider_ehpc.apis.huawei.modelarts").ModelArtsApi("p1"),
        "qingcloud": lambda: import_module("airflow_provider_ehpc.apis.qingcloud.hpc").QingCloudHpcApi("z1"),
    }
    return modules[name]()


def sent(api: str, arguments: Mapping[str, Any]) -> str:
    """Return what a submission sends, as text."""
    task = SubmitJobOperator(task_id="run", api=api, **arguments)
    spec = job_spec(job_fields(task), api, "name", password=None, token=None)
    call = next(_api(api).submit(spec, None if api == "modelarts" else "c1"))
    request: ApiRequest = call.request
    return unquote(request.target) + request.body.decode()


def test_the_table_is_complete() -> None:
    assert set(NEEDED) == set(RULES) == set(REJECTED)


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("api", RULES)
def test_an_argument_is_sent_or_rejected(api: str, argument: str) -> None:
    value, shown = ARGUMENTS[argument]
    arguments = {"command": "true", **NEEDED[api], argument: value}
    if argument in REJECTED[api]:
        with pytest.raises(InvalidArgument, match=rf"the API '{api}' cannot run this job: .*{argument}: "):
            SubmitJobOperator(task_id="run", api=api, **arguments)
        return
    without = sent(api, {"command": "true", **NEEDED[api]})
    text = sent(api, arguments)
    assert any(form in text and form not in without for form in shown), text


@pytest.mark.parametrize("api", RULES)
def test_commands_scripts_and_options_are_sent(api: str) -> None:
    assert "echo the-command" in sent(api, {"command": "echo the-command", **NEEDED[api]})
    assert "echo the-script" in sent(api, {"script": "#!/bin/bash\necho the-script\n", **NEEDED[api]})
    assert "echo after" in sent(api, {"command": "true", **NEEDED[api], "options": OPTIONS[api]})


@pytest.mark.parametrize(
    ("api", "missing"),
    [
        ("ehpc-classic", ['user="alice"']),
        ("ehpc-serverless", ['options={"Container"']),
        ("modelarts", ["flavor_id", "image_url"]),
        ("qingcloud", ['user="alice"']),
    ],
)
def test_what_is_missing_is_named_with_an_example(api: str, missing: list[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        SubmitJobOperator(task_id="run", api=api, command="true")
    assert all(example in str(caught.value) for example in missing)


def test_templates_count_as_given() -> None:
    SubmitJobOperator(task_id="a", api="ehpc-classic", command="{{ x }}", user="{{ x }}", nodes="{{ x }}")
    SubmitJobOperator(task_id="b", api="ehpc-serverless", command="true", options="{{ x }}")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="cores: the flavor determines this"):
        SubmitJobOperator(task_id="c", api="modelarts", command="true", cores="{{ x }}", options=TRAINING)


@pytest.mark.parametrize(
    ("api", "command", "line"),
    [
        ("ehpc", "cd /data && ./run", "-- /bin/sh -c 'cd /data && ./run'"),
        ("ehpc", "/home/alice/job.sh", "/home/alice/job.sh"),
        ("ehpc", "-- /bin/ping localhost", "-- /bin/ping localhost"),
        ("ehpc-classic", "python3 x.py 'a b'", "-- /bin/sh -c"),
        ("qingcloud", "python3 x.py", "python3 x.py"),
    ],
)
def test_a_command_is_written_as_its_api_takes_it(api: str, command: str, line: str) -> None:
    assert line in sent(api, {"command": command, **NEEDED[api]}).replace('\\"', '"')


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        (90.2, 91),
        ("90", 90),
        ("01:00:00", 3600),
        ("1-02:03:04", 93784),
        (timedelta(minutes=2), 120),
    ],
)
def test_wall_times(value: Any, seconds: int) -> None:
    task = SubmitJobOperator(task_id="run", command="true", wall_time=value)
    assert job_fields(task)["wall_time"] == seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("4GB", "4GB"),
        ("4 gib", "4GB"),
        ("1.5G", "1536MB"),
        ("512m", "512MB"),
        ("1T", "1024GB"),
        ("100k", "1MB"),
    ],
)
def test_amounts_of_memory(value: str, text: str) -> None:
    assert job_fields(SubmitJobOperator(task_id="run", command="true", memory=value))["memory"] == text


def test_a_password_comes_from_the_connection_and_only_with_a_user() -> None:
    for user, password in ((None, None), ("alice", "s3cret!")):
        task = SubmitJobOperator(task_id="run", command="true", user=user)
        spec = job_spec(job_fields(task), "ehpc", "name", password="s3cret!", token=None)
        assert spec.password == password

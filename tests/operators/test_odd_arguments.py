# SPDX-License-Identifier: Apache-2.0
"""Odd values of a submission's arguments are rejected before any request, naming the argument."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.job_arguments import job_fields, job_spec
from airflow_provider_ehpc.operators.job import SubmitJobOperator
from tests.operators.test_submit_arguments import IMAGE, sent

MANY = "9" * 5000
ODD = [
    ("command", "a\0b"),
    ("queue", "None"),
    ("queue", "a\nb"),
    ("user", "nan"),
    ("stdout_path", "/x\0"),
    ("wall_time", "00:00:00"),
    ("wall_time", f"{MANY}:00:00"),
    ("wall_time", MANY),
    ("wall_time", "24:00"),
    ("memory", "0GB"),
    ("memory", f"{MANY}GB"),
    ("array", "abc"),
    ("array", "10-1"),
    ("array", "1-10:0"),
    ("environment", {"A=B": "1"}),
    ("environment", {"A B": "1"}),
    ("environment", {"A": None}),
    ("environment", {"A": ["b"]}),
    ("environment", {"A": "s3cret-value\0"}),
    ("options", {1: 2}),
    ("options", {"A": {1, 2}}),
    ("options", {"A": float("nan")}),
]


@pytest.mark.parametrize(("argument", "value"), ODD)
def test_an_odd_value_is_rejected(argument: str, value: Any) -> None:
    arguments = {"command": "true", argument: value}
    with pytest.raises(InvalidArgument, match=f"^{argument}: ") as caught:
        SubmitJobOperator(task_id="run", **arguments)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("api", "given", "problem"),
    [
        ("ehpc-classic", {"user": "alice", "priority": 10}, "priority: 10 is above 9"),
        ("ehpc-serverless", {"options": IMAGE, "priority": 1000}, "priority: 1000 is above 999"),
        ("ehpc-serverless", {"options": IMAGE, "array": "1,3"}, "array: expected X-Y"),
    ],
)
def test_what_one_api_does_not_take_is_rejected(api: str, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the API '{api}' cannot run this job: {problem}"):
        SubmitJobOperator(task_id="run", api=api, command="true", **given)


def test_templates_in_options_and_environment_are_not_known_yet() -> None:
    with DAG("d", schedule=None):
        output: Any = SubmitJobOperator(task_id="a", command="true").output
        SubmitJobOperator(task_id="b", command="true", options={"A": [output]}, environment={"A": output})


@pytest.mark.parametrize(
    "line",
    [
        "#SBATCH -J don't",
        "#SBATCH -t ²",
        "#SBATCH -t " + MANY,
        "#PBS -l mem=²",
        "#PBS -l select=1:ncpus=4+1:ncpus=2",
    ],
)
def test_a_line_that_cannot_be_read_is_rejected(line: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^script: "):
        SubmitJobOperator(task_id="run", script=f"#!/bin/bash\n{line}\ntrue\n")


@pytest.mark.parametrize(
    "script",
    [
        "\ufeff#!/bin/bash\n#SBATCH -N 2\necho ok\n",
        "#!/bin/bash\r\n#SBATCH -N 2\r\ncd .\r\necho ok\r\n",
        "#SBATCH -N 2\r\ncd .\r\necho ok\r\n",
        "#!\n#SBATCH -N 2\necho ok\n",
        "#!/usr/bin/perl -w\n#SBATCH -N 2\nprint qq(ok\\n);\n",
        "#!/usr/bin/env -S python3 -u\n#SBATCH -N 2\nprint('ok')\n",
        '#!/bin/awk -f\n#SBATCH -N 2\nBEGIN { print "ok" }\n',
    ],
)
def test_scripts_run_as_they_are_written(script: str) -> None:
    fields = job_fields(SubmitJobOperator(task_id="run", script=script))
    assert fields["nodes"] == 2
    command = job_spec(fields, "ehpc", "n", password=None, token=None).command
    done = subprocess.run(command.removeprefix("-- "), shell=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ok\n", b"")


def test_an_array_without_a_range_is_left_to_the_scheduler() -> None:
    assert '"ArrayRequest":"1,3"' in sent("ehpc", {"command": "true", "array": "1,3"})

# SPDX-License-Identifier: Apache-2.0
"""The links beside a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.links.job import ArchivedLogLink, CloudConsoleLink, archive_url, console_url
from airflow_provider_ehpc.operators.job import SubmitJobOperator
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from tests.conftest import Connect
from tests.operators.tries import TaskInstance


@pytest.mark.parametrize(
    ("endpoint", "zone", "url"),
    [
        ("https://ehpc.cn-hangzhou.aliyuncs.com", "cn-hangzhou", "https://ehpc.console.aliyun.com/"),
        (
            "https://modelarts.cn-north-4.myhuaweicloud.com",
            "cn-north-4",
            "https://console.huaweicloud.com/modelarts/?region=cn-north-4#/trainingJobs",
        ),
        ("https://modelarts.cn-north-4.myhuaweicloud.com", None, ""),
        ("https://hpc.api.qingcloud.com", "jinan1a", "https://console.qingcloud.com/"),
        ("http://127.0.0.1:8080", "cn-hangzhou", ""),
        ("https://aliyuncs.com.example.org", "cn-hangzhou", ""),
    ],
)
def test_the_console_of_a_cloud(endpoint: str, zone: str | None, url: str) -> None:
    assert console_url(endpoint, zone) == url


@pytest.mark.parametrize(
    ("folder", "url"),
    [
        (None, ""),
        ("file:///logs/a", "file:///logs/a"),
        (
            "s3://aws_default@bucket/a b/c/",
            "https://console.aws.amazon.com/s3/buckets/bucket?prefix=a%20b/c/",
        ),
        ("gs://bucket/a", "https://console.cloud.google.com/storage/browser/bucket/a"),
    ],
)
def test_an_archive(folder: str | None, url: str) -> None:
    assert archive_url(folder) == url


def test_links_are_pushed_before_the_first_poll(
    ehpc_emulator: Emulator, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "airflow_provider_ehpc.links.job._CONSOLES", {"127.0.0.1": "https://console.example.org/"}
    )
    ehpc_emulator.deny("GetJob", "ListJobs")
    job_id = ehpc_emulator.submit("true")
    conn_id = connect(ehpc_emulator.connection)
    folder = f"file://{tmp_path}"
    tasks: list[Any] = [
        SubmitJobOperator(task_id="submit", conn_id=conn_id, command="true", keep_log_at=folder),
        JobLogOperator(task_id="log", conn_id=conn_id, job_id=job_id, keep_log_at=folder),
        JobStateSensor(task_id="state", conn_id=conn_id, job_id=job_id),
    ]
    for task in tasks:
        ti = TaskInstance()
        with pytest.raises(Exception, match="ehpc:GetJob"):
            task.execute({"ti": ti})
        assert ti.xcoms["_link_CloudConsoleLink"] == "https://console.example.org/"
        assert CloudConsoleLink().get_link(task, ti_key=ti) == "https://console.example.org/"
        if task.task_id != "state":
            assert ti.xcoms["_link_ArchivedLogLink"] == folder
            assert ArchivedLogLink().get_link(task, ti_key=ti) == folder


def test_airflow_can_load_them_from_a_serialized_dag() -> None:
    from airflow.serialization.serialized_objects import SerializedDAG

    with DAG("d", schedule=None) as dag:
        SubmitJobOperator(task_id="run", command="true")
        SubmitJobOperator.partial(task_id="mapped").expand(command=["true"])
    to_dict = getattr(SerializedDAG, "to_dict", None)
    if to_dict is None:
        from airflow.serialization.serialized_objects import DagSerialization

        to_dict, from_dict = DagSerialization.to_dict, DagSerialization.from_dict
    else:
        from_dict = SerializedDAG.from_dict
    loaded = from_dict(to_dict(dag))
    for task_id in ("run", "mapped"):
        assert set(loaded.get_task(task_id).extra_links) == {"Cloud console", "Archived log"}

# SPDX-License-Identifier: Apache-2.0
"""The links beside a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, ObjectStoragePath

from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.links import console as console_module
from airflow_provider_ehpc.links.console import archive_url, cluster_url, console_url
from airflow_provider_ehpc.links.job import ArchivedLogLink, CloudConsoleLink
from airflow_provider_ehpc.operators.job import StopJobOperator, SubmitJobOperator
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from tests.conftest import Connect, TaskLog
from tests.operators.tries import TaskInstance

CLUSTER = "ehpc-hz-emulator"


ALIYUN = "https://ehpc.cn-hangzhou.aliyuncs.com"
HUAWEI = "https://modelarts.cn-north-4.myhuaweicloud.com"
JOB = JobRef("12.manager", "ehpc-hz-1")
TRAINING = JobRef("39cefbeb-0d86-46cb-a55a-fe6a62f3529b")
MODELARTS = "https://console.huaweicloud.com/modelarts/?region=cn-north-4#/training"


@pytest.mark.parametrize(
    ("endpoint", "region", "ref", "url"),
    [
        (ALIYUN, "cn-hangzhou", JOB, "https://ehpc.console.aliyun.com/#/cluster?regionId=cn-hangzhou"),
        (ALIYUN, None, JOB, "https://ehpc.console.aliyun.com/#/cluster?regionId=cn-hangzhou"),
        ("https://ehpc.aliyuncs.com", None, JOB, ""),
        (HUAWEI, "cn-north-4", TRAINING, f"{MODELARTS}/detail/{TRAINING.job_id}"),
        (HUAWEI, None, TRAINING, f"{MODELARTS}/detail/{TRAINING.job_id}"),
        (HUAWEI, None, JobRef("7", version_id="1"), MODELARTS),
        (HUAWEI, None, None, MODELARTS),
        (HUAWEI, None, JobRef("a/b?c#d&é"), f"{MODELARTS}/detail/a%2Fb%3Fc%23d%26%C3%A9"),
        ("https://hpc.api.qingcloud.com", "jinan1a", JOB, "https://console.qingcloud.com/"),
        ("http://127.0.0.1:8080", "cn-hangzhou", JOB, ""),
        ("https://aliyuncs.com.example.org", "cn-hangzhou", JOB, ""),
    ],
)
def test_a_job_in_the_console(endpoint: str, region: str | None, ref: JobRef | None, url: str) -> None:
    assert console_url(endpoint, region, ref) == url


@pytest.mark.parametrize(
    ("endpoint", "cluster_id", "url"),
    [
        (
            ALIYUN,
            "ehpc-hz-1",
            "https://ehpc.console.aliyun.com/#/clusterdetail/info/ehpc-hz-1"
            "?referrer=%2Fcluster&regionId=cn-hangzhou",
        ),
        (
            ALIYUN,
            "../x?y",
            "https://ehpc.console.aliyun.com/#/clusterdetail/info/..%2Fx%3Fy"
            "?referrer=%2Fcluster&regionId=cn-hangzhou",
        ),
        (ALIYUN, None, ""),
        (HUAWEI, "c", ""),
        ("https://hpc.api.qingcloud.com", "c", ""),
        ("http://127.0.0.1:8080", "c", ""),
    ],
)
def test_a_cluster_in_the_console(endpoint: str, cluster_id: str | None, url: str) -> None:
    assert cluster_url(endpoint, None, cluster_id) == url


@pytest.mark.parametrize(
    ("folder", "endpoint", "url"),
    [
        (None, ALIYUN, ""),
        # A browser opens no other files than those of the web.
        ("file:///logs/a", ALIYUN, ""),
        ("javascript:alert(1)", ALIYUN, ""),
        ("https://host/a b", ALIYUN, "https://host/a%20b"),
        ("https://user:secret@host:8443/a?b#c", ALIYUN, "https://host:8443/a?b#c"),
        (Path("/logs/a"), ALIYUN, ""),
        (ObjectStoragePath("file:///logs/a"), ALIYUN, ""),
        ("s3://[bucket]/a", ALIYUN, ""),
        (
            "s3://aws_default@bucket/a b/c/",
            ALIYUN,
            "https://console.aws.amazon.com/s3/buckets/bucket?prefix=a%20b/c/",
        ),
        ("gs://bucket/a", ALIYUN, "https://console.cloud.google.com/storage/browser/bucket/a/"),
        (
            "oss://c@bucket/a&b/c",
            ALIYUN,
            "https://oss.console.aliyun.com/bucket/oss-cn-hangzhou/bucket/object?path=a%26b/c/",
        ),
        ("oss://bucket/a", HUAWEI, ""),
        (
            "obs://bucket/a",
            HUAWEI,
            "https://console.huaweicloud.com/obs/?region=cn-north-4#/obs/manage/bucket/object/list",
        ),
    ],
)
def test_an_archive(folder: Any, endpoint: str, url: str) -> None:
    assert archive_url(folder, endpoint) == url


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the emulator a console."""
    pages = console_module._Console(
        home="https://console.example.org/",
        job="https://console.example.org/job/{job}",
        cluster="https://console.example.org/cluster/{cluster}",
    )
    monkeypatch.setattr(console_module, "_CONSOLES", {"127.0.0.1": pages})


def test_links_are_pushed_before_the_first_poll(
    ehpc_emulator: Emulator, connect: Connect, console: None
) -> None:
    ehpc_emulator.deny("GetJob", "ListJobs", "StopJobs")
    job_id = ehpc_emulator.submit("true")
    conn_id = connect(ehpc_emulator.connection)
    folder = "s3://bucket/logs"
    tasks: list[Any] = [
        SubmitJobOperator(task_id="submit", conn_id=conn_id, command="true", keep_log_at=folder),
        JobLogOperator(task_id="log", conn_id=conn_id, job_id=job_id, keep_log_at=folder),
        JobStateSensor(task_id="state", conn_id=conn_id, job_id=job_id),
        StopJobOperator(task_id="stop", conn_id=conn_id, job_id=job_id),
    ]
    for task in tasks:
        ti = TaskInstance()
        with pytest.raises(Exception, match=r"ehpc:(GetJob|StopJobs)"):
            task.execute({"ti": ti})
        address = f"https://console.example.org/job/{ti.xcoms.get('job_id', job_id)}"
        assert ti.xcoms["_link_CloudConsoleLink"] == address
        assert CloudConsoleLink().get_link(task, ti_key=ti) == address
        assert ti.xcoms["_link_ClusterLink"] == f"https://console.example.org/cluster/{CLUSTER}"
        assert ("_link_ArchivedLogLink" in ti.xcoms) == (task.task_id in ("submit", "log"))
        if task.task_id in ("submit", "log"):
            assert ArchivedLogLink().get_link(task, ti_key=ti) == archive_url(folder)
        assert {link.xcom_key for link in task.operator_extra_links} == {
            key for key in ti.xcoms if key.startswith("_link_")
        }


def test_a_task_that_fails_before_it_pushes_links_reads_none() -> None:
    """Airflow asks for the links of a failed task, too, and logs an error if an XCom does not exist."""
    task = SubmitJobOperator(task_id="submit", conn_id="no_such_connection", command="true")
    with pytest.raises(Exception, match="no_such_connection"):
        task.execute({"ti": TaskInstance()})
    # Outside of a task, reading an XCom fails.
    assert CloudConsoleLink().get_link(task, ti_key=None) == ""


def test_a_link_that_cannot_be_saved_fails_no_task(
    ehpc_emulator: Emulator,
    connect: Connect,
    console: None,
    monkeypatch: pytest.MonkeyPatch,
    task_log: TaskLog,
) -> None:
    def push(key: str, value: Any) -> None:
        if key.startswith("_link_"):
            raise RuntimeError("the database is away")

    ti, conn_id = TaskInstance(), connect(ehpc_emulator.connection)
    monkeypatch.setattr(ti, "xcom_push", push)
    task = SubmitJobOperator(task_id="submit", conn_id=conn_id, command="true", poll_interval=0.1)
    assert task.execute({"ti": ti})["state"] == "SUCCEEDED"
    assert "links of this task could not be saved (RuntimeError the database is away)" in task_log.warnings[0]


def test_of_many_jobs_only_the_cluster_is_linked(
    ehpc_emulator: Emulator, connect: Connect, console: None
) -> None:
    jobs = [ehpc_emulator.submit("true") for _ in range(3)]
    ti, conn_id = TaskInstance(), connect(ehpc_emulator.connection)
    JobStateSensor(task_id="state", conn_id=conn_id, job_id=jobs, poke_interval=0.1).execute({"ti": ti})
    assert {key: value for key, value in ti.xcoms.items() if key.startswith("_link_")} == {
        "_link_CloudConsoleLink": "https://console.example.org/",
        "_link_ClusterLink": f"https://console.example.org/cluster/{CLUSTER}",
    }


def test_an_audit_links_its_files(
    ehpc_emulator: Emulator, connect: Connect, console: None, tmp_path: Path
) -> None:
    ti = TaskInstance()
    task = OperationAuditOperator(
        task_id="audit",
        conn_id=connect(ehpc_emulator.connection),
        cluster_id=CLUSTER,
        path="s3://bucket/audit",
        start="2020-01-01T00:00:00Z",
        end="2020-01-02T00:00:00Z",
        max_age=10**9,
    )
    ehpc_emulator.deny("ListCommonLogs")
    with pytest.raises(Exception, match=r"ListCommonLogs|s3"):
        task.execute({"ti": ti})
    assert ti.xcoms == {
        "_link_CloudConsoleLink": "https://console.example.org/",
        "_link_ClusterLink": f"https://console.example.org/cluster/{CLUSTER}",
        "_link_AuditFolderLink": "https://console.aws.amazon.com/s3/buckets/bucket?prefix=audit/",
    }


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
        assert set(loaded.get_task(task_id).extra_links) == {"Cloud console", "Cluster", "Archived log"}

# SPDX-License-Identifier: Apache-2.0
"""The operation log records operations, faults change it as documented, and it survives a restart."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client
from tests.emulator.qingcloud_client import QingCloudClient

DAY = 1_772_323_200  # 2026-03-01T00:00:00Z, 08:00 in Beijing


@pytest.fixture
def qingcloud(ehpc_emulator: Emulator) -> QingCloudClient:
    return QingCloudClient(ehpc_emulator)


def _logs(client: Client, **parameters: str) -> list[dict[str, str]]:
    now = int(time.time())
    window = {"From": str(now - 3600), "To": str(now + 3600), "PageSize": "100", "IsReverse": "false"}
    logs: list[dict[str, str]] = client.call("ListCommonLogs", **{**window, "ClusterId": "", **parameters})[
        "Logs"
    ]
    return logs


def test_list_common_logs_reports_the_operations_of_e_hpc(client: Client) -> None:
    job_id = client.create("sleep 60")
    client.call("StopJobs", JobIds=json.dumps([job_id]))
    unknown = client.send("StopJobs", {"JobIds": '["99.manager"]'})
    client.info(job_id)

    created, stopped, failed = _logs(client)
    assert created.keys() == {
        "RequestId",
        "Time",
        "OperatorUid",
        "Action",
        "Status",
        "Message",
        "ClusterId",
        "Target",
        "LogType",
    }
    assert [log["Action"] for log in (created, stopped, failed)] == ["CreateJob", "StopJobs", "StopJobs"]
    assert [log["Status"] for log in (created, stopped, failed)] == ["Finished", "Finished", "Failed"]
    assert (created["Target"], created["ClusterId"]) == (job_id, client.emulator.cluster_id)
    assert created["OperatorUid"] == stopped["OperatorUid"]
    assert "Unknown Job Id" in failed["Message"]
    # The request ID of the response, which the support asks for, identifies the operation.
    assert failed["RequestId"] == unknown.json["RequestId"]


def test_list_common_logs_reports_the_operations_of_the_older_version(client: Client) -> None:
    """It writes a list of jobs in two other ways."""
    older = {"version": "2018-04-12", "method": "GET"}
    job = {"CommandLine": "sleep 60", "RunasUser": "alice"}
    job_id = client.send("SubmitJob", job, **older).json["JobId"]
    client.send("StopJobs", {"Jobs": json.dumps([{"Id": job_id}])}, **older)
    client.send("StopServerlessJobs", {"JobIds.1": "5", "JobIds.2": "6"}, version="2018-04-12")
    assert [(log["Action"], log["Target"]) for log in _logs(client)] == [
        ("SubmitJob", job_id),
        ("StopJobs", job_id),
        ("StopServerlessJobs", "5 6"),
    ]


def test_an_operation_that_was_not_done_is_not_reported(client: Client) -> None:
    client.emulator.fault("error", operation="CreateJob")
    assert client.send("CreateJob", {"JobSpec": '{"CommandLine": "true"}'}).status == 503
    client.emulator.fault("reset", operation="CreateJob", effect=True)
    with pytest.raises(ConnectionError):
        client.create("true")
    assert [log["Status"] for log in _logs(client)] == ["Finished"]


def _ehpc_rows(emulator: Emulator) -> None:
    rows = [
        EmulatedOperation(DAY, "CreateCluster", "aliyun", "R-1", actor="1", resources=("ehpc-hz-1", "i-1")),
        EmulatedOperation(
            DAY + 1, "DeleteNodes", "aliyun", "R-2", "failed", actor="2", resources=("ehpc-hz-1", "i-2")
        ),  # type: ignore[arg-type]
        EmulatedOperation(DAY + 2, "CreateNodes", "aliyun", "R-3", "pending", resources=("ehpc-hz-2",)),  # type: ignore[arg-type]
    ]
    emulator.add_operations(rows)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "123"),
        ({"IsReverse": "true"}, "321"),
        ({"From": str(DAY + 1), "To": str(DAY + 1)}, "2"),
        ({"ActionName": '["CreateCluster", "CreateNodes"]'}, "13"),
        ({"ActionStatus": "InProgress"}, "3"),
        ({"ClusterId": "ehpc-hz-1"}, "12"),
        ({"LogRequestId": "R-2"}, "2"),
        ({"LogType": "operation"}, "123"),
        ({"OperatorUid": "2"}, "2"),
        ({"Resource": "i-1"}, "1"),
        ({"PageSize": "2", "PageNumber": "2"}, "3"),
    ],
)
def test_each_filter_of_list_common_logs_selects(
    client: Client, filters: dict[str, str], expected: str
) -> None:
    _ehpc_rows(client.emulator)
    window = {"From": str(DAY - 9), "To": str(DAY + 9)}
    assert [log["RequestId"][2:] for log in _logs(client, **{**window, **filters})] == list(expected)


def test_list_common_logs_reports_times_without_a_zone(client: Client) -> None:
    _ehpc_rows(client.emulator)
    (log,) = _logs(client, From=str(DAY), To=str(DAY))
    assert log["Time"] == "2026-03-01 08:00:00"


@pytest.mark.parametrize(
    "wrong", [{"From": ""}, {"To": "x"}, {"From": "9", "To": "8"}, {"PageSize": "101"}, {"ActionStatus": "?"}]
)
def test_list_common_logs_refuses_what_it_cannot_read(client: Client, wrong: dict[str, str]) -> None:
    parameters = {"From": "1", "To": "2", **wrong}
    assert client.refusal("ListCommonLogs", **parameters) == (400, "InvalidParams")


def test_each_cloud_reports_its_own_operations(client: Client, qingcloud: QingCloudClient) -> None:
    client.create("true")
    job_id = qingcloud.submit("true")
    assert [log["Action"] for log in _logs(client)] == ["CreateJob"]
    assert [row["job_action"] for row in qingcloud.operations()] == ["HpcJobSubmitJob"]
    (own,) = client.emulator.operations("qingcloud")
    assert own.job_ids == (job_id,)


def test_the_log_survives_the_emulator(tmp_path: Path) -> None:
    """This includes the order of entries of one second, and an operation that ends meanwhile."""
    with Emulator(tmp_path) as emulator:
        client = QingCloudClient(emulator)
        job_id = client.submit("sleep 60")
        added = emulator.add_operations(EmulatedOperation(DAY, f"A{n}") for n in range(50))
        operation_id = client.post("job/stopJobs", job_ids=[job_id])["job_uuid"]
        before = client.ids()
        emulator.close(kill_jobs=False)
    with Emulator(tmp_path) as emulator:
        client = QingCloudClient(emulator)
        assert client.ids() == before
        assert before[:50] == added
        deadline = time.monotonic() + 30
        while client.operations(job_ids=operation_id)[0]["status"] != "successful":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_ties_come_in_ever_new_order_and_nothing_else_does(qingcloud: QingCloudClient) -> None:
    added = qingcloud.emulator.add_operations(EmulatedOperation(DAY + n // 20, "X") for n in range(60))
    assert qingcloud.ids() == qingcloud.ids() == added
    qingcloud.emulator.fault("ties")
    orders = [qingcloud.ids() for _ in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:
        assert [set(order[n : n + 20]) for n in (0, 20, 40)] == [set(added[n : n + 20]) for n in (0, 20, 40)]


def test_rows_are_late_one_by_one_or_all(qingcloud: QingCloudClient) -> None:
    now = time.time()
    soon, later = qingcloud.emulator.add_operations(
        [EmulatedOperation(now - 50, "X"), EmulatedOperation(now - 50, "X", visible_at=now + 600)]
    )
    assert qingcloud.ids() == [soon]
    qingcloud.emulator.fault("late_rows", seconds=600)
    assert qingcloud.ids() == []
    qingcloud.emulator.faults.clear()
    assert later not in qingcloud.ids()


def test_rows_arrive_and_change_while_the_log_is_paged(qingcloud: QingCloudClient) -> None:
    emulator = qingcloud.emulator
    emulator.add_operations(EmulatedOperation(DAY, "X", status="pending") for _ in range(3))  # type: ignore[arg-type]
    emulator.fault("arrival", rows=2, times=2, seconds=1000)
    emulator.fault("change", rows=1, times=2, word="failed")

    def counts() -> tuple[int, int]:
        rows = qingcloud.operations()
        return len(rows), sum(row["status"] == "failed" for row in rows)

    assert [counts() for _ in range(3)] == [(5, 1), (7, 2), (7, 2)]


def test_ten_thousand_operations_are_there_at_once(qingcloud: QingCloudClient) -> None:
    qingcloud.emulator.add_operations(EmulatedOperation(DAY + n, "X") for n in range(10_000))
    assert qingcloud.get("operation", offset=9_995, reverse=0)["total_count"] == 10_000


@pytest.mark.parametrize("cloud", ["huawei", "azure"])
def test_a_cloud_without_an_operation_log_is_an_error_and_nothing_is_added(
    ehpc_emulator: Emulator, cloud: str
) -> None:
    rows = [EmulatedOperation(DAY, "X"), EmulatedOperation(DAY, "X", cloud)]
    with pytest.raises(ValueError, match=f"'{cloud}' has no operation log; choose aliyun or qingcloud"):
        ehpc_emulator.add_operations(rows)
    assert ehpc_emulator.operations() == []

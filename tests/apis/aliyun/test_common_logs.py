# SPDX-License-Identifier: Apache-2.0
"""E-HPC's ListCommonLogs as a source of records, whose times have no zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from alibabacloud_ehpc20240730 import models

from airflow_provider_ehpc.apis.aliyun.common_logs import EhpcOperations, list_common_logs
from airflow_provider_ehpc.apis.call import ApiRequest, UnexpectedResponse
from airflow_provider_ehpc.apis.operation import OperationSource, OperationStatus, Window
from airflow_provider_ehpc.audit.window import read_window
from tests.apis.answering import Answering, sample

BEIJING = timezone(timedelta(hours=8))
BEGAN = datetime(2024, 8, 22, 6, 21, 54, tzinfo=UTC)
DAY = Window(datetime(2024, 8, 22, tzinfo=UTC), datetime(2024, 8, 23, tzinfo=UTC))


def _server(logs: list[dict[str, Any]], zone: tzinfo) -> Any:
    """Return a server that filters by time and writes its times in ``zone`` without an offset."""

    def respond(request: ApiRequest) -> Any:
        query = request.query
        found = []
        for log in logs:
            time = datetime.fromisoformat(log["Time"]).replace(tzinfo=zone).timestamp()
            wanted = query.get("LogRequestId", log["RequestId"])
            if int(query["From"]) <= time < int(query["To"]) and log["RequestId"] == wanted:
                found.append(log)
        first = (int(query["PageNumber"]) - 1) * 100
        return {"RequestId": "R", "TotalCount": len(found), "Logs": found[first : first + 100]}

    return respond


def _logs(count: int) -> list[dict[str, Any]]:
    log = sample("aliyun/list_common_logs.json")["Logs"][0]
    times = [datetime(2024, 8, 22, 14, 21, 54) + timedelta(seconds=n) for n in range(count)]  # noqa: DTZ001
    return [{**log, "RequestId": f"R-{n}", "Time": str(time)} for n, time in enumerate(times)]


def test_the_request_has_the_names_of_the_vendors_sdk() -> None:
    """The cloud ignores a misspelt parameter silently, so the audit would cover all clusters."""
    call = list_common_logs(
        1703821542,
        1703821666,
        cluster_id="ehpc-1",
        action_names=["CreateCluster"],
        action_status="Finished",
        operator_uid="137",
        log_request_id="R",
        log_type="Operation",
    )
    judge = models.ListCommonLogsShrinkRequest(
        action_name_shrink='["CreateCluster"]',
        action_status="Finished",
        cluster_id="ehpc-1",
        from_=1703821542,
        is_reverse=False,
        log_request_id="R",
        log_type="Operation",
        operator_uid="137",
        page_number=1,
        page_size=100,
        to=1703821666,
    ).to_map()
    assert dict(call.request.query) == {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in judge.items()
    }
    assert call.request.headers["x-acs-action"] == "ListCommonLogs"


@pytest.mark.parametrize(("zone", "began"), [(BEIJING, BEGAN), (UTC, BEGAN + timedelta(hours=8))])
def test_the_zone_of_a_log_is_tested_on_the_server(zone: tzinfo, began: datetime) -> None:
    """No page documents the zone of the logs' times; a wrong guess would shift an audit by eight hours."""
    source: OperationSource = EhpcOperations("cn-hangzhou", "ehpc-hz-9T3xPNezoS")
    logs = sample("aliyun/list_common_logs.json")["Logs"]
    cloud = Answering(_server(logs, zone))
    reading = cloud.run(read_window(source, DAY, now=DAY.end + timedelta(hours=1)))
    (record,) = reading.records
    assert record.time == began
    assert record.key == ("cn-hangzhou", "04F0F334-1335-436C-A1D7-6C044FE7****/CreateCluster/i-abc***")
    assert record.operation_id == "04F0F334-1335-436C-A1D7-6C044FE7****"
    assert (record.status, record.raw_status) == (OperationStatus.SUCCEEDED, "Finished")
    assert (record.action, record.operator, record.error) == ("CreateCluster", "137***", "")
    assert record.resources == ("ehpc-hz-9T3xPNezoS", "i-abc***")
    assert record.raw == logs[0]
    assert cloud.requests[0].query["ClusterId"] == "ehpc-hz-9T3xPNezoS"


def test_a_zone_that_is_neither_is_an_error() -> None:
    """The audit must report that the time is unknown instead of using a wrong one."""
    cloud = Answering(_server(_logs(1), timezone(timedelta(hours=5))))
    with pytest.raises(UnexpectedResponse, match="neither Beijing time nor UTC"):
        cloud.run(read_window(EhpcOperations("cn-hangzhou"), DAY, now=DAY.end + timedelta(hours=1)))


def test_all_pages_are_read_and_the_zone_is_tested_once() -> None:
    cloud = Answering(_server(_logs(250), BEIJING))
    reading = cloud.run(read_window(EhpcOperations("cn-hangzhou"), DAY, now=DAY.end + timedelta(hours=1)))
    assert len(reading.records) == 250
    assert len(cloud.requests) == reading.requests == 3 + 1


def test_an_operation_is_found_again_by_its_request() -> None:
    logs = [{**_logs(1)[0], "Target": target} for target in ("i-1", "i-2")]
    source = EhpcOperations("cn-hangzhou")
    cloud = Answering(_server(logs, BEIJING))
    assert cloud.run(source.find("R-0/CreateCluster/i-2", "R-0", BEGAN)).resources[-1] == "i-2"
    assert cloud.run(source.find("R-0/CreateCluster/i-3", "R-0", BEGAN)) is None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("InProgress", OperationStatus.IN_PROGRESS),
        ("Finished", OperationStatus.SUCCEEDED),
        ("Failed", OperationStatus.FAILED),
        ("Rolled", OperationStatus.UNKNOWN),
    ],
)
def test_statuses_of_an_operation(word: str, status: OperationStatus) -> None:
    cloud = Answering(_server([{**_logs(1)[0], "Status": word, "Message": "no quota"}], BEIJING))
    record = cloud.run(EhpcOperations("cn-hangzhou").find("R-0/CreateCluster/i-abc***", "R-0", BEGAN))
    assert record.status is status
    assert record.error == ("no quota" if word == "Failed" else "")


@pytest.mark.parametrize("fields", [{"Time": "yesterday"}, {"Time": ""}, {"RequestId": ""}])
def test_a_log_without_a_time_or_an_id_stops_the_audit(fields: dict[str, str]) -> None:
    response = {"RequestId": "R", "TotalCount": 1, "Logs": [{**_logs(1)[0], **fields}]}
    with pytest.raises(UnexpectedResponse, match="no readable Time"):
        Answering(lambda request: response).run(EhpcOperations("cn-hangzhou").page(0, 1, 0))


def test_a_response_without_a_total_is_an_error() -> None:
    with pytest.raises(UnexpectedResponse, match="TotalCount"):
        Answering(lambda request: {"RequestId": "R", "Logs": []}).run(EhpcOperations("cn").page(0, 1, 0))

# SPDX-License-Identifier: Apache-2.0
"""QingCloud's /operation as a source of records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiRequest, InvalidArgument, UnexpectedResponse
from airflow_provider_ehpc.apis.operation import OperationSource, OperationStatus, Window
from airflow_provider_ehpc.apis.qingcloud.operations import QingCloudOperations, list_operations
from airflow_provider_ehpc.audit.window import read_window
from tests.apis.answering import Answering, sample

BEGAN = datetime(2022, 4, 6, 1, 26, 33, tzinfo=UTC)
SECOND = int(BEGAN.timestamp())
HOUR = Window(BEGAN - timedelta(minutes=30), BEGAN + timedelta(minutes=30))


def _row(job_id: str, began: int, changed: int, **fields: Any) -> dict[str, Any]:
    def text(second: int) -> str:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    row = dict(sample("qingcloud/operation.json")["job_set"][0])
    return {**row, "job_id": job_id, "create_time": text(began), "status_time": text(changed), **fields}


def _server(rows: list[dict[str, Any]], column: str) -> Any:
    """Return a server that filters by one of a row's two times."""

    def respond(request: ApiRequest) -> Any:
        query = request.query
        found = [
            row
            for row in rows
            if query.get("start_time", "") <= row[column] <= query.get("end_time", "9")
            and row["job_id"] == query.get("jobs", row["job_id"])
        ]
        offset = int(query["offset"])
        return {"ret_code": 0, "total_count": len(found), "job_set": found[offset : offset + 100]}

    return respond


def test_the_documented_operation_becomes_a_record() -> None:
    """All fields of the sample are in the record, and the row is kept unchanged."""
    source: OperationSource = QingCloudOperations("jinan1a", "ehpc-czkekzfz")
    body = sample("qingcloud/operation.json")
    cloud = Answering(lambda request: body)
    page = cloud.run(source.page(SECOND - 1, SECOND + 1, 2))
    assert cloud.requests[0].target == (
        "/api/operation?zone=jinan1a&resource_ids=ehpc-czkekzfz&start_time=2022-04-06T01%3A26%3A32Z"
        "&end_time=2022-04-06T01%3A26%3A34Z&offset=200&limit=100&reverse=0"
    )
    record = page.records[0]
    assert page.total == 1
    assert record.key == ("jinan1a", "j-8ajjp28fps8")
    assert (record.time, record.changed_at) == (BEGAN, BEGAN + timedelta(seconds=7))
    assert (record.status, record.raw_status) == (OperationStatus.SUCCEEDED, "successful")
    assert (record.operator, record.node) == ("usr-GxkSGFDs", "nscca-hpc1")
    assert record.description == "从队列移除节点"
    assert record.resources == ("ehpc-czkekzfz", "ehpcq-rg0vaycm", "cln-w1xufnk9")
    assert record.raw == body["job_set"][0]


def test_a_filter_by_the_time_of_the_last_change_is_detected() -> None:
    """Operations that start in the window and end after it would be missing without a sign."""
    rows = [_row("j-1", SECOND, SECOND + 600)]
    reading = Answering(_server(rows, "create_time")).run(
        read_window(QingCloudOperations("jinan1a"), HOUR, now=HOUR.end + timedelta(hours=1))
    )
    assert [record.uid for record in reading.records] == ["j-1"]
    with pytest.raises(UnexpectedResponse, match="mean another time there"):
        Answering(_server(rows, "status_time")).run(
            read_window(QingCloudOperations("jinan1a"), HOUR, now=HOUR.end + timedelta(hours=1))
        )


def test_the_filter_is_proved_once() -> None:
    rows = [_row(f"j-{n}", SECOND + n, SECOND + n + 60) for n in range(250)]
    cloud = Answering(_server(rows, "create_time"))
    reading = cloud.run(read_window(QingCloudOperations("jinan1a"), HOUR, now=HOUR.end + timedelta(hours=1)))
    assert len(reading.records) == 250
    assert reading.requests == len(cloud.requests) == 3 + 1


def test_an_operation_that_no_longer_exists_is_not_found() -> None:
    source = QingCloudOperations("jinan1a")
    cloud = Answering(_server([_row("j-1", SECOND, SECOND)], "create_time"))
    assert cloud.run(source.find("j-1", "j-1", BEGAN)).uid == "j-1"
    assert cloud.run(source.find("j-2", "j-2", BEGAN)) is None


@pytest.mark.parametrize(
    ("field", "value"), [("create_time", "2022-04-06T01：26：33Z"), ("create_time", None), ("job_id", "")]
)
def test_an_operation_without_a_time_or_an_id_is_an_error(field: str, value: Any) -> None:
    """It does not belong to any window, and omitting it would leave a gap in the audit."""
    body = {"ret_code": 0, "total_count": 1, "job_set": [{**_row("j-1", SECOND, SECOND), field: value}]}
    with pytest.raises(UnexpectedResponse, match="no readable create_time"):
        Answering(lambda request: body).run(QingCloudOperations("jinan1a").page(SECOND, SECOND, 0))


def test_a_response_without_a_total_is_an_error() -> None:
    """The name is total_sum in the documentation's text, and total_count in responses."""
    with pytest.raises(UnexpectedResponse, match="total_count"):
        Answering(lambda request: {"ret_code": 0, "total_sum": 0, "job_set": []}).run(
            QingCloudOperations("jinan1a").page(SECOND, SECOND, 0)
        )


def test_a_time_without_a_zone_is_an_error() -> None:
    with pytest.raises(InvalidArgument, match="start_time"):
        list_operations("jinan1a", start_time=datetime(2022, 4, 6))  # noqa: DTZ001

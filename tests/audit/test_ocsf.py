# SPDX-License-Identifier: Apache-2.0
"""Operations as OCSF events, checked by the published schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_ehpc.apis.operation import OperationRecord, OperationStatus
from airflow_provider_ehpc.apis.qingcloud.operations import QingCloudOperations
from airflow_provider_ehpc.audit.ocsf import api_activity
from tests.apis.answering import Answering, sample
from tests.audit.ocsf_schema import check_event
from tests.audit.simulated import START, operation

BARE = OperationRecord("aliyun", "cn-hangzhou", "R/Nothing", "R", START, "", OperationStatus.UNKNOWN, "")


def _documented() -> OperationRecord:
    cloud = Answering(lambda request: sample("qingcloud/operation.json"))
    record: OperationRecord = cloud.run(
        QingCloudOperations("jinan1a").find("j-8ajjp28fps8", "j-8ajjp28fps8", START)
    )
    return record


@pytest.mark.parametrize(
    "record",
    [
        _documented(),
        BARE,
        operation(1, 0, status=OperationStatus.IN_PROGRESS, raw_status="pending", changed_at=None),
        operation(2, 0, status=OperationStatus.FAILED, raw_status="failed", error="5200", node="nscca-hpc1"),
        operation(3, 0, cloud="aliyun", zone="cn-hangzhou", action="CreateCluster", operator=""),
    ],
)
def test_every_event_follows_the_schema(record: OperationRecord) -> None:
    """A security lake silently drops events that do not."""
    event = json.loads(json.dumps(api_activity(record)))
    check_event(event)
    assert event["type_uid"] == 600300 + event["activity_id"]


def test_the_documented_operation_as_an_event() -> None:
    event = api_activity(_documented())
    assert event["time"] == 1649208393000
    assert (event["start_time"], event["end_time"], event["duration"]) == (1649208393000, 1649208400000, 7000)
    assert (event["activity_id"], event["status_id"], event["status"]) == (4, 1, "Success")
    assert event["actor"] == {"user": {"uid": "usr-GxkSGFDs"}}
    assert event["cloud"] == {"provider": "QingCloud", "zone": "jinan1a"}
    assert event["src_endpoint"] == {"name": "nscca-hpc1"}
    assert event["metadata"]["original_event_uid"] == "j-8ajjp28fps8"
    assert event["metadata"]["original_time"] == "2022-04-06T01:26:33Z"
    assert event["resources"] == [
        {"uid": "ehpc-czkekzfz", "type": "cluster"},
        {"uid": "ehpcq-rg0vaycm", "type": "queue"},
        {"uid": "cln-w1xufnk9", "type": "node"},
    ]
    assert json.loads(event["raw_data"]) == sample("qingcloud/operation.json")["job_set"][0]


@pytest.mark.parametrize(
    ("action", "activity"),
    [
        ("HpcClusterCreateCluster", 1),
        ("HpcUserAddUser", 1),
        ("HpcJobSubmitJob", 1),
        ("HpcQueueGetEhpcQueueList", 2),
        ("HpcClusterRestartClusterNodes", 3),
        ("HpcJobStopJobs", 3),
        ("HpcQueueDelEhpcQueues", 4),
        ("HpcQueueUnbindPrivateQueue", 4),
        ("CreateCluster", 1),
        ("ListCommonLogs", 2),
        ("Frobnicate", 99),
        ("", 0),
    ],
)
def test_the_verb_of_an_action_is_its_activity(action: str, activity: int) -> None:
    """Who asks a lake for deletions must get those of both clouds."""
    event: dict[str, Any] = api_activity(operation(1, 0, action=action))
    assert event["activity_id"] == activity


def test_an_action_without_a_known_verb_is_its_own_caption() -> None:
    event = api_activity(operation(1, 0, action="Frobnicate"))
    assert (event["activity_id"], event["activity_name"]) == (99, "Frobnicate")


@pytest.mark.parametrize(
    ("status", "raw_status", "expected"),
    [
        (OperationStatus.IN_PROGRESS, "pending", (99, "pending")),
        (OperationStatus.UNKNOWN, "odd", (99, "odd")),
        (OperationStatus.UNKNOWN, "", (0, "Unknown")),
    ],
)
def test_what_has_not_ended_is_no_success(
    status: OperationStatus, raw_status: str, expected: tuple[int, str]
) -> None:
    event = api_activity(operation(1, 0, status=status, raw_status=raw_status))
    assert (event["status_id"], event["status"]) == expected
    assert "end_time" not in event


def test_an_event_has_one_id_until_its_operation_changes() -> None:
    """A lake can drop the duplicates of a repeated run, and must not drop an outcome."""

    def uid(**changes: Any) -> str:
        metadata = api_activity(operation(1, 0, **changes))["metadata"]
        assert metadata["original_event_uid"] == "j-000001"
        return str(metadata["uid"])

    assert uid() == uid()
    different = [{"raw": {"status": "pending"}}, {"raw": {"status": "successful"}}, {"zone": "pek3"}]
    assert len({uid(), *(uid(**changes) for changes in different)}) == 4

# SPDX-License-Identifier: Apache-2.0
"""Operations as OCSF events, against what the schema requires."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_provider_ehpc.apis.operation import OperationRecord, OperationStatus
from airflow_provider_ehpc.apis.qingcloud.operations import QingCloudOperations
from airflow_provider_ehpc.audit.ocsf import api_activity
from tests.apis.answering import Answering, sample
from tests.audit.simulated import START, operation

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas" / "ocsf-1.5.0-api-activity.json").read_text())
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
def test_every_event_has_what_the_schema_requires(record: OperationRecord) -> None:
    """A security lake drops events that lack a required attribute, in silence."""
    event = json.loads(json.dumps(api_activity(record)))
    jsonschema.Draft202012Validator(SCHEMA).validate(event)
    assert event["type_uid"] == 600300 + event["activity_id"]


def test_the_documented_operation_as_an_event() -> None:
    event = api_activity(_documented())
    assert event["time"] == 1649208393000
    assert (event["start_time"], event["end_time"], event["duration"]) == (1649208393000, 1649208400000, 7000)
    assert (event["activity_id"], event["status_id"], event["status"]) == (4, 1, "successful")
    assert event["actor"] == {"user": {"uid": "usr-GxkSGFDs"}}
    assert event["cloud"] == {"provider": "QingCloud", "zone": "jinan1a"}
    assert event["src_endpoint"] == {"name": "nscca-hpc1"}
    assert event["metadata"]["uid"] == "j-8ajjp28fps8"
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
        ("", 99),
    ],
)
def test_the_verb_of_an_action_is_its_activity(action: str, activity: int) -> None:
    """Who asks a lake for deletions must get those of both clouds."""
    event: dict[str, Any] = api_activity(operation(1, 0, action=action))
    assert event["activity_id"] == activity


def test_what_has_not_ended_is_no_success() -> None:
    event = api_activity(operation(1, 0, status=OperationStatus.IN_PROGRESS, raw_status="pending"))
    assert (event["status_id"], event["status"]) == (99, "pending")
    assert "end_time" not in event

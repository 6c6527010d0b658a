# SPDX-License-Identifier: Apache-2.0
"""Convert an operation to an event of the Open Cybersecurity Schema Framework: API Activity, class 6003.

Version 1.8.0. The tests validate events with its published schema (ocsf-json-schema).
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_ehpc.apis.operation import OperationRecord, OperationStatus

VERSION = "1.8.0"
_CATEGORY = 6
_CLASS = 6003
_INFORMATIONAL = 1


@dataclass(frozen=True, slots=True)
class _Cloud:
    vendor: str
    product: str
    service: str
    log: str
    time_field: str
    place: str
    """The OCSF name of :attr:`OperationRecord.zone`: ``zone`` or ``region``."""


_CLOUDS = {
    "qingcloud": _Cloud("QingCloud", "QingCloud HPC", "hpc", "/api/operation", "create_time", "zone"),
    "aliyun": _Cloud("Alibaba Cloud", "E-HPC", "ehpc", "ListCommonLogs", "Time", "region"),
}
_ACTIVITIES: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("Create", ("Add", "Bind", "Create", "Install", "Submit")),
    2: ("Read", ("Describe", "Get", "List", "Query")),
    3: ("Update", ("Attach", "Detach", "Modify", "Resize", "Restart", "Set", "Start", "Stop", "Update")),
    4: ("Delete", ("Del", "Delete", "Remove", "Unbind", "Uninstall")),
}
_VERBS = {verb: number for number, (_, verbs) in _ACTIVITIES.items() for verb in verbs}
_STATUSES = {OperationStatus.SUCCEEDED: (1, "Success"), OperationStatus.FAILED: (2, "Failure")}
_UNKNOWN = (0, "Unknown")
_OTHER = 99
"""A value without a name in OCSF; its caption is the cloud's own word."""
# By the prefixes of the IDs in both clouds' samples.
_RESOURCE_TYPES = {
    "cln": "node",
    "ehpc": "cluster",
    "ehpcq": "queue",
    "hpc": "cluster",
    "hpcjob": "job",
    "hpcq": "queue",
    "i": "node",
    "usr": "user",
}


def api_activity(record: OperationRecord) -> dict[str, Any]:
    """Return the event for ``record``. An unchanged record always has the same ``metadata.uid``."""
    cloud = _CLOUDS[record.cloud]
    activity, activity_name = _activity(record.action)
    status, status_name = _STATUSES.get(record.status) or _unmapped(record.raw_status)
    raw_data = json.dumps(dict(record.raw), ensure_ascii=False)
    event: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": _CATEGORY,
        "category_name": "Application Activity",
        "class_uid": _CLASS,
        "class_name": "API Activity",
        "type_uid": _CLASS * 100 + activity,
        "severity_id": _INFORMATIONAL,
        "time": _milliseconds(record.time),
        "status_id": status,
        "status": status_name,
        "message": record.description,
        "metadata": {
            "version": VERSION,
            "profiles": ["cloud"],
            "product": {"name": cloud.product, "vendor_name": cloud.vendor},
            "log_source": cloud.log,
            "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{record.cloud} {record.key} {raw_data}")),
            "original_event_uid": record.uid,
            "original_time": str(record.raw.get(cloud.time_field, record.time.isoformat())),
        },
        "cloud": {"provider": cloud.vendor, cloud.place: record.zone},
        "api": {"operation": record.action, "service": {"name": cloud.service}},
        "actor": {"user": {"uid": record.operator} if record.operator else {"name": "unknown"}},
        # Required: where the request came from. Neither log has this. QingCloud names the machine that
        # carried out the operation.
        "src_endpoint": {"name": record.node or "unknown"},
        "resources": [_resource(uid) for uid in record.resources],
        "raw_data": raw_data,
    }
    if record.error:
        event["status_code"] = record.error
    if record.changed_at and record.status.final:
        event["start_time"] = event["time"]
        event["end_time"] = _milliseconds(record.changed_at)
        event["duration"] = event["end_time"] - event["time"]
    return event


def _activity(action: str) -> tuple[int, str]:
    # The verb comes first (CreateCluster) or after the module (HpcQueueRemoveEhpcQueueNodes).
    for word in re.findall(r"[A-Z][a-z]*", action):
        if word in _VERBS:
            return _VERBS[word], _ACTIVITIES[_VERBS[word]][0]
    return _unmapped(action)


def _unmapped(word: str) -> tuple[int, str]:
    return (_OTHER, word) if word else _UNKNOWN


def _resource(uid: str) -> dict[str, str]:
    kind = _RESOURCE_TYPES.get(uid.split("-")[0])
    return {"uid": uid, "type": kind} if kind else {"uid": uid}


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)

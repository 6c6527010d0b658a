# SPDX-License-Identifier: Apache-2.0
"""Emulate ListCommonLogs of E-HPC 2024-07-30.

Source of fields and filters: the page of the operation (last updated 2026-06-29).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.aliyun.parameters import invalid, page, required, whole
from airflow_provider_ehpc.emulator.aliyun.protocol import Operation as Handler
from airflow_provider_ehpc.emulator.aliyun.recording import operator_uid
from airflow_provider_ehpc.emulator.aliyun.requests import string_list
from airflow_provider_ehpc.emulator.operation_log import OperationLog
from airflow_provider_ehpc.emulator.operations import EmulatedOperation, EmulatedStatus

_MAX_PAGE_SIZE = 100
_DEFAULT_PAGE_SIZE = 20
_BEIJING = timezone(timedelta(hours=8))
_STATUSES = {
    EmulatedStatus.PENDING: "InProgress",
    EmulatedStatus.WORKING: "InProgress",
    EmulatedStatus.SUCCESSFUL: "Finished",
    EmulatedStatus.FAILED: "Failed",
}


class CommonLogs:
    """The operation on the operation log of the account."""

    def __init__(self, log: OperationLog, owner: CloudAccount) -> None:
        self._log = log
        self._owner = owner

    @property
    def operations(self) -> Mapping[str, Handler]:
        """The operation by name."""
        return {"ListCommonLogs": self.list_common_logs}

    async def list_common_logs(self, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """ListCommonLogs."""
        began_from, began_to = (whole(required(parameters, name), name) for name in ("From", "To"))
        if began_from > began_to:
            raise invalid("From")
        number, size = page(parameters, default=_DEFAULT_PAGE_SIZE, largest=_MAX_PAGE_SIZE)
        status = parameters.get("ActionStatus", "")
        if status not in ("", *_STATUSES.values()):
            raise invalid("ActionStatus")
        reverse = parameters.get("IsReverse", "true").lower()
        if reverse not in ("true", "false"):
            raise invalid("IsReverse")
        actions = string_list(parameters, "ActionName")
        self._log.apply_faults("aliyun")
        rows = [
            entry
            for row in self._log.read(
                "aliyun", began_from=began_from, began_to=began_to, newest_first=reverse == "true"
            )
            if (entry := _entry(row))
            and (not actions or entry["Action"] in actions)
            and status in ("", entry["Status"])
            and parameters.get("ClusterId", "") in ("", entry["ClusterId"])
            and parameters.get("LogRequestId", "") in ("", entry["RequestId"])
            and parameters.get("OperatorUid", "") in ("", entry["OperatorUid"])
            # "Operation" on one page, "operation" on another.
            and parameters.get("LogType", "").lower() in ("", entry["LogType"].lower())
            and ("Resource" not in parameters or parameters["Resource"] in entry["Target"].split())
        ]
        return {
            "Uid": operator_uid(self._owner),
            "PageNumber": number,
            "PageSize": size,
            "TotalCount": len(rows),
            "Logs": rows[(number - 1) * size : number * size],
        }


def _entry(row: EmulatedOperation) -> Mapping[str, Any]:
    cluster = row.resources[0] if row.resources else ""
    return {
        "RequestId": row.id,
        # Reported without a zone. The console shows these times in that of Beijing.
        "Time": datetime.fromtimestamp(row.second, _BEIJING).strftime("%Y-%m-%d %H:%M:%S"),
        "OperatorUid": row.actor,
        "Action": row.action,
        "Status": _STATUSES[row.status],
        "Message": row.error or row.description,
        "ClusterId": cluster,
        "Target": " ".join((*row.resources[1:], *row.job_ids)),
        "LogType": "Operation",
    }

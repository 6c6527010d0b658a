# SPDX-License-Identifier: Apache-2.0
"""E-HPC API version 2024-07-30, ListCommonLogs: the log of operations on clusters.

Sources: the operation's page (last updated 2026-06-29) and ``alibabacloud-ehpc20240730`` 2.4.0.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import partial
from typing import TypedDict, Unpack

from pydantic import Field

from airflow_provider_ehpc.apis.aliyun.ehpc_calls import VERSION
from airflow_provider_ehpc.apis.aliyun.rpc import rpc_call
from airflow_provider_ehpc.apis.call import ApiCall, Flow, UnexpectedResponse
from airflow_provider_ehpc.apis.keywords import check_names
from airflow_provider_ehpc.apis.listing import one_pass
from airflow_provider_ehpc.apis.moments import epoch_seconds
from airflow_provider_ehpc.apis.operation import OperationPage, OperationRecord, OperationStatus
from airflow_provider_ehpc.apis.response import (
    Items,
    Number,
    PascalResponseModel,
    Text,
    Time,
    VerbatimResponseModel,
)

PAGE_SIZE = 100
"""Maximum number of logs on one page."""

_STATUSES = {
    "inprogress": OperationStatus.IN_PROGRESS,
    "finished": OperationStatus.SUCCEEDED,  # a failed operation has the status Failed
    "failed": OperationStatus.FAILED,
}
# A log's time has no zone (2024-08-22 14:21:54), and no page documents one. These zones are tried on the
# server, Beijing first because the console uses it.
_ZONES = (timezone(timedelta(hours=8)), UTC)


class CommonLog(VerbatimResponseModel, PascalResponseModel):
    """Summary of one operation."""

    request_id: Text = ""
    """ID of the operation's own request; GetCommonLogDetail takes it as LogRequestId."""
    time: Time = None
    """Without a zone."""
    action: Text = ""
    status: Text = ""
    """``InProgress``, ``Finished`` or ``Failed``."""
    message: Text = ""
    operator_uid: Text = ""
    cluster_id: Text = ""
    target: Text = ""
    log_type: Text = ""


class ListCommonLogsResponse(PascalResponseModel):
    """Response of ListCommonLogs: one page."""

    essential = frozenset({"Logs"})

    request_id: Text = ""
    uid: Text = ""
    page_number: Number = None
    page_size: Number = None
    total_count: Number = None
    logs: Items[CommonLog] = Field(default_factory=list)


class LogFilters(TypedDict, total=False):
    """Filters of ListCommonLogs.

    ``action_status`` is ``InProgress``, ``Finished`` or ``Failed``; ``log_type`` is ``Operation`` (in lower
    case on another page); ``resource`` is the name of one resource, which the API does not recommend.
    """

    cluster_id: str | None
    action_names: list[str] | None
    action_status: str | None
    operator_uid: str | None
    log_request_id: str | None
    log_type: str | None
    resource: str | None


def list_common_logs(
    time_from: datetime | int,
    time_to: datetime | int,
    *,
    page_number: int = 1,
    page_size: int = PAGE_SIZE,
    is_reverse: bool = False,
    **filters: Unpack[LogFilters],
) -> ApiCall[ListCommonLogsResponse]:
    """List one page of the operations in a period (ListCommonLogs).

    :param time_from: an aware datetime or epoch seconds, like ``time_to``.
    :param page_size: 1 to 100.
    :param is_reverse: True for the newest first, which is the API's default.
    :param filters: see :class:`LogFilters`.
    :raises InvalidArgument: if a time is not a valid moment.
    """
    check_names(filters, LogFilters)
    cluster_id, action_names = filters.get("cluster_id"), filters.get("action_names")
    return rpc_call(
        VERSION,
        "ListCommonLogs",
        ListCommonLogsResponse,
        {
            "From": epoch_seconds("time_from", time_from),
            "To": epoch_seconds("time_to", time_to),
            "ClusterId": cluster_id,
            "ActionName": None if action_names is None else json.dumps(action_names, separators=(",", ":")),
            "ActionStatus": filters.get("action_status"),
            "OperatorUid": filters.get("operator_uid"),
            "LogRequestId": filters.get("log_request_id"),
            "LogType": filters.get("log_type"),
            "Resource": filters.get("resource"),
            "PageNumber": page_number,
            "PageSize": page_size,
            "IsReverse": "true" if is_reverse else "false",
        },
        subject=f"cluster {cluster_id}" if cluster_id else "all clusters",
    )


class EhpcOperations:
    """The operation log of a region, or of one of its clusters, as a source for the audit."""

    page_size = PAGE_SIZE

    def __init__(self, region: str, cluster_id: str | None = None) -> None:
        self.scope = "-".join(part for part in ("aliyun", region, cluster_id) if part)
        self._region = region
        self._cluster_id = cluster_id
        self._zone: tzinfo | None = None

    def page(self, start: int, end: int, number: int) -> Flow[OperationPage]:
        """See :class:`~airflow_provider_ehpc.apis.operation.OperationSource`."""
        response = yield list_common_logs(start, end, cluster_id=self._cluster_id, page_number=number + 1)
        if response.total_count is None:
            raise UnexpectedResponse(
                "the response does not contain the number of operations (TotalCount)",
                request_id=response.request_id,
            )
        records = yield from self._records(response)
        return OperationPage(records, response.total_count)

    def find(self, uid: str, operation_id: str, time: datetime) -> Flow[OperationRecord | None]:
        """See :class:`~airflow_provider_ehpc.apis.operation.OperationSource`."""
        began = int(time.timestamp())
        response = yield list_common_logs(
            began - 1, began + 1, cluster_id=self._cluster_id, log_request_id=operation_id
        )
        records = yield from self._records(response)
        return next((record for record in records if record.uid == uid), None)

    def _records(self, response: ListCommonLogsResponse) -> Flow[tuple[OperationRecord, ...]]:
        if response.logs and self._zone is None:
            self._zone = yield from self._find_zone(response.logs[0])
        return tuple(self._record(log) for log in response.logs)

    def _find_zone(self, log: CommonLog) -> Flow[tzinfo]:
        """Return the zone of the log's time: only in this zone, the server lists the log at that time."""
        for zone in _ZONES:
            began = int(_moment(log, zone).timestamp())
            # Without LogRequestId, because the server might then ignore the time, which is to be tested.
            found = yield from one_pass(
                partial(self._second, began),
                _uid,
                PAGE_SIZE,
                enough=lambda rows: any(row.request_id == log.request_id for row in rows),
            )
            if any(row.request_id == log.request_id for row in found.values()):
                return zone
        raise UnexpectedResponse(
            f"the time of operation {log.request_id}, {log.raw.get('Time')!r}, is neither Beijing "
            "time nor UTC: the server does not list the operation at either of them"
        )

    def _second(self, began: int, number: int) -> Flow[tuple[list[CommonLog], int | None]]:
        response = yield list_common_logs(
            began - 1, began + 1, cluster_id=self._cluster_id, page_number=number
        )
        return response.logs, response.total_count

    def _record(self, log: CommonLog) -> OperationRecord:
        status = _STATUSES.get(log.status.casefold(), OperationStatus.UNKNOWN)
        return OperationRecord(
            cloud="aliyun",
            zone=self._region,
            uid=_uid(log),
            operation_id=log.request_id,
            time=_moment(log, self._zone),
            action=log.action,
            status=status,
            raw_status=log.status,
            operator=log.operator_uid,
            description=log.message,
            resources=tuple(dict.fromkeys(part for part in (log.cluster_id, *log.target.split()) if part)),
            error=log.message if status is OperationStatus.FAILED else "",
            raw=log.raw,
        )


def _uid(log: CommonLog) -> str:
    # One request may act on several targets, and no page documents an ID for each log.
    return "/".join(part for part in (log.request_id, log.action, log.target) if part)


def _moment(log: CommonLog, zone: tzinfo | None) -> datetime:
    if not log.request_id or log.time is None:
        raise UnexpectedResponse(
            f"an operation has no RequestId or no readable Time: {log.request_id or 'no ID'}, "
            f"{log.raw.get('Time')!r}"
        )
    return (log.time if log.time.tzinfo else log.time.replace(tzinfo=zone)).astimezone(UTC)

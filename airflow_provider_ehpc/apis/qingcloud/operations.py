# SPDX-License-Identifier: Apache-2.0
"""QingCloud HPC's ``/operation``: the operation log of clusters, and the progress of asynchronous calls.

Source: the page on operation of the HPC API reference (2023-09-06). Its sample is not JSON, and it does not
explain all filters. QingCloud's DescribeJobs, from which this operation is derived, explains some of them.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from airflow_provider_ehpc.apis.call import ApiCall, Flow, NotFound, UnexpectedResponse
from airflow_provider_ehpc.apis.moments import aware
from airflow_provider_ehpc.apis.operation import OperationPage, OperationRecord
from airflow_provider_ehpc.apis.qingcloud.protocol import PAGE_SIZE, hpc_call
from airflow_provider_ehpc.apis.qingcloud.signing import TIME_FORMAT
from airflow_provider_ehpc.apis.qingcloud.states import operation_status
from airflow_provider_ehpc.apis.response import (
    Id,
    Items,
    Number,
    ResponseModel,
    Text,
    Time,
    VerbatimResponseModel,
)


class HpcOperation(VerbatimResponseModel):
    """One operation. Its row changes: from pending to successful or failed."""

    job_id: Id = ""
    """The operation's ID (``j-…``), which asynchronous calls return. A compute job has ``hpcjob-…``."""
    job_action: Text = ""
    action_describe: Text = ""
    create_time: Time = None
    status: Text = ""
    status_time: Time = None
    error_codes: Text = ""
    owner: Text = ""
    resource_ids: Text = ""
    """IDs of cluster, queue and nodes, separated by spaces."""
    submitter: Text = ""
    """The node that carried out the operation, not the person."""


class ListOperationsResponse(ResponseModel):
    """Response of operation: one page."""

    essential = frozenset({"job_set"})

    total_count: Number = None
    job_set: Items[HpcOperation] = Field(default_factory=list)


def list_operations(
    zone: str,
    *,
    jobs: str | None = None,
    job_ids: str | None = None,
    status: str | None = None,
    job_action: str | None = None,
    action_describe: str | None = None,
    directive: str | None = None,
    resource_ids: str | None = None,
    owner: str | None = None,
    search_word: str | None = None,
    verbose: int | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    offset: int = 0,
    limit: int = PAGE_SIZE,
    reverse: int = 0,
) -> ApiCall[ListOperationsResponse]:
    """List operations of clusters.

    :param jobs: ID of an operation; the documentation explains ``job_ids`` in the same way.
    :param status: ``pending``, ``successful`` or ``failed``.
    :param resource_ids: ID of a resource or a cluster; without it, the zone's operations are listed.
    :param start_time: aware. It is not documented to which of a row's two times it applies.
    :param end_time: aware. It is not documented to which of a row's two times it applies.
    :param limit: 1 to 100.
    :param reverse: 0 for the oldest first, 1 for the newest first. The default is not documented.
    :raises InvalidArgument: for a time that is not a datetime with a zone.
    """
    return hpc_call(
        "operation",
        ListOperationsResponse,
        {
            "zone": zone,
            "jobs": jobs,
            "job_ids": job_ids,
            "status": status,
            "job_action": job_action,
            "action_describe": action_describe,
            "directive": directive,
            "resource_ids": resource_ids,
            "owner": owner,
            "search_word": search_word,
            "verbose": verbose,
            "start_time": _text("start_time", start_time),
            "end_time": _text("end_time", end_time),
            "offset": offset,
            "limit": limit,
            "reverse": reverse,
        },
        subject=f"zone {zone}",
    )


def find_operation(zone: str, operation_id: str) -> Flow[HpcOperation]:
    """Request one operation.

    :raises NotFound: if the cloud does not list it.
    """
    # Two filters have the same explanation, so both are sent. The server may use only one of them or none, so
    # the row is searched by its ID.
    call = list_operations(zone, jobs=operation_id, job_ids=operation_id, reverse=1)
    page: ListOperationsResponse = yield call
    for operation in page.job_set:
        if operation.job_id == operation_id:
            return operation
    raise NotFound(f"unknown operation {operation_id} in zone {zone}")


class QingCloudOperations:
    """The operation log of a zone, or of one of its clusters, for the audit."""

    page_size = PAGE_SIZE

    def __init__(self, zone: str, cluster_id: str | None = None) -> None:
        self.scope = "-".join(part for part in ("qingcloud", zone, cluster_id) if part)
        self._zone = zone
        self._cluster_id = cluster_id
        self._column_proved = False

    def page(self, start: int, end: int, number: int) -> Flow[OperationPage]:
        """See :class:`~airflow_provider_ehpc.apis.operation.OperationSource`."""
        page = yield self._list(start, end, number * PAGE_SIZE)
        if page.total_count is None:
            raise UnexpectedResponse("the response has no total number of operations (total_count)")
        records = tuple(self._record(operation) for operation in page.job_set)
        if records and not self._column_proved:
            yield from self._prove_column(records)
        return OperationPage(records, page.total_count)

    def find(self, uid: str, operation_id: str, time: datetime) -> Flow[OperationRecord | None]:
        """See :class:`~airflow_provider_ehpc.apis.operation.OperationSource`."""
        try:
            operation = yield from find_operation(self._zone, operation_id)
        except NotFound:
            return None
        return self._record(operation)

    def _list(self, start: int, end: int, offset: int) -> ApiCall[ListOperationsResponse]:
        return list_operations(
            self._zone,
            resource_ids=self._cluster_id,
            start_time=datetime.fromtimestamp(start, UTC),
            end_time=datetime.fromtimestamp(end, UTC),
            offset=offset,
        )

    def _prove_column(self, records: tuple[OperationRecord, ...]) -> Flow[None]:
        """Prove that the server filters by the start of operations.

        If it filtered by their last change, the operations that start in a window and end after it would be
        missing without a sign. So the operation whose times differ most must be found by its start.
        """
        witness = max(records, key=_seconds_until_changed)
        if _seconds_until_changed(witness) <= 2:
            return  # the request below would find it by either time
        started = int(witness.time.timestamp())
        page = yield self._list(started - 1, started + 1, 0)
        if any(operation.job_id == witness.operation_id for operation in page.job_set):
            self._column_proved = True
        elif len(page.job_set) >= (page.total_count or 0):
            raise UnexpectedResponse(
                f"operation {witness.operation_id} is not in the list of operations that started in the same "
                "second: start_time and end_time mean another time there, so no window can be read"
            )

    def _record(self, operation: HpcOperation) -> OperationRecord:
        if not operation.job_id or operation.create_time is None:
            raise UnexpectedResponse(
                f"an operation has no ID or no readable create_time: {operation.job_id or 'no ID'}, "
                f"{operation.raw.get('create_time')!r}"
            )
        return OperationRecord(
            cloud="qingcloud",
            zone=self._zone,
            uid=operation.job_id,
            operation_id=operation.job_id,
            time=_aware(operation.create_time),
            action=operation.job_action,
            status=operation_status(operation.status),
            raw_status=operation.status,
            operator=operation.owner,
            description=operation.action_describe,
            resources=tuple(operation.resource_ids.split()),
            changed_at=_aware(operation.status_time) if operation.status_time else None,
            error=operation.error_codes,
            node=operation.submitter,
            raw=operation.raw,
        )


def _seconds_until_changed(record: OperationRecord) -> float:
    return ((record.changed_at or record.time) - record.time).total_seconds()


def _aware(time: datetime) -> datetime:
    # Every documented time of an operation ends in Z; a time without it would have the same zone.
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _text(name: str, time: datetime | None) -> str | None:
    return None if time is None else aware(name, time).astimezone(UTC).strftime(TIME_FORMAT)

# SPDX-License-Identifier: Apache-2.0
"""Emulate /operation: the log of operations on the clusters of a zone.

Source: the page on operation in the HPC API reference (2023-09-06). Anything undocumented is as in
DescribeJobs, from which the action descends, or else as it is hardest for a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.emulator.operation_log import OperationLog
from airflow_provider_ehpc.emulator.operations import EmulatedOperation, EmulatedStatus
from airflow_provider_ehpc.emulator.qingcloud.parameters import (
    Code,
    moment,
    newest_first,
    page,
    refusal,
    utc,
    whole,
)
from airflow_provider_ehpc.emulator.qingcloud.protocol import Action, HpcRequest

_NODE = "emulator-hpc1"


class Operations:
    """The action on the operation log."""

    def __init__(self, log: OperationLog) -> None:
        self._log = log

    @property
    def actions(self) -> Mapping[str, Action]:
        """The action by path."""
        return {"operation": Action("GET", "HpcOperationListOperation", self.list_operations)}

    async def list_operations(self, request: HpcRequest) -> Mapping[str, Any]:
        """operation."""
        query = request.query
        status = query.get("status", "")
        if status not in ("", *EmulatedStatus):
            raise refusal(Code.MALFORMED, f"parameter [status] is not one of {', '.join(EmulatedStatus)}")
        ids = _items(query, "jobs") | _items(query, "job_ids")
        resources = _items(query, "resource_ids")
        verbose = whole(query, "verbose", 0) > 0
        self._log.apply_faults("qingcloud")
        rows = [
            row
            for row in self._log.read(
                "qingcloud",
                began_from=moment(query, "start_time"),
                began_to=moment(query, "end_time"),
                newest_first=newest_first(query),
            )
            if status in ("", row.status)
            and (not ids or row.id in ids)
            and (not resources or resources & {*row.resources, *row.job_ids})
            and query.get("job_action", "") in ("", row.action)
            and query.get("owner", "") in ("", row.actor)
            and query.get("action_describe", "") in row.description
            and query.get("directive", "") in row.request
            and query.get("search_word", "") in f"{row.action} {row.description}"
        ]
        job_set = [_entry(row, verbose=verbose) for row in rows[page(query)]]
        return {"data": {}, "job_set": job_set, "total_count": len(rows)}


def _items(query: Mapping[str, str], name: str) -> set[str]:
    """Read a list of IDs. Its form is not documented; commas and, as in responses, spaces are accepted."""
    return set(query.get(name, "").replace(",", " ").split())


def _entry(row: EmulatedOperation, *, verbose: bool) -> Mapping[str, Any]:
    entry = {
        "action_describe": row.description,
        "create_time": utc(row.began_at),
        "error_codes": row.error,
        "job_action": row.action,
        "job_id": row.id,
        "owner": row.actor,
        "resource_ids": " ".join((*row.resources, *row.job_ids)),
        "status": row.status.value,
        "status_time": utc(row.changed_at),
        "submitter": _NODE,
        "task_count": None,
    }
    # The effect of verbose is not documented; DescribeClusterJobs of this cloud has the request as directive.
    return {**entry, "directive": row.request} if verbose else entry

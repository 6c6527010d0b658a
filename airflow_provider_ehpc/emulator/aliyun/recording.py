# SPDX-License-Identifier: Apache-2.0
"""Record requests to E-HPC, of both API versions, in the operation log."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.gateway import REQUEST_ID, Act, Refused
from airflow_provider_ehpc.emulator.operation_log import OperationLog
from airflow_provider_ehpc.emulator.operations import EmulatedOperation, EmulatedStatus

_READS = ("Describe", "Get", "List")


def recorded(
    act: Act, log: OperationLog, account: CloudAccount, action: str, parameters: Mapping[str, str]
) -> Act:
    """Return ``act`` with an entry in the operation log. Operations that only read have no entry."""
    if action.startswith(_READS):
        return act

    async def act_and_record() -> Mapping[str, Any]:
        cluster = parameters.get("ClusterId", "")
        (entry,) = log.add(
            [
                EmulatedOperation(
                    time.time(),
                    action,
                    "aliyun",
                    REQUEST_ID.get(),
                    EmulatedStatus.PENDING,
                    actor=operator_uid(account),
                    resources=(cluster,) if cluster else (),
                    job_ids=_job_ids(parameters),
                )
            ]
        )
        try:
            response: Mapping[str, Any] = await act()
        except Refused as refusal:
            log.end(entry, EmulatedStatus.FAILED, error=refusal.message)
            raise
        log.end(entry, EmulatedStatus.SUCCESSFUL, job_ids=_job_ids(response))
        return response

    return act_and_record


def operator_uid(account: CloudAccount) -> str:
    """Return the number that identifies an account."""
    return str(10**15 + int(hashlib.sha256(account.access_key_id.encode()).hexdigest(), 16) % 10**15)


def _job_ids(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the job IDs in a request or a response of any E-HPC API."""
    # StopServerlessJobs writes a list as JobIds.1, JobIds.2.
    found = [str(value) for name, value in fields.items() if re.fullmatch(r"JobId|JobIds\.\d+", name)]
    for name in ("JobIds", "Jobs"):
        try:
            items = json.loads(fields.get(name) or "[]")
        except (TypeError, ValueError, RecursionError):
            continue
        if isinstance(items, list):
            found += [str(item.get("Id", "")) if isinstance(item, dict) else str(item) for item in items]
    return tuple(filter(None, found))

# SPDX-License-Identifier: Apache-2.0
"""Times without a zone: every result names moments, and all operations of an API the same ones."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobStatus
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from tests.conftest import Connect
from tests.hooks.conftest import JOB, Endpoint, send_json

LOCAL = {**JOB, "JobInfo": {**JOB["JobInfo"], "StartTime": "2026-03-01T20:00:00"}}  # type: ignore[dict-item]
REF = JobRef("12.manager", "ehpc-hz-1")


def times(status: JobStatus | None) -> list[datetime]:
    assert status is not None
    found = [status.submitted_at, status.started_at, status.ended_at, status.modified_at]
    return [time for time in found if time]


@pytest.mark.parametrize("spelling", ["pbs", "slurm"])
@pytest.mark.parametrize("api", ["ehpc", "ehpc-classic"])
def test_every_operation_reports_the_same_moment(
    tmp_path: Any, connect: Connect, api: str, spelling: str
) -> None:
    with Emulator(tmp_path / "cloud", spelling=spelling) as cloud:
        jobs = [cloud.submit("exit 0") for _ in range(4)]
        for job in jobs:
            cloud.wait_for(job)
        hook = job_hook(connect(cloud.connection), api)
        refs = [hook.job_ref(job) for job in jobs]
        since = datetime.now().astimezone() - timedelta(hours=1)

        async def asked() -> list[JobStatus | None]:
            one, all_of_them = await hook.ajob_status(refs[0]), await hook.ajob_statuses(refs)
            listed = await hook.acluster_jobs(since)
            await hook.aclose()
            return [one, *all_of_them.values(), *(job.status for job in listed.values())]

        reported = [
            hook.job_status(refs[0]),
            *hook.job_statuses(refs).values(),
            *(job.status for job in hook.cluster_jobs(since).values()),
            *asyncio.run(asked()),
        ]
    for status in reported:
        assert times(status)
        for moment in times(status):
            assert abs(moment.timestamp() - time.time()) < 300


@pytest.mark.parametrize(
    ("zone", "moment"),
    [
        (None, "2026-03-01T12:00:00+00:00"),
        ("", "2026-03-01T12:00:00+00:00"),
        ("UTC", "2026-03-01T20:00:00+00:00"),
        ("America/New_York", "2026-03-02T01:00:00+00:00"),
    ],
)
def test_the_connection_names_the_zone(
    endpoint: Endpoint, connect: Connect, zone: str | None, moment: str
) -> None:
    endpoint.answer = lambda handler: send_json(handler, LOCAL)
    status = EhpcHook(connect(endpoint.connection, extra={"time_zone": zone})).job_status(REF)
    assert status.as_dict()["started_at"] == moment
    assert status.zone_assumed is not bool(zone)


@pytest.mark.parametrize("zone", ["Asia/Nowhere", "../etc/passwd", "8", 8])
def test_an_unknown_zone_is_named(endpoint: Endpoint, connect: Connect, zone: Any) -> None:
    with pytest.raises(InvalidArgument, match="time_zone: unknown zone"):
        _ = EhpcHook(connect(endpoint.connection, extra={"time_zone": zone})).account

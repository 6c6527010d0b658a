# SPDX-License-Identifier: Apache-2.0
"""The record of a task's jobs: what it holds, and how large it gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.recording.record import MOST_CHANGES, MOST_JOBS, MOST_POINTS, LogGrowth, TaskRecord

REF = JobRef("7", "c1")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGIN.timestamp()


def status(state: JobState, **fields: Any) -> JobStatus:
    return JobStatus("7", state, state.value, "c1", **fields)


def at(minutes: float) -> str:
    return (BEGIN + timedelta(minutes=minutes)).isoformat()


def test_a_state_begins_when_the_cloud_says_so() -> None:
    record = TaskRecord()
    times = {"submitted_at": BEGIN, "started_at": BEGIN + timedelta(minutes=5)}
    record.saw([(REF, status(JobState.QUEUED, submitted_at=BEGIN), NOW + 60)])
    assert record.as_dict(NOW)["jobs"][0]["since"] == at(0)
    record.saw([(REF, status(JobState.RUNNING, **times), NOW + 400)])
    assert record.as_dict(NOW)["jobs"][0]["since"] == at(5)
    assert record.as_dict(NOW)["changes"] == [["QUEUED", at(0)], ["RUNNING", at(5)]]


def test_without_times_it_begins_when_it_was_first_seen() -> None:
    record = TaskRecord()
    record.saw([(REF, status(JobState.RUNNING), NOW)])
    record.saw([(REF, status(JobState.RUNNING), NOW + 600)])
    assert record.as_dict(NOW)["jobs"][0]["since"] == at(0)


def test_a_job_that_runs_again_was_not_queued_since_its_submission() -> None:
    record = TaskRecord()
    record.saw([(REF, status(JobState.QUEUED, submitted_at=BEGIN, restarts=1), NOW + 3600)])
    assert record.as_dict(NOW)["jobs"][0]["since"] == at(60)


def test_another_process_continues_the_record() -> None:
    worker = TaskRecord(conn_id="c", console="https://console")
    worker.saw([(REF, status(JobState.QUEUED), NOW)])
    worker.growth.add(NOW, 10)
    trigger = TaskRecord(conn_id="c")
    trigger.saw([(REF, status(JobState.RUNNING), NOW + 300)])
    trigger.growth.add(NOW + 400, 90)
    trigger.resume(json.loads(json.dumps(worker.as_dict(NOW))))
    record = trigger.as_dict(NOW + 400)
    assert record["console"] == "https://console"
    assert record["changes"] == [["QUEUED", at(0)], ["RUNNING", at(5)]]
    assert record["log"]["points"] == [[int(NOW), 10], [int(NOW) + 400, 90]]
    same = TaskRecord()
    same.saw([(REF, status(JobState.QUEUED), NOW + 900)])
    same.resume(worker.as_dict(NOW))
    assert same.as_dict(NOW)["jobs"][0]["since"] == at(0), "it is still queued"
    nothing_seen = TaskRecord()
    nothing_seen.resume(worker.as_dict(NOW))
    assert nothing_seen.as_dict(NOW)["jobs"] == worker.as_dict(NOW)["jobs"]


def test_it_names_the_cause_of_a_failure() -> None:
    record = TaskRecord()
    ended = status(JobState.FAILED, exit_code=137, ended_at=BEGIN)
    record.ended([ended.as_dict()], NOW, {"7": "out of memory"})
    (job,) = record.as_dict(NOW, outcome="failed")["jobs"]
    assert (job["cause"], job["exit_code"], job["since"]) == ("out of memory", 137, at(0))


def test_the_size_is_bounded_whatever_the_cloud_reports() -> None:
    long = "x" * 1_000_000
    record = TaskRecord()
    texts = {"name": long, "queue": long, "reason": long, "resources": {"cores": "2", "memory": long}}
    record.saw([(REF, status(JobState.RUNNING, **texts), NOW)])
    saved = record.as_dict(NOW)
    assert len(json.dumps(saved)) < 2_000
    assert saved["jobs"][0]["resources"]["cores"] == "2"


def test_ten_thousand_jobs_make_a_small_record() -> None:
    nodes = tuple(f"node{n}" for n in range(1000))
    states = [JobState.FAILED if n == 9_999 else JobState.RUNNING for n in range(10_000)]
    record = TaskRecord(conn_id="c")
    record.saw(
        (JobRef(str(n)), JobStatus(str(n), state, "R", name="n" * 5000, nodes=nodes, reason="r" * 5000), NOW)
        for n, state in enumerate(states)
    )
    written = record.as_dict(NOW)
    assert len(written["jobs"]) == MOST_JOBS
    assert written["jobs"][0]["job_id"] == "9999", "the one that failed comes first"
    assert written["counts"] == {"RUNNING": 9999, "FAILED": 1}
    assert written["jobs"][0]["nodes"] == 1000
    # MySQL stores at most 64 KiB in a TEXT.
    assert len(json.dumps(written)) < 64 * 1024
    assert "changes" not in written


def test_a_job_that_changes_often_makes_a_small_record() -> None:
    record = TaskRecord()
    for n in range(500):
        record.saw([(REF, status(JobState.RUNNING if n % 2 else JobState.QUEUED), NOW + n)])
    assert len(record.as_dict(NOW)["changes"]) == MOST_CHANGES


@pytest.mark.parametrize(("seconds", "every"), [(600, 5), (86_400, 10), (14 * 86_400, 60)])
def test_the_growth_of_a_log_has_few_points(seconds: int, every: int) -> None:
    growth = LogGrowth()
    for n in range(0, seconds, every):
        growth.add(NOW + n, n * 100)
    assert MOST_POINTS // 2 - 1 <= len(growth.points) <= MOST_POINTS
    times = [point[0] for point in growth.points]
    sizes = [point[1] for point in growth.points]
    assert times == sorted(set(times))
    assert sizes == sorted(sizes)
    assert times[0] == NOW
    assert growth.points[-1] == [int(NOW) + seconds - every, (seconds - every) * 100]
    again = LogGrowth()
    again.add(NOW + seconds + 100, seconds * 100)
    again.resume(growth.points)
    assert len(again.points) <= MOST_POINTS
    assert again.points[-1] == [int(NOW) + seconds + 100, seconds * 100]

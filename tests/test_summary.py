# SPDX-License-Identifier: Apache-2.0
"""The summary of a job: what it cost, and no number that the cloud's report does not support."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_ehpc import metrics
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus, in_zone
from airflow_provider_ehpc.apis.schedulers.pbs import PbsJob, pbs_status
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.summary import duration, sentence, summary, total
from tests.conftest import TaskLog

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def job(**fields: Any) -> dict[str, Any]:
    times = {
        "submitted_at": START - timedelta(minutes=5),
        "started_at": START,
        "ended_at": START + timedelta(hours=2, minutes=3),
    }
    status = {"job_id": "7", "state": JobState.SUCCEEDED, "raw_state": "DONE", "cluster_id": "c", **times}
    return JobStatus(**{**status, **fields}).as_dict()


NODES = ("n1", "n2", "n3", "n4")


def test_all_that_is_known() -> None:
    whole = job(nodes=NODES, resources_used={"cores": "12", "memory": "30 GB"})
    found = summary(whole)
    assert found == {
        "queue_seconds": 300.0,
        "run_seconds": 7380.0,
        "nodes": 4,
        "node_hours": 8.2,
        "cores_used": 12,
        "memory_used": "30 GB",
    }
    assert sentence(whole, found) == (
        "job 7 in cluster c ran 2 h 3 min on 4 nodes (8.2 node-hours), waited 5 min in the queue; "
        "used 12 cores, 30 GB per node"
    )


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "job 7 in cluster c ran 2 h 3 min, waited 5 min in the queue"),
        ({"nodes": ("n1",)}, "ran 2 h 3 min on 1 node (2.0 node-hours)"),
        ({"resources": {"nodes": "2"}}, "ran 2 h 3 min on 2 nodes (4.1 node-hours)"),
        ({"resources": {"nodes": "some"}}, "ran 2 h 3 min, waited"),
        ({"ended_at": None}, "job 7 in cluster c waited 5 min in the queue"),
        ({"submitted_at": None}, "job 7 in cluster c ran 2 h 3 min"),
        (
            {"ended_at": START + timedelta(seconds=9), "nodes": ("a",)},
            "ran 9 s on 1 node (0.0025 node-hours)",
        ),
        ({"nodes": ("a",), "resources_used": {"cores": "1"}}, "in the queue; used 1 core"),
    ],
)
def test_the_line_holds_what_is_known(fields: dict[str, Any], line: str) -> None:
    assert line in sentence(job(**fields), summary(job(**fields)))


@pytest.mark.parametrize(
    "fields",
    [
        {"started_at": None},
        {"state": JobState.RUNNING},
        {"state": JobState.UNKNOWN},
        # A clock that is wrong.
        {"submitted_at": START + timedelta(hours=1), "ended_at": START - timedelta(hours=1)},
        # Times that cannot be compared.
        {"submitted_at": datetime(2026, 3, 1, 11), "ended_at": datetime(2026, 3, 1, 13)},  # noqa: DTZ001
        {"zones_mixed": True},
        # The times of the last run, and of an array from its first start to its last end.
        {"restarts": 1, "array": {"SUCCEEDED": 3}},
        {"restarts": 1, "job_id": "7[].vm"},
    ],
)
def test_no_number_is_better_than_a_wrong_one(fields: dict[str, Any]) -> None:
    found = summary(job(nodes=NODES, **fields))
    assert not {"queue_seconds", "run_seconds", "node_hours"} & found.keys()
    assert sentence(job(nodes=NODES, **fields), found) == ""


def test_a_guessed_zone_is_not_compared_with_a_real_one() -> None:
    zone = timezone(timedelta(hours=8))
    local = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - as E-HPC reports it
    status = JobStatus("7", JobState.SUCCEEDED, "F", started_at=local, ended_at=START)
    assert summary(in_zone(status, zone, assumed=True).as_dict()) == {}
    assert summary(in_zone(status, zone, assumed=False).as_dict()) == {"run_seconds": 8 * 3600.0}
    both = JobStatus("7", JobState.SUCCEEDED, "F", started_at=local, ended_at=local + timedelta(seconds=3))
    assert summary(in_zone(both, zone, assumed=True).as_dict()) == {"run_seconds": 3.0}


@pytest.mark.parametrize(
    ("nodes", "used"),
    [("vm/0", {"cores": "2", "memory": "512kb"}), ("a/0+b/0", {}), ("", {})],
)
def test_pbs_reports_what_a_job_used_on_all_nodes(nodes: str, used: dict[str, str]) -> None:
    """So it is the usage per node only if there is one. history_timestamp has a zone, stime has none."""
    attributes = {
        "job_state": "F",
        "Exit_status": 0,
        "exec_host": nodes,
        "stime": "Fri Nov 27 07:04:49 2026",
        "obittime": "Fri Nov 27 07:04:59 2026",
        "history_timestamp": 1795763099,
        "resources_used": {"ncpus": 2, "mem": "512kb", "cput": "00:00:01"},
    }
    status = pbs_status(JobRef("1.vm"), PbsJob.model_validate(attributes))
    assert status.resources_used == used
    zoned = in_zone(status, timezone(timedelta(hours=8)), assumed=True)
    assert summary(zoned.as_dict())["run_seconds"] == 10.0


def test_no_memory_is_no_usage() -> None:
    """PBS reads the usage from time to time, so a short job has used 0kb."""
    found = summary(job(resources_used={"cores": "1", "memory": "0kb"}))
    assert found["cores_used"] == 1
    assert "memory_used" not in found


def test_several_jobs_are_one_line() -> None:
    jobs = [job(nodes=NODES), job(nodes=("a",)), job(ended_at=None)]
    line = total([summary(one) for one in jobs])
    assert line == (
        "2 of 3 jobs ran 4 h 6 min in all (10.2 node-hours); the longest wait in the queue was 5 min"
    )
    assert total([summary(job(started_at=None))]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def sensor(conn_id: str, job_id: Any, **arguments: Any) -> JobStateSensor:
    return JobStateSensor(
        task_id="wait", conn_id=conn_id, job_id=job_id, api="ehpc-classic", poke_interval=0.05, **arguments
    )


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The metrics that were sent."""
    collected: list[Any] = []

    class Sender:
        take = staticmethod(collected.append)

    monkeypatch.setattr(metrics, "_sender", Sender())
    return collected


def test_a_task_reports_the_summary_in_log_result_and_metrics(
    ehpc_emulator: Emulator, conn_id: str, task_log: TaskLog, sent: list[Any]
) -> None:
    job_id = ehpc_emulator.submit("sleep 1.5")
    found = sensor(conn_id, job_id).execute({})
    cost = found["summary"]
    assert 1 <= cost["run_seconds"] <= 30
    assert cost["nodes"] == 1
    (line,) = [line for line in task_log.lines if " ran " in line]
    assert line.startswith(f"job {job_id} in cluster ehpc-hz-emulator ran ")
    assert "on 1 node (" in line
    kinds = {name: (value, tags) for _, name, value, tags in sent}
    assert kinds["ehpc.jobs_ended"] == (
        1,
        {"api": "ehpc-classic", "state": "SUCCEEDED", "cause": "none"},
    )
    assert kinds["ehpc.job_run_time"] == (cost["run_seconds"] * 1000, {"api": "ehpc-classic"})
    assert kinds["ehpc.node_seconds"][0] == round(cost["node_hours"] * 3600)


def test_a_failed_job_is_counted_by_its_cause(
    ehpc_emulator: Emulator, conn_id: str, task_log: TaskLog, sent: list[Any]
) -> None:
    job_id = ehpc_emulator.submit("echo MemoryError >&2; exit 1")
    with pytest.raises(JobFailed):
        sensor(conn_id, job_id).execute({})
    (counted,) = [tags for _, name, _, tags in sent if name == "ehpc.jobs_ended"]
    assert counted == {"api": "ehpc-classic", "state": "FAILED", "cause": "out of memory"}
    assert task_log.lines[-2].startswith(f"job {job_id} in cluster ehpc-hz-emulator ran ")
    assert task_log.lines[-1].startswith(f"job {job_id}: out of memory: ")


def test_several_jobs_have_a_summary_each_and_one_line(
    ehpc_emulator: Emulator, conn_id: str, task_log: TaskLog
) -> None:
    jobs = [ehpc_emulator.submit("true") for _ in range(3)]
    found = sensor(conn_id, jobs).execute({})
    assert all("run_seconds" in each["summary"] for each in found)
    (line,) = [line for line in task_log.lines if " ran " in line]
    assert line.startswith("3 jobs ran ")


def test_a_job_on_its_way_has_no_summary(ehpc_emulator: Emulator, conn_id: str, sent: list[Any]) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    found = sensor(conn_id, job_id, target_states=["RUNNING"]).execute({})
    assert "summary" not in found
    assert not [name for _, name, _, _ in sent if name == "ehpc.jobs_ended"]

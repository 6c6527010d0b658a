# SPDX-License-Identifier: Apache-2.0
"""Fill an Airflow database with tasks that recorded jobs, for tests, screenshots and a benchmark.

``python -m tests.ui.seed 5000`` writes 5000 tasks, and the tasks for the screenshots. It must run in the
environment of this Airflow.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.recording.record import KEY, TaskRecord

HOSTILE = "<img src=x onerror=\"document.title='pwned'\">"
"""The name of a job that runs a script if a page inserts it as HTML."""
CLUSTER = "ehpc-hz-cjzp3dbF4l"
_ENDS = {JobState.SUCCEEDED: "success", JobState.FAILED: "failed", JobState.CANCELLED: "failed"}


class Seed:
    """Collect rows to insert."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)
        self.dags: dict[str, dict[str, Any]] = {}
        self.runs: dict[tuple[str, str], dict[str, Any]] = {}
        self.tasks: list[dict[str, Any]] = []
        self.xcoms: list[dict[str, Any]] = []

    def run(self, dag_id: str, run_id: str) -> int:
        """Add a DAG run; return its ID."""
        columns = {"max_active_tasks": 16, "max_consecutive_failed_dag_runs": 0, "is_paused": False}
        self.dags.setdefault(
            dag_id,
            {
                "dag_id": dag_id,
                "bundle_name": "dags-folder",
                "is_stale": False,
                "has_task_concurrency_limits": False,
                **columns,
            },
        )
        number = len(self.runs) + 1
        run = {
            "id": number,
            "dag_id": dag_id,
            "run_id": run_id,
            "run_type": "manual",
            "state": "running",
            "run_after": self.now,
            "logical_date": self.now - timedelta(seconds=number),
            "span_status": "not_started",
        }
        return int(self.runs.setdefault((dag_id, run_id), run)["id"])

    def task(
        self, dag_id: str, run_id: str, task_id: str, state: str, record: Any, map_index: int = -1
    ) -> None:
        """Add a task with its record."""
        number = self.run(dag_id, run_id)
        self.tasks.append(
            {
                "dag_id": dag_id,
                "run_id": run_id,
                "task_id": task_id,
                "map_index": map_index,
                "state": state,
                "pool": "default_pool",
                "pool_slots": 1,
                "try_number": 1,
                "operator": "SubmitJobOperator",
                "span_status": "not_started",
            }
        )
        self.xcoms.append(
            {
                "dag_run_id": number,
                "dag_id": dag_id,
                "run_id": run_id,
                "task_id": task_id,
                "map_index": map_index,
                "key": KEY,
                # Airflow's API server stores the value in this way: JSON in JSON.
                "value": json.dumps(record),
                "timestamp": self.now,
            }
        )

    def job(self, where: str, job_id: str, minutes: float, state: JobState, **fields: Any) -> None:
        """Add a task with one job.

        :param where: DAG, run and task, separated by slashes.
        :param minutes: the number of minutes since the submission of the job.
        """
        cause = fields.pop("cause", None)
        log = fields.pop("log", 0)
        index = fields.pop("map_index", -1)
        conn_id = fields.pop("conn_id", "aliyun_ehpc_default")
        cluster_id = fields.pop("cluster_id", CLUSTER)
        begin = self.now - timedelta(minutes=minutes)
        started = begin + timedelta(minutes=minutes * 0.15)
        times: dict[str, Any] = {"submitted_at": begin}
        if state not in (JobState.PENDING, JobState.QUEUED):
            times["started_at"] = started
        if state.terminal:
            times["ended_at"] = self.now - timedelta(minutes=minutes * 0.1)
        ref = JobRef(job_id, cluster_id)
        api = "modelarts" if "huawei" in conn_id else "ehpc"
        record = TaskRecord(conn_id=conn_id, api=api, console="https://ehpc.console.aliyun.com/")
        steps = [JobState.QUEUED, JobState.RUNNING, state] if "started_at" in times else [state]
        for n, step in enumerate(dict.fromkeys(steps)):
            early = {k: v for k, v in times.items() if k != "ended_at" or step.terminal}
            status = JobStatus(job_id, step, step.value, cluster_id, **early, **fields)
            record.saw([(ref, status, (begin + timedelta(minutes=n)).timestamp())])
        if state.terminal:
            status = JobStatus(job_id, state, state.value, cluster_id, **times, **fields)
            record.ended([status.as_dict()], self.now.timestamp(), {job_id: cause} if cause else None)
        for n in range(40 if log else 0):
            at = started + (times.get("ended_at", self.now) - started) * n / 39
            record.growth.add(at.timestamp(), int(log * (n / 39) ** (1.7 if n < 25 else 1.2)))
        outcome = {"SUCCEEDED": "reached", "FAILED": "failed", "CANCELLED": "failed"}.get(state.value)
        dag_id, run_id, task_id = where.split("/")
        dicted = record.as_dict(self.now.timestamp(), outcome=outcome, lines=log // 61 if log else None)
        self.task(dag_id, run_id, task_id, _ENDS.get(state, "deferred"), dicted, index)

    def tables(self) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        """Return the tables to fill, and the columns of each row that this version of Airflow has."""
        from airflow.models import xcom
        from airflow.models.dag import DagModel
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance

        stored: Any = xcom.XComModel
        tasks, xcoms = self.tasks, self.xcoms
        if hasattr(xcom, "XComModelV2"):
            # Airflow 3.4 stores XComs by the ID of the try.
            stored = xcom.XComModelV2
            ids = [uuid.uuid4() for _ in tasks]
            tasks = [
                {**task, "id": id, "region_index": task["map_index"]}
                for id, task in zip(ids, tasks, strict=True)
            ]
            xcoms = [{**each, "task_instance_id": id} for id, each in zip(ids, xcoms, strict=True)]
        for model, rows in (
            (DagModel, list(self.dags.values())),
            (DagRun, list(self.runs.values())),
            (TaskInstance, tasks),
            (stored, xcoms),
        ):
            names = set(model.__table__.columns.keys())
            yield (
                model.__table__,
                [{name: value for name, value in row.items() if name in names} for row in rows],
            )

    def insert(self) -> None:
        """Write the rows."""
        from airflow.models.dagbundle import DagBundleModel
        from airflow.utils.session import create_session
        from sqlalchemy import insert, select

        with create_session() as session:
            if session.scalar(select(DagBundleModel.name)) is None:
                session.execute(insert(DagBundleModel.__table__), [{"name": "dags-folder", "active": True}])
            for table, rows in self.tables():
                session.execute(insert(table), rows)


def scene(seed: Seed | None = None) -> Seed:
    """Add a small set of tasks that covers everything that the page shows."""
    seed = seed or Seed()
    big = {
        "nodes": tuple(f"compute{n:03}" for n in range(4)),
        "resources": {"cores": "64", "memory": "256GB"},
    }
    small = {"nodes": ("compute007",), "resources": {"cores": "16", "gpus": "2"}}
    at = f"{seed.now - timedelta(hours=2):%Y-%m-%dT%H:%M:%S}+00:00"
    cfd, train, nightly = f"cfd_sweep/manual__{at}", f"train/scheduled__{at}", f"nightly_mesh/scheduled__{at}"
    hostile = "cfd_sweep/manual__2026-11-01T00:00:00+00:00/hostile"
    seed.job(hostile, "501", 8, JobState.RUNNING, name=HOSTILE, log=12_000, **small)
    # Any task can write such a record.
    seed.tasks[-1]["operator"] = "PythonOperator"
    seed.job(
        f"{nightly}/mesh", "88101", 95, JobState.SUCCEEDED, name="mesh-wing", queue="comp", log=184_000, **big
    )
    seed.job(
        f"{nightly}/solve",
        "88107",
        61,
        JobState.RUNNING,
        name="solve-wing",
        queue="comp",
        log=2_480_000,
        **big,
    )
    for index, state in enumerate((JobState.SUCCEEDED, JobState.RUNNING, JobState.CANCELLED)):
        log = (index + 1) * 40_000
        seed.job(
            f"{cfd}/case", f"60{index}", 30, state, name=f"case-{index}", log=log, map_index=index, **small
        )
    record = TaskRecord(conn_id="aliyun_ehpc_default", api="ehpc", console="https://ehpc.console.aliyun.com/")
    states = (
        [JobState.SUCCEEDED] * 118 + [JobState.RUNNING] * 40 + [JobState.QUEUED] * 90 + [JobState.FAILED] * 2
    )
    begin = seed.now - timedelta(hours=3)
    record.saw(
        (
            JobRef(f"7{n:04}", CLUSTER),
            JobStatus(
                f"7{n:04}", state, state.value, CLUSTER, f"sweep-{n}", submitted_at=begin, queue="comp"
            ),
            begin.timestamp(),
        )
        for n, state in enumerate(states)
    )
    dag_id, run_id = cfd.split("/")
    seed.task(dag_id, run_id, "wait_for_sweep", "deferred", record.as_dict(seed.now.timestamp()))
    seed.job(
        f"{train}/finetune",
        "412",
        42,
        JobState.FAILED,
        name="训练-大模型",
        queue="gpu",
        exit_code=137,
        reason="OutOfMemory",
        cause="out of memory",
        log=91_000,
        conn_id="huawei_modelarts_default",
        cluster_id=None,
        **small,
    )
    seed.job(
        f"{train}/evaluate", "413", 12, JobState.QUEUED, name="evaluate", queue="gpu", resources={"gpus": "1"}
    )
    return seed


def many(number: int) -> Seed:
    """Return tasks of many DAG runs, with one job each; every fifth job has failed, and every fifth runs."""
    seed = Seed()
    for n in range(number):
        dag_id = f"{'alpha' if n % 2 else 'beta'}_{n // 2 % 10}"
        states = {0: JobState.FAILED, 7: JobState.FAILED, 3: JobState.RUNNING, 4: JobState.RUNNING}
        state = states.get(n % 10, JobState.SUCCEEDED)
        where = f"{dag_id}/run_{n // 100:04}/task_{n % 5}"
        nodes = ("compute001",)
        seed.job(
            where, str(10_000 + n), 5 + n % 300, state, name=f"job-{n}", log=n, map_index=n // 5, nodes=nodes
        )
    return seed


if __name__ == "__main__":
    scene(many(int(sys.argv[1]))).insert()

# SPDX-License-Identifier: Apache-2.0
"""Read what tasks recorded about their jobs, page by page, with one query per page."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from pydantic import BaseModel, Field, TypeAdapter
from sqlalchemy import and_, or_, select

from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.recording.record import KEY, MOST_CHANGES, MOST_JOBS, MOST_POINTS

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LARGEST_PAGE = 200
"""The maximum number of tasks on a page."""
MOST_READ = 10_000
"""The maximum number of tasks that one request reads. If few of them match the filter, the page is short, and
the next page continues."""
ACTIVE = "ACTIVE"
"""The filter that selects all jobs that have not ended."""
_STATES = {state.value for state in JobState}
_ENDED = {state.value for state in JobState if state.terminal}
_LONGEST_TEXT = 500
_JOB_TEXTS = (
    "job_id",
    "cluster_id",
    "version_id",
    "name",
    "state",
    "raw_state",
    "queue",
    "reason",
    "since",
    "submitted_at",
    "started_at",
    "ended_at",
    "cause",
)
_JOB_NUMBERS = ("exit_code", "restarts", "nodes")
_JOB_COUNTS = ("array", "resources")


# PostgreSQL rejects NUL in a text and larger integers; SQLite rejects integers of more than 64 bits. pydantic
# rejects texts that are not UTF-8.
_Text = Annotated[str, Field(max_length=250, pattern=r"^[^\x00]*$")]
_MapIndex = Annotated[int, Field(ge=-1, lt=2**31)]
_POSITION = TypeAdapter(tuple[Annotated[int, Field(ge=0, lt=2**31)], _Text, _MapIndex])
"""The ID of a DAG run, a task and a map index: all tasks after them are on the next page."""


class Filters(BaseModel):
    """Select the tasks to return."""

    state: _Text | None = None
    """A state of a job, or :data:`ACTIVE`."""
    dag: _Text | None = None
    run: _Text | None = None
    task: _Text | None = None
    map_index: _MapIndex | None = None
    text: _Text | None = None
    """A part of a DAG, run, task, job ID, job name, cluster, queue or connection; the case is ignored."""
    limit: int = Field(50, ge=1, le=LARGEST_PAGE)
    """The number of tasks."""
    after: str | None = Field(None, max_length=2000)
    """``next`` of the previous page."""


def read_page(session: Session, readable: Iterable[str], filters: Filters) -> dict[str, Any]:
    """Return a page of tasks with their jobs, the newest DAG runs first.

    :param readable: the DAGs that the user may read.
    :raises ValueError: if ``state`` or ``after`` is not valid.
    """
    if filters.state and filters.state not in _STATES | {ACTIVE}:
        raise ValueError(f"state: expected {ACTIVE} or one of {', '.join(sorted(_STATES))}")
    dags = set(readable)
    if filters.dag:
        dags &= {filters.dag}
    tasks: list[dict[str, Any]] = []
    last = more = None
    rows = (
        session.execute(_query(dags, filters), execution_options={"yield_per": filters.limit + 1})
        if dags
        else ()
    )
    for number, row in enumerate(rows, 1):
        if len(tasks) == filters.limit:
            more = last
            break
        last = [row.dag_run_id, row.task_id, row.map_index]
        record = _parse(row.value)
        if record is not None and _fits(row, record, filters):
            tasks.append(_task(row, record))
        if number == MOST_READ:
            more = last
    return {"tasks": tasks, "next": _encode(more) if more else None}


def _query(dags: Iterable[str], filters: Filters) -> Any:
    """Return the query. It sorts by the primary key of XComs, with the newest runs first."""
    xcom: Any = XComModel
    task: Any = TaskInstance
    # In Airflow 3.4, tasks of a loop have the same address, and XComs have the ID of the task instance.
    same_task = (
        xcom.task_instance_id == task.id
        if hasattr(xcom, "task_instance_id")
        else and_(
            task.dag_id == xcom.dag_id,
            task.task_id == xcom.task_id,
            task.run_id == xcom.run_id,
            task.map_index == xcom.map_index,
        )
    )
    query: Any = (
        select(
            xcom.dag_run_id,
            xcom.dag_id,
            xcom.run_id,
            xcom.task_id,
            xcom.map_index,
            xcom.value,
            task.state,
            task.try_number,
        )
        .join(task, same_task)
        .where(xcom.key == KEY, xcom.dag_id.in_(dags))
    )
    for column, wanted in (
        (xcom.run_id, filters.run),
        (xcom.task_id, filters.task),
        (xcom.map_index, filters.map_index),
    ):
        if wanted is not None and wanted != "":
            query = query.where(column == wanted)
    if filters.after:
        run, task_id, index = _decode(filters.after)
        query = query.where(
            or_(
                xcom.dag_run_id < run,
                and_(xcom.dag_run_id == run, xcom.task_id > task_id),
                and_(xcom.dag_run_id == run, xcom.task_id == task_id, xcom.map_index > index),
            )
        )
    return query.order_by(xcom.dag_run_id.desc(), xcom.task_id, xcom.map_index).limit(MOST_READ)


def _encode(key: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decode(text: str) -> tuple[int, str, int]:
    try:
        return _POSITION.validate_json(base64.urlsafe_b64decode(text))
    except ValueError:
        raise ValueError("after: not a position that this page returned") from None


def _parse(value: Any) -> Mapping[str, Any] | None:
    """Return a record; None if the XCom contains something else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    good = isinstance(value, dict) and isinstance(value.get("jobs"), list)
    return value if good and all(isinstance(job, dict) for job in value["jobs"]) else None


def _fits(row: Any, record: Mapping[str, Any], filters: Filters) -> bool:
    if filters.state:
        states = set(_numbers(record.get("counts"))) | {str(job.get("state", "")) for job in record["jobs"]}
        if not (states - _ENDED if filters.state == ACTIVE else filters.state in states):
            return False
    if not filters.text:
        return True
    wanted = filters.text.casefold()
    texts = [row.dag_id, row.run_id, row.task_id, record.get("conn_id")]
    for job in record["jobs"]:
        texts += (job.get("job_id"), job.get("name"), job.get("cluster_id"), job.get("queue"))
    return any(wanted in str(text).casefold() for text in texts if text)


def _task(row: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task with its jobs: only known fields, with checked types and limited lengths.

    Any DAG can store anything in this XCom.
    """
    jobs = [_job(job) for job in record["jobs"][:MOST_JOBS]]
    counts = _numbers(record.get("counts"))
    log: dict[str, Any] = record["log"] if isinstance(record.get("log"), dict) else {}
    return {
        "dag_id": row.dag_id,
        "run_id": row.run_id,
        "task_id": row.task_id,
        "map_index": row.map_index,
        "task_state": row.state,
        "try_number": row.try_number,
        **_texts(record, ("conn_id", "api", "console", "outcome")),
        **_whole(record, ("updated",)),
        "jobs": jobs,
        "counts": counts,
        "total": max(sum(counts.values()), len(jobs)),
        "changes": [
            [str(change[0])[:20], str(change[1])[:40]]
            for change in _pairs(record.get("changes"), MOST_CHANGES)
        ],
        "log": {
            **_whole(log, ("bytes", "lines")),
            "points": [
                [at, size]
                for at, size in _pairs(log.get("points"), MOST_POINTS)
                if isinstance(at, int) and isinstance(size, int)
            ],
        },
    }


def _job(job: Mapping[str, Any]) -> dict[str, Any]:
    counts = {
        name: _texts(job.get(name) or {}, None) for name in _JOB_COUNTS if isinstance(job.get(name), dict)
    }
    flags = {name: True for name in ("zones_mixed", "outcome_assumed", "since_seen") if job.get(name) is True}
    return {**_texts(job, _JOB_TEXTS), **_whole(job, _JOB_NUMBERS), **counts, **flags}


def _texts(data: Mapping[str, Any], names: Iterable[str] | None) -> dict[str, str]:
    names = list(data)[:20] if names is None else names
    return {
        str(name): str(data[name])[:_LONGEST_TEXT] for name in names if isinstance(data.get(name), str | int)
    }


def _whole(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    return {name: data[name] for name in names if type(data.get(name)) is int}


def _numbers(data: Any) -> dict[str, int]:
    if not isinstance(data, dict):
        return {}
    return {str(name)[:20]: number for name, number in list(data.items())[:20] if type(number) is int}


def _pairs(data: Any, most: int) -> list[Any]:
    pairs = data if isinstance(data, list) else []
    return [pair for pair in pairs[:most] if isinstance(pair, list) and len(pair) == 2]

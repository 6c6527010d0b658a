# SPDX-License-Identifier: Apache-2.0
"""Test how recorded jobs are read: the number of queries, and invalid records."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.models.taskinstance import TaskInstance
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from airflow_provider_ehpc.recording.record import MOST_JOBS
from airflow_provider_ehpc.ui import jobs
from airflow_provider_ehpc.ui.jobs import Filters, read_page
from tests.ui.seed import Seed, many, scene


@pytest.fixture
def session() -> Iterator[Session]:
    """Create a database in memory with the tables that are read."""
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()  # the tables refer to each other
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def fill(session: Session, seed: Seed) -> set[str]:
    for table, rows in seed.tables():
        session.execute(table.insert(), rows)
    return set(seed.dags)


def queries(session: Session) -> list[str]:
    sent: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *args: sent.append(args[2]))
    return sent


@pytest.mark.parametrize("filters", [{}, {"state": "FAILED"}, {"text": "job-1"}, {"text": "nothing"}])
def test_a_page_takes_one_query(session: Session, filters: dict[str, Any]) -> None:
    dags = fill(session, many(600))
    sent = queries(session)
    page = read_page(session, dags, Filters(**filters))
    assert len(sent) == 1
    assert "LIMIT" in sent[0]
    assert len(page["tasks"]) == (0 if filters.get("text") == "nothing" else 50)


def test_a_user_without_dags_sends_none(session: Session) -> None:
    fill(session, many(10))
    sent = queries(session)
    assert read_page(session, set(), Filters()) == {"tasks": [], "next": None}
    assert read_page(session, {"alpha_1"}, Filters(dag="beta_2")) == {"tasks": [], "next": None}
    assert not sent


def test_a_search_through_more_than_one_request_reads(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is short, and the next page continues where it stopped."""
    dags = fill(session, many(100))
    monkeypatch.setattr(jobs, "MOST_READ", 30)
    filters, found, pages = {"state": "FAILED"}, 0, 0
    after = None
    while pages == 0 or after:
        page = read_page(session, dags, Filters(**filters, after=after))
        found, pages, after = found + len(page["tasks"]), pages + 1, page["next"]
    assert (found, pages) == (20, 4)


def test_earlier_tries_are_not_shown(session: Session) -> None:
    """Airflow 3.4 has a row for each try of a task, with the XComs of that try."""
    seed = Seed()
    for number in ("1", "2"):
        seed.job("dag/run/task", number, 5, jobs.JobState.RUNNING)
        seed.tasks[-1].update(try_number=int(number), working_set=number == "2" or None)
    if not hasattr(TaskInstance, "working_set"):
        del seed.tasks[0], seed.xcoms[0]
    (task,) = read_page(session, fill(session, seed), Filters())["tasks"]
    assert (task["try_number"], [job["job_id"] for job in task["jobs"]]) == (2, ["2"])


@pytest.mark.skipif(not hasattr(TaskInstance, "region_id"), reason="Airflow older than 3.4 has no loops")
def test_tasks_of_a_loop_have_the_same_address(session: Session) -> None:
    seed = Seed()
    for number, state in (("1", jobs.JobState.SUCCEEDED), ("2", jobs.JobState.RUNNING)):
        seed.job("dag/run/task", number, 5, state, map_index=0)
        seed.tasks[-1]["region_id"] = uuid.UUID(int=int(number))
    tasks = read_page(session, fill(session, seed), Filters())["tasks"]
    shown = sorted((task["jobs"][0]["job_id"], task["task_state"]) for task in tasks)
    assert shown == [("1", "success"), ("2", "deferred")]


STRANGE = [
    "no JSON",
    None,
    7,
    [],
    {},
    {"jobs": None},
    {"jobs": ["a"]},
    {"jobs": [{"job_id": ["x"], "state": 7, "nodes": "many", "resources": [1], "array": {"FAILED": {}}}]},
    {"jobs": [], "log": [], "counts": [], "changes": [[1]], "console": {"a": 1}},
    {"jobs": [{"job_id": "x" * 100_000}] * 500, "counts": {"FAILED": "1"}, "log": {"points": [["a", 1], 3]}},
]


@pytest.mark.parametrize("record", STRANGE, ids=range(len(STRANGE)))
def test_anything_may_be_stored_under_the_key(session: Session, record: Any) -> None:
    """Any DAG can push such an XCom. The page still shows the other records."""
    seed = Seed()
    seed.task("dag", "run", "strange", "running", record)
    seed.job("dag/run/usual", "1", 5, jobs.JobState.RUNNING)
    if record == "no JSON":
        seed.xcoms[0]["value"] = record
    dags = fill(session, seed)
    for filters in ({}, {"state": "ACTIVE"}, {"text": "usual"}):
        page = read_page(session, dags, Filters(**filters))
        assert "usual" in [task["task_id"] for task in page["tasks"]]
        assert all(len(task["jobs"]) <= MOST_JOBS for task in page["tasks"])
        assert len(json.dumps(page)) < 100_000


def test_jobs_of_one_task_are_found_in_any_of_their_states(session: Session) -> None:
    dags = fill(session, scene())
    for state in ("FAILED", "RUNNING", "ACTIVE"):
        found = read_page(session, dags, Filters(state=state, task="wait_for_sweep"))["tasks"]
        assert [task["total"] for task in found] == [250]
        assert len(found[0]["jobs"]) == MOST_JOBS
        assert found[0]["jobs"][0]["state"] == "FAILED"
    assert not read_page(session, dags, Filters(state="CANCELLED", task="wait_for_sweep"))["tasks"]
    assert [task["task_id"] for task in read_page(session, dags, Filters(text="大模型"))["tasks"]] == [
        "finetune"
    ]


def test_importing_the_plugin_is_cheap() -> None:
    """Every process of Airflow imports the plugin, but only the API server needs the application."""
    code = (
        "import sys, airflow.plugins_manager; before = set(sys.modules)\n"
        "import airflow_provider_ehpc.ui.plugin\n"
        "print([m for m in sys.modules.keys() - before if m.split('.')[0] in "
        "('fastapi', 'starlette', 'sqlalchemy', 'requests', 'aiohttp') or '.ui.' in m])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "['airflow_provider_ehpc.ui.plugin']"


@pytest.mark.parametrize(("scoped", "destinations"), [(False, [None]), (True, [None, "task_instance"])])
def test_the_tab_needs_an_airflow_that_shows_it_on_our_tasks_only(
    monkeypatch: pytest.MonkeyPatch, scoped: bool, destinations: list[str | None]
) -> None:
    from airflow_provider_ehpc.ui import plugin

    monkeypatch.setattr(plugin, "scopes_plugins", lambda: scoped)
    views = plugin._views()
    assert [view.get("destination") for view in views] == destinations
    assert not [view for view in views if view["href"].startswith("/")], "Airflow may be served below a path"
    if scoped:
        from airflow_provider_ehpc.decorators.hpc_job import hpc_job_task  # noqa: F401 - it is importable
        from airflow_provider_ehpc.operators import job, job_log
        from airflow_provider_ehpc.sensors import job_state

        ours = views[1]["applies_to"]["operator_name"]
        classes = (
            job_state.JobStateSensor,
            job_log.JobLogOperator,
            job.SubmitJobOperator,
            job.StopJobOperator,
        )
        assert ours[:-1] == [kind.__name__ for kind in classes]


@pytest.mark.parametrize("position", ['[Infinity, "t", -1]', "[" * 1_400], ids=["infinite", "deep"])
def test_an_odd_position_is_refused(position: str) -> None:
    after = base64.urlsafe_b64encode(position.encode()).decode()
    with pytest.raises(ValueError, match="after: not a position"):
        jobs._decode(after)

# SPDX-License-Identifier: Apache-2.0
"""Test the application of the page over HTTP on a real API server: data, permissions and response times."""

from __future__ import annotations

import base64
import json
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.ui.jobs import Filters
from tests.ui.conftest import TASKS, Server
from tests.ui.seed import scene

pytestmark = pytest.mark.airflow


def keys(page: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(task["run_id"], task["task_id"], task["map_index"]) for task in page["tasks"]]


def test_all_jobs_are_on_some_page_once(server: Server) -> None:
    seen: list[tuple[str, str, int]] = []
    page = server.jobs("limit=200")
    while True:
        seen += keys(page)
        if not page["next"]:
            break
        assert len(page["tasks"]) == 200
        page = server.jobs(f"limit=200&after={page['next']}")
    assert len(seen) == len(set(seen)) == TASKS + len(scene().tasks)
    runs = [run for run, _, _ in seen if run.startswith("run_")]
    assert runs == sorted(runs, reverse=True), "newest runs first"


def test_the_default_page_is_short(server: Server) -> None:
    page = server.jobs()
    assert len(page["tasks"]) == 50
    assert page["next"]


def test_filters(server: Server) -> None:
    failed = server.jobs("state=FAILED&limit=200")
    assert all("FAILED" in task["counts"] for task in failed["tasks"])
    again = server.jobs(f"state=FAILED&limit=200&after={failed['next']}")
    assert len(again["tasks"]) == 200
    assert not set(keys(failed)) & set(keys(again))
    running = server.jobs("state=ACTIVE&dag=alpha_1&limit=200")
    assert {task["dag_id"] for task in running["tasks"]} == {"alpha_1"}
    assert {job["state"] for task in running["tasks"] for job in task["jobs"]} == {"RUNNING"}
    assert [task["jobs"][0]["name"] for task in server.jobs("text=JOB-4321")["tasks"]] == ["job-4321"]
    assert server.jobs("text=no-such-job") == {"tasks": [], "next": None}
    one = server.jobs("dag=alpha_1&run=run_0000&task=task_3&map_index=0")
    assert [(task["dag_id"], task["jobs"][0]["name"]) for task in one["tasks"]] == [("alpha_1", "job-3")]


@pytest.mark.parametrize(
    "query", ["state=DONE", "after=nonsense", "after=WzEsMl0=", "limit=0", "limit=100000", "map_index=x"]
)
def test_invalid_queries_are_rejected(server: Server, query: str) -> None:
    status, _, _ = server.get(f"/ehpc/jobs?{query}", "admin")
    assert status in (400, 422)


ODD_VALUES = [
    *(
        "",
        " ",
        "-1",
        "-2",
        "0.5",
        "1e400",
        "NaN",
        "true",
        "\u0663",
        "[]",
        "%",
        "'",
        "a\0",
        "\0",
        "a" * 20_000,
    ),
    *("9" * digits for digits in (10, 19, 20, 400, 5000)),
    *("-" + "9" * digits for digits in (10, 19, 400)),
    "\U0001f600" * 250,
]
ODD_POSITIONS = [
    *(
        "null",
        "[]",
        "{}",
        '[1, "t"]',
        '[1, "t", 0, 0]',
        '[1, "a\\u0000", 0]',
        '[1, "\\ud800", 0]',
        '[1, "t", "x"]',
    ),
    *(f'[{"9" * digits}, "t", 0]' for digits in (19, 20, 400)),
    *(f'[1, "t", {sign}{"9" * digits}]' for digits in (10, 19, 20, 400) for sign in ("", "-")),
]


def test_no_value_of_a_parameter_is_an_error_of_the_server(server: Server) -> None:
    token = server.token("admin")
    queries = {urllib.parse.urlencode({name: value}) for name in Filters.model_fields for value in ODD_VALUES}
    queries |= {f"{name}=%ED%A0%80%FF%zz" for name in Filters.model_fields}
    queries |= {"after=" + base64.urlsafe_b64encode(position.encode()).decode() for position in ODD_POSITIONS}
    failed = {}
    for query in sorted(queries):
        status, body, _ = server.get(f"/ehpc/jobs?{query}", token=token)
        if status not in (200, 400, 422) or (status == 200 and "tasks" not in json.loads(body)):
            failed[query[:80]] = status
    assert not failed
    for query in (
        "map_index=2147483648",
        "map_index=99999999999999999999",
        "map_index=-2",
        "run=%00",
        "task=a%00",
        "text=%00",
        "limit=9e9",
    ):
        assert server.get(f"/ehpc/jobs?{query}", token=token)[0] == 422


@pytest.mark.parametrize("path", ["%00", "jobs.js%00", "%ff", "a" * 300, "..%2fapp.py", "%2e%2e/app.py"])
def test_no_path_is_an_error_of_the_server(server: Server, path: str) -> None:
    assert server.get(f"/ehpc/{path}")[0] == 404


def test_nobody_sees_jobs_without_signing_in(server: Server) -> None:
    status, body, _ = server.get("/ehpc/jobs")
    assert status == 401
    assert "alpha" not in body
    request_with = [server.get("/ehpc/jobs", "alpha", cookie=cookie)[0] for cookie in (True, False)]
    assert request_with == [200, 200], "by the browser's cookie and by a token"


@pytest.mark.parametrize(("user", "other"), [("alpha", "beta"), ("beta", "alpha")])
@pytest.mark.parametrize("query", ["limit=200", "text={}", "dag={}_1", "state=FAILED&limit=200"])
def test_users_see_only_jobs_of_dags_they_may_read(server: Server, user: str, other: str, query: str) -> None:
    page = server.jobs(query.format(other), user)
    assert {task["dag_id"].partition("_")[0] for task in page["tasks"]} <= {user}
    assert bool(page["tasks"]) == ("{}" not in query)
    assert server.jobs(query.format(other))["tasks"], "the administrator sees them"


def test_a_token_that_is_not_valid_is_rejected(server: Server) -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{server.url}/ehpc/jobs", headers={"Authorization": "Bearer nonsense"})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=30)
    assert error.value.code in (401, 403)


def test_the_page_runs_only_its_own_script(server: Server) -> None:
    for path in ("/ehpc/", "/ehpc/jobs.js", "/ehpc/messages.js", "/ehpc/jobs.css", "/ehpc/icon.svg"):
        status, body, headers = server.get(path)
        assert status == 200
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "innerHTML" not in body
        assert "http://" not in body.replace("http://www.w3.org/", "")
    assert server.get("/ehpc/../app.py")[0] == 404


def test_airflow_lists_the_page(server: Server) -> None:
    plugins = json.loads(server.get("/api/v2/plugins", "admin", cookie=False)[1])["plugins"]
    (ours,) = [plugin for plugin in plugins if plugin["name"] == "ehpc"]
    assert ours["external_views"][0]["href"] == "ehpc/"
    assert (
        json.loads(server.get("/api/v2/plugins/importErrors", "admin", cookie=False)[1])["total_entries"] == 0
    )


def test_the_page_fits_the_package() -> None:
    """The package has every file that the page loads, and each text exists in both languages."""
    import re

    from airflow_provider_ehpc.ui.app import STATIC

    names = {path.name for path in Path(STATIC).iterdir()}
    assert names == {"index.html", "jobs.js", "messages.js", "jobs.css", "icon.svg", "icon-dark.svg"}
    english, chinese = (STATIC / "messages.js").read_text().split("  zh: {")
    texts = re.compile(r"^    (\w+):", re.MULTILINE)
    translated = set(texts.findall(chinese.split("const OUTCOMES")[0]))
    assert set(texts.findall(english)) == translated - {"states", "causes", "outcomes"}

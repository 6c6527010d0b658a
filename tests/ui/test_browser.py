# SPDX-License-Identifier: Apache-2.0
"""Test the page in Airflow's own UI, in a headless Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import pytest

from airflow_provider_ehpc.compat import scopes_plugins
from tests.ui.browser import CHROMIUM, chromium, signed_in
from tests.ui.conftest import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FrameLocator, Page

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: run 'make browser' (Debian)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    with chromium() as browser:
        yield browser


class Open(Protocol):
    """Open the page in Airflow's UI; return it and its frame."""

    def __call__(
        self,
        server: Server,
        path: str = "/plugin/hpc-jobs",
        user: str = "admin",
        theme: str = "light",
        language: str = "en",
        clock: bool = False,
    ) -> AbstractContextManager[tuple[Page, FrameLocator]]: ...


@pytest.fixture
def opened(browser: Browser) -> Open:
    """Open the page; fail if its script raises an error."""

    @contextmanager
    def open_page(
        server: Server,
        path: str = "/plugin/hpc-jobs",
        user: str = "admin",
        theme: str = "light",
        language: str = "en",
        clock: bool = False,
    ) -> Iterator[tuple[Page, FrameLocator]]:
        with signed_in(browser, server, user, theme=theme, language=language) as page:
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            if clock:
                page.clock.install()
            page.goto(f"{server.url}{path}")
            frame = page.frame_locator("iframe")
            frame.locator("tr.task").first.wait_for()
            yield page, frame
            assert not errors

    return open_page


def rows(frame: FrameLocator) -> list[str]:
    return [re.sub(r"\s+", " ", text) for text in frame.locator("tr.task").all_inner_texts()]


def test_a_user_finds_the_page_in_airflows_menu(server: Server, browser: Browser) -> None:
    with signed_in(browser, server) as page:
        page.goto(server.url)
        page.get_by_text("Browse", exact=True).first.click()
        page.get_by_text("HPC jobs", exact=True).first.click()
        page.frame_locator("iframe").locator("tr.task").first.wait_for()


def test_what_it_shows_of_a_job(server: Server, opened: Open) -> None:
    with opened(server) as (_, frame):
        row = frame.locator("tr.task", has_text="finetune")
        text = re.sub(r"\s+", " ", row.inner_text())
        for part in ("FAILED", "训练-大模型", "412", "train · finetune", "huawei_modelarts_default"):
            assert part in text
        for part in (
            "1 node · 16 cores · 2 GPUs",
            "88.9 KiB",
            "out of memory",
            "6 min 18 s",
            "31 min 30 s",
            "ago",
        ):
            assert part in text
        assert row.locator("svg polyline").get_attribute("points").count(",") == 40
        row.locator(".expand").click()
        details = frame.locator("tr.details").inner_text()
        for part in ("137", "OutOfMemory", "QUEUED", "RUNNING", "the job failed"):
            assert part in details


def test_many_jobs_of_one_task_are_one_row(server: Server, opened: Open) -> None:
    with opened(server) as (_, frame):
        row = frame.locator("tr.task", has_text="wait_for_sweep")
        assert row.locator(".badge").all_inner_texts() == [
            "118 SUCCEEDED",
            "40 RUNNING",
            "90 QUEUED",
            "2 FAILED",
        ]
        row.locator(".expand").click()
        members = frame.locator("tr.member")
        assert members.count() == 101
        assert "FAILED" in members.first.inner_text()
        assert "100 of 250" in members.last.inner_text()


@pytest.mark.parametrize(
    ("theme", "background"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(17, 17, 19)")]
)
def test_the_theme_is_airflows(server: Server, opened: Open, theme: str, background: str) -> None:
    with opened(server, theme=theme) as (page, frame):
        root = frame.locator("html")
        assert root.get_attribute("data-theme") == theme
        option = frame.locator("select option").first
        assert option.evaluate("each => getComputedStyle(each).backgroundColor") == background
        other = "dark" if theme == "light" else "light"
        page.evaluate(f"localStorage.setItem('theme', '{other}')")
        frame.locator(f"html[data-theme={other}]").wait_for()


@pytest.mark.parametrize(
    ("language", "title", "state", "cause"),
    [("en", "HPC jobs", "FAILED", "out of memory"), ("zh-CN", "HPC 作业", "失败", "内存不足")],
)
def test_the_language_is_airflows_until_a_user_chooses(
    server: Server, opened: Open, language: str, title: str, state: str, cause: str
) -> None:
    with opened(server, language=language) as (page, frame):
        assert frame.locator("h1").inner_text() == title
        row = frame.locator("tr.task", has_text="finetune").inner_text()
        assert state in row
        assert cause in row
        frame.locator("#language").select_option("en" if language != "en" else "zh")
        assert frame.locator("h1").inner_text() == ("HPC jobs" if language != "en" else "HPC 作业")
        page.reload()
        frame.locator("tr.task").first.wait_for()
        assert frame.locator("h1").inner_text() == ("HPC jobs" if language != "en" else "HPC 作业")


def test_the_name_of_a_job_is_text(server: Server, opened: Open) -> None:
    with opened(server) as (page, frame):
        row = frame.locator("tr.task", has_text="hostile")
        assert "<img src=x onerror=" in row.inner_text()
        assert frame.locator("img").count() == 0
        assert frame.locator("html").evaluate("() => document.title") == "HPC jobs"
        assert "pwned" not in page.title()


def test_filters(server: Server, opened: Open) -> None:
    with opened(server) as (_, frame):
        frame.locator("[name=state]").select_option("FAILED")
        frame.locator("tr.task", has_not_text="FAILED").first.wait_for(state="detached")
        assert all("FAILED" in row for row in rows(frame))
        frame.locator("[name=dag]").fill("alpha_3")
        frame.locator("tr.task", has_not_text="alpha_3").first.wait_for(state="detached")
        assert {"alpha_3" in row for row in rows(frame)} == {True}
        frame.locator("[name=state]").select_option("")
        frame.locator("[name=dag]").fill("")
        frame.locator("[name=text]").fill("JOB-4321")
        frame.locator("tr.task", has_text="job-4321").wait_for()
        frame.locator("tr.task").nth(1).wait_for(state="detached")
        frame.locator("[name=text]").fill("no such job")
        frame.locator("#message", has_text="No jobs match these filters").wait_for()


def test_pages(server: Server, opened: Open) -> None:
    with opened(server) as (_, frame):
        first = rows(frame)
        assert len(first) == 50
        assert frame.locator("#range").inner_text() == "Tasks 1–50"
        assert frame.locator("#previous").is_disabled()
        frame.locator("#next").click()
        frame.locator("#range", has_text="51–100").wait_for()
        second = rows(frame)
        assert len(second) == 50
        names = [set(re.findall(r"job-\d+", " ".join(shown))) for shown in (first, second)]
        assert not names[0] & names[1]
        frame.locator("#previous").click()
        frame.locator("#range", has_text="1–50").wait_for()


def test_it_refreshes(server: Server, opened: Open) -> None:
    with opened(server, clock=True) as (page, _):
        with page.expect_response(re.compile("/ehpc/jobs")) as response:
            page.clock.run_for(11_000)
        assert response.value.status == 200


def test_a_user_sees_only_own_jobs(server: Server, opened: Open) -> None:
    with opened(server, user="beta") as (_, frame):
        assert {"beta_" in row for row in rows(frame)} == {True}
        assert not [row for row in rows(frame) if "alpha_" in row]


def test_the_link_to_the_task_leads_out_of_the_frame(server: Server, opened: Open) -> None:
    with opened(server) as (page, frame):
        frame.locator("tr.task", has_text="case-1").get_by_text("Task", exact=True).click()
        page.wait_for_url(re.compile(r"/dags/cfd_sweep/runs/manual__.*/tasks/case/mapped/1$"))


def test_the_link_to_the_console_opens_a_window(server: Server, opened: Open) -> None:
    with opened(server) as (page, frame):
        # The cloud cannot be reached from a test.
        page.context.route("https://ehpc.console.aliyun.com/**", lambda route: route.fulfill(body="console"))
        with page.context.expect_page() as opening:
            frame.locator("tr.task", has_text="solve-wing").get_by_text("Console").click()
        assert opening.value.url == "https://ehpc.console.aliyun.com/"
        assert "/plugin/hpc-jobs" in page.url


def test_a_session_that_has_ended(server: Server, opened: Open) -> None:
    with opened(server) as (page, frame):
        page.context.clear_cookies()
        frame.locator("[name=text]").fill("x")
        frame.locator("#message.error", has_text="Sign in").wait_for()
        assert not rows(frame)


def test_the_tab_shows_the_jobs_of_its_task(server: Server, browser: Browser) -> None:
    """Airflow 3.4 opens this address in a tab of the task. Without a map index, ``{MAP_INDEX}`` remains."""
    with signed_in(browser, server) as page:
        for task, index, names in (("case", "2", ["case-2"]), ("hostile", "{MAP_INDEX}", ["<img"])):
            run_id = server.jobs(f"task={task}")["tasks"][0]["run_id"].replace("+", "%2B")
            query = f"dag=cfd_sweep&run={run_id}&task={task}&map_index={index}&tab=1"
            page.goto(f"{server.url}/ehpc/?{query}")
            page.locator("tr.task").first.wait_for()
            assert [text.split()[0] for text in page.locator("td.job").all_inner_texts()] == names
            assert not page.locator("#filters").is_visible()
            assert not page.get_by_text("DAG and task").is_visible()
            assert f"cfd_sweep · {task}" in page.locator("#scope").inner_text()


@pytest.mark.skipif(not scopes_plugins(), reason="Airflow older than 3.4 shows a tab on all tasks or on none")
def test_airflow_shows_the_tab_on_tasks_of_our_operators(server: Server, browser: Browser) -> None:
    with signed_in(browser, server) as page:
        for task, path, ours in (("hostile", "hostile", False), ("case", "case/mapped/2", True)):
            run_id = server.jobs(f"task={task}")["tasks"][0]["run_id"]
            page.goto(f"{server.url}/dags/cfd_sweep/runs/{quote(run_id, safe='')}/tasks/{path}")
            page.get_by_role("link", name="Details").wait_for()
            tab = page.get_by_role("link", name="HPC jobs")
            if ours:
                tab.click()
                row = page.frame_locator("iframe").locator("tr.task")
                row.wait_for()
                assert row.locator("td.job").all_inner_texts() == ["case-2\n602"]
            else:
                page.get_by_text("PythonOperator").wait_for()
                assert tab.count() == 0

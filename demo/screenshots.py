# SPDX-License-Identifier: Apache-2.0
"""``python -m demo.screenshots``: the screenshots of the documentation, from a real Airflow.

It needs Playwright (``pip install playwright``) and Chromium (``apt-get install chromium``), and writes to
``docs/images``.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.__main__ import ROOT, cloud
from demo.local_airflow import LocalAirflow

IMAGES = ROOT / "docs" / "images"
DAGS = ROOT / "demo" / "dags"
DAG_ID = "simulation"
# The emulator has no console, and a folder of this machine no web page: here, they have those of the cloud.
_LOCAL_SETTINGS = """
from airflow_provider_ehpc.links import console

cloud = console._CONSOLES[".aliyuncs.com"]
console._CONSOLES["127.0.0.1"] = cloud
console._STORES["file"] = "https://oss.console.aliyun.com/bucket/oss-cn-hangzhou/logs/object?path={path}"
"""


# The folders of this machine in tracebacks.
_WITHOUT_FOLDERS = r"""() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode;
        node.nodeValue = node.nodeValue.replace(/\/\S*\/(?=site-packages|airflow_provider_ehpc)/g, "…/");
    }
}"""


class Camera:
    """A browser that takes pictures of one Airflow.

    :param page: a page of Playwright.
    :param url: Airflow's address.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self._url = url

    def open(self, path: str, text: str) -> None:
        """Open a page and wait until it shows ``text``."""
        self.page.goto(self._url + path)
        self.page.get_by_text(text).first.wait_for(timeout=60_000)
        # Fonts, icons and the scrolling to the end of a log.
        self.page.wait_for_timeout(1500)
        self.page.evaluate(_WITHOUT_FOLDERS)

    def shoot(self, name: str, part: Any = None) -> None:
        """Save what the browser shows, or a part of it, as an image of the documentation."""
        IMAGES.mkdir(parents=True, exist_ok=True)
        (part or self.page).screenshot(path=IMAGES / f"{name}.png")


@contextmanager
def camera(url: str, *, width: int = 1280, height: int = 780, **options: Any) -> Iterator[Camera]:
    """Start a browser for an Airflow.

    :param options: those of Playwright's ``new_page``, such as ``color_scheme`` and ``locale``.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        options.setdefault("color_scheme", "light")
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        try:
            yield Camera(page, url)
        finally:
            browser.close()


@contextmanager
def airflow_on_emulator(dags: Path = DAGS) -> Iterator[LocalAirflow]:
    """Run an Airflow whose connections lead to an emulated cloud."""
    with (
        tempfile.TemporaryDirectory(prefix="screenshots-") as directory,
        cloud(Path(directory) / "cloud") as (
            _,
            connections,
        ),
    ):
        home = Path(directory) / "airflow"
        settings = home / "config" / "airflow_local_settings.py"
        settings.parent.mkdir(parents=True)
        settings.write_text(_LOCAL_SETTINGS)
        os.environ.update(connections)
        with LocalAirflow(home, dags, connections, parallelism=4) as airflow:
            yield airflow


def task_logs(airflow: LocalAirflow) -> None:
    """Take the pictures of tasks' logs and links."""
    run_id = airflow.trigger(DAG_ID)

    def path(task_id: str) -> str:
        return f"/dags/{DAG_ID}/runs/{run_id}/tasks/{task_id}"

    with camera(airflow.url) as shots:
        while not any("step   30" in line for line in airflow.log_lines(DAG_ID, run_id, "solve")):
            time.sleep(1)
        shots.open(path("solve"), "step   30")
        shots.shoot("task-log-running")
        for task_id, name, text in (
            ("solve", "task-log-done", "log of job"),
            ("post_process", "task-log-failed", "out of memory"),
            ("refine", "task-log-skipped", "skipped by"),
        ):
            airflow.wait_for_task(DAG_ID, run_id, task_id)
            shots.open(path(task_id), text)
            shots.shoot(name)
        shots.open(path("solve") + "/details", "Cloud console")
        shots.shoot("task-links")


def main() -> int:
    """Take all pictures; return the exit code."""
    with airflow_on_emulator() as airflow:
        task_logs(airflow)
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Open Airflow's UI in a headless Chromium as a signed-in user.

``python -m tests.ui.browser`` takes the screenshots of ``docs/images/``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Page, sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.ui.conftest import Server

CHROMIUM = shutil.which("chromium")
"""The browser of the system; None if there is none (``make browser`` installs it)."""
IMAGES = Path(__file__).parents[2] / "docs" / "images"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def signed_in(
    browser: Browser,
    server: Server,
    user: str = "admin",
    *,
    theme: str = "light",
    language: str = "en",
    width: int = 1440,
    height: int = 860,
) -> Iterator[Page]:
    """Open a page of Airflow's UI.

    :param theme: the theme that the user has chosen in Airflow.
    :param language: the language that the user has chosen in Airflow.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, locale="en-GB")
    context.add_cookies([{"name": "_token", "value": server.token(user), "url": server.url}])
    chosen = f"localStorage.theme ??= '{theme}'; localStorage.i18nextLng ??= '{language}';"
    context.add_init_script(f"try {{ {chosen} }} catch {{}}")
    yield context.new_page()
    context.close()


def _screenshots(server: Server) -> None:
    IMAGES.mkdir(exist_ok=True)
    with chromium() as browser:
        for theme in ("light", "dark"):
            for name, language in (("en", "en"), ("zh", "zh-CN")):
                with signed_in(browser, server, theme=theme, language=language) as page:
                    page.goto(f"{server.url}/plugin/hpc-jobs")
                    frame = page.frame_locator("iframe")
                    frame.locator("tr.task").first.wait_for()
                    frame.locator("tr.task", has_text="finetune").locator(".expand").click()
                    frame.locator("h1").scroll_into_view_if_needed()
                    page.wait_for_timeout(500)
                    page.screenshot(path=IMAGES / f"jobs-page-{theme}-{name}.png")


if __name__ == "__main__":
    from tests.ui.conftest import serve

    with tempfile.TemporaryDirectory() as home, serve(Path(home) / "airflow") as running:
        _screenshots(running)
    sys.exit(0)

# SPDX-License-Identifier: Apache-2.0
"""``python -m demo.screenshots_connections``: pictures of the connection forms and of the Test button.

Runs the emulator and Airflow's API server, fills in the forms in a headless Chromium, and writes PNG files to
``docs/images``. Needs ``pip install playwright`` and a Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from demo.__main__ import ROOT, cloud
from demo.local_airflow import LocalAirflow

IMAGES = ROOT / "docs" / "images"
FORMS = {"aliyun_ehpc": "Alibaba Cloud E-HPC", "huawei_modelarts": "ModelArts", "qingcloud_hpc": "QingCloud"}


def open_form(page: Any, url: str, name: str) -> None:
    """Open the form for a new connection, and choose its type by a part of the name."""
    page.goto(f"{url}/connections")
    page.get_by_role("button", name="Add Connection").first.click()
    page.get_by_role("combobox").first.click()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    page.get_by_text("Standard Fields").wait_for()


def show_form(page: Any, url: str, conn_type: str) -> None:
    """Show the fields of a type, with those that are required and missing."""
    open_form(page, url, FORMS[conn_type])
    page.get_by_role("button", name="Extra Fields").first.click()
    page.wait_for_timeout(800)
    page.get_by_role("dialog").screenshot(path=IMAGES / f"connection-{conn_type}.png")


def create(page: Any, url: str, conn_id: str, connection: dict[str, Any], **extra: str) -> None:
    """Create a connection to the emulator through the form."""
    open_form(page, url, FORMS["aliyun_ehpc"])
    page.get_by_label("Connection ID").fill(conn_id)
    for name in ("host", "login", "password", "port"):
        page.locator(f"input[name={name}]").fill(str(connection[name]))
    page.get_by_role("button", name="Extra Fields").first.click()
    for name, text in {**connection["extra"], **extra}.items():
        page.locator(f"[id='element_{name}']").fill(text)
    page.get_by_role("button", name="Save").click()
    page.get_by_role("dialog").wait_for(state="detached")


def press_test(page: Any, url: str, conn_id: str, file: str) -> None:
    """Press the Test button of a connection and show the message."""
    page.goto(f"{url}/connections")
    row = page.get_by_role("row").filter(has=page.get_by_text(conn_id, exact=True))
    row.get_by_role("button", name="Test Connection").click()
    page.locator("[data-scope=toast][data-part=root]").first.wait_for()
    page.wait_for_timeout(800)
    page.screenshot(path=IMAGES / file)


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(prog="python -m demo.screenshots_connections", description=__doc__)
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="default: that of the PATH")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    place = Path(tempfile.mkdtemp())
    with cloud(place / "cloud") as (_, exports), sync_playwright() as playwright:
        connection = json.loads(exports["AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT"])
        connection["port"] = 443
        connection["extra"] = {
            name: text for name, text in connection["extra"].items() if name in ("region", "cluster_id")
        }
        airflow = LocalAirflow(place / "airflow", place)
        airflow.make_database()
        airflow.start_component("api-server")
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        try:
            wait_for(airflow.url)
            page = browser.new_page(viewport={"width": 1100, "height": 1400})
            # The first request signs in, and 3.1 then shows the home page.
            page.goto(airflow.url)
            page.wait_for_load_state("networkidle")
            for conn_type in FORMS:
                show_form(page, airflow.url, conn_type)
            page.set_viewport_size({"width": 1100, "height": 560})
            create(page, airflow.url, "hpc", connection)
            press_test(page, airflow.url, "hpc", "connection-test-success.png")
            create(page, airflow.url, "hpc_typo", connection, cluster_id="ehpc-hz-typo")
            press_test(page, airflow.url, "hpc_typo", "connection-test-failure.png")
        finally:
            browser.close()
            airflow.stop()
            shutil.rmtree(place, ignore_errors=True)


def wait_for(url: str) -> None:
    """Wait until the API server responds."""
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/api/v2/version", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"nothing responds at {url}")


if __name__ == "__main__":
    main()

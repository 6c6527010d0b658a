# SPDX-License-Identifier: Apache-2.0
"""Provide a real Airflow API server with the page, and a database with recorded jobs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.local_airflow import LocalAirflow
from tests.ui.auth import PASSWORD

TASKS = 5000


@dataclass
class Server:
    """Hold a running API server."""

    airflow: LocalAirflow

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return self.airflow.url

    def token(self, user: str) -> str:
        """Sign a user in."""
        body = json.dumps({"username": user, "password": PASSWORD}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/auth/token", body, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(json.load(response)["access_token"])

    def get(
        self, path: str, user: str | None = None, *, cookie: bool = True, token: str | None = None
    ) -> tuple[int, Any, Any]:
        """Return the status, the body and the headers of a response.

        :param cookie: True to send the token as a cookie, as the browser does; False to send it as a header.
        :param token: the token of a user who has signed in.
        """
        request = urllib.request.Request(f"{self.url}{path}")
        token = self.token(user) if user else token
        if token and cookie:
            request.add_header("Cookie", f"_token={token}")
        elif token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read().decode(), response.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    def jobs(self, query: str = "", user: str = "admin") -> dict[str, Any]:
        """Return a page of jobs."""
        status, body, _ = self.get(f"/ehpc/jobs?{query}", user)
        assert status == 200, body
        return dict(json.loads(body))


@contextmanager
def serve(home: Path, tasks: int = 0) -> Iterator[Server]:
    """Run an API server with a database that :mod:`tests.ui.seed` has filled.

    :param tasks: the number of tasks in addition to those of the screenshots.
    """
    dags = home / "dags"
    dags.mkdir(parents=True)
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(dict.fromkeys(("admin", "alpha", "beta"), PASSWORD)))
    environment = {
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.ui.auth.OwnDags",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,alpha:user,beta:user",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    airflow = LocalAirflow(home, dags, environment)
    airflow.make_database()
    subprocess.run([sys.executable, "-m", "tests.ui.seed", str(tasks)], env=airflow.environment, check=True)
    airflow.start_component("api-server")
    server = Server(airflow)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                server.get("/ehpc/icon.svg")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise RuntimeError((home / "api-server.out").read_text()[-4000:]) from None
                time.sleep(0.3)
        yield server
    finally:
        airflow.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with a few jobs of every kind, and thousands of jobs in DAGs of two users."""
    with serve(tmp_path_factory.mktemp("airflow"), TASKS) as server:
        yield server

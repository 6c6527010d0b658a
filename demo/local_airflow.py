# SPDX-License-Identifier: Apache-2.0
"""A real Airflow on this machine: scheduler, DAG processor, API server and triggerer over SQLite.

For the demonstration, the tests and the benchmarks. Everything binds loopback and ends with the process
that started it. Its results come from Airflow's own REST API, so it is what the UI shows.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

COMPONENTS = ("api-server", "dag-processor", "scheduler", "triggerer")
ENDS = ("success", "failed", "skipped", "upstream_failed", "removed")


class LocalAirflow:
    """An Airflow of its own, in ``home``.

    :param home: its AIRFLOW_HOME; made if need be.
    :param dags: the folder of DAG files.
    :param environment: further variables, such as ``AIRFLOW_CONN_…``.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
        parallelism: int = 4,
    ) -> None:
        self.home = home
        self.dags = dags
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._token: str | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(parallelism),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **(environment or {}),
        }

    # ------------------------------------------------------------------ its life

    def __enter__(self) -> LocalAirflow:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def cli(self, *arguments: str, timeout: float = 300, check: bool = True) -> str:
        """Run the ``airflow`` command and return what it printed.

        :param check: whether an exit code other than 0 is an error.
        """
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode and check:
            said = f"{done.stdout}\n{done.stderr}"
            raise RuntimeError(f"airflow {' '.join(arguments)} ended with code {done.returncode}:\n{said}")
        return done.stdout

    def start(self) -> None:
        """Make the database and start every component; return when the API answers and DAGs are known."""
        self.make_database()
        for component in COMPONENTS:
            self.start_component(component)
        self._until(lambda: self._healthy(), "the API server did not come up", 180)

    def make_database(self) -> None:
        """Make the metadata database; enough to start single components behind it."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.cli("db", "migrate")

    def start_component(self, component: str, name: str | None = None) -> int:
        """Start one of :data:`COMPONENTS`; its output goes to ``<home>/<name>.out``. Return its process id.

        :param name: distinguishes several processes of one component; default: the component's name.
        """
        name = name or component
        # Each triggerer serves its logs at a port of its own.
        own = {"AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port())} if name != component else {}
        with (self.home / f"{name}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", component],
                env={**self.environment, **own},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._processes[name].pid

    def kill_component(self, name: str) -> None:
        """SIGKILL a component with all its processes, as a machine that goes down would."""
        process = self._processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end_component(self, name: str) -> None:
        """SIGTERM a component, and wait until it has ended."""
        process = self._processes.pop(name)
        process.terminate()
        process.wait(60)

    def stop(self) -> None:
        """End every component that was started."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 6
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    # ------------------------------------------------------------------ its REST API

    def get(self, path: str) -> Any:
        """GET from the public API."""
        return self._ask("GET", path)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG, as soon as the DAG is known; return the run's id."""
        run_id = f"manual__{secrets.token_hex(8)}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        self.wait_until_known(dag_id)
        self._ask("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        for attempts_left in (2, 1, 0):
            try:
                self._ask("POST", f"/dags/{dag_id}/dagRuns", body)
                break
            except urllib.error.HTTPError as error:
                # On SQLite, requests that come together can block each other in the API server; after five
                # seconds one is answered with 500.
                if error.code == 409 and attempts_left < 2:
                    break
                if error.code != 500 or not attempts_left:
                    raise
        return run_id

    def wait_until_known(self, dag_id: str) -> None:
        """Wait until the DAG processor has read a DAG."""
        self._until(lambda: self._known(dag_id), f"the DAG {dag_id} was not found in {self.dags}", 120)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 300) -> str:
        """Wait until a run has ended; return its state."""
        self._until(
            lambda: self.run_state(dag_id, run_id) in ("success", "failed"),
            f"the run {run_id} of {dag_id} did not end",
            timeout,
        )
        return self.run_state(dag_id, run_id)

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return what the API says of a task instance."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        return dict(self.get(path if map_index < 0 else f"{path}/{map_index}"))

    def wait_for_task(self, dag_id: str, run_id: str, task_id: str, timeout: float = 300) -> dict[str, Any]:
        """Wait until a task has ended; return what the API says of it."""
        self._until(
            lambda: self.task(dag_id, run_id, task_id)["state"] in ENDS, f"{task_id} did not end", timeout
        )
        return self.task(dag_id, run_id, task_id)

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task, as a user does in the UI; one that runs is ended and begun again."""
        body = {"dry_run": False, "only_failed": False, "task_ids": [task_id], "dag_run_id": run_id}
        self._ask("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Set the state of a task, as a user does in the UI; one that runs is ended."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self._ask("PATCH", path, {"new_state": state})

    @staticmethod
    def task_process(ti_id: str) -> int | None:
        """Return the process that runs a task; Airflow gives it the task instance's id for a name."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    name = (entry / "cmdline").read_bytes().rstrip(b"\0 ").decode()
                    if name.endswith(f" -- {ti_id}"):
                        return int(entry.name)
        return None

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom of a task, as data; None where there is none."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}?deserialize=false"
        try:
            value = self.get(path)["value"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        with suppress(TypeError, ValueError):
            return json.loads(value)
        return value

    def log_events(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> Iterator[dict[str, Any]]:
        """Yield the records of a task's log as the UI gets them, one dict each."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        request = self._request("GET", f"{path}?full_content=true&map_index={map_index}")
        request.add_header("Accept", "application/x-ndjson")
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                for line in answer:
                    yield json.loads(line)
        except urllib.error.HTTPError as error:
            if error.code != 404:  # the task has not begun this try
                raise

    def log_lines(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> list[str]:
        """Return the lines of a task's log, without times and levels."""
        events = self.log_events(dag_id, run_id, task_id, try_number, map_index)
        return [line for event in events for line in str(event.get("event", "")).split("\n")]

    def _known(self, dag_id: str) -> bool:
        try:
            self.get(f"/dags/{dag_id}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _healthy(self) -> bool:
        for name, process in self._processes.items():
            if process.poll() is not None:
                out = (self.home / f"{name}.out").read_text(errors="replace")
                raise RuntimeError(f"airflow {name} ended with code {process.returncode}:\n{out[-4000:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/monitor/health", timeout=5) as answer:
                health = json.load(answer)
        except (OSError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        with urllib.request.urlopen(self._request(method, path, body), timeout=60) as answer:
            return json.load(answer)

    def _request(self, method: str, path: str, body: Any = None) -> urllib.request.Request:
        if self._token is None:
            with urllib.request.urlopen(f"{self.url}/auth/token", timeout=30) as answer:
                self._token = json.load(answer)["access_token"]
        data = None if body is None else json.dumps(body).encode()
        return urllib.request.Request(
            f"{self.url}/api/v2{path}",
            data=data,
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )

    @staticmethod
    def _until(condition: Any, complaint: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{complaint} within {timeout:g} s")
            time.sleep(0.5)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of one's own, for as long as it is needed (Debian: the package ``postgresql``)."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.local_airflow import free_port

USER = "airflow"
CONNECTIONS = 300
"""Each of Airflow's processes may hold fifteen."""


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Run a server on the loopback interface; yield the variables by which Airflow uses it.

    Debian installs the server's programs outside the PATH. PostgreSQL refuses to run as root: there it runs
    as the user ``postgres``, whom the package makes.

    :raises RuntimeError: where PostgreSQL is not installed, or does not start.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, reversed(programs))])
    if not (initdb := shutil.which("initdb", path=path)) or not (
        server := shutil.which("postgres", path=path)
    ):
        raise RuntimeError("there is no PostgreSQL server on this machine: apt-get install postgresql")
    directory = Path(tempfile.mkdtemp(prefix="ehpc-postgres-"))
    process = None
    try:
        password, port = secrets.token_hex(16), free_port()
        (directory / "password").write_text(password)
        other: dict[str, Any] = {"cwd": directory}
        if os.geteuid() == 0:
            other |= {"user": "postgres", "group": "postgres", "extra_groups": []}
            for file in (directory, directory / "password"):
                shutil.chown(file, "postgres", "postgres")
        arguments = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={directory / 'password'}"]
        data = directory / "data"
        _run([initdb, *arguments, "--encoding=UTF8", "--no-locale", f"--pgdata={data}"], other)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": CONNECTIONS,
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        with (directory / "out").open("wb") as out:
            process = subprocess.Popen(
                [server, "-D", str(data), *options],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **other,
            )
        address = f"{USER}:{password}@127.0.0.1:{port}/postgres"
        _wait_for(f"postgresql+psycopg2://{address}", process, directory / "out")
        yield {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{address}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{address}",
        }
    finally:
        if process is not None:
            # "Fast shutdown": connections that are open are cut.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _run(command: list[str], other: dict[str, Any]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **other)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with code {done.returncode}: {done.stderr[-2000:]}")


def _wait_for(url: str, process: subprocess.Popen[bytes], out: Path) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError

    engine = create_engine(url)
    deadline = time.monotonic() + 30
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                said = out.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"PostgreSQL did not start:\n{said}") from None
            time.sleep(0.2)
        else:
            engine.dispose()
            return

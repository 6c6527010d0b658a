# SPDX-License-Identifier: Apache-2.0
"""The local cloud in a process of its own, which may be killed."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import threading
from pathlib import Path

from demo.local_airflow import free_port


class Cloud:
    """The emulator in a process of its own, which may be killed.

    :param conn_id: the connection by which tasks and this process reach it.
    """

    def __init__(self, directory: Path, conn_id: str) -> None:
        self.directory = directory
        self.conn_id = conn_id
        self.there = threading.Lock()
        """Held while the cloud is away on purpose, or while it must not be."""
        self._port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self.connection = ""

    def start(self) -> None:
        """Start it; return when it answers."""
        settings = {"--directory": str(self.directory), "--port": str(self._port), "--slots": "64"}
        arguments = [text for setting in settings.items() for text in setting]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_ehpc.emulator", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for this script, which then ends the cloud with its jobs.
            start_new_session=True,
        )
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("export AIRFLOW_CONN_ALIYUN_EHPC_DEFAULT="):
                (self.connection,) = shlex.split(line.partition("=")[2])
                return
        raise RuntimeError(f"the emulator in {self.directory} did not start")

    def kill(self) -> None:
        """SIGKILL it. Its jobs go on, as a cloud's jobs do when its API is away."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def end(self) -> None:
        """End it, and the jobs that still run."""
        from airflow_provider_ehpc.emulator.server import Emulator

        self.kill()
        Emulator(self.directory).start().close()

    def submit(self, command: str) -> tuple[str, Path, Path]:
        """Submit a job; return its id and the files of its streams."""
        from airflow_provider_ehpc.apis.job import JobSpec
        from airflow_provider_ehpc.hooks.aliyun import EhpcHook

        # A hook for each use: threads do not share a session.
        with self.there, contextlib.closing(EhpcHook(self.conn_id)) as hook:
            ref = hook.submit(JobSpec(name="crash", command=command))
            info = hook.get_job(ref.cluster_id or "", ref.job_id).job_info
            assert info
            return ref.job_id, Path(info.output_log), Path(info.error_log)

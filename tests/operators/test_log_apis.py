# SPDX-License-Identifier: Apache-2.0
"""20 MB of noise through each API that has a log: what a task writes is what the job wrote.

The same noise goes through a whole Airflow in ``tests/live``, by one API. Here it is the way of reading that
differs: one offset for two streams, lines by cursor, text cut in pieces of 2 KiB.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from tests.conftest import TaskLog
from tests.hooks.test_huawei_logs import OPTIONS
from tests.live import noisy_job
from tests.live.test_logs import expected


def as_bytes(raw: bytes) -> bytes:
    return raw


def as_text(raw: bytes) -> bytes:
    """What is left of a log that a cloud sends as text: U+FFFD for what is none."""
    return raw.decode(errors="replace").encode()


@pytest.mark.parametrize(
    ("api", "user", "sent"),
    [("ehpc", None, as_bytes), ("ehpc-classic", "testuser", as_bytes), ("modelarts", None, as_text)],
)
def test_every_line_arrives_once_and_in_order(
    api: str,
    user: str | None,
    sent: Callable[[bytes], bytes],
    ehpc_emulator: Emulator,
    task_log: TaskLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever cloud runs the job, its log is whole."""
    for connection in ehpc_emulator.connections.values():
        monkeypatch.setenv(f"AIRFLOW_CONN_{connection['conn_type'].upper()}", json.dumps(connection))
    conn_id = "huawei_modelarts" if api == "modelarts" else "aliyun_ehpc"
    command = f"exec {sys.executable} {Path(noisy_job.__file__)} 20000000"
    options = OPTIONS if api == "modelarts" else {}
    job_id = job_hook(conn_id, api).submit(JobSpec("noisyjob", command, user=user, options=options)).job_id
    operator = JobLogOperator(
        task_id="log",
        conn_id=conn_id,
        api=api,
        job_id=job_id,
        poll_interval=0.5,
        log_settle_time=1,
    )
    reported = operator.execute({})
    raw = sent(ehpc_emulator.job(job_id).stdout_path.read_bytes())
    wanted = expected(raw)
    # A turn that is not long enough for all puts lines together.
    lines = [line for record in task_log.lines for line in record.split("\n")]
    first = next(i for i, line in enumerate(lines) if line.endswith(wanted[0]))
    prefix = lines[first].removesuffix(wanted[0])
    found = [line.removeprefix(prefix) for line in lines[first : first + len(wanted)]]
    assert found == wanted
    assert (reported["log"]["lines"], reported["log"]["errors"]) == (len(wanted), 0)

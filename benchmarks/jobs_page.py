# SPDX-License-Identifier: Apache-2.0
"""How long a page of recorded jobs takes, in a real API server of Airflow over SQLite.

Run as ``python -m benchmarks.jobs_page``. The database holds 5,000 tasks with a job each (``--tasks``). Every
query is sent over HTTP, as a browser does, and every page is read once. It fails if a response takes longer
than a second.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from tests.ui.conftest import Server, serve

SLOWEST = 1.0
"""Seconds."""
QUERIES = {
    "first page": {},
    "200 tasks": {"limit": "200"},
    "failed jobs": {"state": "FAILED"},
    "jobs that have not ended": {"state": "ACTIVE"},
    "search that finds one": {"text": "job-77"},
    "search that finds nothing": {"text": "no such job"},
}


def timed(server: Server, query: dict[str, str], token: str, repeat: int) -> list[float]:
    """Return the seconds of each response."""
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        status, body, _ = server.get(f"/ehpc/jobs?{urlencode(query)}", token=token)
        times.append(time.perf_counter() - begun)
        if status != 200:
            raise RuntimeError(body)
    return times


def main() -> int:
    """Print the times; return 1 if one is too long."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=20)
    options = parser.parse_args()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "airflow", options.tasks) as server:
        token = server.token("admin")
        timed(server, {}, token, 1)  # imports
        print(f"{options.tasks:,} tasks | median | slowest")
        for name, query in QUERIES.items():
            times = timed(server, query, token, options.repeat)
            slowest = max(slowest, *times)
            print(
                f"{name} | {statistics.median(times) * 1000:.0f} ms | {max(times) * 1000:.0f} ms", flush=True
            )
        begun, pages, after = time.perf_counter(), 0, ""
        while pages == 0 or after:
            after = server.jobs(urlencode({"limit": "200", "after": after} if after else {"limit": "200"}))[
                "next"
            ]
            pages += 1
        print(f"all {pages} pages | {(time.perf_counter() - begun) * 1000:.0f} ms |")
    return int(slowest > SLOWEST)


if __name__ == "__main__":
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.crashes``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.crashes import __doc__ as DESCRIPTION
from benchmarks.crashes.cloud import Cloud
from benchmarks.crashes.kinds import LANES, Crashes
from benchmarks.crashes.report import say, table
from benchmarks.postgres import postgres
from demo.local_airflow import LocalAirflow

DAGS = Path(__file__).with_name("dags")


@contextlib.contextmanager
def _database() -> Iterator[dict[str, str]]:
    """Run PostgreSQL if it is installed, and make Airflow use it.

    SQLite serves as well, but under so many writers one of Airflow's processes ends now and then with its
    "database is locked".
    """
    with contextlib.ExitStack() as undo:
        settings: dict[str, str] = {}
        if importlib.util.find_spec("psycopg2") and importlib.util.find_spec("asyncpg"):
            with contextlib.suppress(RuntimeError):
                settings = undo.enter_context(postgres())
        say(f"Airflow's database is {'PostgreSQL' if settings else 'SQLite'}")
        yield settings


def main() -> None:
    """Kill, look and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.crashes",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--moments", type=int, default=50, help="kills of each kind (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=list(LANES), default=list(LANES))
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the moments")
    parser.add_argument("--directory", type=Path, help="where all is kept (default: a temporary directory)")
    arguments = parser.parse_args()
    # The end of this process also ends the processes that it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.ExitStack() as undo:
        home = arguments.directory or Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="crashes-")))
        os.environ["AIRFLOW_HOME"] = str(home / "airflow")
        from airflow_provider_ehpc.compat import async_xcom

        clouds = [Cloud(home / name, name) for name in ("steady", "mortal")]
        for cloud in clouds:
            undo.callback(cloud.end)
            cloud.start()
        connections = {f"AIRFLOW_CONN_{cloud.conn_id.upper()}": cloud.connection for cloud in clouds}
        # Jobs are submitted from here, by the hook that tasks use.
        os.environ.update(connections)
        settings = {**connections, **undo.enter_context(_database())}
        # A triggerer that was killed is missed after so many seconds without a heartbeat.
        settings["AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD"] = "6"
        say(f"seed {arguments.seed}; starting Airflow in {home}")
        airflow = LocalAirflow(home / "airflow", DAGS, settings, parallelism=12)
        undo.enter_context(airflow)
        steady, mortal = clouds
        crashes = Crashes(airflow, steady, mortal, arguments.seed, keeps=async_xcom() is not None)
        begun = time.monotonic()
        crashes.run_all(arguments.kinds, arguments.moments)
        print(f"\n{table(crashes.rows)}\n\nseed {arguments.seed}, {time.monotonic() - begun:.0f} s")
        for failure in crashes.failures:
            print(f"\n{failure}")
    sys.exit(1 if crashes.failures else 0)


if __name__ == "__main__":
    main()

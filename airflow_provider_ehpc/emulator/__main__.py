# SPDX-License-Identifier: Apache-2.0
"""Run the local cloud until it is interrupted: ``python -m airflow_provider_ehpc.emulator``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import json
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from airflow_provider_ehpc.emulator.aliyun.dialect import DIALECTS
from airflow_provider_ehpc.emulator.server import SCHEDULERS, Emulator


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if text.isascii() and text.isdigit() and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"expected a number from {least} to {most}, got {text!r}")

    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_ehpc.emulator",
        description="Run a local cloud for airflow-provider-ehpc: the APIs over HTTP, with real jobs. "
        "It prints Airflow connections to itself and runs until Ctrl-C.",
        epilog="Jobs run as your user, without a sandbox.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="loopback address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=_number(0, 65535), default=0, help="port to listen on (default: a free one)"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        help="directory for state, jobs, logs and keys; jobs then outlive the emulator "
        "(default: a temporary directory with one sample job, removed at the end with all jobs)",
    )
    parser.add_argument(
        "--scheduler", choices=SCHEDULERS, default="local", help="how jobs are run (default: %(default)s)"
    )
    parser.add_argument(
        "--spelling",
        choices=sorted(DIALECTS),
        help="form of E-HPC's job IDs and states (default: slurm with --scheduler slurm, else pbs)",
    )
    parser.add_argument(
        "--slots",
        type=_number(1, 1_000_000),
        default=16,
        help="cores of the local scheduler (default: %(default)s)",
    )
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        emulator = Emulator(
            arguments.directory,
            host=arguments.host,
            port=arguments.port,
            scheduler=arguments.scheduler,
            spelling=arguments.spelling,
            slots=arguments.slots,
        )
        await emulator.open()
    except (OSError, ValueError) as error:
        print(f"The emulator cannot start: {_reason(error, arguments.port)}", file=sys.stderr)
        return 2
    try:
        print(f"The emulator answers at {emulator.url}", flush=True)
        for kind, connection in emulator.connections.items():
            value = shlex.quote(json.dumps(connection))
            print(f"export AIRFLOW_CONN_{kind.upper()}_DEFAULT={value}", flush=True)
        # For the admin endpoints: Authorization: Bearer $EHPC_EMULATOR_SECRET
        print(f"export EHPC_EMULATOR_SECRET={shlex.quote(emulator.admin_secret)}", flush=True)
        if arguments.directory is None:
            job_id = await emulator.submit_sample()
            print(
                f"Job {job_id} of cluster {emulator.cluster_id} runs for a minute: wait for it in a DAG",
                flush=True,
            )
        print(
            "Paste the lines that begin with export into the terminal in which you run Airflow. "
            "Ctrl-C stops the emulator.",
            flush=True,
        )
        await stopped.wait()
    finally:
        await emulator.shut(kill_jobs=False)
    left = "its jobs are killed" if arguments.directory is None else f"its state is in {emulator.directory}"
    # Nobody reads it if the reader of the pipe has ended first.
    with contextlib.suppress(BrokenPipeError):
        print(f"\nThe emulator has stopped; {left}.", flush=True)
    return 0


def _reason(error: OSError | ValueError, port: int) -> str:
    """Return what prevents the start, and what to do."""
    if isinstance(error, OSError):
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is in use; choose another --port, or omit it to use a free one"
        if error.filename:
            return f"{error.filename}: {error.strerror}; choose another --directory"
    return str(error)


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(_arguments())))

# SPDX-License-Identifier: Apache-2.0
"""What importing a sensor or an operator costs a DAG file: ours beside those of other providers.

Run as ``python -m benchmarks.import_time``. Each measurement is a fresh process that has done what every DAG
file does (``from airflow.sdk import DAG`` and the bases of all operators and sensors); then the clock runs.
The modules are measured in turn, round after round, so that what else the machine does meets all alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.plots import Chart, draw

OURS = "airflow_provider_ehpc"
LIMIT = 100.0
"""Milliseconds over ``airflow.sdk`` that ours may take."""
SENSORS = (
    f"{OURS}.sensors.job_state",
    "airflow.providers.http.sensors.http",
    "airflow.providers.amazon.aws.sensors.batch",
    "airflow.providers.databricks.sensors.databricks",
)
OPERATORS = (
    f"{OURS}.operators.job",
    f"{OURS}.operators.job_log",
    "airflow.providers.ssh.operators.ssh",
    "airflow.providers.ssh.operators.ssh_remote_job",
    "airflow.providers.http.operators.http",
    "airflow.providers.amazon.aws.operators.batch",
    "airflow.providers.databricks.operators.databricks",
)
_CHILD = """
import gc, importlib, json, os, sys, time
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

gc.collect()
loaded, memory = set(sys.modules), resident()
cpu, clock = time.process_time(), time.perf_counter()
importlib.import_module(sys.argv[1])
clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
print(json.dumps([clock * 1e3, cpu * 1e3, len(set(sys.modules) - loaded), (resident() - memory) / 2**20]))
"""
COLUMNS = ("ms", "CPU ms", "modules", "MB")


def measure(module: str, environment: dict[str, str]) -> list[float]:
    """Import a module in a fresh process; return what :data:`COLUMNS` names."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, module], env=environment, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"{module} could not be imported:\n{done.stderr[-2000:]}")
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure, print a table, and end with code 1 where ours is over the limit or no less than a peer's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="processes a module (default: %(default)s)")
    parser.add_argument("--plot", type=Path, help="draw the times into this SVG file")
    arguments = parser.parse_args()
    missing = {m.split(".")[2] for m in SENSORS + OPERATORS if not m.startswith(OURS) and not _exists(m)}
    if missing:
        parser.error(f"providers are missing ({', '.join(sorted(missing))}): use the extra 'benchmarks'")
    medians: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "AIRFLOW_HOME": home}
        # pip compiles what it installs; what is read from a clone is compiled by its first import.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for module in SENSORS + OPERATORS:
            measure(module, environment)
        rounds = [
            {module: measure(module, environment) for module in SENSORS + OPERATORS}
            for _ in range(arguments.rounds)
        ]
    for module in SENSORS + OPERATORS:
        medians[module] = [
            statistics.median(values) for values in zip(*(r[module] for r in rounds), strict=True)
        ]
    kept = True
    for modules in (SENSORS, OPERATORS):
        print(f"\n{'over airflow.sdk':54}" + "".join(f"{name:>9}" for name in COLUMNS) + f"{'ratio':>8}")
        for module in modules:
            ratio = medians[module][0] / medians[modules[0]][0]
            print(f"{module:54}" + "".join(f"{value:9.1f}" for value in medians[module]) + f"{ratio:8.1f}")
        ours = [medians[module][0] for module in modules if module.startswith("airflow_provider_ehpc.")]
        others = [medians[module][0] for module in modules if not module.startswith("airflow_provider_ehpc.")]
        kept = kept and max(ours) < min(LIMIT, *others)
    print(f"\nours under {LIMIT:g} ms and under each of the others: {'yes' if kept else 'NO'}")
    if arguments.plot:
        draw(
            arguments.plot,
            [
                Chart("Import of a sensor, ms", {_short(m): medians[m][0] for m in SENSORS}, LIMIT),
                Chart("Import of an operator, ms", {_short(m): medians[m][0] for m in OPERATORS}, LIMIT),
            ],
            ours="ehpc",
        )
    sys.exit(not kept)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _short(module: str) -> str:
    parts = module.split(".")
    return f"ehpc {parts[-1]}" if parts[0] == OURS else f"{parts[2]} {parts[-1]}"


if __name__ == "__main__":
    main()

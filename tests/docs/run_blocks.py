# SPDX-License-Identifier: Apache-2.0
"""Run Python blocks of the documentation in one Airflow: ``run_blocks.py FOLDER RESULTS``.

This runs in its own process. Each block is the only file of a DAG bundle. ``dag.test()`` runs DAGs, pytest
runs tests, and other code runs as a script. The file ``RESULTS`` contains the failures by block.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Any

SAMPLE = "1.manager"
"""A job that has ended, for pages that wait for a job."""
INTERVALS = ("poll_interval", "poke_interval", "log_settle_time", "settle")
INTERVAL = 0.2
"""The poll interval in seconds, instead of those on the pages."""


def main(folder: Path, results: Path) -> None:
    """Run every ``<folder>/<block>/block.py`` and write the failures."""
    from airflow.utils.db import initdb

    initdb()
    _hurry()
    failed = {}
    for file in sorted(folder.glob("*/*.py")):
        begun, output = time.monotonic(), io.StringIO()
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                _run(file)
        except BaseException:
            failed[file.parent.name] = output.getvalue()[-3000:] + traceback.format_exc()
        print(f"{time.monotonic() - begun:.1f} s {file.parent.name}", flush=True)
    results.write_text(json.dumps(failed))


def _hurry() -> None:
    """Shorten all intervals: they are for real clusters and a real scheduler."""
    from airflow_provider_ehpc import arguments
    from airflow_provider_ehpc.logs import arrival
    from airflow_provider_ehpc.triggers import base

    seconds = arguments.seconds

    def short(name: str, value: Any, **rules: Any) -> float:
        return min(seconds(name, value, **rules), INTERVAL if name in INTERVALS else float("inf"))

    arguments.seconds = short
    base.FIRST_POLL = base.EARLIEST_EVENT = 0.0
    arrival.ARRIVAL = 0.05


def _run(file: Path) -> None:
    text = file.read_text()
    # dag.test() reads every bundle that is configured.
    bundle = {
        "name": file.parent.name,
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(file.parent)},
    }
    os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps([bundle])
    if re.search("^def test_", text, re.MULTILINE):
        import pytest

        arguments = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(file.parent)]
        if code := pytest.main([*arguments, str(file)]):
            raise AssertionError(f"pytest ended with code {int(code)}")
        return
    space: dict[str, Any] = {"__name__": f"block_{file.parent.name}", "__file__": str(file)}
    if "DAG(" not in text:
        exec(compile(text, file, "exec"), space)
        return
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag

    from airflow_provider_ehpc.compat import retry_policies

    bag = DagBag(dag_folder=str(file), bundle_path=file.parent)
    assert not bag.import_errors, bag.import_errors
    assert bag.dags, "no DAG was found"
    if retry_policies() is None:
        # Only parse the DAG: in Airflow 3.1, dag.test() starts an API server for every task, which takes two
        # minutes of CPU time in all.
        return
    for dag in bag.dags.values():
        run = _test(dag)
        states = {ti.task_id: ti.state for ti in run.get_task_instances()}
        wrong = {task_id: state for task_id, state in states.items() if state != "success"}
        assert not wrong, f"{dag.dag_id} is {run.state}: {wrong}"


def _test(dag: Any) -> Any:
    """Run a DAG. If assets start it, pass an event such as ``JobFinishedTrigger`` sends."""
    from airflow.models import dagrun
    from airflow.models.asset import AssetEvent, DagScheduleAssetReference

    from airflow_provider_ehpc.hooks.aliyun import EhpcHook

    create = dagrun.get_or_create_dagrun

    def create_with_events(*, session: Any, **kwargs: Any) -> Any:
        run = create(session=session, **kwargs)
        for reference in session.query(DagScheduleAssetReference).filter_by(dag_id=dag.dag_id):
            hook = EhpcHook()
            job = hook.job_status(hook.job_ref(SAMPLE)).as_dict()
            hook.close()
            event = AssetEvent(asset_id=reference.asset_id, extra={"payload": {"jobs": [job]}})
            event.created_dagruns.append(run)
            session.add(event)
        session.commit()
        return run

    dagrun.get_or_create_dagrun = create_with_events
    try:
        return dag.test(run_conf={name: SAMPLE for name in dag.params if name == "job_id"})
    finally:
        dagrun.get_or_create_dagrun = create


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

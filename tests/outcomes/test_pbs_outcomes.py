# SPDX-License-Identifier: Apache-2.0
"""How tasks end that wait for the jobs of a real PBS server, through the API that passes its attributes on.

The 66 jobs of tests/samples/openpbs-23.06-qstat.json ran on OpenPBS 23.06.06. Each is read by DescribeJob, as
by a task. ``UPDATE_OUTCOMES=1`` writes the table of docs/outcomes.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun.classic import EhpcClassicApi
from airflow_provider_ehpc.apis.call import ApiCall, ApiResponse
from airflow_provider_ehpc.apis.job import JobRef, JobStatus
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import JobWatch, Outcome
from tests.apis.driver import run_flow
from tests.outcomes.table import UPDATE, Seen, cells, section, write

SAMPLES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "samples" / "openpbs-23.06-qstat.json").read_text()
)["Jobs"]


def _answer(call: ApiCall[Any]) -> Any:
    job_id = call.request.query["JobId"]
    shown = {"Message": {"JobInfo": {job_id: SAMPLES[job_id]}}}
    return call.read(ApiResponse(200, {"content-type": "application/json"}, json.dumps(shown).encode()))


def _seen(job_id: str) -> Seen:
    ref = JobRef(job_id, "c")
    status: JobStatus = run_flow(EhpcClassicApi().job_status(ref), _answer)
    verdict, notes = JobWatch(ref, WaitConditions(), 0.0).saw(status, 1.0)
    assert not [note for note in notes if note.warning], "nothing is assumed"
    if verdict is None or verdict.outcome is Outcome.REACHED:
        code = "" if status.exit_code is None else str(status.exit_code)
        return Seen(status.state.value, code, status.reason or "")
    return Seen.of_failure(verdict.message)


def _rows() -> list[str]:
    rows = [
        cells("job", "attributes of PBS", "state", "exit code", "reason and failed sub-jobs"),
        "|---|---|---|---|---|",
    ]
    for job_id, attributes in SAMPLES.items():
        seen = _seen(job_id)
        names = ("job_state", "substate", "Exit_status")
        reported = ", ".join(f"{name} {attributes[name]}" for name in names if name in attributes)
        why = "; ".join(part for part in (seen.reason, seen.members) if part)
        rows.append(cells(f"{attributes['Job_Name']} `{job_id}`", reported, seen.state, seen.exit_code, why))
    return rows


def test_the_table() -> None:
    rows = _rows()
    if UPDATE:
        write("pbs", rows)
    assert section("pbs").splitlines() == rows


@pytest.mark.parametrize(
    ("job_id", "seen"),
    [
        ("17[].vm", "17[2].vm (FAILED, exit code 7, Job run at"),
        ("23[].vm", "23[0].vm (FAILED, exit code 7, Job run at"),
        ("18[].vm", "18[4].vm (CANCELLED, exit code 271, ended by SIGTERM"),
    ],
)
def test_an_array_names_those_to_blame(job_id: str, seen: str) -> None:
    assert seen in _seen(job_id).members

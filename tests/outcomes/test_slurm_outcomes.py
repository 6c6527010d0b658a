# SPDX-License-Identifier: Apache-2.0
"""Every way in which a job ends on a real Slurm, seen by both APIs, on the worker and deferred.

One run takes about three minutes, because Slurm counts time limits in minutes. ``make slurm`` starts the
cluster; ``UPDATE_OUTCOMES=1`` writes the table of docs/outcomes.md.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_ehpc.compat import AirflowSensorTimeout
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, JobNotFound
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from tests.gates import eventually
from tests.outcomes.cases import (
    ARRAY,
    CANCELLED,
    NODE_DOWN,
    OUT_OF_MEMORY,
    PROGRAMS,
    SHELL_KILLED,
    WALL_TIME,
    Case,
)
from tests.outcomes.table import UPDATE, Seen, cells, write
from tests.outcomes.tasks import MODES, Ends, Submissions, Tasks, connected, found, table

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

APIS = ("ehpc", "ehpc-classic")
SUBMITTING = (*APIS, "ehpc-serverless")
CONN_ID = "aliyun_ehpc"
_NEVER = 25.0
"""Seconds after which the wait for a job that never ends times out."""


# Until this file exists in the cluster's home.
_HOLD = "until [ -e gate ]; do sleep 0.2; done"
_AGAIN = f'echo "run ${{SLURM_RESTART_COUNT:-0}}"; [ -n "$SLURM_RESTART_COUNT" ] || {{ {_HOLD}; }}'
# Waits for the jobs that are to be preempted; it cannot preempt them.
_QUEUED = {"queue": "cancelled", "cores": 16}
ENDS = (
    Case("preempted, PreemptMode=REQUEUE", _AGAIN, "SUCCEEDED", spec={"queue": "requeued", "cores": 5}),
    Case(
        "preempted, PreemptMode=CANCEL",
        "echo begun; sleep 600",
        "CANCELLED",
        r"\d*",
        ".*",
        "begun",
        spec={"queue": "cancelled", "cores": 5},
        cause="preempted",
    ),
    Case(
        "preempted, PreemptMode=SUSPEND",
        f"{_HOLD}; echo done",
        "SUCCEEDED",
        spec={"queue": "suspended", "cores": 5},
    ),
    *PROGRAMS,
    Case(
        "the output file cannot be written",
        "echo lost",
        "FAILED",
        "",
        "JobLaunchFailure; the job could not be launched: check that its output files can be written",
        spec={"stdout_path": "/no-such-directory/out"},
    ),
    OUT_OF_MEMORY,
    WALL_TIME,
    Case(
        "the wall time is over; SIGTERM is trapped",
        "trap 'echo trapped; exit 0' TERM; echo begun; while :; do sleep 0.2; done",
        "FAILED",
        r"\d*",
        "TimeLimit.*",
        "begun",
        spec={"wall_time": 60},
        cause="wall time exceeded",
    ),
    Case(
        "cancelled while queued",
        "true",
        "CANCELLED",
        "",
        "cancelled before it started.*",
        spec=_QUEUED,
        cause="cancelled by a user",
    ),
    CANCELLED,
    Case("suspended, then resumed", f"{_HOLD}; echo done", "SUCCEEDED"),
    Case("requeued by an administrator", _AGAIN, "SUCCEEDED"),
    Case("held", "true", "QUEUED", "", "JobHeld(User|Admin)", spec=_QUEUED, timeout=_NEVER),
    Case(
        "its dependency is never satisfied",
        "true",
        "QUEUED",
        "",
        "DependencyNeverSatisfied.*",
        spec=_QUEUED,
        timeout=_NEVER,
    ),
    Case("an array, all good", "true", "SUCCEEDED", spec={"array": "1-3"}),
    Case(
        "an array, partly failed",
        "echo part $SLURM_ARRAY_TASK_ID; exit $((SLURM_ARRAY_TASK_ID % 2 ? 0 : 7))",
        "FAILED",
        lines="part 2",
        members=r"N_2 \(FAILED.*\), N_4 \(FAILED.*\)",
        reason=".*",
        spec={"array": "1-5"},
    ),
    Case(
        "an array, partly cancelled",
        f"echo part $SLURM_ARRAY_TASK_ID; {_HOLD}",
        "CANCELLED",
        lines="part 2",
        members=r"N_2 \(CANCELLED.*\)",
        reason=".*",
        spec={"array": "1-3"},
        cause="cancelled by a user",
    ),
    Case("vanished while it runs", f"echo begun; {_HOLD}", "NOT FOUND"),
)
# After the others of their node.
NODE_ENDS = (
    NODE_DOWN,
    Case("its node goes down, requeue", _AGAIN, "SUCCEEDED", spec={"queue": "urgent"}),
)
SUBMITTED_ENDS = (*PROGRAMS, OUT_OF_MEMORY, WALL_TIME, CANCELLED, ARRAY, NODE_DOWN)
CASES = {case.name: case for case in (*ENDS, *NODE_ENDS)}


def _slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def _resume_node() -> None:
    """Let the node take jobs; the command fails if it does, for instance because it came back by itself."""
    resume = ["scontrol", "update", "nodename=compute001", "state=resume"]
    subprocess.run(resume, check=False, capture_output=True, timeout=60)


class Waits:
    """Waits for each job in every way at once, as tasks do."""

    def __init__(self, cloud: Emulator, tasks: Tasks) -> None:
        self._cloud = cloud
        self._tasks = tasks
        self.jobs: dict[str, str] = {}
        self.ends: dict[tuple[str, str, str], Future[Seen]] = {}

    def submit(self, case: Case) -> str:
        """Submit a case's job."""
        job_id = self.jobs[case.name] = self._cloud.submit(case.command, **case.spec)
        return job_id

    def begin(self, case: Case) -> None:
        """Begin to wait for a case's job."""
        job_id = self.jobs[case.name]
        for api in APIS:
            for mode in MODES:
                key = case.name, api, mode
                self.ends[key] = self._tasks.threads.submit(self._end, case, job_id, api, mode)

    def _end(self, case: Case, job_id: str, api: str, mode: str) -> Seen:
        sensor = JobStateSensor(
            task_id="wait",
            conn_id=CONN_ID,
            job_id=job_id,
            api=api,
            poke_interval=1.0,
            timeout=case.timeout,
            deferrable=mode == "deferred",
        )
        seen = self._task(sensor, api)
        lines = re.sub(r"[\d-]{10}T[\d:]{8}", "TIME", seen.lines)
        lines = re.sub(r"(JOB |StepId=|exceeded memory limit \()\d+", r"\1N", lines)
        reason, members = (text.replace(job_id, "N") for text in (seen.reason, seen.members))
        return dataclasses.replace(seen, reason=reason, members=members, lines=lines)

    def _task(self, sensor: JobStateSensor, api: str) -> Seen:
        try:
            job = self._tasks.run(sensor, {})
        except JobFailed as failure:
            return Seen.of_failure(str(failure))
        except JobNotFound:
            return Seen("NOT FOUND")
        except AirflowSensorTimeout:
            # What the user sees of it meanwhile.
            hook = job_hook(CONN_ID, api)
            status = hook.job_status(hook.job_ref(sensor.job_id, None, None))
            return Seen(status.state.value, reason=status.reason or "")
        return Seen(job["state"], reason=job.get("reason", ""))


@dataclass
class AllEnds:
    """How each task ended, by case, API and mode."""

    waited: Ends
    submitted: Ends


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AllEnds]:
    """Let everything happen once."""
    try:
        partitions = _slurm("sinfo", "--noheader", "--format=%R").split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no Slurm answers on this machine: make slurm (Debian) starts a private one")
    if not {"urgent", "requeued", "cancelled", "suspended"} <= set(partitions):
        pytest.skip("this Slurm has not the partitions that the table needs: make slurm-stop slurm")
    directory = tmp_path_factory.mktemp("outcomes") / "cloud"
    with Emulator(directory, scheduler="slurm") as cloud, connected(cloud):
        tasks = Tasks()
        waits, submissions = Waits(cloud, tasks), Submissions(cloud, tasks, SUBMITTING)
        try:
            _happen(cloud, waits, submissions, directory / "home" / "gate")
            yield AllEnds(
                {key: end.result(timeout=300) for key, end in waits.ends.items()},
                {key: end.result(timeout=300) for key, end in submissions.ends.items()},
            )
        finally:
            _resume_node()
            tasks.close()


def _happen(cloud: Emulator, waits: Waits, submissions: Submissions, gate: Path) -> None:
    for case in ENDS:
        waits.submit(case)
        if case.name.startswith("preempted"):
            cloud.wait_for(waits.jobs[case.name], "RUNNING")
    jobs = waits.jobs
    failed = cloud.submit("exit 1")
    cloud.wait_for(failed, "FAILED")
    _slurm("scontrol", "hold", jobs["held"])
    _slurm(
        "scontrol",
        "update",
        f"jobid={jobs['its dependency is never satisfied']}",
        f"dependency=afterok:{failed}",
    )
    for case in ENDS:
        waits.begin(case)
    for name in (
        "cancelled while it runs",
        "suspended, then resumed",
        "requeued by an administrator",
        "vanished while it runs",
        *(name for name in jobs if name.startswith("preempted")),
    ):
        _has_begun(cloud, jobs[name])
    # The node has room for these, but not for all others at once.
    submissions.begin(WALL_TIME)
    # Seen by every wait before it changes.
    time.sleep(3)
    array = jobs["an array, partly cancelled"]
    cloud.wait_for(f"{array}_2", "RUNNING")
    for job_id in (jobs["cancelled while queued"], jobs["cancelled while it runs"], f"{array}_2"):
        cloud.stop(job_id)
    cloud.fault("invisible", job_id=jobs["vanished while it runs"], seconds=1e9)
    suspended = jobs["suspended, then resumed"]
    _slurm("scontrol", "suspend", suspended)
    requeued = jobs["requeued by an administrator"]
    _slurm("scontrol", "requeue", requeued)
    cloud.wait_for(suspended, "SUSPENDED")
    urgent = cloud.submit("sleep 4", queue="urgent", cores=16)
    cloud.wait_for(jobs["preempted, PreemptMode=SUSPEND"], "SUSPENDED")
    cloud.wait_for(urgent, timeout=60)
    _slurm("scontrol", "resume", suspended)
    _again(cloud, requeued)
    _again(cloud, jobs["preempted, PreemptMode=REQUEUE"])
    gate.touch()
    submissions.begin(CANCELLED)
    submissions.stop(CANCELLED)
    for case in (*PROGRAMS, OUT_OF_MEMORY, ARRAY):
        submissions.begin(case)
    for case in ENDS:
        if case.spec.get("queue") and case.state != "QUEUED":
            eventually(lambda job_id=jobs[case.name]: cloud.job(job_id).phase.ended, timeout=200)
    _fail_node(cloud, waits, submissions, gate)


def _fail_node(cloud: Emulator, waits: Waits, submissions: Submissions, gate: Path) -> None:
    gate.unlink()
    ids = [waits.submit(case) for case in NODE_ENDS]
    for job_id in ids:
        _has_begun(cloud, job_id)
    submissions.begin(NODE_DOWN)
    for job_id in (ids[0], *(job.number for job, _ in submissions.jobs(NODE_DOWN))):
        _slurm("scontrol", "update", f"jobid={job_id}", "requeue=0")
    for case in NODE_ENDS:
        waits.begin(case)
    time.sleep(3)
    _slurm("scontrol", "update", "nodename=compute001", "state=down", "reason=outcomes")
    cloud.wait_for(ids[0], "NODE_FAIL")
    _resume_node()
    _again(cloud, ids[1])


def _has_begun(cloud: Emulator, job_id: str) -> None:
    """Wait until a job runs and, unless it is silent, has written something."""
    job = cloud.wait_for(job_id, "RUNNING", timeout=60)
    if job.spec.command.startswith("echo"):
        eventually(lambda: job.stdout_path.exists() and job.stdout_path.read_bytes())


def _again(cloud: Emulator, job_id: str) -> None:
    """Let a requeued job start soon: Slurm holds it back for two minutes, and its own credential for a job
    that starts in the second of its requeue is not valid.
    """
    eventually(lambda: cloud.job(job_id).restarts or cloud.job(job_id).phase == "PENDING", timeout=60)
    time.sleep(3)
    subprocess.run(["scontrol", "update", f"jobid={job_id}", "starttime=now"], check=False, timeout=60)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", CASES)
def test_an_end(ends: AllEnds, name: str, api: str, mode: str) -> None:
    case, seen = CASES[name], ends.waited[name, api, mode]
    assert seen.state == case.state
    assert case.lines in seen.lines
    assert re.fullmatch(case.members, seen.members)
    # The end of the shell that Slurm started is in no log, and API 2024-07-30 has no exit code.
    if not (api == "ehpc" and case == SHELL_KILLED):
        assert seen.cause == case.cause
    if api == "ehpc":
        assert (seen.exit_code, seen.reason) == ("", "")
    else:
        assert re.fullmatch(case.exit_code, seen.exit_code)
        assert re.fullmatch(case.reason, seen.reason)


@pytest.mark.parametrize("api", SUBMITTING)
@pytest.mark.parametrize("case", SUBMITTED_ENDS, ids=lambda case: case.name)
def test_an_end_of_a_submitted_job(ends: AllEnds, case: Case, api: str) -> None:
    seen = found(ends.submitted, case, api)
    if seen is None:
        assert (api, case) == ("ehpc-serverless", NODE_DOWN)
        return
    assert seen.state == case.state
    # What neither the API nor the log reports.
    if api != "ehpc" or case not in (WALL_TIME, CANCELLED, NODE_DOWN):
        assert re.fullmatch(case.exit_code, seen.exit_code.removeprefix("0"))
    # Slurm writes why it ended a job into the error stream, which no container's log contains.
    less = {WALL_TIME.name: "", OUT_OF_MEMORY.name: "killed"} if api == "ehpc-serverless" else {}
    assert seen.cause == less.get(case.name, case.cause)
    if case == ARRAY and api != "ehpc-serverless":
        assert seen.members == "2 6"


def test_the_table(ends: AllEnds) -> None:
    """Both modes report the same; the table is written only if that is wanted."""
    rows = [
        cells("what happens", "api", "worker", "deferred", "diagnosis", "exit code", "reason", "last lines"),
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in CASES:
        for api in APIS:
            worker, deferred = (ends.waited[name, api, mode] for mode in MODES)
            assert worker == deferred
            why = "; ".join(part for part in (worker.reason, worker.members) if part)
            lines = f"`{worker.lines}`" if worker.lines else ""
            ends_as = (worker.state, deferred.state, worker.cause, worker.exit_code)
            rows.append(cells(name, f"`{api}`", *ends_as, why, lines))
    if UPDATE:
        write("slurm", rows)
        write("submitted-slurm", table(ends.submitted, SUBMITTED_ENDS, SUBMITTING))

# SPDX-License-Identifier: Apache-2.0
"""Every way in which a job ends on a real Slurm, seen by both APIs, on the worker and deferred.

One run takes about three minutes, because Slurm counts time limits in minutes. ``make slurm`` starts the
cluster; ``UPDATE_OUTCOMES=1`` writes the table of docs/outcomes.md.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.compat import AirflowSensorTimeout
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, JobNotFound
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.triggers import base
from airflow_provider_ehpc.waiting import watch
from tests.gates import eventually
from tests.outcomes.table import UPDATE, Seen, cells, write

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

APIS = ("ehpc", "ehpc-classic")
MODES = ("worker", "deferred")
CONN_ID = "ehpc_outcomes"
_NEVER = 25.0
"""Seconds after which the wait for a job that never ends times out."""


@dataclass(frozen=True)
class Case:
    """A job, what happens to it, and how it must be reported."""

    name: str
    command: str
    state: str
    exit_code: str = ""
    """As scontrol, and so DescribeJob, reports it; API 2024-07-30 has none."""
    reason: str = ""
    """A pattern for the reason; API 2024-07-30 has none."""
    lines: str = ""
    members: str = ""
    """A pattern for the failed sub-jobs of an array."""
    cause: str = ""
    """What the diagnosis names, through both APIs."""
    spec: dict[str, Any] = field(default_factory=dict)
    timeout: float = 600.0


_CRASHES = ("ILL", "ABRT", "FPE", "SEGV")


def _signal(name: str, number: int) -> Case:
    return Case(
        f"the program is killed by SIG{name}",
        f"echo before; kill -{name} $$; echo never",
        "FAILED",
        str(128 + number),
        "NonZeroExitCode",
        "before",
        cause={"KILL": "killed"}.get(name, "program crashed" if name in _CRASHES else ""),
    )


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
    Case("done", "echo one; echo two", "SUCCEEDED"),
    Case("exit 3", "echo out; echo err >&2; exit 3", "FAILED", "3", "NonZeroExitCode", "out / err"),
    _signal("HUP", 1),
    _signal("INT", 2),
    _signal("QUIT", 3),
    _signal("ILL", 4),
    _signal("ABRT", 6),
    _signal("FPE", 8),
    _signal("KILL", 9),
    _signal("USR1", 10),
    _signal("SEGV", 11),
    _signal("PIPE", 13),
    _signal("TERM", 15),
    Case(
        "the batch shell is killed by SIGKILL",
        "echo before; kill -KILL $PPID; sleep 1",
        "FAILED",
        "137",
        "JobLaunchFailure; ended by SIGKILL",
        "before",
        cause="killed",
    ),
    Case(
        "the command is not executable (126)",
        "touch plain; ./plain",
        "FAILED",
        "126",
        "NonZeroExitCode",
        "Permission denied",
        cause="not executable",
    ),
    Case(
        "no such command (127)",
        "no-such-command",
        "FAILED",
        "127",
        "NonZeroExitCode",
        "not found",
        cause="command not found",
    ),
    Case(
        "the output file cannot be written",
        "echo lost",
        "FAILED",
        "",
        "JobLaunchFailure; the job could not be launched: check that its output files can be written",
        spec={"stdout_path": "/no-such-directory/out"},
    ),
    Case(
        "the wall time is over",
        "echo begun; sleep 600",
        "FAILED",
        r"\d*",
        "TimeLimit.*",
        "begun",
        spec={"wall_time": 60},
        cause="wall time exceeded",
    ),
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
    Case(
        "cancelled while it runs",
        "echo begun; sleep 600",
        "CANCELLED",
        r"\d+",
        ".*",
        "begun",
        cause="cancelled by a user",
    ),
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
    Case(
        "its node goes down, no requeue",
        "echo begun; sleep 600",
        "FAILED",
        r"\d*",
        "NodeDown.*",
        "begun",
        spec={"queue": "urgent"},
        cause="node failure",
    ),
    Case("its node goes down, requeue", _AGAIN, "SUCCEEDED", spec={"queue": "urgent"}),
)
CASES = {case.name: case for case in (*ENDS, *NODE_ENDS)}


def _slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def _resume_node() -> None:
    """Let the node take jobs; the command fails if it does, for instance because it came back by itself."""
    resume = ["scontrol", "update", "nodename=compute001", "state=resume"]
    subprocess.run(resume, check=False, capture_output=True, timeout=60)


class Waits:
    """Waits for each job in every way at once, as tasks do."""

    def __init__(self, cloud: Emulator) -> None:
        self._cloud = cloud
        self._threads = ThreadPoolExecutor(max_workers=200)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
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
                self.ends[case.name, api, mode] = self._threads.submit(self._end, case, job_id, api, mode)

    def close(self) -> None:
        """End the threads; the waits are over by then."""
        self._threads.shutdown(cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)

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
        lines = re.sub(r"JOB \d+", "JOB N", re.sub(r"[\d-]{10}T[\d:]{8}", "TIME", seen.lines))
        reason, members = (text.replace(job_id, "N") for text in (seen.reason, seen.members))
        return dataclasses.replace(seen, reason=reason, members=members, lines=lines)

    def _task(self, sensor: JobStateSensor, api: str) -> Seen:
        from airflow.providers.common.compat.sdk import TaskDeferred

        try:
            try:
                job = sensor.execute({})
            except TaskDeferred as deferred:
                event = asyncio.run_coroutine_threadsafe(_event(deferred.trigger), self._loop).result()
                job = sensor.resume_execution(deferred.method_name, {"event": event}, {})
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


async def _event(trigger: Any) -> dict[str, Any]:
    try:
        async for event in trigger.run():
            payload: dict[str, Any] = json.loads(json.dumps(event.payload))
            return payload
    finally:
        await trigger.cleanup()
    raise AssertionError("the trigger has fired no event")


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str, str], Seen]]:
    """Let everything happen once; return how each task ended, by case, API and mode."""
    try:
        partitions = _slurm("sinfo", "--noheader", "--format=%R").split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no Slurm answers on this machine: make slurm (Debian) starts a private one")
    if not {"urgent", "requeued", "cancelled", "suspended"} <= set(partitions):
        pytest.skip("this Slurm has not the partitions that the table needs: make slurm-stop slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "FIRST_POLL", 0.0)
        patch.setattr(base, "EARLIEST_EVENT", 0.0)
        patch.setattr(watch, "GONE_GRACE", 10.0, raising=False)
        directory = tmp_path_factory.mktemp("outcomes") / "cloud"
        with Emulator(directory, scheduler="slurm") as cloud:
            patch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", cloud.connection_json)
            waits = Waits(cloud)
            try:
                _happen(cloud, waits, directory / "home" / "gate")
                yield {key: end.result(timeout=300) for key, end in waits.ends.items()}
            finally:
                waits.close()
                _resume_node()


def _happen(cloud: Emulator, waits: Waits, gate: Path) -> None:
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
    for case in ENDS:
        if case.spec.get("queue") and case.state != "QUEUED":
            eventually(lambda job_id=jobs[case.name]: cloud.job(job_id).phase.ended, timeout=200)
    _fail_node(cloud, waits, gate)


def _fail_node(cloud: Emulator, waits: Waits, gate: Path) -> None:
    gate.unlink()
    ids = [waits.submit(case) for case in NODE_ENDS]
    for job_id in ids:
        _has_begun(cloud, job_id)
    _slurm("scontrol", "update", f"jobid={ids[0]}", "requeue=0")
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
def test_an_end(ends: dict[tuple[str, str, str], Seen], name: str, api: str, mode: str) -> None:
    case, seen = CASES[name], ends[name, api, mode]
    assert seen.state == case.state
    assert case.lines in seen.lines
    assert re.fullmatch(case.members, seen.members)
    # The end of the shell that Slurm started is in no log, and API 2024-07-30 has no exit code.
    if not (api == "ehpc" and case.name == "the batch shell is killed by SIGKILL"):
        assert seen.cause == case.cause
    if api == "ehpc":
        assert (seen.exit_code, seen.reason) == ("", "")
    else:
        assert re.fullmatch(case.exit_code, seen.exit_code)
        assert re.fullmatch(case.reason, seen.reason)


def test_the_table(ends: dict[tuple[str, str, str], Seen]) -> None:
    """Both modes report the same; the table is written only if that is wanted."""
    rows = [
        cells("what happens", "api", "worker", "deferred", "diagnosis", "exit code", "reason", "last lines"),
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in CASES:
        for api in APIS:
            worker, deferred = (ends[name, api, mode] for mode in MODES)
            assert worker == deferred
            why = "; ".join(part for part in (worker.reason, worker.members) if part)
            lines = f"`{worker.lines}`" if worker.lines else ""
            ends_as = (worker.state, deferred.state, worker.cause, worker.exit_code)
            rows.append(cells(name, f"`{api}`", *ends_as, why, lines))
    if UPDATE:
        write("slurm", rows)

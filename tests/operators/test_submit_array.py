# SPDX-License-Identifier: Apache-2.0
"""Arrays over the tries of a task: a retry submits only the failed members again."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_ehpc import outcome
from airflow_provider_ehpc.apis.array import array_status
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.emulator.jobs import Phase
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, JobFailedRetryably
from airflow_provider_ehpc.exit_code import take
from airflow_provider_ehpc.job_arguments import job_spec
from airflow_provider_ehpc.job_record import JobRecord, JobRecords
from airflow_provider_ehpc.operators.job import SubmitJobOperator
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.event import bounded_event
from airflow_provider_ehpc.waiting.watch import JobWatch, Verdict
from tests.conftest import Connect, TaskLog
from tests.gates import eventually
from tests.operators.tries import Tries, jobs_of
from tests.triggers.test_triggers import fire

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("quick_triggers")]
_NUMBERS = itertools.count()
Make = Callable[..., Tries]


class Members:
    """The command of an array whose members fail if the test says so.

    :param folder: shared by the test and the members.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        index = "${PBS_ARRAY_INDEX:-$SLURM_ARRAY_TASK_ID}"
        self.command = f"i={index}; echo >>{folder}/ran.$i; if [ -e {folder}/fail.$i ]; then exit 9; fi"

    def fail(self, *indexes: int) -> None:
        """Let these members fail from now on, and no others."""
        for old in self._folder.glob("fail.*"):
            old.unlink()
        for index in indexes:
            (self._folder / f"fail.{index}").touch()

    @property
    def runs(self) -> dict[int, int]:
        """How often each member ran."""
        return {
            int(file.suffix[1:]): len(file.read_text().splitlines()) for file in self._folder.glob("ran.*")
        }


@pytest.fixture
def members(tmp_path: Path) -> Members:
    return Members(tmp_path)


@pytest.fixture(params=[False, True], ids=["worker", "deferred"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tries], Any]:
    """Run a try; deferred, it begins to wait before its job has ended."""
    monkeypatch.setattr(outcome, "PAUSE", 0.02)

    def once(task: Tries) -> Any:
        task.operator.deferrable = request.param
        return task.run_deferred(monkeypatch) if request.param else task.run()

    return once


@pytest.fixture
def submit(ehpc_emulator: Emulator, connect: Connect, members: Members) -> Make:
    """Make a task that submits an array of ten."""

    def build(*, store: bool = True, array: str = "1-10", delay: float = 0.5, **given: Any) -> Tries:
        conn_id = connect(ehpc_emulator.connections["aliyun_ehpc"])
        task_id = f"array_{next(_NUMBERS)}"
        fields = {"conn_id": conn_id, "array": array, "poll_interval": 0.05, "get_logs": False, **given}
        fields["command"] = f"sleep {delay}; {members.command}"
        return Tries(lambda: SubmitJobOperator(task_id=task_id, **fields), store=store)

    return build


def arrays(cloud: Emulator) -> list[str | None]:
    """Return the arrays that were submitted."""
    jobs = {job.number: job.spec.array for job in jobs_of(cloud)}
    return [jobs[number] for number in sorted(jobs)]


def test_a_classic_array_is_retried(ehpc_emulator: Emulator, submit: Make, members: Members) -> None:
    members.fail(2, 3)
    task = submit(api="ehpc-classic", user="alice")
    with pytest.raises(JobFailedRetryably):
        task.run()
    members.fail()
    # This API reports no members of an array that succeeded.
    assert task.next().run()["state"] == "SUCCEEDED"
    assert arrays(ehpc_emulator) == ["1-10", "2-3"]


@pytest.mark.parametrize("hidden", [False, True], ids=["reported", "from the logs"])
def test_a_retry_submits_the_failed_members(
    ehpc_emulator: Emulator, submit: Make, members: Members, run: Any, task_log: TaskLog, hidden: bool
) -> None:
    if hidden:
        ehpc_emulator.fault("finished_hides_failure")
    members.fail(2, 6, 10)
    task = submit()
    with pytest.raises(JobFailedRetryably, match="7 SUCCEEDED, 3 FAILED") as caught:
        run(task)
    assert not isinstance(caught.value, AirflowFailException)
    members.fail()
    result = run(task.next())
    assert arrays(ehpc_emulator) == ["1-10", "2-10:4"]
    assert members.runs == {index: 2 if index in (2, 6, 10) else 1 for index in range(1, 11)}
    assert result["state"] == "SUCCEEDED"
    assert result["array"] == {"SUCCEEDED": 10}
    assert result["members"] == {"SUCCEEDED": "1-10"}
    assert any("only the members 2-10:4 of the array 1-10" in line for line in task_log.lines)


def test_each_retry_has_fewer_members(
    ehpc_emulator: Emulator, submit: Make, members: Members, run: Any
) -> None:
    """No API takes a list: members between the failed ones are in the range, but run nothing."""
    task = submit(max_failed_members=1)
    for failed, expected in (((2, 3, 7), "7 SUCCEEDED, 3 FAILED"), ((3, 7), "4 SUCCEEDED, 2 FAILED")):
        members.fail(*failed)
        with pytest.raises(JobFailedRetryably, match=expected):
            run(task)
        task.next()
    members.fail(7)
    result = run(task)
    assert arrays(ehpc_emulator) == ["1-10", "2-7", "3-7:4"]
    assert result["state"] == "SUCCEEDED"
    assert result["members"] == {"SUCCEEDED": "1-6,8-10", "FAILED": "7"}
    assert result["array"] == {"SUCCEEDED": 9, "FAILED": 1}
    assert members.runs == {1: 1, 2: 2, 3: 3, 4: 1, 5: 1, 6: 1, 7: 3, 8: 1, 9: 1, 10: 1}


def test_members_between_the_first_and_the_last_do_not_run_again(
    ehpc_emulator: Emulator, submit: Make, members: Members, run: Any
) -> None:
    """The range of the failed members is the whole array."""
    members.fail(1, 2, 10)
    task = submit()
    with pytest.raises(JobFailedRetryably, match="7 SUCCEEDED, 3 FAILED"):
        run(task)
    members.fail()
    assert run(task.next())["members"] == {"SUCCEEDED": "1-10"}
    assert arrays(ehpc_emulator) == ["1-10", "1-10"]
    assert members.runs == {index: 2 if index in (1, 2, 10) else 1 for index in range(1, 11)}


@pytest.mark.parametrize(
    ("array", "succeeded", "expected"),
    [
        ("1-1000%5", "100", ("1-1000%5", "1-99,101-1000")),
        ("1-150000", "100", (None, None)),  # 149,999 members are not listed
        ("1-9000", ",".join(map(str, range(2, 9000, 3))), ("1-9000", None)),  # the list is too long
        ("1-9000", ",".join(map(str, range(2, 9000, 2))), ("1-9000", None)),
    ],
    ids=["limited", "huge", "long", "alternating"],
)
def test_the_members_of_a_large_array(
    array: str, succeeded: str, expected: tuple[str | None, str | None]
) -> None:
    records = JobRecords({}, None, durable=False)  # type: ignore[typeddict-item]
    records.saved = JobRecord("n", 1, 0.0, {"job_id": "1"}, array=array)
    records.failed({"members": {"FAILED": "1", "SUCCEEDED": succeeded}})
    assert (records.saved.members, records.saved.only) == expected


@pytest.mark.parametrize(
    "variable", ["PBS_ARRAY_INDEX", "SLURM_ARRAY_TASK_ID", "EHPC_ARRAY_TASK_ID", "OTHER"]
)
@pytest.mark.parametrize("token", [None, "0" * 32], ids=["plain", "captured"])
@pytest.mark.parametrize(
    "given",
    [
        {"command": "set -eu; echo ran; exit 3"},
        {"command": "-- /bin/sh -c 'echo ran; exit 3'"},
        {"script": "#!/bin/sh -eu\n#SBATCH -n 1\necho ran\nexit 3\n"},
        {"script": "#!/usr/bin/env python3\nprint('ran')\nraise SystemExit(3)\n"},
    ],
    ids=["command", "program", "script", "python"],
)
def test_only_the_chosen_members_run_the_command(
    given: dict[str, str], token: str | None, variable: str
) -> None:
    for api in ("ehpc", "ehpc-serverless"):
        only = "2,4-5,12"
        spec = job_spec(
            {**given, "array": "2-12", "options": {"Container": {"Image": "i"}}},
            api,
            "job",
            password=None,
            token=token,
            only=only,
        )
        shell = shlex.split(spec.command)[1:] if api == "ehpc" else ["/bin/sh", "-c", spec.command]
        for index in (2, 3, 5, 12):
            runs = index != 3 or variable == "OTHER"  # an index that is unknown runs everything
            done = subprocess.run(
                shell, env={**os.environ, variable: str(index)}, capture_output=True, text=True
            )
            assert done.returncode == (3 if runs else 0), done.stderr
            assert ("ran" in done.stdout.splitlines()) is runs
            if token:
                assert take(done.stdout, token)[1] == done.returncode


def test_a_script_on_the_cluster_runs_in_all_members_of_the_range() -> None:
    fields = {"command": "/home/alice/run.sh", "array": "2-7"}
    spec = job_spec(fields, "ehpc", "job", password=None, token=None, only="2-3,7")
    assert spec.command == "/home/alice/run.sh"


def test_one_member_is_a_range(ehpc_emulator: Emulator, submit: Make, members: Members) -> None:
    members.fail(7)
    task = submit(array="1-10:2")
    with pytest.raises(JobFailedRetryably):
        task.run()
    members.fail()
    assert task.next().run()["members"] == {"SUCCEEDED": "1,3,5,7,9"}
    assert arrays(ehpc_emulator) == ["1-10:2", "7-8:2"]


def test_a_cleared_task_starts_over(ehpc_emulator: Emulator, submit: Make, members: Members) -> None:
    members.fail(2)
    task = submit()
    with pytest.raises(JobFailedRetryably):
        task.run()
    members.fail()
    assert task.next(cleared=True).run()["array"] == {"SUCCEEDED": 10}
    assert arrays(ehpc_emulator) == ["1-10", "1-10"]


@pytest.mark.parametrize("given", [{"store": False}, {"durable": False}], ids=str)
def test_without_a_store_the_whole_array_is_submitted(
    ehpc_emulator: Emulator, submit: Make, members: Members, given: dict[str, bool]
) -> None:
    members.fail(2)
    task = submit(**given)
    with pytest.raises(JobFailedRetryably):
        task.run()
    members.fail()
    assert task.next().run()["array"] == {"SUCCEEDED": 10}
    assert arrays(ehpc_emulator) == ["1-10", "1-10"]


def test_another_array_is_submitted_as_a_whole(
    ehpc_emulator: Emulator, submit: Make, members: Members
) -> None:
    members.fail(2)
    task = submit()
    with pytest.raises(JobFailedRetryably):
        task.run()
    task.next().operator.array = "1-4"
    members.fail()
    assert task.run()["members"] == {"SUCCEEDED": "1-4"}
    assert arrays(ehpc_emulator) == ["1-10", "1-4"]


def test_a_retry_after_a_crash_submits_the_failed_members(
    ehpc_emulator: Emulator, submit: Make, members: Members
) -> None:
    """The worker died before it saw that the array failed."""
    members.fail(2, 4)
    task = submit()
    task.operator.wait_for_completion = False
    task.run()
    eventually(lambda: all(job.phase.ended for job in jobs_of(ehpc_emulator)))
    members.fail()
    assert task.next().run()["members"] == {"SUCCEEDED": "1-10"}
    assert arrays(ehpc_emulator) == ["1-10", "2-4:2"]


def test_a_cancelled_array_is_not_retried(
    ehpc_emulator: Emulator, submit: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """API 2024-07-30 does not report that running members on PBS were cancelled."""
    monkeypatch.setattr(outcome, "PAUSE", 0.02)
    task = submit(array="1-2", delay=60, api="ehpc-classic", user="alice")

    def cancel() -> None:
        eventually(lambda: "job_id" in task.ti.xcoms)
        eventually(lambda: all(job.phase is Phase.RUNNING for job in jobs_of(ehpc_emulator)))
        ehpc_emulator.stop(task.ti.xcoms["job_id"])

    cancelling = threading.Thread(target=cancel, daemon=True)
    cancelling.start()
    with pytest.raises(JobFailed):
        task.run()
    cancelling.join()


def test_an_array_too_large_for_the_event_is_retried() -> None:
    """Its event has the number of failed members, but not which."""
    states = {str(n): JobState.FAILED if n % 2 else JobState.SUCCEEDED for n in range(1, 5001)}
    status = array_status(JobStatus("1[].manager", JobState.FAILED, "F", "c"), states, 5000)
    ref = JobRef("1[].manager", "c")
    verdict, _ = JobWatch(ref, WaitConditions(), 0.0).saw(status, 1.0)
    assert verdict is not None
    event = bounded_event(verdict, [ref], [ref], [JobState.SUCCEEDED])
    assert "members" not in event["jobs"][0]
    operator = SubmitJobOperator(task_id="large", command="true", array="1-5000")
    assert operator._failure(Verdict.from_event(event)) is JobFailedRetryably


def test_an_array_whose_members_are_not_reported_is_retried() -> None:
    """API 2018-04-12 reads at most 200 of them."""
    operator = SubmitJobOperator(task_id="large", command="true", array="1-1000")
    for state, failure in (("FAILED", JobFailedRetryably), ("CANCELLED", JobFailed)):
        event = {"outcome": "failed", "message": "", "jobs": [{"job_id": "1[]", "state": state}]}
        assert operator._failure(Verdict.from_event(event)) is failure


def test_the_row_and_the_event_of_a_thousand_members_are_small(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL stores 64 KiB of each. Every second member fails: that is the longest list."""
    from airflow.models import crypto
    from airflow.models.trigger import Trigger
    from cryptography.fernet import Fernet

    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    if cached := getattr(crypto.get_fernet, "cache_clear", None):
        cached()
    with Emulator(tmp_path / "cloud", slots=250) as cloud:
        conn_id = connect(cloud.connection)
        task = Tries(
            lambda: SubmitJobOperator(
                task_id="thousand",
                conn_id=conn_id,
                command="exit $((PBS_ARRAY_INDEX % 2))",
                array="1-1000",
                capture_exit_code=False,
                deferrable=True,
                poll_interval=0.5,
                log_settle_time=0.1,
            )
        )
        with pytest.raises(TaskDeferred) as deferral:
            task.run()
        row = Trigger.from_object(deferral.value.trigger).encrypted_kwargs
        event = asyncio.run(fire(deferral.value.trigger))
        assert len(row) < 4096
        assert len(json.dumps(event)) < 16 * 1024
        monkeypatch.setattr(
            "airflow_provider_ehpc.operators.job.own_xcom", lambda _context, key: task.ti.xcoms.get(key)
        )
        with pytest.raises(JobFailedRetryably, match="500 SUCCEEDED, 500 FAILED"):
            task.operator.resume_execution("execute_complete", {"event": event}, task.context)  # type: ignore[arg-type]
    if cached:
        cached()

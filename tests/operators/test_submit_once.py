# SPDX-License-Identifier: Apache-2.0
"""A job is submitted once, whatever fails: requests, processes, Airflow."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_ehpc import submission
from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.submit_rules import RULES, unique_name
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, JobTimedOut, SubmissionUnknown
from airflow_provider_ehpc.operators.job import SubmitJobOperator
from tests.conftest import Connect, Pauses, TaskLog
from tests.gates import eventually
from tests.operators.tries import Tries, jobs_of

pytestmark = pytest.mark.timeout(120)
Make = Callable[..., Tries]
_NUMBERS = itertools.count()
IMAGE = {"Container": {"Image": "centos:7"}}
TRAINING = {
    "algorithm": {"engine": {"image_url": "team/train:1"}},
    "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.8u"}},
}
APIS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ehpc": ("aliyun_ehpc", "CreateJob", {}),
    "ehpc-classic": ("aliyun_ehpc", "SubmitJob", {"user": "alice"}),
    "ehpc-serverless": ("aliyun_ehpc", "SubmitServerlessJob", {"options": IMAGE}),
    "modelarts": ("huawei_modelarts", "CreateTrainingJob", {"options": TRAINING}),
    "qingcloud": ("qingcloud_hpc", "HpcJobSubmitJob", {"user": "alice"}),
}
"""The connection type, the operation that submits, and what a job needs."""


@pytest.fixture
def submit(ehpc_emulator: Emulator, connect: Connect) -> Make:
    """Make a task that submits a job; a later try may differ in its arguments."""

    def build(
        command: str = "true", *, api: str = "ehpc", store: bool = True, retries: int = 2, **given: Any
    ) -> Tries:
        conn_id = connect(ehpc_emulator.connections[APIS[api][0]])
        quick = {"poll_interval": 0.05, "log_settle_time": 0.1}
        task_id = f"submit_{next(_NUMBERS)}"
        fields = {"conn_id": conn_id, "api": api, "command": command, **APIS[api][2], **quick, **given}
        return Tries(lambda: SubmitJobOperator(task_id=task_id, **fields), retries=retries, store=store)

    return build


def all_jobs(emulator: Emulator, api: str) -> int:
    """Return how many jobs there are, whichever cluster runs them."""
    return len(jobs_of(emulator, serverless=api == "ehpc-serverless"))


# Requests


AMBIGUOUS: dict[str, dict[str, Any]] = {
    "reset after the job was accepted": {"kind": "reset", "effect": True},
    "reset before": {"kind": "reset"},
    "response cut off": {"kind": "truncate"},
    "503": {"kind": "error", "status": 503, "code": "ServiceUnavailable"},
    "a page of a proxy": {"kind": "html", "status": 502},
    "a page of a proxy with 200": {"kind": "html"},
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a submitted job be visible after a second."""
    monkeypatch.setattr(submission, "VISIBLE", 1.0)
    monkeypatch.setattr(submission, "_PAUSES", (0.0, 0.2, 0.4, 0.8))


@pytest.mark.parametrize("fault", AMBIGUOUS)
@pytest.mark.parametrize("api", APIS)
def test_an_uncertain_submission_leaves_one_job(
    ehpc_emulator: Emulator, submit: Make, pauses: Pauses, soon: None, api: str, fault: str
) -> None:
    kind = AMBIGUOUS[fault]
    ehpc_emulator.fault(operation=APIS[api][1], **kind)
    job = submit(api=api, get_logs=False).run()
    assert job["state"] == "SUCCEEDED"
    assert all_jobs(ehpc_emulator, api) == 1


def test_a_job_that_is_found_later_is_not_submitted_again(
    ehpc_emulator: Emulator, submit: Make, pauses: Pauses, soon: None
) -> None:
    """Lists may show a job some seconds after it was submitted."""
    ehpc_emulator.fault("invisible", seconds=0.5)
    ehpc_emulator.fault("reset", operation="CreateJob", effect=True)
    submit(get_logs=False).run()
    assert len(jobs_of(ehpc_emulator)) == 1
    assert ehpc_emulator.requests.count("CreateJob") == 1


def test_it_gives_up_after_some_submissions(
    ehpc_emulator: Emulator, submit: Make, pauses: Pauses, soon: None
) -> None:
    ehpc_emulator.fault("error", operation="CreateJob", times=99, status=503, code="ServiceUnavailable")
    with pytest.raises(Exception, match="ServiceUnavailable"):
        submit().run()
    assert ehpc_emulator.requests.count("CreateJob") == submission.SUBMISSIONS


@pytest.mark.parametrize("size", [10, 70_000])
def test_a_request_that_no_gateway_takes_is_not_repeated(
    ehpc_emulator: Emulator, submit: Make, pauses: Pauses, soon: None, task_log: TaskLog, size: int
) -> None:
    """The first has a proxy with a limit; of the second, aiohttp answers that the line is too long."""
    if size < 100:
        ehpc_emulator.fault("html", operation="CreateJob", times=9, status=414)
    with pytest.raises(ApiError, match=r"the endpoint answered text/.*, not the API"):
        submit(f"true {'x' * size}").run()
    assert not any("submitting it again" in line for line in task_log.lines)
    assert ehpc_emulator.requests.count("CreateJob") == (size < 100)
    assert not jobs_of(ehpc_emulator)


def test_without_a_list_nothing_is_sent_again(
    ehpc_emulator: Emulator, submit: Make, pauses: Pauses, soon: None
) -> None:
    ehpc_emulator.deny("ListJobs")
    ehpc_emulator.fault("reset", operation="CreateJob", effect=True)
    task = submit()
    with pytest.raises(SubmissionUnknown, match="It is not submitted again"):
        task.run()
    # A retry still does not know.
    with pytest.raises(SubmissionUnknown):
        task.next().run()
    assert len(jobs_of(ehpc_emulator)) == 1
    ehpc_emulator.deny()
    assert task.next().run()["state"] == "SUCCEEDED"
    assert len(jobs_of(ehpc_emulator)) == 1


def test_a_refusal_is_no_reason_to_search(ehpc_emulator: Emulator, submit: Make, pauses: Pauses) -> None:
    ehpc_emulator.deny("CreateJob")
    with pytest.raises(Exception, match="ehpc:CreateJob"):
        submit().run()
    assert not ehpc_emulator.requests.count("ListJobs")


# Tries


class Crash(BaseException):
    """The end of a process."""


def crash_at(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Let the next try's process die before or behind its submission."""
    original = submission.Submission.submit if "save" in place else SubmitJobOperator._follow
    name = "submit" if "save" in place else "_follow"
    owner = submission.Submission if "save" in place else SubmitJobOperator

    def once(self: Any, argument: Any) -> Any:
        monkeypatch.setattr(owner, name, original)
        if place == "before the request, behind the save":
            self._records.save(self._record(argument.name, None))
        elif place == "behind the request, before the save":
            self._records.save(self._record(argument.name, None))
            self._hook.submit(argument, self._cluster_id)
        raise Crash

    monkeypatch.setattr(owner, name, once)


CRASHES = ("before the request, behind the save", "behind the request, before the save", "in the wait")


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("place", CRASHES)
def test_a_retry_after_a_crash_leaves_one_job(
    ehpc_emulator: Emulator,
    submit: Make,
    monkeypatch: pytest.MonkeyPatch,
    soon: None,
    place: str,
    store: bool,
) -> None:
    task = submit("sleep 1; echo done", store=store)
    crash_at(monkeypatch, place)
    with pytest.raises(Crash):
        task.run()
    job = task.next().run()
    assert job["state"] == "SUCCEEDED"
    assert task.ti.xcoms["job_id"] == job["job_id"]
    assert len(jobs_of(ehpc_emulator)) == 1


@pytest.mark.parametrize("command", ["sleep 1; echo done", "exit 1"])
@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("place", CRASHES)
def test_a_try_that_runs_twice_leaves_one_job(
    ehpc_emulator: Emulator,
    submit: Make,
    monkeypatch: pytest.MonkeyPatch,
    soon: None,
    place: str,
    store: bool,
    command: str,
) -> None:
    """A container that restarts may run a try again; the try ends as its job ends."""
    task = submit(command, store=store)
    crash_at(monkeypatch, place)
    with pytest.raises(Crash):
        task.run()
    if command == "exit 1":
        if jobs_of(ehpc_emulator):
            eventually(lambda: jobs_of(ehpc_emulator)[0].phase.ended)
        with pytest.raises(JobFailed):
            task.again().run()
    else:
        assert task.again().run()["state"] == "SUCCEEDED"
    assert len(jobs_of(ehpc_emulator)) == 1


@pytest.mark.parametrize("store", [True, False])
def test_the_first_process_of_a_task_does_not_search(
    ehpc_emulator: Emulator, submit: Make, store: bool
) -> None:
    submit("true", store=store, wait_for_completion=False).run()
    assert not ehpc_emulator.requests.count("ListJobs")


@pytest.mark.parametrize("store", [True, False])
def test_a_run_that_was_deleted_and_created_again_submits_a_job(
    ehpc_emulator: Emulator, submit: Make, store: bool
) -> None:
    """It has the same ID. The job of the old one must not be taken for its own."""
    names = set()
    for day in (1, 2):
        task = submit("true", store=store, wait_for_completion=False, job_name="same")
        task.ti.task_id = "same"
        task.ti.xcoms["job_name"] = "of the old run"
        task.again().dag_run = SimpleNamespace(start_date=datetime(2026, 1, day, tzinfo=UTC))
        names.add(task.run()["name"])
    assert len(names) == len(jobs_of(ehpc_emulator)) == 2


@pytest.mark.parametrize("store", [True, False])
def test_a_rejoined_job_has_its_captured_exit_code(
    ehpc_emulator: Emulator, submit: Make, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog, store: bool
) -> None:
    ehpc_emulator.fault("finished_hides_failure")
    task = submit("sleep 1; echo done", store=store)
    crash_at(monkeypatch, "in the wait")
    with pytest.raises(Crash):
        task.run()
    job = task.next().run()
    assert (job["state"], job["exit_code"]) == ("SUCCEEDED", 0)
    assert not any("[exit-code" in line for line in task_log.lines)
    assert len(jobs_of(ehpc_emulator)) == 1


@pytest.mark.usefixtures("quick_triggers")
@pytest.mark.parametrize("get_logs", [True, False])
def test_the_marker_of_an_exit_code_is_random_and_in_no_xcom(
    ehpc_emulator: Emulator, submit: Make, monkeypatch: pytest.MonkeyPatch, get_logs: bool
) -> None:
    ehpc_emulator.fault("finished_hides_failure")
    task = submit("sleep 0.5; exit 7", get_logs=get_logs, deferrable=True)
    with pytest.raises(JobFailed, match="exit code 7"):
        task.run_deferred(monkeypatch)
    token = json.loads(task.states["ehpc:submitted_job"])["token"]
    assert token in jobs_of(ehpc_emulator)[0].spec.command
    assert token != submission.token_of(jobs_of(ehpc_emulator)[0].spec.name)
    assert token not in json.dumps(task.ti.xcoms)


@pytest.mark.parametrize("store", [True, False])
def test_a_retry_returns_the_result_of_a_job_that_succeeded(
    ehpc_emulator: Emulator, submit: Make, monkeypatch: pytest.MonkeyPatch, store: bool
) -> None:
    task = submit("true", store=store)
    crash_at(monkeypatch, "in the wait")
    with pytest.raises(Crash):
        task.run()
    eventually(lambda: jobs_of(ehpc_emulator)[0].phase.ended)
    assert task.next().run()["state"] == "SUCCEEDED"
    assert len(jobs_of(ehpc_emulator)) == 1


@pytest.mark.parametrize("store", [True, False])
def test_a_retry_submits_anew_after_a_failed_job(ehpc_emulator: Emulator, submit: Make, store: bool) -> None:
    task = submit("exit 1", store=store)
    for _ in range(2):
        with pytest.raises(JobFailed):
            task.run()
        task.next()
    names = [job.spec.name for job in jobs_of(ehpc_emulator)]
    assert len(names) == len(set(names)) == 2


def test_a_retry_after_a_timeout_submits_anew_if_the_job_was_stopped(
    ehpc_emulator: Emulator, submit: Make
) -> None:
    task = submit("sleep 60", timeout=1.5, get_logs=False)
    with pytest.raises(JobTimedOut):
        task.run()
    with pytest.raises(JobTimedOut):
        task.next().run()
    assert len(jobs_of(ehpc_emulator)) == 2


def test_a_retry_after_a_timeout_rejoins_a_job_that_runs_on(ehpc_emulator: Emulator, submit: Make) -> None:
    task = submit("sleep 3", timeout=1.0, get_logs=False, stop_job_on_kill=False)
    with pytest.raises(JobTimedOut):
        task.run()
    task.next().operator.timeout = 60.0
    assert task.run()["state"] == "SUCCEEDED"
    assert len(jobs_of(ehpc_emulator)) == 1


def test_without_durable_each_try_submits(
    ehpc_emulator: Emulator, submit: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = submit("true", durable=False)
    crash_at(monkeypatch, "in the wait")
    with pytest.raises(Crash):
        task.run()
    task.next().run()
    assert len(jobs_of(ehpc_emulator)) == 2


def test_a_broken_store_is_replaced_by_the_search(
    ehpc_emulator: Emulator, submit: Make, monkeypatch: pytest.MonkeyPatch, task_log: TaskLog
) -> None:
    task = submit("sleep 1")
    task.states.broken = True
    crash_at(monkeypatch, "in the wait")
    with pytest.raises(Crash):
        task.run()
    assert task.next().run()["state"] == "SUCCEEDED"
    assert len(jobs_of(ehpc_emulator)) == 1
    assert any("A retry searches for it by its name" in line for line in task_log.warnings)


# Clearing


def test_a_task_that_is_cleared_after_its_end_starts_over(ehpc_emulator: Emulator, submit: Make) -> None:
    task = submit("true")
    first = task.run()
    second = task.next(cleared=True).run()
    assert first["job_id"] != second["job_id"]
    assert not ehpc_emulator.requests.count("StopJobs")


@pytest.mark.parametrize("stops", [True, False])
def test_clearing_after_a_crash_stops_the_old_job(
    ehpc_emulator: Emulator, submit: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stops: bool
) -> None:
    """Airflow could not call ``on_kill``: the process was gone."""
    begun = tmp_path / "begun"
    task = submit(f"[ -e {begun} ] || {{ touch {begun}; sleep 600; }}", retries=0, stop_job_on_kill=stops)
    crash_at(monkeypatch, "in the wait")
    with pytest.raises(Crash):
        task.run()
    eventually(begun.exists)
    task.next(cleared=True).run()
    _old, new = jobs_of(ehpc_emulator)
    assert new.phase == "COMPLETED"
    assert ehpc_emulator.requests.count("StopJobs", "ok") == stops


# Names


@pytest.mark.parametrize("api", RULES)
@pytest.mark.parametrize(
    "prefix", ["train", "Train_2.x", "x" * 300, "数据", "1-2", "-", "a b/c", "UPPER", "a--b"]
)
def test_names_keep_the_rules_of_their_api(api: str, prefix: str) -> None:
    patterns = {
        "ehpc": r"[A-Za-z][A-Za-z0-9_.-]{0,63}",
        "ehpc-classic": r"[A-Za-z][A-Za-z0-9.]{5,29}",
        "ehpc-serverless": r"[a-z0-9]([a-z0-9-]*[a-z0-9])?",
        "modelarts": r"[A-Za-z0-9_-]{1,64}",
        "qingcloud": r"[A-Za-z][A-Za-z0-9_-]{0,63}",
    }
    name = unique_name(api, prefix, "abc234abc234")
    assert re.fullmatch(patterns[api], name)
    assert name.endswith("abc234abc234")


def test_each_try_task_and_mapped_task_has_a_name_of_its_own(submit: Make) -> None:
    names = set()
    for map_index, tries in itertools.product((-1, 0, 1), (1, 2)):
        task = submit("true", wait_for_completion=False, durable=False)
        task.ti.task_id = "same"
        task.ti.map_index, task.ti.try_number = map_index, tries
        names.add(task.run()["name"])
    assert len(names) == 6

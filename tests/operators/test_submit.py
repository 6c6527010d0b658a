# SPDX-License-Identifier: Apache-2.0
"""Submitting a job and waiting for it, on the worker, against the emulator."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout
from airflow.sdk import DAG

from airflow_provider_ehpc.apis.call import InvalidArgument, PermissionDenied
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, JobTimedOut, TaskKilled
from airflow_provider_ehpc.operators.job import SubmitJobOperator
from tests.conftest import Pauses, TaskLog
from tests.gates import eventually
from tests.operators.tries import Tries, jobs_of

pytestmark = pytest.mark.timeout(120)
Make = Callable[..., Tries]
_NUMBERS = itertools.count()
CLASSIC = {"api": "ehpc-classic", "user": "alice"}
"""An API that reports exit codes."""


@pytest.fixture
def submit(conn_id: str) -> Make:
    """Make a task that polls all the time."""

    def build(command: str | None = None, *, store: bool = True, retries: int = 2, **given: Any) -> Tries:
        quick = {"poll_interval": 0.05, "log_settle_time": 0.1}
        task_id = f"submit_{next(_NUMBERS)}"
        fields = {"conn_id": conn_id, "command": command, **quick, **given}
        return Tries(lambda: SubmitJobOperator(task_id=task_id, **fields), retries=retries, store=store)

    return build


def test_a_job_runs_with_its_log(ehpc_emulator: Emulator, submit: Make, task_log: TaskLog) -> None:
    task = submit("echo one; echo two >&2", job_name="train")
    job = task.run()
    assert job["state"] == "SUCCEEDED"
    assert job["log"]["lines"] == 2
    assert {"one", "stderr | two"} <= set(task_log.lines)
    (made,) = jobs_of(ehpc_emulator)
    assert made.spec.name.startswith("train-")
    assert task.ti.xcoms["job_id"] == job["job_id"]


def test_without_the_log(submit: Make, task_log: TaskLog) -> None:
    job = submit("echo one", get_logs=False).run()
    assert job["state"] == "SUCCEEDED"
    assert "log" not in job
    assert "one" not in task_log.lines


@pytest.mark.parametrize("get_logs", [True, False])
def test_a_failed_job_fails_the_task(submit: Make, get_logs: bool) -> None:
    with pytest.raises(JobFailed, match=r"exit code 3[\s\S]*why"):
        submit("echo why; exit 3", get_logs=get_logs, **CLASSIC).run()


def test_it_can_end_after_the_submission(ehpc_emulator: Emulator, submit: Make) -> None:
    task = submit("sleep 60", wait_for_completion=False)
    result = task.run()
    (made,) = jobs_of(ehpc_emulator)
    assert result == {
        "job_id": task.ti.xcoms["job_id"],
        "cluster_id": ehpc_emulator.cluster_id,
        "name": made.spec.name,
    }
    assert not made.phase.ended


@pytest.mark.parametrize("api", ["reports it", "does not"])
@pytest.mark.parametrize("get_logs", [True, False])
@pytest.mark.parametrize("codes", [99, [98, 99]])
def test_an_exit_code_skips_the_task(
    submit: Make, task_log: TaskLog, codes: Any, get_logs: bool, api: str
) -> None:
    given = CLASSIC if api == "reports it" else {}
    with pytest.raises(AirflowSkipException, match="exit code 99"):
        submit("exit 99", skip_on_exit_code=codes, get_logs=get_logs, **given).run()
    assert task_log.lines[-1].startswith("skipped by skip_on_exit_code: job ")
    assert task_log.lines[-1].endswith("ended with exit code 99")
    assert not task_log.warnings


def test_a_success_can_skip_the_task(submit: Make) -> None:
    with pytest.raises(AirflowSkipException, match="exit code 0"):
        submit("true", skip_on_exit_code=0, **CLASSIC).run()


@pytest.mark.parametrize("get_logs", [True, False])
@pytest.mark.parametrize("script", [True, False])
def test_an_exit_code_that_the_api_does_not_report(
    ehpc_emulator: Emulator, submit: Make, script: bool, get_logs: bool, task_log: TaskLog
) -> None:
    ehpc_emulator.fault("finished_hides_failure")
    given = {"script": "#!/bin/bash\n#SBATCH -N 1\nexit 7\n"} if script else {"command": "exit 7"}
    with pytest.raises(JobFailed, match="exit code 7"):
        submit(get_logs=get_logs, **given).run()
    assert not any("exit-code" in line for line in task_log.lines)


@pytest.mark.parametrize("command", ["true", "exit 7"])
def test_the_captured_outcome_is_saved(ehpc_emulator: Emulator, submit: Make, command: str) -> None:
    """A retry after a crash in the task's last moments depends on it."""
    ehpc_emulator.fault("finished_hides_failure")
    task = submit(command, get_logs=False)
    with contextlib.suppress(JobFailed):
        task.run()
    state = "SUCCEEDED" if command == "true" else "FAILED"
    assert f'"ended": "{state}"' in task.states["ehpc:submitted_job"]


def test_without_capturing_an_unknown_outcome_is_a_failure(ehpc_emulator: Emulator, submit: Make) -> None:
    ehpc_emulator.fault("finished_hides_failure")
    with pytest.raises(JobFailed, match="no exit code is reported"):
        submit("true", capture_exit_code=False).run()


def test_other_exit_codes_fail_it(submit: Make) -> None:
    with pytest.raises(JobFailed, match="exit code 1"):
        submit("exit 1", skip_on_exit_code=99, **CLASSIC).run()


def test_the_id_is_known_before_the_first_poll(ehpc_emulator: Emulator, submit: Make) -> None:
    ehpc_emulator.deny("GetJob", "ListJobs")
    task = submit("sleep 60")
    with pytest.raises(PermissionDenied):
        task.run()
    assert task.ti.xcoms["job_id"]
    assert task.ti.xcoms["job_id"] in task.states["ehpc:submitted_job"]


@pytest.mark.parametrize("get_logs", [True, False])
def test_a_timeout_stops_the_job(ehpc_emulator: Emulator, submit: Make, get_logs: bool) -> None:
    with pytest.raises(JobTimedOut, match=r"timed out after .*; stop_job_on_kill stops the job"):
        submit("sleep 60", timeout=1.5, get_logs=get_logs).run()
    eventually(lambda: jobs_of(ehpc_emulator)[0].phase == "CANCELLED")


def test_a_timeout_can_leave_the_job(ehpc_emulator: Emulator, submit: Make) -> None:
    task = submit("sleep 60", timeout=1.5, get_logs=False, stop_job_on_kill=False)
    with pytest.raises(JobTimedOut, match="the job was not stopped"):
        task.run()
    assert ehpc_emulator.requests.count("StopJobs") == 0


def test_an_execution_timeout_stops_the_job(ehpc_emulator: Emulator, submit: Make) -> None:
    limit = dt.timedelta(seconds=1.5)
    with pytest.raises(AirflowTaskTimeout):
        submit("sleep 60", execution_timeout=limit).run()
    eventually(lambda: jobs_of(ehpc_emulator)[0].phase == "CANCELLED")


@pytest.mark.parametrize("get_logs", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_a_kill_ends_the_job(ehpc_emulator: Emulator, submit: Make, asked: bool, get_logs: bool) -> None:
    task = submit("sleep 60", poll_interval=1000, get_logs=get_logs, stop_job_on_kill=asked)

    def kill() -> None:
        polls = ("GetJob", "ListJobs")
        eventually(lambda: any(ehpc_emulator.requests.count(poll, "ok") for poll in polls))
        task.operator.on_kill()

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    with pytest.raises(TaskKilled):
        task.run()
    killing.join()
    assert ehpc_emulator.requests.count("StopJobs", "ok") == asked
    if asked:
        eventually(lambda: jobs_of(ehpc_emulator)[0].phase == "CANCELLED")


def test_a_kill_during_the_submission_leaves_no_job(ehpc_emulator: Emulator, submit: Make) -> None:
    """The response is late: the ID is unknown when Airflow ends the task."""
    ehpc_emulator.fault("latency", operation="CreateJob", seconds=2)
    task = submit("sleep 60")

    def kill() -> None:
        eventually(lambda: task.operator._submission and task.operator._submission.unknown)
        task.operator.on_kill()

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    with pytest.raises(TaskKilled):
        task.run()
    killing.join()
    assert len(jobs_of(ehpc_emulator)) == 1
    eventually(lambda: jobs_of(ehpc_emulator)[0].phase == "CANCELLED")


class Ended(BaseException):
    """The process ends, as after Airflow's handler of SIGTERM."""


def test_a_process_that_ends_during_the_submission_leaves_no_job(
    ehpc_emulator: Emulator, submit: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing runs after the signal handler: ``on_kill`` itself has to find the job and stop it."""
    ehpc_emulator.fault("reset", operation="CreateJob", effect=True)
    ehpc_emulator.fault("latency", operation="ListJobs", seconds=2)
    task = submit("sleep 60")

    def end(*_: Any) -> None:
        task.operator.on_kill()
        raise Ended

    def kill() -> None:
        eventually(lambda: jobs_of(ehpc_emulator))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    monkeypatch.setattr("airflow_provider_ehpc.operators.job.STOP_SEARCH", 60.0)
    before = signal.signal(signal.SIGUSR1, end)
    try:
        killing = threading.Thread(target=kill, daemon=True)
        killing.start()
        with pytest.raises(Ended):
            task.run()
        killing.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    eventually(lambda: [made.phase for made in jobs_of(ehpc_emulator)] == ["CANCELLED"])


def test_the_raw_log_is_saved(submit: Make, tmp_path: Path) -> None:
    job = submit("echo line", keep_log_at=f"file://{tmp_path}/kept").run()
    assert (tmp_path / "kept" / "stdout.log").read_bytes().startswith(b"line\n[exit-code ")
    assert job["log"]["kept"]


def test_a_script_runs_with_its_interpreter(submit: Make, task_log: TaskLog) -> None:
    submit(script="#!/bin/bash\n# a comment\nx=(a b)\necho ${#x[@]} 'words'\n").run()
    assert "2 words" in task_log.lines


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"command": None}, "command, script: give exactly one"),
        ({"command": "true", "script": "true"}, "command, script: give exactly one"),
        ({"command": ""}, "command: expected a non-empty text"),
        ({"command": "true", "nodes": 0}, "nodes: 0 is below 1"),
        ({"command": "true", "cores": 1.5}, "cores: expected a whole number"),
        ({"command": "true", "memory": "4"}, "memory: expected a number with a unit, such as 4GB, got '4'"),
        ({"command": "true", "wall_time": "1h"}, "wall_time: expected seconds, a timedelta, HH:MM:SS"),
        ({"command": "true", "wall_time": 0}, "wall_time: 0 is not above 0 seconds"),
        ({"command": "true", "environment": ["A=1"]}, "environment: expected a dict"),
        ({"command": "true", "options": "x"}, "options: expected a dict, got str"),
        ({"command": "true", "skip_on_exit_code": "x"}, "skip_on_exit_code: expected a whole number"),
        ({"command": "true", "max_failed_members": -1}, "max_failed_members: -1 is below 0"),
        ({"command": "true", "api": "nope"}, "api: unknown API .nope."),
    ],
)
def test_a_wrong_argument_is_found_when_the_dag_is_parsed(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        SubmitJobOperator(task_id="x", **given)


def test_what_is_missing_is_reported_at_once_before_any_request(
    ehpc_emulator: Emulator, connect: Callable[..., str]
) -> None:
    """Without ``api``, the connection's type decides: it is read when the task runs."""
    connection = ehpc_emulator.connections["huawei_modelarts"]
    task = Tries(
        lambda: SubmitJobOperator(
            task_id="x", command="true", user="me", cores=2, conn_id=connect(connection, "ma")
        )
    )
    with pytest.raises(
        InvalidArgument, match=r"(?s)'modelarts'.*user: .*cores: .*flavor is missing.*image or"
    ):
        task.run()
    assert not ehpc_emulator.requests.count()


def test_templates_are_checked_when_they_are_rendered(ehpc_emulator: Emulator, submit: Make) -> None:
    task = submit("true", nodes="{{ params.nodes }}")
    task.operator.nodes = "two"
    with pytest.raises(InvalidArgument, match="nodes: expected a whole number, got 'two'"):
        task.run()
    assert not ehpc_emulator.requests.count("CreateJob")


def test_a_job_that_the_scheduler_refuses_is_not_sent_again(
    ehpc_emulator: Emulator, submit: Make, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_ehpc import submission
    from airflow_provider_ehpc.apis.call import ApiError

    monkeypatch.setattr(submission, "_SOON", 0.1)
    message = "invalid partition"
    ehpc_emulator.fault(
        "error",
        operation="CreateJob",
        times=9,
        status=406,
        code="AgentError.Job.SubmitFailure",
        message=message,
    )
    with pytest.raises(ApiError, match=message):
        submit("true").run()
    assert ehpc_emulator.requests.count("CreateJob") == 1


# Queues: Airflow's operators have one, too.


def test_the_queue_is_the_jobs() -> None:
    with DAG("d", schedule=None):
        one = SubmitJobOperator(task_id="one", command="true", queue="gpu")
        mapped = SubmitJobOperator.partial(task_id="mapped", queue="gpu").expand(command=["true"])
        plain = SubmitJobOperator.partial(task_id="plain").expand(command=["true"])
        over = SubmitJobOperator.partial(task_id="over", command="true").expand(job_queue=["gpu"])
    assert (one.queue, one.job_queue) == ("default", "gpu")
    for operator, command, expected in (
        (mapped, {}, "gpu"),
        (plain, {}, None),
        (over, {"job_queue": "gpu"}, "gpu"),
    ):
        assert operator.queue == "default"
        made = operator.unmap({"command": "true", **command} if operator is not over else command)
        assert (made.queue, made.job_queue or None) == ("default", expected)


def test_a_queue_replaces_that_of_default_args() -> None:
    with DAG("d", schedule=None, default_args={"job_queue": "gpu"}):
        one = SubmitJobOperator(task_id="one", command="true", queue="cpu")
    assert (one.queue, one.job_queue) == ("default", "cpu")


def test_the_name_of_airflows_queue_cannot_be_mapped() -> None:
    """It would be the worker's, and the job would have none."""
    with DAG("d", schedule=None):
        partial = SubmitJobOperator.partial(task_id="m", command="true")
        with pytest.raises(TypeError, match="queue"):
            partial.expand(queue=["gpu"])
        rows = partial.expand_kwargs([{"queue": "gpu"}])
    with pytest.raises(TypeError, match="queue"):
        rows.unmap({"queue": "gpu"})


def test_the_queue_of_default_args_is_airflows() -> None:
    with DAG("d", schedule=None, default_args={"queue": "workers"}):
        one = SubmitJobOperator(task_id="one", command="true")
        both = SubmitJobOperator(task_id="both", command="true", queue="gpu")
        mapped = SubmitJobOperator.partial(task_id="m", queue="gpu").expand(command=["true"])
    assert (one.queue, one.job_queue) == ("workers", None)
    assert (both.queue, both.job_queue) == ("workers", "gpu")
    made = mapped.unmap({"command": "true"})
    assert (mapped.queue, made.queue, made.job_queue) == ("workers", "workers", "gpu")


def test_the_lines_of_a_script_are_arguments(ehpc_emulator: Emulator, submit: Make) -> None:
    script = "#!/bin/bash\n#SBATCH -N 1 -c 2 -J fluid\n#SBATCH --time=1:00:00\necho\n"
    submit(script=script, cores=3, get_logs=False).run()
    (made,) = jobs_of(ehpc_emulator)
    assert made.spec.name.startswith("fluid-")
    assert (made.spec.nodes, made.spec.cores, made.spec.wall_time) == (1, 3, 3600)

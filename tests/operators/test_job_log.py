# SPDX-License-Identifier: Apache-2.0
"""The log operator on the worker, against the emulator."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_ehpc.apis.aliyun import ehpc as ehpc_api
from airflow_provider_ehpc.apis.call import InvalidArgument, PermissionDenied
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, JobNotFound, JobTimedOut, TaskKilled
from airflow_provider_ehpc.logs import follow, store
from airflow_provider_ehpc.logs.store import ENDED_KEY, STATE_KEY, XCOM_KEY
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.triggers.job_log import JobLogTrigger
from tests.conftest import Pauses, TaskLog
from tests.gates import Gate, eventually
from tests.logs.stores import TI, States, XComs

Make = Callable[..., JobLogOperator]


@pytest.fixture
def make(conn_id: str) -> Make:
    """Make an operator that reads all the time."""
    numbers = itertools.count()

    def build(job_id: str, **arguments: Any) -> JobLogOperator:
        quick = {"poll_interval": 0.05, "log_settle_time": 0.1}
        return JobLogOperator(
            task_id=f"log_{next(numbers)}", **{"conn_id": conn_id, "job_id": job_id, **quick, **arguments}
        )

    return build


def written(task_log: TaskLog) -> list[str]:
    """The lines of the job's log, without what the operator says itself."""
    lines = (line for record in task_log.lines for line in record.split("\n"))
    return [line for line in lines if not line.startswith(("job ", "log of job "))]


def test_the_log_is_what_the_job_wrote(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    job_id = ehpc_emulator.submit(
        "for n in 1 2 3 4 5; do echo step 数据 $n; sleep 0.1; done; printf 'no end'", name="md"
    )
    job = make(job_id).execute({})
    text = ehpc_emulator.job(job_id).stdout_path.read_text()
    assert written(task_log) == text.split("\n") == [*(f"step 数据 {n}" for n in range(1, 6)), "no end"]
    assert (job["job_id"], job["state"], job["name"]) == (job_id, "SUCCEEDED", "md")
    assert job["log"] == {"bytes": len(text.encode()), "lines": 6, "cut_lines": 0, "errors": 0}


def test_errors_are_distinguished(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    make(ehpc_emulator.submit("echo out; echo err >&2")).execute({})
    assert sorted(written(task_log)) == ["out", "stderr | err"]


@pytest.mark.parametrize(("unreadable", "shown"), [("stderr", "out"), ("stdout", "stderr | err")])
def test_one_stream_is_shown_if_the_other_cannot_be_read(
    ehpc_emulator: Emulator,
    make: Make,
    task_log: TaskLog,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
    gate: Gate,
    unreadable: str,
    shown: str,
) -> None:
    monkeypatch.setattr(follow, "LOG_OUTAGE", 0.5)
    job_id = ehpc_emulator.submit(f"{gate.wait}; echo out; echo err >&2; exit 3")
    file = getattr(ehpc_emulator.wait_for(job_id, "RUNNING"), f"{unreadable}_path")
    file.unlink()
    file.mkdir()
    gate.open()
    ehpc_emulator.wait_for(job_id)
    folder = ehpc_emulator.directory / "kept"
    with pytest.raises(JobFailed, match=shown.removeprefix("stderr | ")):
        make(job_id, keep_log_at=f"file://{folder}").execute({})
    assert written(task_log).count(shown) == 1
    assert any(line.startswith("cannot read the log: ") for line in task_log.warnings)
    assert any(line.startswith("cannot save the log ") for line in task_log.warnings)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("level", [None, "debug", "info", "warning", "ERROR"])
def test_errors_have_their_level(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, level: str | None
) -> None:
    """So that the filter of Airflow's log view works."""
    more = {"stderr_level": level} if level else {}
    make(ehpc_emulator.submit("seq 20; seq 21 40 >&2"), **more).execute({})
    levels = {record.getMessage(): record.levelname for record in task_log.records}
    assert {levels[str(n)] for n in range(1, 21)} == {"INFO"}
    assert {levels[f"stderr | {n}"] for n in range(21, 41)} == {(level or "warning").upper()}


def test_merged_streams_have_no_errors(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    make(ehpc_emulator.submit("exec 2>&1; echo out; echo err >&2")).execute({})
    assert written(task_log) == ["out", "err"]
    assert not task_log.warnings


@pytest.mark.parametrize("level", ["critical", "", 30, None])
def test_an_unknown_level_is_refused(make: Make, level: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"stderr_level: expected debug, info, warning, error, not"):
        make("1.manager", stderr_level=level)


@pytest.mark.parametrize("ended", [False, True])
def test_the_log_begins_with_what_the_job_is(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, ended: bool
) -> None:
    job_id = ehpc_emulator.submit("echo line; sleep 0.2", name="md", nodes=2, cores=2)
    if ended:
        ehpc_emulator.wait_for(job_id)
    job = make(job_id).execute({})
    job_in_cluster = f"job {job_id} in cluster ehpc-hz-emulator"
    headers = [line for line in task_log.lines if line.startswith(f"{job_in_cluster}: ")]
    assert headers == [
        f"{job_in_cluster}: name md, user testuser, queue workq",
        f"{job_in_cluster}: 2 nodes with 2 cores each",
    ]
    lines = task_log.lines
    assert lines.index(headers[1]) < lines.index("line")
    assert lines.index(headers[1]) < next(
        n for n, line in enumerate(lines) if f"{job_in_cluster} is " in line
    )
    assert job["resources"]["nodes"] == "2"


def test_a_line_with_a_percent_sign_is_a_line(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    """Passed as a format, it would raise inside the logger and be lost."""
    job_id = ehpc_emulator.submit("printf '100%% done %%s %%(name)s {x}\\n'")
    make(job_id).execute({})
    assert written(task_log) == ["100% done %s %(name)s {x}"]


def test_a_long_log_is_whole(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    """Larger than one reading gives."""
    job_id = ehpc_emulator.submit("seq 1 120000")
    job = make(job_id).execute({})
    assert written(task_log) == [str(n) for n in range(1, 120_001)]
    assert job["log"]["bytes"] > 400 * 1024
    assert ehpc_emulator.requests.count("GetJobLog") < 15


def test_a_log_that_is_not_kept_up_with_comes_in_blocks(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog
) -> None:
    """Airflow's way to the log takes some thousand records a second; the job need not wait for that."""
    job_id = ehpc_emulator.submit("seq 1 300000; echo end >&2")
    ehpc_emulator.wait_for(job_id)
    make(job_id, poll_interval=0.01).execute({})
    assert [line for line in written(task_log) if line.isdigit()] == [str(n) for n in range(1, 300_001)]
    assert len(task_log.lines) < 150_000
    assert "stderr | end" in task_log.lines


def test_a_log_that_is_kept_up_with_comes_line_by_line(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog
) -> None:
    """Each line then has its own time, and can be found by itself."""
    job_id = ehpc_emulator.submit("seq 1 30000")
    ehpc_emulator.wait_for(job_id)
    make(job_id, poll_interval=600).execute({})
    assert [line for line in task_log.lines if line.isdigit()] == [str(n) for n in range(1, 30_001)]


def test_a_failed_job_fails_the_task_after_its_whole_log(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog
) -> None:
    job_id = ehpc_emulator.submit("echo begun; sleep 0.2; echo 'out of memory' >&2; exit 137")
    with pytest.raises(JobFailed, match=r"ended FAILED[\s\S]*stderr:\n  out of memory"):
        make(job_id).execute({})
    assert written(task_log) == ["begun", "stderr | out of memory"]


def test_any_end_can_be_wanted(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("exit 3")
    states = ["SUCCEEDED", "FAILED", "CANCELLED"]
    assert make(job_id, target_states=states).execute({})["state"] == "FAILED"


def test_a_log_that_cannot_be_read_does_not_fail_the_task(
    ehpc_emulator: Emulator, make: Make, pauses: Pauses, task_log: TaskLog
) -> None:
    job_id = ehpc_emulator.submit("for n in 1 2 3 4 5 6; do echo $n; sleep 0.1; done")
    ehpc_emulator.fault("html", operation="GetJobLog", times=7)
    job = make(job_id).execute({})
    assert written(task_log)[1:] == [
        "the log can be read again; reading continues where it stopped",
        *(str(n) for n in range(1, 7)),
    ]
    assert job["log"]["errors"] > 0
    assert len([line for line in task_log.warnings if "cannot read the log: " in line]) == 1


def test_a_rotated_log_is_followed(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, gate: Gate
) -> None:
    job_id = ehpc_emulator.submit(f"echo old line one; {gate.wait}")
    operator = make(job_id)

    def rotate() -> None:
        eventually(lambda: "old line one" in task_log.lines)
        ehpc_emulator.change_log(job_id, "rotate", b"new\n")
        gate.open()

    rotating = threading.Thread(target=rotate, daemon=True)
    rotating.start()
    operator.execute({})
    rotating.join()
    assert [line for line in written(task_log) if not line.startswith("---")] == ["old line one", "new"]
    assert any("is read again from the beginning" in line for line in task_log.warnings)


def test_an_unknown_job(make: Make) -> None:
    with pytest.raises(JobNotFound, match="check job_id, cluster_id and the region"):
        make("99.manager", not_found_grace=0.2).execute({})


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_timeout_holds_within_a_poll(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, deferrable: bool
) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.fault("latency", operation="GetJob", seconds=20, times=9)
    with pytest.raises((JobTimedOut, TaskDeferred)) as caught:
        make(job_id, timeout=2.5, deferrable=deferrable).execute({})
    assert deferrable or "The last error: the API did not respond" in str(caught.value)
    assert not ehpc_emulator.requests.count("GetJob"), "the task ended before the API responded"


def test_the_time_is_over(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    job_id = ehpc_emulator.submit("echo line; sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    with pytest.raises(JobTimedOut, match=r"timed out after .* the job was not stopped"):
        make(job_id, timeout=5).execute({})
    assert written(task_log) == ["line"]
    assert ehpc_emulator.job(job_id).phase == "RUNNING"


def test_the_execution_timeout_counts_while_deferred(ehpc_emulator: Emulator, make: Make) -> None:
    """Airflow does not enforce it then (GH-69678)."""
    operator = make(ehpc_emulator.submit("sleep 60"), timeout=600, execution_timeout=dt.timedelta(seconds=60))
    terms = operator._conditions(1000.0)
    assert terms.deadline == 1060


def test_a_lost_right_ends_the_task(ehpc_emulator: Emulator, make: Make) -> None:
    ehpc_emulator.deny("GetJob")
    with pytest.raises(PermissionDenied, match=r"needs the action ehpc:GetJob\."):
        make(ehpc_emulator.submit("sleep 60")).execute({})


# Killing


@pytest.mark.parametrize("asked", [True, False])
def test_a_killed_task_ends_at_once(ehpc_emulator: Emulator, make: Make, asked: bool) -> None:
    """Airflow calls ``on_kill`` and waits five seconds before it kills the process (SIGKILL)."""
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    operator = make(job_id, poll_interval=1000, stop_job_on_kill=asked)

    def kill() -> None:
        eventually(lambda: ehpc_emulator.requests.count("GetJobLog"))
        operator.on_kill()

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    with pytest.raises(TaskKilled, match=f"Airflow ended the task while it followed job {job_id}"):
        operator.execute({})
    killing.join()
    assert ehpc_emulator.requests.count("StopJobs", "ok") == asked
    if asked:
        assert ehpc_emulator.wait_for(job_id).phase == "CANCELLED"


def test_a_job_that_cannot_be_stopped_is_reported(
    ehpc_emulator: Emulator, make: Make, pauses: Pauses, task_log: TaskLog
) -> None:
    """``on_kill`` runs in a signal handler: an exception of its own would hide what happens."""
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.wait_for(job_id)
    make(job_id, stop_job_on_kill=True).on_kill()
    assert f"could not stop job {job_id} in cluster ehpc-hz-emulator" in task_log.warnings[0]


# Keeping


def test_the_raw_log_is_kept(ehpc_emulator: Emulator, make: Make, task_log: TaskLog, tmp_path: Path) -> None:
    job_id = ehpc_emulator.submit("printf 'a\\r\\nb\\377'; echo err >&2")
    job = make(job_id, keep_log_at=f"file://{tmp_path}/kept").execute({})
    assert (tmp_path / "kept" / "stdout.log").read_bytes() == b"a\r\nb\xff"
    assert job["log"]["kept"] == [f"file://{tmp_path}/kept/stdout.log", f"file://{tmp_path}/kept/stderr.log"]


def test_the_log_of_a_failed_job_is_kept_too(ehpc_emulator: Emulator, make: Make, tmp_path: Path) -> None:
    with pytest.raises(JobFailed):
        make(ehpc_emulator.submit("echo why; exit 1"), keep_log_at=f"file://{tmp_path}").execute({})
    assert (tmp_path / "stdout.log").read_bytes() == b"why\n"


@pytest.mark.parametrize("where", ["file:///proc/nowhere", "nosuchscheme://bucket/key", "s3://bucket/key"])
def test_a_storage_that_cannot_be_written_does_not_fail_the_task(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, where: str
) -> None:
    """The job has succeeded, perhaps after days: its result must not be lost for a wrong address."""
    job_id = ehpc_emulator.submit("echo line")
    assert make(job_id, keep_log_at=where).execute({})["state"] == "SUCCEEDED"
    assert f" at {where}: " in task_log.warnings[-1]


# Deferring


def deferral(operator: JobLogOperator) -> Any:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute({})
    return caught.value


def test_it_defers_with_the_whole_wait(ehpc_emulator: Emulator, make: Make, conn_id: str) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    deferred = deferral(make(job_id, deferrable=True, timeout=600, poll_interval=20, log_settle_time=7))
    trigger = deferred.trigger
    assert isinstance(trigger, JobLogTrigger)
    assert (trigger.conn_id, trigger.api, trigger.poll_interval, trigger.settle) == (conn_id, "ehpc", 20, 7)
    assert not trigger.stop_job_on_kill
    assert trigger.conditions.deadline == pytest.approx(trigger.started + 600)
    assert deferred.timeout == dt.timedelta(seconds=600 + 300)


def test_a_job_that_has_ended_is_read_here(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    job_id = ehpc_emulator.submit("echo line")
    ehpc_emulator.wait_for(job_id)
    assert make(job_id, deferrable=True).execute({})["state"] == "SUCCEEDED"
    assert written(task_log) == ["line"]


def test_a_job_not_known_yet_is_deferred_for(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.fault("invisible", job_id=job_id, seconds=600)
    deferral(make(job_id, deferrable=True))


def test_a_key_that_is_refused_is_not_deferred_for(ehpc_emulator: Emulator, make: Make) -> None:
    ehpc_emulator.deny("GetJob")
    with pytest.raises(PermissionDenied):
        make(ehpc_emulator.submit("sleep 60"), deferrable=True).execute({})


def test_the_event_is_the_result(ehpc_emulator: Emulator, make: Make, tmp_path: Path) -> None:
    job_id = ehpc_emulator.submit("echo line")
    ehpc_emulator.wait_for(job_id)
    job = {"job_id": job_id, "state": "SUCCEEDED"}
    event = {"outcome": "reached", "message": "", "jobs": [job], "log": {"lines": 1, "bytes": 5}}
    result = make(job_id, keep_log_at=f"file://{tmp_path}").execute_complete({}, event)
    assert result == {**job, "log": {"lines": 1, "bytes": 5, "kept": [f"file://{tmp_path}/stdout.log"]}}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"outcome": "failed", "message": "it failed"}, JobFailed),
        ({"outcome": "timed_out", "message": "late"}, JobTimedOut),
        ({"outcome": "not_found", "message": "gone"}, JobNotFound),
        (
            {"outcome": "error", "message": "no", "error": PermissionDenied("no", status=407).as_dict()},
            PermissionDenied,
        ),
        (None, ValueError),
    ],
)
def test_what_the_trigger_saw_ends_the_task(make: Make, event: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        make("1.manager").execute_complete({}, event)


# Restarts


def test_a_retry_goes_on_where_the_try_before_was_killed(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, gate: Gate
) -> None:
    states = States()
    context: Any = {"task_state_store": states, "ti": TI}
    job_id = ehpc_emulator.submit(f"seq 100; {gate.wait}; echo end")
    first = make(job_id)

    def kill() -> None:
        eventually(lambda: STATE_KEY in states and states[STATE_KEY]["streams"])
        first._killed.interrupt()

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    with pytest.raises(TaskKilled):
        first.execute(context)
    killing.join()
    before, written_before = len(task_log.lines), len(written(task_log))
    gate.open()
    result = make(job_id).execute(context)
    again = written(task_log)[written_before:]
    assert again[-1] == "end"
    # One second between two saves, and 0.05 in these tests until a line is in the log.
    assert re.match(
        r"--- resumed at byte 292 of stdout; up to one cycle \(about 1\.\d+ s\)", task_log.lines[before]
    )
    assert [line for line in task_log.lines if line.isdigit()] == [str(n) for n in range(1, 101)]
    assert result["log"] == {"bytes": 296, "lines": 101, "cut_lines": 0, "errors": 0}
    assert states[STATE_KEY][ENDED_KEY] == TI.max_tries


def test_a_process_whose_task_was_cleared_writes_no_more(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, gate: Gate
) -> None:
    """Airflow ends it seconds later; until then, the next try writes the same lines."""
    states = States()
    job_id = ehpc_emulator.submit(f"seq 100; {gate.wait}; echo more; sleep 2; echo end; sleep 60")
    operator = make(job_id)

    def clear() -> None:
        eventually(lambda: "100" in task_log.lines)
        states.cleared = True
        gate.open()
        threading.Event().wait(4)
        operator.on_kill()

    clearing = threading.Thread(target=clear, daemon=True)
    clearing.start()
    with pytest.raises(TaskKilled, match="another try of the task now follows"):
        operator.execute({"task_state_store": states, "ti": TI})
    clearing.join()
    ehpc_emulator.stop(job_id)
    assert "end" not in task_log.lines


def test_a_retry_defers_with_the_place_that_the_trigger_left(
    ehpc_emulator: Emulator, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ended the deferral: a timeout, a trigger that failed."""
    xcoms, states = XComs(), States()
    monkeypatch.setattr(store, "async_xcom", lambda: xcoms)
    job_id = ehpc_emulator.submit("sleep 60")
    ref = {"job_id": job_id, "cluster_id": ehpc_emulator.cluster_id}
    cursor = {
        "api": "ehpc",
        "job": ref,
        "streams": {"stdout": {"position": 7, "written": 9, "digest": "ab"}},
        "turn": 30.0,
        "totals": {"bytes": 16, "lines": 2, "cut_lines": 0, "errors": 0},
    }
    xcoms.values[XCOM_KEY] = {"try_number": 1, "cursor": cursor}
    context: Any = {"task_state_store": states, "ti": TI}
    event = {"outcome": "timed_out", "message": "late"}
    with pytest.raises(JobTimedOut):
        make(job_id).resume_execution("execute_complete", {"event": event}, context)
    xcoms.values.clear()  # as Airflow does at the beginning of a try
    operator = make(job_id, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    assert deferred.value.trigger.cursor == cursor


def test_a_retry_does_not_promise_what_only_the_lost_trigger_knew(
    ehpc_emulator: Emulator, make: Make
) -> None:
    """The worker that came back from the deferral died before it could copy the trigger's cursor."""
    states = States()
    job_id = ehpc_emulator.submit("sleep 60")
    ref = {"job_id": job_id, "cluster_id": ehpc_emulator.cluster_id}
    states[STATE_KEY] = {"api": "ehpc", "job": ref, "streams": {}, "turn": 10.0}
    context: Any = {"task_state_store": states, "ti": TI}
    for turn in (10.0, None):
        with pytest.raises(TaskDeferred) as deferred:
            make(job_id, deferrable=True).execute(context)
        assert deferred.value.trigger.cursor["turn"] == turn


def test_a_task_that_is_asked_to_end_amid_a_backlog_ends_at_once(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog
) -> None:
    """After five seconds its process would be killed; as it is, its retry repeats no line."""
    states = States()
    job_id = ehpc_emulator.submit("seq 200000")
    ehpc_emulator.wait_for(job_id)
    first = make(job_id, poll_interval=60)
    killing = task_log.emit

    def kill(record: Any) -> None:
        killing(record)
        if record.getMessage() == "50000":
            first.on_kill()

    task_log.emit = kill  # type: ignore[method-assign]
    with pytest.raises(TaskKilled):
        first.execute({"task_state_store": states, "ti": TI})
    assert task_log.lines[-1].isdigit()
    assert int(task_log.lines[-1]) < 60_000
    make(job_id).execute({"task_state_store": states, "ti": TI})
    assert [line for line in written(task_log) if line.isdigit()] == [str(n) for n in range(1, 200_001)]


def test_the_place_is_forgotten_when_the_job_has_ended(
    ehpc_emulator: Emulator, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who clears the task wants to see the log, not its end."""
    xcoms, states = XComs(), States()
    monkeypatch.setattr(store, "async_xcom", lambda: xcoms)
    xcoms.values[XCOM_KEY] = {"try_number": 1, "cursor": {"api": "ehpc"}}
    event = {"outcome": "reached", "message": "", "jobs": [{"job_id": "1", "state": "SUCCEEDED"}]}
    context: Any = {"task_state_store": states, "ti": TI}
    make("1.manager").resume_execution("execute_complete", {"event": event}, context)
    assert states[STATE_KEY][ENDED_KEY] == TI.max_tries


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_states": ["RUNNING"]}, "RUNNING is not a terminal state.* use JobStateSensor"),
        ({"target_states": ["DONE"]}, "target_states: there is no job state 'DONE'"),
        ({"poll_interval": 0}, "poll_interval: 0 is not above 0 seconds"),
        ({"finished_without_exit_code": "maybe"}, "finished_without_exit_code: expected 'success' or 'fail'"),
    ],
)
def test_wrong_arguments_fail_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        JobLogOperator(task_id="log", job_id="1", **arguments)


def test_time_outs_are_seconds_or_a_timedelta() -> None:
    hour = JobLogOperator(task_id="a", job_id="1", timeout=dt.timedelta(hours=1))
    assert hour.timeout == JobLogOperator(task_id="b", job_id="1", timeout=3600).timeout == 3600
    assert JobLogOperator(task_id="c", job_id="1").timeout == 7 * 24 * 3600


def test_every_address_is_a_template(
    ehpc_emulator: Emulator, conn_id: str, task_log: TaskLog, tmp_path: Path
) -> None:
    job_id = ehpc_emulator.submit("echo line")
    operator = JobLogOperator(
        task_id="log",
        conn_id="{{ c }}",
        job_id="{{ j }}",
        cluster_id="{{ k }}",
        keep_log_at="file://{{ d }}",
        poll_interval=0.05,
        log_settle_time=0,
    )
    context = {"c": conn_id, "j": job_id, "k": ehpc_emulator.cluster_id, "d": str(tmp_path)}
    operator.render_template_fields(context)  # type: ignore[arg-type]
    operator.execute({})
    assert (tmp_path / "stdout.log").read_bytes() == b"line\n"


def test_construction_asks_nothing(ehpc_emulator: Emulator, make: Make) -> None:
    make("1")
    assert ehpc_emulator.requests.count() == 0


GBK = "printf '\\xc4\\xda\\xb4\\xe6\\xb2\\xbb\\xd7\\xe3 100\\n'"
"""Writes "out of memory 100" in Chinese."""


def test_a_log_in_another_encoding(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    """In the log, and in the message of a failure."""
    job_id = ehpc_emulator.submit(f"{GBK}; exit 3")
    with pytest.raises(JobFailed, match="内存不足 100"):
        make(job_id, encoding="GBK").execute({})
    assert "内存不足 100" in task_log.lines


def test_a_deferred_log_in_another_encoding(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    with pytest.raises(TaskDeferred) as deferred:
        make(job_id, encoding="gbk", deferrable=True).execute({})
    assert deferred.value.trigger.serialize()[1]["encoding"] == "gbk"
    with pytest.raises(TaskDeferred) as deferred:
        make(job_id, deferrable=True).execute({})
    assert "encoding" not in deferred.value.trigger.serialize()[1], "an older triggerer may not know it"


def test_an_encoding_without_lines_is_refused_at_parse_time(make: Make) -> None:
    with pytest.raises(InvalidArgument, match=r"^encoding: a log in utf-16"):
        make("1.manager", encoding="utf-16")


def test_the_xcom_of_the_place_is_there_when_the_trigger_starts(
    ehpc_emulator: Emulator, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow logs an ERROR for an XCom that does not exist."""
    monkeypatch.setattr(store, "async_xcom", XComs)
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(**vars(TI), xcom_push=lambda key, value: pushed.update({key: value}))
    context: Any = {"task_state_store": States(), "ti": ti}
    with pytest.raises(TaskDeferred):
        make(ehpc_emulator.submit("sleep 60"), deferrable=True).execute(context)
    assert pushed == {XCOM_KEY: {"try_number": TI.try_number, "cursor": None}}


def test_a_server_that_ignores_the_offset(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Forty lines became 13,524 records, and the task succeeded."""
    original = ehpc_api.get_job_log
    monkeypatch.setattr(
        ehpc_api, "get_job_log", lambda *args, offset, **more: original(*args, offset=0, **more)
    )
    job_id = ehpc_emulator.submit("for n in $(seq 40); do echo line $n; done; sleep 2")
    reported = make(job_id, keep_log_at=f"file://{tmp_path}").execute({})
    assert [line for line in task_log.lines if line.startswith("line ")] == [
        f"line {n}" for n in range(1, 41)
    ]
    assert reported["log"]["lines"] == 40
    assert len([line for line in task_log.warnings if "ignores the offset" in line]) == 1
    assert (tmp_path / "stdout.log").read_text().count("\n") == 40

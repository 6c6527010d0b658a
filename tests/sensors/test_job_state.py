# SPDX-License-Identifier: Apache-2.0
"""The sensor on the worker, against the emulator: what it returns, and how it fails."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument, PermissionDenied
from airflow_provider_ehpc.apis.job import JobState
from airflow_provider_ehpc.compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, JobNotFound
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.triggers.job_state import JobStateTrigger
from airflow_provider_ehpc.waiting import watch
from airflow_provider_ehpc.waiting.watch import Note, Outcome, Verdict
from tests.conftest import Connect, Hide, Pauses, TaskLog
from tests.gates import Gate
from tests.sensors.conftest import Make, TaskInstance, deferral


def test_it_waits_for_success(ehpc_emulator: Emulator, make: Make, task_log: TaskLog) -> None:
    job_id = ehpc_emulator.submit("sleep 0.4", name="md", nodes=2)
    job = make(job_id).execute({})
    assert job["job_id"] == job_id
    assert (job["state"], job["raw_state"], job["name"]) == ("SUCCEEDED", "FINISHED", "md")
    assert job["outcome_assumed"] is True
    assert len(job["nodes"]) == 2
    ending = f"job {job_id} in cluster ehpc-hz-emulator is SUCCEEDED ('FINISHED')"
    (line,) = [line for line in task_log.lines if line.startswith(ending)]
    assert "it counts as SUCCEEDED. See docs/waiting.md#assumed-outcomes" in line
    assert not task_log.warnings
    headers = [line for line in task_log.lines if "name md" in line]
    assert headers == [f"job {job_id} in cluster ehpc-hz-emulator: name md, user testuser, queue workq"]


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, connect: Connect, conn_id: str) -> Any:
    """A cluster that says how a job ended, behind the same connection."""
    with Emulator(tmp_path_factory.mktemp("slurm"), spelling="slurm") as cloud:
        connect(cloud.connection)
        yield cloud


def test_a_cluster_that_reports_the_outcome_brings_no_warning(
    slurm: Emulator, make: Make, task_log: TaskLog
) -> None:
    job = make(slurm.submit("true")).execute({})
    assert (job["state"], job["raw_state"]) == ("SUCCEEDED", "Completed")
    assert "outcome_assumed" not in job
    assert task_log.warnings == []


def test_a_failed_job_fails_the_task_with_its_last_words(ehpc_emulator: Emulator, make: Make) -> None:
    """The user sees in the mail of the failed task why, without a login to the cluster."""
    job_id = ehpc_emulator.submit("seq 1 30; echo 'cannot open 数据.nc' >&2; exit 3")
    with pytest.raises(JobFailed) as caught:
        make(job_id).execute({})
    head, *tail = str(caught.value).split("\n")
    assert head == (
        f"job {job_id} in cluster ehpc-hz-emulator ended FAILED (the cloud reports 'FAILED'); waited for "
        "SUCCEEDED. Last lines of its log:"
    )
    assert tail == ["stdout:", *(f"  {n}" for n in range(21, 31)), "stderr:", "  cannot open 数据.nc"]


def test_a_failed_job_uses_no_retries() -> None:
    assert issubclass(JobFailed, AirflowFailException)
    assert issubclass(JobNotFound, AirflowFailException)


@pytest.mark.parametrize("fault", ["denied", "html", "gone"])
def test_a_log_that_cannot_be_read_does_not_hide_the_failure(
    ehpc_emulator: Emulator, make: Make, pauses: Pauses, fault: str
) -> None:
    job_id = ehpc_emulator.submit("exit 3")
    if fault == "denied":
        ehpc_emulator.deny("GetJobLog")
    elif fault == "html":
        ehpc_emulator.fault("html", operation="GetJobLog", times=9)
    else:
        ehpc_emulator.fault("error", operation="GetJobLog", status=503, times=99)
    with pytest.raises(JobFailed, match=r"ended FAILED .*Its log could not be read: GetJobLog of job"):
        make(job_id).execute({})


def test_a_failed_job_without_output(ehpc_emulator: Emulator, make: Make) -> None:
    with pytest.raises(JobFailed, match=r"waited for SUCCEEDED\. Its log is empty\."):
        make(ehpc_emulator.submit("exit 1")).execute({})


def test_a_cancelled_job_is_no_success(slurm: Emulator, make: Make) -> None:
    job_id = slurm.submit("sleep 60")
    slurm.wait_for(job_id, "RUNNING")
    slurm.stop(job_id)
    with pytest.raises(JobFailed, match="ended CANCELLED"):
        make(job_id).execute({})


@pytest.mark.parametrize("command", ["true", "exit 3"])
def test_any_end_can_be_wanted(slurm: Emulator, make: Make, command: str) -> None:
    job = make(slurm.submit(command), target_states=["succeeded", "failed"]).execute({})
    assert job["state"] == ("SUCCEEDED" if command == "true" else "FAILED")


def test_a_state_on_the_way_can_be_wanted(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    assert make(job_id, target_states="RUNNING").execute({})["state"] == "RUNNING"


def test_finished_can_count_as_failure(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("exit 7")
    ehpc_emulator.fault("finished_hides_failure")
    with pytest.raises(JobFailed, match="no exit code is reported; finished_without_exit_code is 'fail'"):
        make(job_id, finished_without_exit_code="fail").execute({})
    assert make(job_id).execute({})["state"] == "SUCCEEDED"


def test_an_unknown_job(make: Make) -> None:
    with pytest.raises(JobNotFound, match="does not exist or no longer exists: check job_id, cluster_id"):
        make("99.manager", not_found_grace=0.2).execute({})


def test_a_job_that_is_known_late(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog, hide_once: Hide
) -> None:
    job_id = ehpc_emulator.submit("true")
    hide_once(job_id)
    assert make(job_id).execute({})["state"] == "SUCCEEDED"
    assert "is not known yet; polling again for up to 60 s" in task_log.lines[0]


def test_the_time_out_is_airflows(ehpc_emulator: Emulator, make: Make) -> None:
    """``AirflowSensorTimeout`` uses no retries and is what ``soft_fail`` knows."""
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    with pytest.raises(AirflowSensorTimeout, match=r"has been RUNNING for about .*; timed out after"):
        make(job_id, timeout=0.3).execute({})
    assert ehpc_emulator.job(job_id).phase == "RUNNING"


@pytest.mark.parametrize("why", ["failed", "timeout", "not found"])
def test_soft_fail_skips(ehpc_emulator: Emulator, make: Make, why: str) -> None:
    job_id, arguments = {
        "failed": (ehpc_emulator.submit("exit 1"), {}),
        "timeout": (ehpc_emulator.submit("sleep 60"), {"timeout": 0.2}),
        "not found": ("99", {"not_found_grace": 0}),
    }[why]
    with pytest.raises(AirflowSkipException):
        make(job_id, soft_fail=True, **arguments).execute({})


def test_soft_fail_skips_after_a_deferral_too(ehpc_emulator: Emulator, make: Make) -> None:
    """Airflow treats the two ways unlike; ours must end alike."""
    job_id = ehpc_emulator.submit("exit 1")
    with pytest.raises(JobFailed) as caught:
        make(job_id).execute({})
    event = {"outcome": "failed", "message": "x", "jobs": [], "job_id": job_id}
    for soft_fail, kind in ((True, AirflowSkipException), (False, JobFailed)):
        with pytest.raises(kind):
            make(job_id, soft_fail=soft_fail).resume_execution("execute_complete", {"event": event}, {})
    assert "Last lines" in str(caught.value) or "Its log is empty" in str(caught.value)


def test_never_fail_covers_a_cloud_that_cannot_be_asked(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    ehpc_emulator.deny("GetJob")
    with pytest.raises(PermissionDenied) as caught:
        make(job_id).execute({})
    with pytest.raises(AirflowSkipException):
        make(job_id, never_fail=True).execute({})
    event = {"outcome": "error", "message": str(caught.value), "error": caught.value.as_dict()}
    with pytest.raises(AirflowSkipException):
        make(job_id, never_fail=True).resume_execution("execute_complete", {"event": event}, {})
    with pytest.raises(PermissionDenied, match=r"needs the action ehpc:GetJob\."):
        make(job_id).resume_execution("execute_complete", {"event": event}, {})


def test_an_api_that_is_away_is_waited_for(
    ehpc_emulator: Emulator, make: Make, pauses: Pauses, task_log: TaskLog
) -> None:
    job_id = ehpc_emulator.submit("sleep 0.3")
    ehpc_emulator.fault("error", operation="GetJob", status=503, times=12)
    assert make(job_id).execute({})["state"] == "SUCCEEDED"
    assert len([line for line in task_log.warnings if "the job is not affected" in line]) == 1
    assert any(line.startswith("the API responds again, after") for line in task_log.lines)


# Many jobs


def test_many_jobs_are_one_task(ehpc_emulator: Emulator, make: Make) -> None:
    job_ids = [ehpc_emulator.submit(f"sleep 0.{n}") for n in range(5)]
    jobs = make(job_ids).execute({})
    assert [job["job_id"] for job in jobs] == job_ids
    assert {job["state"] for job in jobs} == {"SUCCEEDED"}


def test_one_failed_job_of_many_fails_the_task_with_its_own_log(ehpc_emulator: Emulator, make: Make) -> None:
    going = ehpc_emulator.submit("sleep 60; echo going")
    bad = ehpc_emulator.submit("echo 'this one' && exit 1")
    with pytest.raises(JobFailed, match=rf"job {bad} in cluster [\s\S]*\n  this one"):
        make([going, bad]).execute({})


def test_a_job_named_twice_is_one(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.wait_for(job_id)
    assert [job["job_id"] for job in make([job_id, job_id]).execute({})] == [job_id]


def test_an_empty_list_is_an_error(make: Make) -> None:
    """An upstream task that submitted nothing would otherwise look like success."""
    with pytest.raises(InvalidArgument, match="job_id: an empty list names no job"):
        make([]).execute({})


def test_native_rendering_makes_numbers_of_ids(slurm: Emulator, make: Make) -> None:
    """With ``render_template_as_native_obj`` a template that gives "12" becomes the number 12."""
    job_id = slurm.submit("true")
    assert make(int(job_id)).execute({})["job_id"] == job_id
    assert [job["job_id"] for job in make([int(job_id)]).execute({})] == [job_id]


def test_an_array_job_is_over_with_its_last_sub_job(
    ehpc_emulator: Emulator, make: Make, task_log: TaskLog
) -> None:
    job_id = ehpc_emulator.submit("sleep 0.$PBS_ARRAY_INDEX", array="1-4")
    job = make(job_id).execute({})
    assert job["state"] == "SUCCEEDED"
    assert job["array"] == {"SUCCEEDED": 4}


def test_a_failed_sub_job_fails_the_array_when_all_are_over(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit('sleep 0.2; [ "$PBS_ARRAY_INDEX" != 2 ]', array="1-3")
    with pytest.raises(JobFailed, match="sub-jobs: 2 SUCCEEDED, 1 FAILED"):
        make(job_id).execute({})


# Deferring


def test_it_defers_with_the_whole_wait(ehpc_emulator: Emulator, make: Make, conn_id: str) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    sensor = make(job_id, deferrable=True, timeout=600, poke_interval=45, stop_job_on_kill=True)
    deferred = deferral(sensor)
    trigger = deferred.trigger
    assert isinstance(trigger, JobStateTrigger)
    assert (trigger.conn_id, trigger.api, trigger.poll_interval) == (conn_id, "ehpc", 45)
    assert trigger.stop_job_on_kill
    assert [ref.job_id for ref in trigger.refs] == [job_id]
    assert trigger.conditions.deadline == pytest.approx(trigger.started + 600)
    # Behind the trigger's own deadline, which can say what it saw.
    assert deferred.timeout == dt.timedelta(seconds=600 + 300)
    assert deferred.method_name == "execute_complete"


def test_a_job_that_has_ended_is_not_deferred_for(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.wait_for(job_id)
    assert make(job_id, deferrable=True).execute({})["state"] == "SUCCEEDED"


def test_a_job_that_has_failed_fails_before_deferring(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("exit 1")
    ehpc_emulator.wait_for(job_id)
    with pytest.raises(JobFailed):
        make(job_id, deferrable=True).execute({})


def test_the_event_is_the_same_result(ehpc_emulator: Emulator, make: Make) -> None:
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.wait_for(job_id)
    polled = make(job_id).execute({})
    verdict = Verdict.from_event({"outcome": "reached", "message": "", "jobs": [polled]})
    assert make(job_id).execute_complete({}, verdict.as_event()) == polled
    assert make([job_id]).execute_complete({}, verdict.as_event()) == [polled]


def test_the_end_that_the_trigger_saw_is_reported(make: Make, task_log: TaskLog) -> None:
    """The trigger leaves it to the worker: where many jobs end together, its own lines would hold them up."""
    news = (Note("job 1 is RUNNING"), Note("job 1 is SUCCEEDED, as is assumed", warning=True))
    event = Verdict(Outcome.REACHED, jobs=({"job_id": "1"},), news=news).as_event()
    make("1").execute_complete({}, json.loads(json.dumps(event)))
    assert task_log.lines == [note.text for note in news]
    assert task_log.warnings == [news[1].text]


@pytest.mark.parametrize("event", [None, {"status": "success"}])
def test_a_strange_event_is_no_success(make: Make, event: Any) -> None:
    with pytest.raises(ValueError, match="instead of a verdict"):
        make("1").execute_complete({}, event)


# Rescheduling


def test_reschedule_counts_from_the_first_poll(ehpc_emulator: Emulator, make: Make) -> None:
    """Each look is a process of its own: counted from itself, no timeout would ever come."""
    job_id = ehpc_emulator.submit("sleep 60")
    with pytest.raises(AirflowException) as caught:
        make(job_id, mode="reschedule", timeout=100).execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]
    # Its place differs between the versions of Airflow.
    assert type(caught.value).__name__ == "AirflowRescheduleException"
    first = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=101)
    with pytest.raises(AirflowSensorTimeout, match=r"timed out after 0:01:4\d"):
        make(job_id, mode="reschedule", timeout=100).execute({"ti": TaskInstance(first)})  # type: ignore[typeddict-item]


def test_the_grace_counts_from_the_first_poll_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is unknown in a later process may have been seen by an earlier one."""
    monkeypatch.setattr(watch, "GONE_GRACE", 0.0)
    first = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=61)
    with pytest.raises(JobNotFound):
        make("99", mode="reschedule").execute({"ti": TaskInstance(first)})  # type: ignore[typeddict-item]


# Killing


def test_a_killed_sensor_leaves_the_job_alone(ehpc_emulator: Emulator, make: Make) -> None:
    """A sensor watches."""
    sensor = make(ehpc_emulator.submit("sleep 60"), deferrable=True)
    deferral(sensor)
    sensor.on_kill()
    assert ehpc_emulator.requests.count("StopJobs") == 0


def test_a_killed_sensor_stops_what_it_waits_for_where_asked(
    ehpc_emulator: Emulator, make: Make, pauses: Pauses, task_log: TaskLog, gate: Gate
) -> None:
    """And one job that cannot be stopped does not save the others."""
    over, first, second = (ehpc_emulator.submit(command) for command in (gate.wait, "sleep 60", "sleep 60"))
    sensor = make([over, first, second], stop_job_on_kill=True, deferrable=True)
    deferral(sensor)
    gate.open()
    ehpc_emulator.wait_for(over)
    sensor.on_kill()
    assert ehpc_emulator.wait_for(first).phase == "CANCELLED"
    assert ehpc_emulator.wait_for(second).phase == "CANCELLED"
    assert len(task_log.warnings) == 1
    assert f"could not stop job {over} in cluster ehpc-hz-emulator" in task_log.warnings[0]


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_states": ["DONE"]}, "target_states: there is no job state 'DONE'"),
        ({"target_states": []}, "target_states: name at least one state"),
        (
            {"finished_without_exit_code": "ignore"},
            "finished_without_exit_code: expected 'success' or 'fail'",
        ),
    ],
)
def test_wrong_arguments_fail_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        JobStateSensor(task_id="wait", job_id="1", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"version_id": "3"}, "version_id: the API 'ehpc' has no job versions; leave it out"),
        ({"api": "ehcp"}, "api: unknown API 'ehcp'"),
        ({"job_id": "  "}, "job_id: an empty text names no job"),
    ],
)
def test_arguments_that_the_api_does_not_know(make: Make, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make(arguments.pop("job_id", "1"), **arguments).execute({})


def test_a_cluster_can_be_named(ehpc_emulator: Emulator, connect: Connect, make: Make) -> None:
    connect(ehpc_emulator.connection, extra={"cluster_id": None})
    job_id = ehpc_emulator.submit("true")
    assert make(job_id, cluster_id=ehpc_emulator.cluster_id).execute({})["job_id"] == job_id
    with pytest.raises(InvalidArgument, match="cluster_id: the API 'ehpc' needs the cluster"):
        make(job_id).execute({})


def test_every_address_is_a_template(ehpc_emulator: Emulator, connect: Connect, conn_id: str) -> None:
    job_id = ehpc_emulator.submit("true")
    sensor = JobStateSensor(
        task_id="wait",
        conn_id="{{ c }}",
        job_id=["{{ j }}"],
        cluster_id="{{ k }}",
        api="{{ a }}",
        poke_interval=0.05,
    )
    context = {"c": conn_id, "j": job_id, "k": ehpc_emulator.cluster_id, "a": "ehpc"}
    sensor.render_template_fields(context)  # type: ignore[arg-type]
    assert sensor.execute({})[0]["job_id"] == job_id


def test_it_can_be_mapped(ehpc_emulator: Emulator, conn_id: str) -> None:
    from airflow.sdk import DAG

    with DAG("mapped", schedule=None):
        mapped = JobStateSensor.partial(task_id="wait", conn_id=conn_id, deferrable=True).expand(
            job_id=["1", "2"]
        )
    assert mapped.operator_class is JobStateSensor


def test_construction_asks_nothing(ehpc_emulator: Emulator, make: Make) -> None:
    """A DAG file is parsed every half minute."""
    make("1")
    JobStateSensor(task_id="wait", conn_id="nowhere", job_id="1")
    assert ehpc_emulator.requests.count() == 0


def test_states_are_the_enums() -> None:
    sensor = JobStateSensor(task_id="wait", job_id="1", target_states=[JobState.RUNNING, "failed"])
    assert sensor.target_states == (JobState.RUNNING, JobState.FAILED)


def test_failures_are_airflow_exceptions() -> None:
    """``soft_fail`` after a deferral covers only those."""
    assert issubclass(JobFailed, AirflowException)
    assert issubclass(JobNotFound, AirflowException)

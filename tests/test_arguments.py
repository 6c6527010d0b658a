# SPDX-License-Identifier: Apache-2.0
"""The checks of arguments: IDs stay the text they were, or are rejected with one error that names them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.triggers.job_finished import JobFinishedTrigger

NO_DURATION = [-1, -0.5, math.nan, math.inf, True, "60", None, [], timedelta(seconds=-1), 1e12, 10**400]
"""None is a duration that was not given; where there is a default, it counts as left out."""


@pytest.mark.parametrize("value", NO_DURATION)
def test_what_is_no_duration_is_rejected_by_name(value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^settle: "):
        arguments.seconds("settle", value)


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0.0), (7, 7.0), (0.5, 0.5), (timedelta(minutes=2), 120.0)]
)
def test_seconds_and_timedeltas_are_durations(value: Any, seconds: float) -> None:
    assert arguments.seconds("settle", value) == seconds


def test_zero_can_be_too_short() -> None:
    with pytest.raises(InvalidArgument, match=r"^poll_interval: 0 is not above 0 seconds"):
        arguments.seconds("poll_interval", 0, positive=True)


DURATIONS: list[tuple[Any, dict[str, Any], str, Any]] = [
    (JobStateSensor, {"task_id": "t", "job_id": "1"}, "poke_interval", 90.0),
    (JobStateSensor, {"task_id": "t", "job_id": "1"}, "timeout", 90.0),
    (JobStateSensor, {"task_id": "t", "job_id": "1"}, "not_found_grace", 90.0),
    (JobLogOperator, {"task_id": "t", "job_id": "1"}, "poll_interval", 90.0),
    (JobLogOperator, {"task_id": "t", "job_id": "1"}, "timeout", 90.0),
    (JobLogOperator, {"task_id": "t", "job_id": "1"}, "not_found_grace", 90.0),
    (JobLogOperator, {"task_id": "t", "job_id": "1"}, "log_settle_time", 90.0),
    (OperationAuditOperator, {"task_id": "t", "path": "x"}, "settle", timedelta(seconds=90)),
    (OperationAuditOperator, {"task_id": "t", "path": "x"}, "max_age", timedelta(seconds=90)),
    (JobFinishedTrigger, {}, "poll_interval", 90.0),
]


@pytest.mark.parametrize(("kind", "others", "name", "expected"), DURATIONS)
def test_every_duration_takes_a_timedelta_and_no_nonsense(
    kind: Any, others: dict[str, Any], name: str, expected: Any
) -> None:
    for value in (90, 90.0, timedelta(seconds=90)):
        assert getattr(kind(**others, **{name: value}), name) == expected
    for value in NO_DURATION:
        if value is not None:
            with pytest.raises(InvalidArgument, match=f"^{name}: "):
                kind(**others, **{name: value})


NO_ID = [
    None,
    "None",
    " None ",
    "none",
    "null",
    "NaN",
    "('1',)",
    "",
    "  ",
    True,
    False,
    1.0,
    math.nan,
    b"1",
    {"job_id": "1"},
    "{'job_id': 1}",
    -1,
]
NO_ID += ["['1', '2']", "1\n2", "1 2", "1\x00", "1\ud800", "\u20281 2", "{{ job }}", "1{% if x %}"]


@pytest.mark.parametrize("value", [*NO_ID, ["1"], ("1", "2")])
def test_what_is_no_id_is_rejected_before_any_request(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NONE", '{"conn_type": "aliyun_ehpc", "login": "a", "password": "b"}')
    if not isinstance(value, list | tuple):
        with pytest.raises(InvalidArgument, match=r"^job_id: "):
            _ = JobStateSensor(task_id="t", conn_id="none", job_id=value).refs
        with pytest.raises(InvalidArgument, match=r"^job_id: "):
            _ = JobLogOperator(task_id="t", conn_id="none", job_id=value).ref
    with pytest.raises(InvalidArgument, match=r"^job_id: "):
        arguments.one_job_id(value)
    with pytest.raises(InvalidArgument, match=r"^job_id: "):
        arguments.job_ids(["7", value])


@pytest.mark.parametrize("value", ["{{ job }}", "1{% if x %}"])
def test_a_template_that_was_not_rendered_is_named_as_one(value: str) -> None:
    with pytest.raises(InvalidArgument, match="is a template that was not rendered"):
        arguments.identifier("job_id", value)


@pytest.mark.parametrize("value", ["123_4", "5.manager", "007", "1e3", "77[].pbs", "训练-1", "  9\n", 12])
def test_an_id_stays_the_text_it_was(value: Any) -> None:
    assert arguments.identifier("job_id", value) == str(value).strip()


def test_ids_keep_their_order_and_occur_once() -> None:
    assert arguments.job_ids(["3", "1", "3", 2, "1", " 2 "]) == ["3", "1", "2"]


def test_a_set_has_the_same_order_in_every_process() -> None:
    """The worker and the triggerer match the states of a large event with the jobs by their order."""
    code = """if True:
        from airflow_provider_ehpc import arguments
        from airflow_provider_ehpc.triggers.job_finished import JobFinishedTrigger
        ids, states = {f"{n}.manager" for n in range(9)}, {"FAILED", "CANCELLED"}
        print(arguments.job_ids(ids), JobFinishedTrigger(job_id=ids, states=states).identity)
    """
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for seed in ("1", "2")
    }
    assert len(runs) == 1


@pytest.mark.parametrize("value", [[], (), set()])
def test_no_jobs_are_no_success(value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^job_id: an empty list names no job"):
        arguments.job_ids(value)


def test_an_error_shows_no_more_of_a_value_than_a_line() -> None:
    with pytest.raises(InvalidArgument, match=r"^job_id: .* a list of 5000") as caught:
        arguments.one_job_id([str(n) for n in range(5000)])
    assert len(str(caught.value)) < 200
    with pytest.raises(InvalidArgument) as caught:
        arguments.identifier("job_id", {"job": "x" * 5000})
    assert len(str(caught.value)) < 200


# What a DAG file names wrongly fails when it is parsed


@pytest.mark.parametrize(
    ("kind", "others", "wrong"),
    [
        (JobStateSensor, {"task_id": "t", "job_id": "1"}, {"api": "hpc"}),
        (JobStateSensor, {"task_id": "t", "job_id": "1"}, {"api": ["ehpc"]}),
        (JobLogOperator, {"task_id": "t", "job_id": "1"}, {"api": "hpc"}),
        (OperationAuditOperator, {"task_id": "t", "path": "x"}, {"api": "hpc"}),
        (OperationAuditOperator, {"task_id": "t", "path": "x"}, {"request_limit": True}),
        (OperationAuditOperator, {"task_id": "t", "path": "x"}, {"request_limit": 0}),
        (JobLogOperator, {"task_id": "t"}, {"job_id": ["1", "2"]}),
        (JobLogOperator, {"task_id": "t"}, {"job_id": ["1"]}),
        (JobStateSensor, {"task_id": "t", "job_id": "1"}, {"target_states": [3]}),
        (JobStateSensor, {"task_id": "t", "job_id": "1"}, {"target_states": None}),
        (JobStateSensor, {"task_id": "t", "job_id": "1"}, {"finished_without_exit_code": ["fail"]}),
        (JobFinishedTrigger, {}, {"job_id": "{{ var.value.job }}"}),
        (JobFinishedTrigger, {}, {"job_id": ["1", "{{ x }}"]}),
        (JobFinishedTrigger, {}, {"job_id": 123_4}),
        (JobFinishedTrigger, {}, {"job_id": {"job_id": "1"}}),
        (JobFinishedTrigger, {}, {"job_id": "None"}),
        (JobFinishedTrigger, {}, {"conn_id": "{{ x }}"}),
        (JobFinishedTrigger, {}, {"cluster_id": "{{ x }}"}),
        (JobFinishedTrigger, {}, {"cluster_id": 5}),
        (JobFinishedTrigger, {}, {"name": "{% x %}"}),
        (JobFinishedTrigger, {}, {"api": "{{ x }}"}),
        (JobFinishedTrigger, {}, {"states": 5}),
    ],
)
def test_a_wrong_argument_fails_when_the_file_is_parsed(
    kind: Any, others: dict[str, Any], wrong: dict[str, Any]
) -> None:
    (name,) = wrong
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        kind(**others, **wrong)


def test_what_is_known_only_at_run_time_is_no_error_before() -> None:
    from airflow.sdk import DAG, task

    with DAG("templates", schedule=None):

        @task
        def submit() -> str:
            return "1"

        for kind in (JobStateSensor, JobLogOperator):
            kind(task_id=f"text_{kind.__name__}", job_id="{{ job }}", api="{{ api }}")
            kind(task_id=f"output_{kind.__name__}", job_id=submit.override(task_id=kind.__name__)())


# Rendering


@pytest.mark.parametrize(
    ("given", "rendered"),
    [
        ("123_4", "123_4"),
        ("{{ sub }}", "123_4"),
        ("{{ sub }}.{{ n }}", "123_4.7"),
        ("1e3", "1e3"),
        ("0x1F", "0x1F"),
        ("None", "None"),
        ("True", "True"),
        ("'1'", "'1'"),
        ("{{ n }}", 7),
        ("{{ nothing }}", None),
        ("{{ several }}", ["1_1", "2_2"]),
        ("['1_1', '1_2']", ["1_1", "1_2"]),
        ("[1_1, 2]", "[1_1, 2]"),
        ("{{ several | tojson }}", ["1_1", "2_2"]),
        (["{{ sub }}", "9_9"], ["123_4", "9_9"]),
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_native_rendering_evaluates_no_text(given: Any, rendered: Any, mapped: bool) -> None:
    """apache/airflow#35987: Jinja's native templates read every text as Python."""
    from airflow.sdk import DAG

    context: Any = {"sub": "123_4", "n": 7, "nothing": None, "several": ["1_1", "2_2"]}
    with DAG("native", schedule=None, render_template_as_native_obj=True) as dag:
        if mapped:
            task = JobStateSensor.partial(task_id="t").expand(job_id=[given])
            task = task.unmap({"job_id": given})
        else:
            task = JobStateSensor(task_id="t", job_id=given)
    task.render_template_fields(context, dag.get_template_env())
    assert task.job_id == rendered


@pytest.mark.parametrize("native", [False, True])
def test_the_operator_s_own_setting_holds(native: bool) -> None:
    from airflow.sdk import DAG

    context: Any = {"several": ["1_1", "2_2"]}
    with DAG("texts", schedule=None, render_template_as_native_obj=native):
        task = JobLogOperator(task_id="t", job_id="{{ several[0] }}", cluster_id="4_2", keep_log_at="1_0")
    task.render_template_fields(context)
    assert (task.job_id, task.cluster_id, task.keep_log_at) == ("1_1", "4_2", "1_0")

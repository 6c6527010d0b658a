# SPDX-License-Identifier: Apache-2.0
"""The retry policy: what it decides for each cause, and what the next try requests."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_ehpc import compat, retry
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.diagnosis import Cause, Diagnosis
from airflow_provider_ehpc.escalation import ESCALATION_KEY, escalated, load_escalation
from airflow_provider_ehpc.exceptions import JobFailedRetryably, JobNotFound
from airflow_provider_ehpc.retry import HpcRetryPolicy
from tests.logs.stores import States

needs_policies = pytest.mark.skipif(
    compat.retry_policies() is None, reason="this Airflow has no retry policies"
)


def failed(cause: Cause) -> JobFailedRetryably:
    return JobFailedRetryably("job 7 ended FAILED", Diagnosis(cause, "evidence"))


def context_of(states: Any = None, **arguments: Any) -> Any:
    return {"task": SimpleNamespace(**arguments), "task_state_store": States() if states is None else states}


def decide(policy: HpcRetryPolicy, error: BaseException, context: Any = None) -> tuple[str, Any]:
    decision = policy.evaluate(error, 1, 3, context or context_of())
    return decision.action.value, decision


@needs_policies
@pytest.mark.parametrize("cause", [Cause.PREEMPTED, Cause.NODE_FAILURE, Cause.NO_CAPACITY])
def test_the_job_is_run_again_after_what_it_cannot_help(cause: Cause) -> None:
    states = States()
    action, decision = decide(
        HpcRetryPolicy(delay=timedelta(minutes=3), max_reschedules=5), failed(cause), context_of(states)
    )
    policies: Any = compat.retry_policies()
    without_using_tries = hasattr(policies.RetryDecision, "reschedule")
    assert action == ("reschedule" if without_using_tries else "retry")
    assert decision.retry_delay == timedelta(minutes=3)
    assert str(decision.reason).startswith(cause.value)
    if without_using_tries:
        assert decision.max_reschedules == 5
    # The next job needs a name of its own, also in the same try.
    assert load_escalation(context_of(states))["runs"] == 2


@needs_policies
@pytest.mark.parametrize(
    "cause", sorted(set(Cause) - {Cause.PREEMPTED, Cause.NODE_FAILURE, Cause.NO_CAPACITY})
)
def test_a_failure_of_the_program_is_not_retried(cause: Cause) -> None:
    assert decide(HpcRetryPolicy(), failed(cause))[0] == "fail"
    escalates = cause in (Cause.OUT_OF_MEMORY, Cause.WALL_TIME_EXCEEDED)
    policy = HpcRetryPolicy(escalate={"memory": 2, "wall_time": 1.5})
    found = decide(policy, failed(cause), context_of(memory="4GB", wall_time=60))[0]
    assert found == ("retry" if escalates else "fail")


@needs_policies
def test_memory_and_time_are_escalated_to_their_limits() -> None:
    policy = HpcRetryPolicy(
        escalate={"memory": 2, "wall_time": 1.5}, limits={"memory": "48 GB", "wall_time": timedelta(hours=3)}
    )
    context = context_of(memory="16GB", wall_time="02:00:00")
    requests = []
    for cause in (Cause.OUT_OF_MEMORY, Cause.WALL_TIME_EXCEEDED, Cause.OUT_OF_MEMORY):
        assert decide(policy, failed(cause), context)[0] == "retry"
        requests.append(escalated("16GB", "02:00:00", load_escalation(context)))
    assert requests == [("32GB", "02:00:00"), ("32GB", 10800), ("48GB", 10800)]
    for cause, limit in ((Cause.OUT_OF_MEMORY, "memory=48GB"), (Cause.WALL_TIME_EXCEEDED, "wall_time=10800")):
        action, decision = decide(policy, failed(cause), context)
        assert (action, decision.reason) == ("fail", f"{cause}: {limit} is the limit")
    assert load_escalation(context)["runs"] == 4


@needs_policies
def test_an_escalation_ends_without_limits_too() -> None:
    policy = HpcRetryPolicy(escalate={"memory": 4})
    context = context_of(memory="1GB")
    actions = [decide(policy, failed(Cause.OUT_OF_MEMORY), context)[0] for _ in range(4)]
    assert actions == ["retry", "retry", "fail", "fail"]
    assert escalated("1GB", None, load_escalation(context)) == ("16GB", None)


@needs_policies
@pytest.mark.parametrize("what", ["no memory=", "no task", "a broken store", "no store"])
def test_what_cannot_be_escalated_is_not_retried(what: str) -> None:
    states = States()
    context: Any = context_of(states, memory=None if what == "no memory=" else "1GB")
    if what == "no task":
        context.pop("task")
    if what == "no store":
        context.pop("task_state_store")
    states.broken = what == "a broken store"
    action, decision = decide(HpcRetryPolicy(escalate={"memory": 2}), failed(Cause.OUT_OF_MEMORY), context)
    assert action == "fail"
    assert "memory=" in str(decision.reason)


@needs_policies
def test_another_policy_is_asked_if_this_one_has_no_opinion() -> None:
    policies: Any = compat.retry_policies()
    rules = [policies.RetryRule(exception=JobFailedRetryably, retry_delay=timedelta(seconds=7))]
    policy = HpcRetryPolicy(otherwise=policies.ExceptionRetryPolicy(rules=rules))
    action, decision = decide(policy, failed(Cause.LICENSE))
    assert (action, decision.retry_delay) == ("retry", timedelta(seconds=7))
    assert "preempted" in str(decide(policy, failed(Cause.PREEMPTED))[1].reason)
    # The other has none either.
    assert decide(policy, ConnectionError("x"))[0] == "default"
    silent = policies.ExceptionRetryPolicy(rules=[])
    assert decide(HpcRetryPolicy(otherwise=silent), failed(Cause.LICENSE))[0] == "fail"
    assert decide(HpcRetryPolicy(), JobNotFound("x"))[0] == "default"


@needs_policies
def test_it_composes_with_the_policies_of_airflow() -> None:
    from airflow.providers.common.compat import sdk

    chain = getattr(sdk, "ChainRetryPolicy", None)
    if chain is None:
        pytest.skip("this provider of common compatibility has no ChainRetryPolicy")
    policies: Any = compat.retry_policies()
    rules = [policies.RetryRule(exception=ConnectionError, action=policies.RetryAction.FAIL)]
    policy = chain([HpcRetryPolicy(), policies.ExceptionRetryPolicy(rules=rules)])
    assert policy.evaluate(ConnectionError("x"), 1, 3, context_of()).action.value == "fail"
    assert policy.evaluate(failed(Cause.UNKNOWN), 1, 3, context_of()).action.value == "fail"


@needs_policies
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"escalate": {"memory": 1}}, "escalate: the factor of memory must be a number above 1, got 1"),
        ({"escalate": {"memory": True}}, "above 1"),
        ({"escalate": {"memory": "2"}}, "above 1"),
        ({"escalate": {"cores": 2}}, "escalate: 'cores' cannot be escalated"),
        ({"limits": {"nodes": 2}}, "limits: 'nodes' cannot be escalated"),
        ({"limits": {"memory": "many"}}, "memory: expected a number with a unit, such as 4GB, got 'many'"),
        ({"limits": {"wall_time": "2 h"}}, "wall_time: expected seconds, a timedelta or HH:MM:SS, got '2 h'"),
        ({"max_reschedules": 0}, "max_reschedules: 0 is below 1"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        HpcRetryPolicy(**arguments)


def test_an_airflow_without_policies_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_airflow", None)
    with pytest.raises(RuntimeError, match=r"needs Airflow 3\.3"):
        HpcRetryPolicy()


@pytest.mark.parametrize(
    ("memory", "factor", "more"),
    [
        ("4GB", 2.0, "8GB"),
        ("1.5 GiB", 2.0, "3GB"),
        ("512m", 1.5, "768MB"),
        ("3G", 1.5, "4608MB"),
        ("100kb", 2.0, "1MB"),
        ("2TB", 1.5, "3072GB"),
    ],
)
def test_memory_is_escalated_in_whole_units(memory: str, factor: float, more: str) -> None:
    assert escalated(memory, None, {"memory": factor}) == (more, None)


@pytest.mark.parametrize("wall_time", [3600, "3600", "01:00:00", "0-01:00:00", timedelta(hours=1), 3599.5])
def test_a_wall_time_is_escalated_in_whole_seconds(wall_time: Any) -> None:
    assert escalated(None, wall_time, {"wall_time": 1.5}) == (None, 5400)


def test_without_an_escalation_the_arguments_are_what_they_were() -> None:
    assert escalated("4 GiB", "01:00:00", {}) == ("4 GiB", "01:00:00")
    assert escalated(None, None, {"memory": 2.0, "wall_time": 2.0}) == (None, None)
    # A limit below the argument does not lower it.
    assert escalated("8GB", None, {"memory": 2.0, "limits": {"memory": "4GB"}}) == ("8GB", None)


@pytest.mark.parametrize("saved", ["nonsense", "[1]", "{"])
def test_a_saved_text_that_cannot_be_read_changes_nothing(saved: str) -> None:
    states = States()
    states.set(ESCALATION_KEY, saved)
    assert load_escalation(context_of(states)) == {}
    assert load_escalation(None) == {}

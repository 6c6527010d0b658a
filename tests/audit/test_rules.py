# SPDX-License-Identifier: Apache-2.0
"""Rules: who may do what, where and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.operation import OperationStatus
from airflow_provider_ehpc.audit.rules import Effect, Rule, judge
from tests.audit.simulated import operation

REMOVAL = operation(1, 0)
"""usr-GxkSGFDs removes nodes of ehpc-czkekzfz, on a Sunday at 00:00 UTC."""


def _broken(reported: dict[str, Any], **changes: Any) -> bool:
    record = operation(1, 0, **changes)
    return bool(judge([Rule.parse({"name": "rule", **reported})], [record]))


@pytest.mark.parametrize(
    ("reported", "broken"),
    [
        ({"action": "*Remove*"}, True),
        ({"action": "*remove*"}, False),
        ({"action": ["*Delete*", "*Remove*"], "operator": "usr-G*"}, False),
        ({"action": "*Remove*", "operator": ["usr-admin", "usr-root"]}, True),
        ({"action": "*Remove*", "operator": []}, True),
        ({"action": "*Delete*"}, False),
        ({"resource": "ehpc-czkekzfz"}, True),
        ({"resource": "cln-*", "operator": "usr-admin"}, True),
        ({"resource": "ehpc-production"}, False),
        ({"status": "failed"}, False),
        ({"status": ["failed", "Succeeded"]}, True),
    ],
)
def test_a_rule_is_broken_by_what_it_selects_and_does_not_allow(
    reported: dict[str, Any], broken: bool
) -> None:
    assert _broken(reported) is broken


@pytest.mark.parametrize(
    ("hours", "zone", "moment", "allowed"),
    [
        ("08:00-18:00", "UTC", "2026-03-02T08:00:00", True),
        ("08:00-18:00", "UTC", "2026-03-02T18:00:00", False),
        ("08:00-18:00", "Asia/Shanghai", "2026-03-02T08:00:00", True),
        ("08:00-18:00", "Asia/Shanghai", "2026-03-02T12:00:00", False),
        ("mon-fri 08:00-18:00", "UTC", "2026-03-01T12:00:00", False),
        ("mon-fri 08:00-18:00", "UTC", "2026-03-02T12:00:00", True),
        ("sat-mon 08:00-18:00", "UTC", "2026-03-01T12:00:00", True),
        ("sat-mon 08:00-18:00", "UTC", "2026-03-03T12:00:00", False),
        ("sun 00:00-24:00", "UTC", "2026-03-01T23:59:59", True),
        ("sun 00:00-24:00", "UTC", "2026-03-02T00:00:00", False),
        ("fri 22:00-06:00", "UTC", "2026-03-07T05:00:00", True),
        ("fri 22:00-06:00", "UTC", "2026-03-07T22:30:00", False),
        ("fri 22:00-06:00", "UTC", "2026-03-06T05:00:00", False),
    ],
)
def test_hours_are_those_of_the_rules_time_zone(hours: str, zone: str, moment: str, allowed: bool) -> None:
    """Maintenance at night, a weekend in Shanghai: an hour off would blame the innocent."""
    time = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert _broken({"hours": hours, "time_zone": zone}, time=time) is not allowed


def test_an_operation_without_a_resource_is_only_under_rules_on_all() -> None:
    assert _broken({}, resources=())
    assert not _broken({"resource": "ehpc-*"}, resources=())


def test_a_nameless_operator_is_on_no_list_of_names() -> None:
    assert _broken({"operator": ["usr-*"]}, operator="")


def test_a_violation_says_who_did_what_to_what_and_when() -> None:
    rules = [
        Rule.parse({"name": "removals", "action": "*Remove*", "operator": "usr-admin"}),
        Rule.parse({"name": "nights", "hours": "08:00-18:00", "effect": "warn"}),
    ]
    first, second = judge(rules, [REMOVAL])
    assert str(first) == (
        "rule 'removals': HpcQueueRemoveEhpcQueueNodes (j-000001) on ehpc-czkekzfz, cln-w1xufnk9 at "
        "2026-03-01T00:00:00+00:00, successful: usr-GxkSGFDs: action is not allowed for this user"
    )
    assert (first.effect, second.effect) == (Effect.FAIL, Effect.WARN)
    assert "outside of the allowed hours" in str(second)


def test_an_operation_that_ended_later_breaks_a_rule_once() -> None:
    """Its beginning was judged with its own window; what is new is how it ended."""
    rules = [
        Rule.parse({"name": "removals", "action": "*Remove*"}),
        Rule.parse({"name": "failures", "status": "failed"}),
    ]
    failed = operation(1, 0, status=OperationStatus.FAILED)
    assert [violation.rule for violation in judge(rules, [failed])] == ["removals", "failures"]
    assert [violation.rule for violation in judge(rules, [], [failed])] == ["failures"]


@pytest.mark.parametrize(
    ("reported", "named"),
    [
        ({"name": ""}, "name"),
        ({"actions": "*"}, "actions"),
        ({"status": "done"}, "status: unknown value 'done'; expected one of in_progress, succeeded"),
        ({"effect": "explode"}, "effect"),
        ({"hours": "8-18"}, "hours"),
        ({"hours": "25:00-26:00"}, "hours"),
        ({"hours": "foo 08:00-18:00"}, "hours"),
        ({"hours": "08:00-18:00", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"hours": "08:00-18:00", "time_zone": "Asia"}, "time_zone"),
        ({"action": 5}, "rules: action: expected a text or a list of texts, got 5"),
    ],
)
def test_a_mistyped_rule_is_refused_by_name(reported: dict[str, Any], named: str) -> None:
    """A rule that is read wrongly finds nothing, for ever."""
    with pytest.raises(InvalidArgument, match=named):
        Rule.parse({"name": "rule", **reported})


@pytest.mark.parametrize("rules", ['[{"name": "n"}]', {"name": "n"}, ["n"]])
def test_rules_that_are_no_dicts(rules: Any) -> None:
    """A template without native rendering turns a list into a text."""
    with pytest.raises(InvalidArgument, match="rules: expected a list of rules, each a dict"):
        [Rule.parse(rule) for rule in rules]


def test_all_statuses_are_meant_where_none_is_named() -> None:
    assert Rule.parse({"name": "rule"}).statuses == frozenset(OperationStatus)

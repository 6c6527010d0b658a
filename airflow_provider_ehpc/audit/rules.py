# SPDX-License-Identifier: Apache-2.0
"""Read rules for operations, written as plain data in a DAG file, and apply them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.operation import OperationRecord, OperationStatus

E = TypeVar("E", bound=StrEnum)

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ANY = ("*",)


class Effect(StrEnum):
    """The effect of a violated rule on the task."""

    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of the week: ``mon-fri 08:00-18:00``. The end is excluded; the hours may span midnight."""

    begin: time
    end: time
    days: frozenset[int]
    zone: tzinfo

    @classmethod
    def parse(cls, text: str, zone: tzinfo) -> Hours:
        """Read ``08:00-18:00`` or ``mon-fri 08:00-18:00``.

        :raises InvalidArgument: if the text has another form.
        """
        match = re.fullmatch(
            r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?(\d\d:\d\d)-(\d\d:\d\d)", text.strip().lower()
        )
        try:
            if match is None:
                raise ValueError
            first, last, begin, end = match.groups()
            days = range(7)
            if first:
                start = _DAYS.index(first)
                days = range(start, start + 1 + (_DAYS.index(last or first) - start) % 7)
            midnight = time(0)
            return cls(
                time.fromisoformat(begin),
                midnight if end == "24:00" else time.fromisoformat(end),
                frozenset(day % 7 for day in days),
                zone,
            )
        except ValueError:
            raise InvalidArgument(
                f"hours: {text!r} is not of the form '08:00-18:00' or 'mon-fri 08:00-18:00'"
            ) from None

    def __contains__(self, moment: datetime) -> bool:
        local = moment.astimezone(self.zone)
        clock, day = local.time(), local.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= clock < self.end
        # After midnight, the hours belong to the previous day.
        return (day in self.days and clock >= self.begin) or ((day - 1) % 7 in self.days and clock < self.end)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for the operations that its globs and statuses select.

    An operation violates it if its operator is not among ``operators`` or its time is not within ``hours``. A
    rule with neither forbids every operation that it selects. Globs are those of a shell and case-sensitive.
    """

    name: str
    actions: tuple[str, ...] = _ANY
    resources: tuple[str, ...] = _ANY
    """The operation is selected if one of its resources matches."""
    statuses: frozenset[OperationStatus] = frozenset(OperationStatus)
    operators: tuple[str, ...] | None = None
    hours: Hours | None = None
    effect: Effect = Effect.FAIL

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Rule:
        """Read a rule from plain data.

        ``name``; ``action``, ``resource``, ``operator``: a glob or a list of them; ``status``: one or a list
        of in_progress, succeeded, failed, unknown; ``hours`` with ``time_zone`` (UTC if not given);
        ``effect``: warn or fail.

        :raises InvalidArgument: naming the key that is missing, unknown or unreadable.
        """
        if not isinstance(fields, Mapping):
            raise InvalidArgument(
                f"rules: expected a list of rules, each a dict; one of them is {fields!r:.80}"
            )
        known = {"name", "action", "resource", "status", "operator", "hours", "time_zone", "effect"}
        unknown = sorted(fields.keys() - known)
        if unknown:
            raise InvalidArgument(f"rules: unknown key {unknown[0]!r}; a rule has {', '.join(sorted(known))}")
        name = str(fields.get("name") or "")
        if not name:
            raise InvalidArgument("rules: a rule needs a 'name' for its messages")
        return cls(
            name=name,
            actions=_globs(fields, "action") or _ANY,
            resources=_globs(fields, "resource") or _ANY,
            statuses=frozenset(_word(OperationStatus, "status", word) for word in _globs(fields, "status"))
            or frozenset(OperationStatus),
            operators=_globs(fields, "operator") if "operator" in fields else None,
            hours=Hours.parse(str(fields["hours"]), _zone(fields)) if fields.get("hours") else None,
            effect=_word(Effect, "effect", fields.get("effect", Effect.FAIL)),
        )

    def selects(self, record: OperationRecord) -> bool:
        """Return True if the rule is about this operation."""
        return (
            record.status in self.statuses
            and _matches(record.action, self.actions)
            # An operation without resources is selected only by a rule for all resources.
            and any(_matches(resource, self.resources) for resource in record.resources or ("",))
        )

    def breach(self, record: OperationRecord) -> str:
        """Return in words how an operation violates the rule; empty if it does not."""
        if not self.selects(record):
            return ""
        who = record.operator or "unknown user"
        if self.operators is None and self.hours is None:
            return f"{who}: action is not allowed for anyone"
        if self.operators is not None and not _matches(record.operator, self.operators):
            return f"{who}: action is not allowed for this user"
        if self.hours is not None and record.time not in self.hours:
            local = record.time.astimezone(self.hours.zone).isoformat()
            return f"{who}: outside of the allowed hours, at {local}"
        return ""


@dataclass(frozen=True, slots=True)
class Violation:
    """An operation that violates a rule."""

    rule: str
    effect: Effect
    record: OperationRecord
    breach: str

    def __str__(self) -> str:
        record = self.record
        on = f" on {', '.join(record.resources)}" if record.resources else ""
        return (
            f"rule {self.rule!r}: {record.action} ({record.operation_id}){on} at {record.time.isoformat()}, "
            f"{record.raw_status}: {self.breach}"
        )


def judge(
    rules: Sequence[Rule], records: Iterable[OperationRecord], ended: Iterable[OperationRecord] = ()
) -> tuple[Violation, ...]:
    """Check every operation against every rule.

    :param ended: operations of earlier windows that have ended since. They were checked while they were in
        progress, so only the rules apply that do not select operations in progress.
    """
    now_only = [rule for rule in rules if OperationStatus.IN_PROGRESS not in rule.statuses]
    return tuple(
        Violation(rule.name, rule.effect, record, breach)
        for some, theirs in ((records, rules), (ended, now_only))
        for record in some
        for rule in theirs
        if (breach := rule.breach(record))
    )


def _matches(text: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _globs(fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key) or ()
    if not isinstance(value, Collection):
        raise InvalidArgument(f"rules: {key}: expected a text or a list of texts, got {value!r:.80}")
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)


def _word(kind: type[E], key: str, word: Any) -> E:
    for member in kind:
        if str(word).strip().casefold() == member.value.casefold():
            return member
    words = ", ".join(member.value.lower() for member in kind)
    raise InvalidArgument(f"{key}: unknown value {word!r}; expected one of {words}")


def _zone(fields: Mapping[str, Any]) -> tzinfo:
    name = str(fields.get("time_zone") or "UTC")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(f"time_zone: unknown time zone {name!r}") from None

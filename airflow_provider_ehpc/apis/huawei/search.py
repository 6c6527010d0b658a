"""Conditions and order of ModelArts' search for training jobs.

Source: JobSearches, Filter and ListTagFilter of ``huaweicloudsdkmodelarts`` 3.1.219.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.keywords import check_names
from airflow_provider_ehpc.apis.moments import milliseconds

Operator = Literal["between", "in", "like", "not"]
_OPERATORS = ("between", "in", "like", "not")


class Condition(TypedDict):
    """A condition on a field, such as ``id``, ``name``, ``phase`` or ``create_time`` (in milliseconds)."""

    key: str
    operator: Operator
    value: Sequence[str]


class Search(TypedDict, total=False):
    """Which jobs are searched for, and in which order.

    ``phases`` and ``name`` (a part of it) are the most frequent ``filters``; ``created_from`` and
    ``created_to`` (aware, both or none) are another. ``sort_by`` is ``create_time`` if not given,
    ``order`` is ``desc``. ``train_type`` is ``job`` or ``ftjob``. Each tag has a ``key`` and perhaps
    ``values``. With ``tags`` or ``host_ips``, the API covers 31 days at most.
    """

    phases: Sequence[str]
    name: str | None
    created_from: datetime | None
    created_to: datetime | None
    filters: Sequence[Condition]
    sort_by: str | None
    order: Literal["asc", "desc"] | None
    group_by: str | None
    workspace_id: str | None
    train_type: str | None
    tags: Sequence[Mapping[str, Any]] | None
    host_ips: Sequence[str] | None


def search_body(search: Search) -> dict[str, Any]:
    """Return what a search adds to the body of the request.

    :raises InvalidArgument: for a condition or an order of another form, and for a time that names no moment.
    """
    check_names(search, Search)
    order = search.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise InvalidArgument(f"order: it is asc or desc, not {order!r:.100}")
    others = ("group_by", "workspace_id", "train_type", "tags", "host_ips")
    return {
        "sort_by": search.get("sort_by") or "create_time",
        "order": order,
        "filters": _conditions(search),
        **{name: search[name] for name in others if search.get(name) is not None},  # type: ignore[literal-required]
    }


def _conditions(search: Search) -> list[dict[str, Any]]:
    conditions = [_checked(condition) for condition in search.get("filters") or ()]
    if phases := search.get("phases"):
        conditions.append({"key": "phase", "operator": "in", "value": list(phases)})
    if name := search.get("name"):
        conditions.append({"key": "name", "operator": "like", "value": [name]})
    times = [
        milliseconds("created_from", search.get("created_from")),
        milliseconds("created_to", search.get("created_to")),
    ]
    if times != [None, None]:
        if None in times:
            raise InvalidArgument("created_from, created_to: give both or none; the API takes a range only")
        conditions.append({"key": "create_time", "operator": "between", "value": list(map(str, times))})
    return conditions


def _checked(condition: Condition) -> dict[str, Any]:
    try:
        key, operator, value = condition["key"], condition["operator"], condition["value"]
    except (TypeError, KeyError):
        raise InvalidArgument(
            f"filters: a condition has key, operator and value, not {condition!r:.100}"
        ) from None
    if operator not in _OPERATORS:
        raise InvalidArgument(
            f"filters: the operator is one of {', '.join(_OPERATORS)}, not {operator!r:.100}"
        )
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise InvalidArgument(f"filters: the value of {key} is a list of texts, not {value!r:.100}")
    return {"key": key, "operator": operator, "value": list(value)}

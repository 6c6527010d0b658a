# SPDX-License-Identifier: Apache-2.0
"""The conditions and the order of ModelArts' search for training jobs.

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
    """A search for jobs.

    ``phases``, ``name`` (a part of the name) and ``created_from`` with ``created_to`` (aware, both or none)
    are short forms of the most frequent ``filters``. The default of ``sort_by`` is ``create_time``, and that
    of ``order`` is ``desc``. ``train_type`` is ``job`` or ``ftjob``. Each tag has a ``key`` and possibly
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
    """Return the part of the request's body for a search.

    :raises InvalidArgument: for an unknown argument, an invalid condition or order, or a time without a zone.
    """
    check_names(search, Search)
    order = search.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise InvalidArgument(f"order: expected asc or desc, got {order!r:.100}")
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
            raise InvalidArgument("created_from, created_to: set both or none; the API accepts only a range")
        conditions.append({"key": "create_time", "operator": "between", "value": list(map(str, times))})
    return conditions


def _checked(condition: Condition) -> dict[str, Any]:
    try:
        key, operator, value = condition["key"], condition["operator"], condition["value"]
    except (TypeError, KeyError):
        raise InvalidArgument(
            f"filters: expected a condition with key, operator and value, got {condition!r:.100}"
        ) from None
    if operator not in _OPERATORS:
        raise InvalidArgument(
            f"filters: expected an operator of {', '.join(_OPERATORS)}, got {operator!r:.100}"
        )
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise InvalidArgument(f"filters: expected a list of texts as the value of {key}, got {value!r:.100}")
    return {"key": key, "operator": operator, "value": list(value)}

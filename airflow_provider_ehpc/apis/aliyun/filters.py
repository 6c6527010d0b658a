# SPDX-License-Identifier: Apache-2.0
"""Filters and sort orders of E-HPC's job lists, for both versions of the API.

Source: ListJobsRequestJobFilter of ``alibabacloud-ehpc20240730`` 2.4.0 and ListJobsWithFiltersRequest of
``alibabacloud-ehpc20180412`` 4.0.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from airflow_provider_ehpc.apis.aliyun.common import compact_json
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.keywords import check_names
from airflow_provider_ehpc.apis.moments import epoch_seconds

Order = Literal["asc", "desc"]
_ORDERS = {"submit_order": "SubmitOrder", "execute_order": "ExecuteOrder", "pend_order": "PendOrder"}


class CommonFilters(TypedDict, total=False):
    """Filters of both versions.

    ``job_status`` is ``all``, ``finished`` or ``notfinish``; ``job_name`` is a part of the name;
    ``created_from`` and ``created_to`` are aware datetimes or epoch seconds.
    """

    job_status: str | None
    job_name: str | None
    nodes: Sequence[str] | None
    queues: Sequence[str] | None
    users: Sequence[str] | None
    created_from: datetime | int | None
    created_to: datetime | int | None


class JobFilters(CommonFilters, total=False):
    """Filters of ListJobs, version 2024-07-30.

    ``sort_by`` names one of SubmitOrder, ExecuteOrder and PendOrder (the time in the queue) and its
    direction: ``{"SubmitOrder": "asc"}``; by default the newest jobs come first. Each item of
    ``diagnosis`` has an Option, an Operator and a Threshold, which no page explains.
    """

    sort_by: Mapping[str, Order] | None
    diagnosis: Sequence[Mapping[str, str]] | None


class ClassicFilters(CommonFilters, total=False):
    """Filters of ListJobsWithFilters, version 2018-04-12, with at most one of three orders."""

    submit_order: Order | None
    execute_order: Order | None
    pend_order: Order | None


def job_filter(filters: JobFilters) -> str:
    """Return the parameter JobFilter.

    :raises InvalidArgument: if a list is a text, a time is not a valid moment, or an order is unknown.
    """
    check_names(filters, JobFilters)
    fields = {
        **_common(filters, str),
        "Diagnosis": filters.get("diagnosis"),
        "SortBy": _order(filters.get("sort_by") or {}, "sort_by") or None,
    }
    return compact_json({name: fields[name] for name in sorted(fields) if fields[name] is not None})


def classic_filters(filters: ClassicFilters) -> dict[str, str | int | None]:
    """Return the parameters of ListJobsWithFilters; the newest jobs come first if no order is given.

    :raises InvalidArgument: as :func:`job_filter`, and if there is more than one order.
    """
    check_names(filters, ClassicFilters)
    parameters: dict[str, str | int | None] = {}
    for name, value in _common(filters, int).items():
        if isinstance(value, list):
            parameters |= {f"{name}.{number}": item for number, item in enumerate(value, 1)}
        else:
            parameters[name] = value
    orders = {name: filters[name] for name in _ORDERS if filters.get(name)}  # type: ignore[literal-required]
    return {**parameters, **(_order(orders, "order") or {"SubmitOrder": "desc"})}


def _common(filters: CommonFilters, time: type[str] | type[int]) -> dict[str, Any]:
    first = epoch_seconds("created_from", filters.get("created_from"))
    last = epoch_seconds("created_to", filters.get("created_to"))
    return {
        "CreateTimeEnd": None if last is None else time(last),
        "CreateTimeStart": None if first is None else time(first),
        "JobName": filters.get("job_name"),
        "JobStatus": filters.get("job_status"),
        "Nodes": _texts("nodes", filters.get("nodes")),
        "Queues": _texts("queues", filters.get("queues")),
        "Users": _texts("users", filters.get("users")),
    }


def _texts(name: str, values: Sequence[str] | None) -> list[str] | None:
    if values is None:
        return None
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise InvalidArgument(f"{name}: expected a list of texts, not {values!r:.100}")
    return list(values)


def _order(orders: Mapping[str, Any], argument: str) -> dict[str, str]:
    named = {_ORDERS.get(name, name): direction for name, direction in orders.items()}
    if len(named) > 1 or not named.keys() <= set(_ORDERS.values()):
        raise InvalidArgument(
            f"{argument}: expected one of {', '.join(_ORDERS.values())}, not {list(orders)}"
        )
    for name, direction in named.items():
        if direction not in ("asc", "desc"):
            raise InvalidArgument(f"{name}: the direction must be asc or desc, not {direction!r:.100}")
    return named

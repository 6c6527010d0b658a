# SPDX-License-Identifier: Apache-2.0
"""Get the states of many jobs in few calls: from the pages of lists, and one by one for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_ehpc.apis.call import (
    AT_ONCE,
    ApiCall,
    Flow,
    NotFound,
    PermissionDenied,
    Together,
    UnexpectedResponse,
    some_at_once,
)
from airflow_provider_ehpc.apis.job import JobRef, JobStatus, PartialResult, StatusesFlow
from airflow_provider_ehpc.apis.listing import PageGuard

_WORTH_A_PAGE = 3
"""The number of jobs from which on a page is requested. It costs as much as a request for one job."""


@dataclass(frozen=True, slots=True)
class JobsPage:
    """The jobs on a page of a list.

    :param statuses: statuses of the jobs for which a request of their own would report nothing more.
    :param rows: number of all jobs on the page.
    :param total: number of jobs on all pages; None if the cloud does not report it.
    """

    statuses: Mapping[JobRef, JobStatus]
    rows: int
    total: int | None


@dataclass(frozen=True, slots=True)
class JobsList:
    """A list of a cluster's (or project's) jobs that is read page by page.

    :param read_page: requests a page by its number, from 0 on.
    :param page_size: rows of a full page.
    """

    read_page: Callable[[int], Flow[JobsPage]]
    page_size: int


def statuses_by_page_or_job(
    refs: Iterable[JobRef],
    lists: Callable[[JobRef], Sequence[JobsList]],
    job_status: Callable[[JobRef], Flow[JobStatus]],
    *,
    unknown: Callable[[NotFound], bool] = lambda error: True,
) -> StatusesFlow:
    """Read lists while they save requests, then request the jobs that they did not contain one by one.

    :param lists: returns the lists of a job's cluster in the order of reading, the unfinished jobs first. A
        list is read only if those before it were read to the end.
    :param job_status: requests one job.
    :param unknown: returns True if the job was not found, and False if its whole cluster was not.
    """
    refs = list(dict.fromkeys(refs))
    clusters: dict[str | None, list[JobRef]] = {}
    for ref in refs:
        clusters.setdefault(ref.cluster_id, []).append(ref)
    found: dict[JobRef, JobStatus | None] = {}
    for group in clusters.values():
        wanted = set(group)
        if len(wanted) < _WORTH_A_PAGE:
            continue
        try:
            for jobs in lists(group[0]):
                if not (yield from _read(wanted, jobs, found)):
                    # The jobs that are still wanted may be further down in it.
                    break
        except PermissionDenied:
            # A key may have the permission to read a job, but not to list jobs.
            pass

    def read_job(ref: JobRef) -> Generator[ApiCall[Any] | PartialResult, Any, None]:
        try:
            found[ref] = yield from job_status(ref)
        except NotFound as error:
            if not unknown(error):
                raise
            found[ref] = None
        yield PartialResult({ref: found[ref]})

    yield from some_at_once(read_job(ref) for ref in refs if ref not in found)
    return found


def _read(
    wanted: set[JobRef], jobs: JobsList, found: dict[JobRef, JobStatus | None]
) -> Generator[Together[Any], Any, bool]:
    """Move the jobs of a list from ``wanted`` to ``found``; return True if it was read to the end.

    A page costs one call and saves one for each wanted job on it. Most orders are undocumented, so the wanted
    jobs may be anywhere in the list. If a list is longer than the number of wanted jobs, reading it stops
    when it has cost a quarter more calls than it saved.
    """

    def read_page(number: int) -> Generator[ApiCall[Any] | PartialResult, Any, JobsPage]:
        page = yield from jobs.read_page(number)
        reported = {ref: status for ref, status in page.statuses.items() if ref in wanted}
        found.update(reported)
        wanted.difference_update(reported)
        if reported:
            yield PartialResult(reported)
        return page

    credit = max(1, len(wanted) // 4)
    # Also ends a list that grows while it is read: its known rest never seems too long.
    most_debt = len(wanted)
    together = 1
    guard = PageGuard(jobs.page_size)
    while len(wanted) >= _WORTH_A_PAGE:
        before = len(wanted)
        pages = yield Together(tuple(read_page(guard.pages + n) for n in range(together)))
        credit += before - len(wanted) - together
        try:
            for page in pages:
                # Rows without a status have no key here: they count as new.
                keys = page.statuses or {(guard.pages, "rows"): None}
                ended = guard.ended(keys, page.rows, page.total)
        except UnexpectedResponse:
            break
        if ended:
            return True
        last = pages[-1]
        # Without a total, any number of pages may follow a full one.
        assumed_total = math.inf if last.rows >= jobs.page_size else 0
        rows_left = (assumed_total if last.total is None else last.total) - guard.pages * jobs.page_size
        if credit <= 0 and (rows_left > len(wanted) * jobs.page_size or credit <= -most_debt):
            break
        # Only pages that exist, and that would also be requested one after the other.
        likely = 1 if last.total is None else min(rows_left, len(wanted)) // jobs.page_size
        together = max(1, min(AT_ONCE, credit, int(likely)))
    return False

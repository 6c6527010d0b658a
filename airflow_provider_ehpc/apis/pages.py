"""Many jobs' states from the pages of a list, and the rest one by one: whichever costs fewer calls."""

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
"""Jobs from which on a page is asked for: it costs as much as asking for one job."""


@dataclass(frozen=True, slots=True)
class JobsPage:
    """What a page of a list tells.

    :param statuses: of those of its jobs whose state the list tells as well as asking for the job would.
    :param rows: how many jobs the page had.
    :param total: of how many in all; None where that is not told.
    """

    statuses: Mapping[JobRef, JobStatus]
    rows: int
    total: int | None


@dataclass(frozen=True, slots=True)
class JobsList:
    """A list of a cluster's (or project's) jobs that is read page by page.

    :param ask: asks for a page, the first being 0.
    :param page_size: rows of a full page.
    """

    ask: Callable[[int], Flow[JobsPage]]
    page_size: int


def statuses_by_page_or_job(
    refs: Iterable[JobRef],
    lists: Callable[[JobRef], Sequence[JobsList]],
    job_status: Callable[[JobRef], Flow[JobStatus]],
    *,
    unknown: Callable[[NotFound], bool] = lambda error: True,
) -> StatusesFlow:
    """Read lists as long as they pay, and ask for the jobs that they did not tell of one by one.

    :param lists: the lists of a job's cluster, in the order of reading: the unfinished jobs first. One is
        read only where those before it were read to their ends.
    :param job_status: asks for one job.
    :param unknown: whether it is the job that was not found, and not its whole cluster.
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
                    # Those that are still wanted may stand further down in it.
                    break
        except PermissionDenied:
            # A key may be allowed to ask for a job and not for all of them.
            pass

    def ask(ref: JobRef) -> Generator[ApiCall[Any] | PartialResult, Any, None]:
        try:
            found[ref] = yield from job_status(ref)
        except NotFound as error:
            if not unknown(error):
                raise
            found[ref] = None
        yield PartialResult({ref: found[ref]})

    yield from some_at_once(ask(ref) for ref in refs if ref not in found)
    return found


def _read(
    wanted: set[JobRef], jobs: JobsList, found: dict[JobRef, JobStatus | None]
) -> Generator[Together[Any], Any, bool]:
    """Move what a list tells out of ``wanted`` into ``found``; return whether it was read to its end.

    A page costs a call and saves one for each job that it tells of. A list that is longer than there are jobs
    to be found is left when it has cost a quarter more than it saved: those that are wanted may be anywhere
    in it, for most orders are undocumented.
    """

    def ask(number: int) -> Generator[ApiCall[Any] | PartialResult, Any, JobsPage]:
        page = yield from jobs.ask(number)
        told = {ref: status for ref, status in page.statuses.items() if ref in wanted}
        found.update(told)
        wanted.difference_update(told)
        if told:
            yield PartialResult(told)
        return page

    credit = max(1, len(wanted) // 4)
    # A list that grows while it is read never looks longer than it is worth.
    most_debt = len(wanted)
    together = 1
    guard = PageGuard(jobs.page_size)
    while len(wanted) >= _WORTH_A_PAGE:
        before = len(wanted)
        pages = yield Together(tuple(ask(guard.pages + n) for n in range(together)))
        credit += before - len(wanted) - together
        try:
            for page in pages:
                # Rows whose state the list does not report have no key here: each counts as new.
                keys = page.statuses or {(guard.pages, "rows"): None}
                ended = guard.ended(keys, page.rows, page.total)
        except UnexpectedResponse:
            break
        if ended:
            return True
        last = pages[-1]
        # Where no total is told, a full page may be followed by any number of others.
        untold = math.inf if last.rows >= jobs.page_size else 0
        rows_left = (untold if last.total is None else last.total) - guard.pages * jobs.page_size
        if credit <= 0 and (rows_left > len(wanted) * jobs.page_size or credit <= -most_debt):
            break
        # Only pages that are there, and that would be asked for one after the other as well.
        likely = 1 if last.total is None else min(rows_left, len(wanted)) // jobs.page_size
        together = max(1, min(AT_ONCE, credit, int(likely)))
    return False

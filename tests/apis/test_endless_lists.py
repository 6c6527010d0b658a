# SPDX-License-Identifier: Apache-2.0
"""Every loop over pages ends, with any responses of the server."""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.aliyun.classic import EhpcClassicApi
from airflow_provider_ehpc.apis.aliyun.common_logs import EhpcOperations
from airflow_provider_ehpc.apis.aliyun.ehpc import EhpcApi
from airflow_provider_ehpc.apis.aliyun.serverless import EhpcServerlessApi
from airflow_provider_ehpc.apis.call import ApiError, ApiRequest, NotFound, UnexpectedResponse
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.listing import MOST_PAGES, all_pages, newest_pages, one_pass
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job
from tests.apis.answering import Answering
from tests.apis.driver import run_flow

SIZE = 5
TOTALS = st.one_of(st.none(), st.integers(-3, 60), st.integers(10**6, 10**400))
PAGES = st.lists(st.integers(0, 30).map(str), max_size=SIZE + 3)


class Server:
    """A server that returns arbitrary pages, and then never ends the list by itself.

    :param pages: rows and totals of the first pages.
    :param after: later pages: ``last`` repeats the last page, ``empty`` has no rows, ``fresh`` and
        ``growing`` have new rows.
    """

    def __init__(self, pages: list[tuple[list[str], int | None]], after: str, total: int | None) -> None:
        self.pages, self.after, self.total = pages, after, total
        self.requests = 0
        self._fresh = count()

    def read_page(self, number: int) -> Generator[Any, Any, tuple[list[str], int | None]]:
        self.requests += 1
        if number <= len(self.pages):
            return self.pages[number - 1]
        if self.after == "fresh":
            return [f"fresh{next(self._fresh)}" for _ in range(SIZE)], self.total
        if self.after == "growing":
            return [f"fresh{next(self._fresh)}" for _ in range(SIZE)], number * SIZE + 1
        return (self.pages[-1][0] if self.after == "last" and self.pages else []), self.total
        yield

    @property
    def bound(self) -> int:
        """The maximum number of requests in one pass."""
        fresh = self.after in ("fresh", "growing")
        if not fresh:
            return len(self.pages) + 3
        first = self.pages[0][1] if self.pages else (SIZE + 1 if self.after == "growing" else self.total)
        return MOST_PAGES if first is None else min(MOST_PAGES, 2 * max(0, -(-first // SIZE)) + 10)


servers = st.builds(
    Server,
    st.lists(st.tuples(PAGES, TOTALS), max_size=6),
    st.sampled_from(["last", "empty", "fresh", "growing"]),
    st.one_of(st.none(), st.integers(-3, 10**5)),
)
readers: list[tuple[Callable[[Server], Generator[Any, Any, Any]], int]] = [
    (lambda server: one_pass(server.read_page, str, SIZE), 1),
    (lambda server: all_pages(server.read_page, str, SIZE), 3),
    (lambda server: newest_pages(server.read_page, str, SIZE, lambda row: True), 1),
]


@pytest.mark.parametrize(("read", "passes"), readers)
@given(server=servers)
@settings(max_examples=150, deadline=None)
def test_every_list_ends(
    read: Callable[[Server], Generator[Any, Any, Any]], passes: int, server: Server
) -> None:
    server.requests = 0
    try:
        found = run_flow(read(server), lambda call: None)
    except UnexpectedResponse:
        assert server.after in ("fresh", "growing")
    else:
        first = server.pages[0][0] if server.pages else []
        assert set(first) <= set(found)
    assert server.requests <= passes * max(1, server.bound)


@given(server=servers, jobs=st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_the_search_for_jobs_in_a_list_ends(server: Server, jobs: int) -> None:
    """It takes no more requests than requesting each job, which happens after it."""
    server.requests = single = 0

    def read_page(number: int) -> Generator[Any, Any, JobsPage]:
        rows, total = yield from server.read_page(number + 1)
        statuses = {JobRef(row): JobStatus(row, JobState.RUNNING, "R") for row in rows}
        return JobsPage(statuses, len(rows), total)

    def one(ref: JobRef) -> Generator[Any, Any, JobStatus]:
        nonlocal single
        single += 1
        return JobStatus(ref.job_id, JobState.RUNNING, "R")
        yield

    refs = [JobRef(str(number)) for number in range(jobs)]
    lists = [JobsList(read_page, SIZE)]
    found = run_flow(statuses_by_page_or_job(refs, lambda ref: lists, one), lambda call: None)
    assert found.keys() == set(refs)
    assert single <= jobs
    assert server.requests <= min(max(1, server.bound) + 4, 2 * jobs * SIZE)


@pytest.mark.parametrize("total", [-1, 0, 1, SIZE - 1])
def test_a_total_that_is_too_small_hides_no_rows(total: int) -> None:
    rows = [str(number) for number in range(2 * SIZE + 2)]
    server = Server([(rows[at : at + SIZE], total) for at in range(0, len(rows), SIZE)], "empty", total)
    assert set(run_flow(one_pass(server.read_page, str, SIZE), lambda call: None)) == set(rows)
    assert server.requests == 3


ROWS = [
    {
        "JobName": "sweep",
        "JobSpec": {
            "Id": f"12[{n}]",
            "State": "Running",
            "ArrayRequest": "1-50",
            "ArrayJobId": "12[]",
            "ArrayJobSubId": str(n),
        },
    }
    for n in range(50)
]


def ehpc(total: Any) -> Callable[[ApiRequest], Any]:
    def respond(request: ApiRequest) -> Any:
        if request.headers["x-acs-action"] == "GetJob":
            return {
                "RequestId": "R",
                "JobInfo": {"JobId": "12[]", "JobName": "sweep", "State": "Running", "ArrayRequest": "1-50"},
            }
        return {"RequestId": "R", "TotalCount": total, "PageNumber": 1, "PageSize": 50, "Jobs": ROWS}

    return respond


@pytest.mark.parametrize("total", [None, 0, 50, 10**6, "10000000000000"])
def test_the_sub_jobs_of_an_array(total: Any) -> None:
    """A wrong total once caused 604 requests in half a minute."""
    cloud = Answering(ehpc(total))
    status = cloud.run(EhpcApi().job_status(JobRef("12[]", "ehpc-hz-1")))
    assert status.array == {"RUNNING": 50}
    assert len(cloud.requests) <= 1 + 3


@pytest.mark.parametrize("total", [None, 10**6])
def test_the_search_for_a_job_that_the_scheduler_forgot(total: Any) -> None:
    def respond(request: ApiRequest) -> Any:
        jobs = [{"Id": str(n), "State": "finished"} for n in range(100)]
        if request.headers["x-acs-action"] == "DescribeJob":
            return {"RequestId": "R", "Message": {"JobInfo": "{}"}}
        return {"RequestId": "R", "TotalCount": total, "Jobs": {"JobInfo": jobs}}

    cloud = Answering(respond)
    with pytest.raises(NotFound, match="unknown job 4711"):
        cloud.run(EhpcClassicApi().job_status(JobRef("4711", "ehpc-hz-1")))
    assert len(cloud.requests) <= 1 + 4


@pytest.mark.parametrize("total", [None, 10**6])
def test_the_list_of_serverless_jobs(total: Any) -> None:
    def respond(request: ApiRequest) -> Any:
        if request.headers["x-acs-action"] != "ListServerlessJobs":
            return {"RequestId": "R"}
        jobs = [{"JobId": str(n), "State": "Running"} for n in range(100)]
        return {"RequestId": "R", "TotalCount": total, "Jobs": jobs}

    cloud = Answering(respond)
    refs = [JobRef(str(n), "ehpc-hz-1") for n in range(100)]
    found = cloud.run(EhpcServerlessApi().job_statuses(refs))
    assert all(status and status.state is JobState.RUNNING for status in found.values())
    assert len(cloud.requests) <= 3


def test_an_endless_list_of_the_operations_of_one_second() -> None:
    def respond(request: ApiRequest) -> Any:
        logs = [
            {"RequestId": f"R{n}", "Time": "2024-08-22 14:21:54", "Action": "a", "Status": "Finished"}
            for n in range(100)
        ]
        return {"RequestId": "R", "TotalCount": 10**9, "Logs": logs}

    cloud = Answering(respond)
    missing = {"RequestId": "X", "Time": "2024-08-22 14:21:54", "Action": "a", "Status": "Finished"}
    first = Answering(lambda request: {"RequestId": "R", "TotalCount": 1, "Logs": [missing]})
    served = iter([first, *[cloud] * 100])

    both = Answering(lambda request: next(served).respond(request))
    with pytest.raises(ApiError, match="neither Beijing time nor UTC"):
        both.run(EhpcOperations("cn-hangzhou").page(1724307700, 1724307800, 0))
    assert len(both.requests) <= 1 + 2 * 3

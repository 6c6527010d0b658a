# SPDX-License-Identifier: Apache-2.0
"""Number of calls for the states of many jobs, with lists of any order and length."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import AT_ONCE, NotFound, PermissionDenied
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus
from airflow_provider_ehpc.apis.pages import JobsList, JobsPage, statuses_by_page_or_job
from tests.apis.driver import run_flow

SIZE = 50


@dataclass
class Cluster:
    """A cluster's jobs in the order of its lists. It records the calls."""

    unfinished: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    has_total: bool = True
    pages: int = 0
    singles: list[str] = field(default_factory=list)
    on_page: Any = None
    went_together: list[int] = field(default_factory=list)
    """The numbers of concurrent calls."""

    def poll(self, refs: list[JobRef]) -> dict[JobRef, JobStatus | None]:
        lists = [JobsList(self.page_of(name), SIZE) for name in ("unfinished", "ended")]
        flow = statuses_by_page_or_job(refs, lambda ref: lists, self.single)
        reported: dict[JobRef, JobStatus | None] = {}
        found: dict[JobRef, JobStatus | None] = run_flow(
            flow, lambda call: None, lambda step: reported.update(step.statuses), self.went_together.append
        )
        assert reported == found, "the partial results differ from the result"
        return found

    def page_of(self, name: str) -> Any:
        def page(number: int) -> Generator[Any, Any, JobsPage]:
            self.pages += 1
            if self.on_page:
                self.on_page(self)
            jobs = getattr(self, name)
            rows = jobs[number * SIZE : (number + 1) * SIZE]
            return JobsPage(
                {JobRef(job): self.status(job, running=name == "unfinished") for job in rows},
                len(rows),
                len(jobs) if self.has_total else None,
            )
            yield

        return page

    def status(self, job: str, *, running: bool) -> JobStatus:
        state = JobState.RUNNING if running else JobState.SUCCEEDED
        return JobStatus(job_id=job, state=state, raw_state=state)

    def single(self, ref: JobRef) -> Generator[Any, Any, JobStatus]:
        self.singles.append(ref.job_id)
        running = ref.job_id in self.unfinished
        if not running and ref.job_id not in self.ended:
            raise NotFound("no such job")
        return self.status(ref.job_id, running=running)
        yield


def names(count: int, of: str = "job") -> list[str]:
    return [f"{of}-{n}" for n in range(count)]


def refs(jobs: list[str]) -> list[JobRef]:
    return [JobRef(job) for job in jobs]


@pytest.mark.parametrize("has_total", [True, False])
@pytest.mark.parametrize("page", range(1, 20))
def test_jobs_that_end_while_pages_are_read(page: int, has_total: bool) -> None:
    """A thousand jobs end between two pages.

    The first pages of ended jobs contain those that were just reported as running. If reading stopped there,
    hundreds of jobs would be requested one by one, and the last status would be half a minute behind.
    """
    jobs = names(1000)

    def end(cluster: Cluster) -> None:
        if cluster.pages == page:
            cluster.unfinished, cluster.ended = [], jobs

    cluster = Cluster(unfinished=jobs, has_total=has_total, on_page=end)
    assert set(cluster.poll(refs(jobs))) == set(refs(jobs))
    assert cluster.pages + len(cluster.singles) <= 45


def test_ended_jobs_anywhere_in_a_long_list() -> None:
    """The order of the list is undocumented: the wanted jobs may be behind many others."""
    mine = names(600)
    cluster = Cluster(ended=[*names(1000, "other"), *mine, *names(40_000, "older")])
    cluster.poll(refs(mine))
    assert cluster.pages <= 1 + 20 + 12 + 1
    assert len(cluster.singles) < 3


@pytest.mark.parametrize("seed", range(20))
def test_pages_never_cost_much_more_than_single_requests(seed: int) -> None:
    rng = random.Random(seed)
    mine = names(rng.choice([3, 10, 100, 700]))
    running = set(rng.sample(mine, rng.randrange(len(mine))))
    unfinished = [*running, *names(rng.choice([0, 100, 30_000]), "other")]
    ended = [*(job for job in mine if job not in running), *names(rng.choice([0, 1000, 30_000]), "old")]
    rng.shuffle(unfinished)
    rng.shuffle(ended)
    cluster = Cluster(unfinished, ended, has_total=rng.random() < 0.7)
    reported = cluster.poll(refs(mine))
    assert {ref.job_id: status and status.state for ref, status in reported.items()} == {
        job: JobState.RUNNING if job in running else JobState.SUCCEEDED for job in mine
    }
    assert cluster.pages + len(cluster.singles) <= 1.5 * len(mine) + 3


def test_pages_are_requested_concurrently() -> None:
    """Requested one after the other, 200 pages would take 200 response times."""
    jobs = names(10_000)
    cluster = Cluster(unfinished=jobs)
    cluster.poll(refs(jobs))
    assert (cluster.pages, max(cluster.went_together)) == (200, AT_ONCE)


def test_no_page_is_requested_in_vain() -> None:
    """If the next page may contain all remaining jobs, the page after it is not requested yet."""
    jobs = names(120)
    cluster = Cluster(unfinished=[*jobs, *names(1000, "other")])
    cluster.poll(refs(jobs))
    assert (cluster.pages, cluster.singles) == (3, [])


def test_the_second_list_is_not_read_if_the_first_was_not_read_to_the_end() -> None:
    """Five running jobs, deep in a long list, are not searched among the ended jobs."""
    mine = names(5)
    cluster = Cluster(unfinished=[*names(10_000, "other"), *mine], ended=names(10_000, "old"))
    cluster.poll(refs(mine))
    assert (cluster.pages, sorted(cluster.singles)) == (1, mine)


def test_a_job_is_requested_once() -> None:
    """Two waits for one job need only one request."""
    cluster = Cluster(unfinished=["a"])
    cluster.poll(refs(["a", "a"]))
    assert cluster.singles == ["a"]


def test_no_permission_to_list() -> None:
    """A wait for one job does not need this permission. Waits for many must not need it either."""

    def reject(cluster: Cluster) -> None:
        raise PermissionDenied("not allowed to list")

    cluster = Cluster(unfinished=names(5), on_page=reject)
    assert len(cluster.poll(refs(names(5)))) == 5

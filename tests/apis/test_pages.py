"""Which calls the states of many jobs cost, on lists in every order and of every length."""

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
    """A cluster's jobs in the order of its lists, and the calls that were made."""

    unfinished: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    tells_total: bool = True
    pages: int = 0
    singles: list[str] = field(default_factory=list)
    on_page: Any = None
    went_together: list[int] = field(default_factory=list)
    """How many calls were under way at once."""

    def ask(self, refs: list[JobRef]) -> dict[JobRef, JobStatus | None]:
        lists = [JobsList(self.page_of(name), SIZE) for name in ("unfinished", "ended")]
        flow = statuses_by_page_or_job(refs, lambda ref: lists, self.single)
        told: dict[JobRef, JobStatus | None] = {}
        found: dict[JobRef, JobStatus | None] = run_flow(
            flow, lambda call: None, lambda step: told.update(step.statuses), self.went_together.append
        )
        assert told == found, "what is told on the way is what comes in the end"
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
                len(jobs) if self.tells_total else None,
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


@pytest.mark.parametrize("tells_total", [True, False])
@pytest.mark.parametrize("page", range(1, 20))
def test_jobs_that_end_while_pages_are_read(page: int, tells_total: bool) -> None:
    """A thousand jobs end between two pages. The first pages of the ended are those that were just told of as
    running; who stops there asks for hundreds one by one, and the last news comes half a minute late."""
    jobs = names(1000)

    def end(cluster: Cluster) -> None:
        if cluster.pages == page:
            cluster.unfinished, cluster.ended = [], jobs

    cluster = Cluster(unfinished=jobs, tells_total=tells_total, on_page=end)
    assert set(cluster.ask(refs(jobs))) == set(refs(jobs))
    assert cluster.pages + len(cluster.singles) <= 45


def test_ended_jobs_anywhere_in_a_long_list() -> None:
    """The order of the list is no promise: a few hundred may stand behind many that nobody waits for."""
    mine = names(600)
    cluster = Cluster(ended=[*names(1000, "other"), *mine, *names(40_000, "older")])
    cluster.ask(refs(mine))
    assert cluster.pages <= 1 + 20 + 12 + 1
    assert len(cluster.singles) < 3


@pytest.mark.parametrize("seed", range(20))
def test_pages_never_cost_much_more_than_asking_for_each(seed: int) -> None:
    rng = random.Random(seed)
    mine = names(rng.choice([3, 10, 100, 700]))
    running = set(rng.sample(mine, rng.randrange(len(mine))))
    unfinished = [*running, *names(rng.choice([0, 100, 30_000]), "other")]
    ended = [*(job for job in mine if job not in running), *names(rng.choice([0, 1000, 30_000]), "old")]
    rng.shuffle(unfinished)
    rng.shuffle(ended)
    cluster = Cluster(unfinished, ended, tells_total=rng.random() < 0.7)
    told = cluster.ask(refs(mine))
    assert {ref.job_id: status and status.state for ref, status in told.items()} == {
        job: JobState.RUNNING if job in running else JobState.SUCCEEDED for job in mine
    }
    assert cluster.pages + len(cluster.singles) <= 1.5 * len(mine) + 3


def test_pages_are_asked_for_together() -> None:
    """One after the other, 200 pages take 200 times as long as the cloud needs to answer."""
    jobs = names(10_000)
    cluster = Cluster(unfinished=jobs)
    cluster.ask(refs(jobs))
    assert (cluster.pages, max(cluster.went_together)) == (200, AT_ONCE)


def test_no_page_is_asked_for_in_vain() -> None:
    """Where the jobs that are left may all stand on the next page, the one behind it is not asked for yet."""
    jobs = names(120)
    cluster = Cluster(unfinished=[*jobs, *names(1000, "other")])
    cluster.ask(refs(jobs))
    assert (cluster.pages, cluster.singles) == (3, [])


def test_a_list_that_was_left_says_nothing_of_the_next() -> None:
    """Five jobs that still run, deep in a long list, are not looked for among the ended."""
    mine = names(5)
    cluster = Cluster(unfinished=[*names(10_000, "other"), *mine], ended=names(10_000, "old"))
    cluster.ask(refs(mine))
    assert (cluster.pages, sorted(cluster.singles)) == (1, mine)


def test_a_job_is_asked_for_once() -> None:
    """Two waiters for one job are one question."""
    cluster = Cluster(unfinished=["a"])
    cluster.ask(refs(["a", "a"]))
    assert cluster.singles == ["a"]


def test_no_right_to_list() -> None:
    """A right that a wait for one job does not need must not be missed because others wait too."""

    def refuse(cluster: Cluster) -> None:
        raise PermissionDenied("not allowed to list")

    cluster = Cluster(unfinished=names(5), on_page=refuse)
    assert len(cluster.ask(refs(names(5)))) == 5
